//! Mutated and random packets: what is not forwarded is unchanged, what is forwarded is rewritten as its mode says.

use std::hash::{BuildHasher, Hasher, RandomState};

use lb_tests::{
    packet::Frame,
    runner::{Action, Label, Outcome},
};

use crate::world::{balancer, data, datagram, v4, v6};

const PACKETS: u32 = 20_000;

/// SplitMix64, seeded anew in each run; the seed is printed when the test fails.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        lb_common::hash::mix(self.0)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

fn originals() -> Vec<Vec<u8>> {
    let frames: Vec<Frame> = vec![
        v4(data(), 1).frame(),
        v4(datagram(), 2).with(|ip| ip.options = vec![1; 8]).frame().tag(0x8100, 3),
        v4(data(), 3).frame().tag(0x88a8, 1).tag(0x8100, 2),
        v4(data(), 4).frame(),
        v6(data(), 5).extension(0, 8).frame(),
        v6(datagram(), 6).extension(60, 16).extension(51, 12).frame().tag(0x8100, 2),
        v6(data(), 7).frame().padding(7),
        v6(data(), 8).frame(),
        v4(data(), 51).frame().tag(0x8100, 3),
        v6(data(), 53).frame(),
        v4(data(), 40).frame(),
        v4(data(), 28).frame(),
    ];
    frames.iter().map(Frame::bytes).collect()
}

/// Changes some bytes, mostly among the headers, and sometimes the length.
fn mutate(random: &mut Random, frame: &mut Vec<u8>) {
    for _ in 0..=random.below(3) {
        let reach = if random.below(8) == 0 { frame.len() } else { frame.len().min(60) };
        let at = random.below(reach);
        frame[at] = match random.below(3) {
            0 => random.next() as u8,
            1 => frame[at] ^ 1 << random.below(8),
            _ => [0, 1, 4, 6, 17, 41, 43, 44, 51, 60, 0xff][random.below(11)],
        };
    }
    if random.below(4) == 0 {
        let length = 14 + random.below(frame.len() + 20);
        frame.resize(length.min(frame.len() + 8), 0);
    }
}

/// What must hold of any outcome.
fn verify(frame: &[u8], outcome: &Outcome) {
    assert_eq!(outcome.counted.len(), 1);
    let (label, counter) = outcome.counted.first_key_value().unwrap();
    assert_eq!((counter.packets, counter.bytes), (1, frame.len() as u64));
    let Label::Forwarded(backend) = *label else {
        assert!(matches!(outcome.action, Action::Pass | Action::Drop));
        assert_eq!(outcome.bytes, frame, "passed or dropped, but changed");
        return;
    };
    // A mutated address may be that of any service of the world.
    assert!(matches!(outcome.action, Action::Transmit | Action::Redirect));
    let macs = [[2, 0, 0, 1, 0, backend as u8], [2, 0, 0, 2, 0, backend as u8]].concat();
    assert_eq!(outcome.bytes[..12], macs);
    let tags =
        (0..2).take_while(|tag| matches!(frame[12 + 4 * tag..][..2], [0x81, 0] | [0x88, 0xa8])).count();
    // The backends are in no VLAN.
    assert!(matches!(outcome.bytes[12..14], [0x08, 0x00] | [0x86, 0xdd]), "a tag is left");
    let outer = outcome.bytes.len() + 4 * tags - frame.len();
    assert!([0, 20, 28, 40, 48].contains(&outer), "grew by {outer} bytes");
    assert_eq!(outcome.bytes[14 + outer..], frame[14 + 4 * tags..], "the packet inside changed");
    if matches!(outer, 20 | 28) {
        assert_eq!(lb_tests::packet::checksum(&outcome.bytes[14..34]), 0, "outer checksum");
    }
}

#[test]
fn mutated_packets_are_rewritten_rightly_or_not_at_all() {
    let seed = RandomState::new().build_hasher().finish();
    println!("seed {seed:#x}");
    let mut random = Random(seed);
    let originals = originals();
    let mut balancer = balancer();
    let mut forwarded = 0;
    for _ in 0..PACKETS / 4 {
        let mut frame = originals[random.below(originals.len())].clone();
        mutate(&mut random, &mut frame);
        let outcome = balancer.run(&frame).unwrap();
        verify(&frame, &outcome);
        forwarded += u32::from(outcome.action == Action::Transmit);
    }
    assert!(forwarded > PACKETS / 100, "only {forwarded} packets survived their mutation");
}

#[test]
fn random_bytes_are_passed_unchanged() {
    let seed = RandomState::new().build_hasher().finish();
    println!("seed {seed:#x}");
    let mut random = Random(seed);
    let mut balancer = balancer();
    for _ in 0..1000 {
        let length = 14 + random.below(120);
        let mut frame: Vec<u8> = (0..length).map(|_| random.next() as u8).collect();
        let ether_type = [[0x08, 0x00], [0x86, 0xdd], [0x81, 0x00], [0x08, 0x06]][random.below(4)];
        frame[12..14].copy_from_slice(&ether_type);
        verify(&frame, &balancer.run(&frame).unwrap());
    }
}
