//! Random and mutated packets through the program and through the reference: the same verdict, bytes and counters.

mod generate;
mod mutate;
mod scene;

use std::{
    collections::BTreeMap,
    hash::{BuildHasher, Hasher, RandomState},
    time::Instant,
};

use lb_common::{
    backend::{BACKEND_RESOLVED, Backend},
    event::Event,
    verdict::Reason,
};
use lb_tests::{
    reference::Reference,
    runner::{Balancer, Label, World},
};

use self::scene::world;

/// Packets of an ordinary run; `LB_DIFFERENTIAL_PACKETS` asks for another number.
const PACKETS: usize = 100_000;
/// Packets between two comparisons of the counters, which take far longer than a packet.
const CHUNK: usize = 500;

/// SplitMix64.
pub struct Random(u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        lb_common::hash::mix(self.0)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// Whether one in `n` times.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

/// Both ways of the packet path, and the frames that went through them.
struct Pair {
    balancer: Balancer,
    reference: Reference,
    /// Packets by what became of them.
    seen: BTreeMap<Label, u64>,
}

impl Pair {
    fn new(world: &World) -> Self {
        Self {
            balancer: Balancer::load(world).unwrap(),
            reference: Reference::new(world),
            seen: BTreeMap::new(),
        }
    }

    /// Compares them over frames, their counters after each `step`; the first difference is the error.
    fn compare(&mut self, frames: &[Vec<u8>], step: usize) -> Result<(), String> {
        for frames in frames.chunks(step) {
            for frame in frames {
                let expected = self.reference.run(frame);
                *self.seen.entry(expected.label).or_default() += 1;
                let (action, bytes) = self.balancer.run_only(frame).unwrap();
                if (action, &bytes) != (expected.action, &expected.bytes) {
                    return Err(format!(
                        "{frame:02x?}\n  expected {expected:02x?}\n  got {action:?} {bytes:02x?}"
                    ));
                }
            }
            let (expected, counted) = (self.reference.counted(), self.balancer.counted().unwrap());
            if expected != counted {
                let frames = if step == 1 { frames } else { &[] };
                return Err(format!("{frames:02x?}\n  expected {expected:?}\n  counted {counted:?}"));
            }
        }
        Ok(())
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    let parsed = text.strip_prefix("0x").map_or_else(|| text.parse(), |hex| u64::from_str_radix(hex, 16));
    Some(parsed.unwrap_or_else(|_| panic!("{variable}={text} is no number")))
}

#[test]
fn the_program_and_the_reference_agree_on_every_packet() {
    let seed = number("LB_DIFFERENTIAL_SEED").unwrap_or_else(|| RandomState::new().build_hasher().finish());
    let packets = number("LB_DIFFERENTIAL_PACKETS").map_or(PACKETS, |packets| packets as usize);
    println!("LB_DIFFERENTIAL_SEED={seed:#x} LB_DIFFERENTIAL_PACKETS={packets}");
    let world = world();
    let generator = generate::Generator::new(&world);
    let (mut random, mut pair, began) = (Random(seed), Pair::new(&world), Instant::now());
    for first in (0..packets).step_by(CHUNK) {
        let frames: Vec<_> = (0..CHUNK).map(|_| generator.frame(&mut random)).collect();
        if let Err(difference) = pair.compare(&frames, CHUNK) {
            // Packet by packet, to tell which was counted otherwise; in a pair that has recorded no flows before.
            let alone = Pair::new(&world).compare(&frames, 1).err();
            panic!("packets {first} and on: {}", alone.unwrap_or(difference));
        }
    }
    let unknown = pair.balancer.events().unwrap().get(&Event::UnknownServerId).copied().unwrap_or(0);
    assert_eq!(unknown, pair.reference.unknown_server_ids(), "unknown server ids");
    println!("{packets} packets, {:.0} per second", packets as f64 / began.elapsed().as_secs_f64());
    assert_all_was_seen(&pair.seen, &world);
}

/// Every backend that takes traffic and every reason that such a world can give must have come up, or nothing was compared.
fn assert_all_was_seen(seen: &BTreeMap<Label, u64>, world: &World) {
    // Of other programs; or of caps, metadata, full tables and translated services, which have rows of their own.
    let never = [
        Reason::NoHeadroom,
        Reason::NotTunnel,
        Reason::Decapsulated,
        Reason::InnerNotService,
        Reason::InnerMalformed,
        Reason::NotRecorded,
        Reason::EchoLimited,
        Reason::Replied,
        Reason::NatExhausted,
        Reason::NotTranslated,
        Reason::NoRouteToClient,
        Reason::HopLimit,
    ];
    for reason in Reason::ALL.into_iter().filter(|reason| !never.contains(reason)) {
        let count = seen.get(&reason.into()).copied().unwrap_or(0);
        println!("{count:9} {}", reason.name());
        assert_ne!(count, 0, "no packet ended as {}", reason.name());
    }
    let takes_traffic = |backend: &Backend| {
        let is_up = backend.flags & BACKEND_RESOLVED != 0 && !world.down.contains(&backend.target);
        // Hardly any packet is as small as some of the rows' backends want it.
        is_up && backend.tx_port != 9 && backend.mtu >= 600
    };
    for (id, _) in world.backends.iter().filter(|(_, backend)| takes_traffic(backend)) {
        assert!(seen.contains_key(&Label::Forwarded(*id)), "backend {id} got nothing");
    }
}

/// The reference itself is checked by the packets that rows describe byte by byte.
#[test]
fn the_reference_agrees_on_the_frames_it_starts_from() {
    let world = world();
    let frames = generate::originals(&world, &mut Random(1));
    Pair::new(&world).compare(&frames, 1).unwrap();
}
