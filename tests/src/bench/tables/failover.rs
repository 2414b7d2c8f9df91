//! How long packets still go to a backend that was decided to be dead.
//!
//! A repetition sends packets of flows whose backend is about to die, one per run of the packet path, decides on another
//! CPU that it is dead, and looks for the last packet that went to it all the same. Its time is the end of its run: the
//! program had read the state of its target earlier, so what is measured is never too short.
//!
//! A stall of the machine can make it too long (the run ends late) or hide packets (none is sent meanwhile). So a
//! repetition with a stall between the decision and the last such packet is told apart, and figures are given with and
//! without those. Stalls are judged by what the store can't influence: gaps between the sender's stamps, and time in
//! which the decider could have run. A store that works or waits for long makes no stall; it counts.

use std::os::fd::BorrowedFd;

use anyhow::{Context as _, Result, ensure};
use lb_common::slot::CLASS_DEFAULT;
use lb_userspace::{
    publish::{Liveness, Options, Publisher},
    table::snapshot::Snapshot,
};
use serde::{Deserialize, Serialize};

use super::{
    burst::{Done, Frames, STALL_NS, Sent, burst},
    world::{self, OUT_BYTES},
};
use crate::{bench::samples::Tail, bpffs::Bpffs, lab::sys, packet};

/// Backends of each service; the first of each is the one that dies, on the host that they share.
pub const BACKENDS: u32 = 10;
/// Flows that are sent, at least one of each service.
const FLOWS: u32 = 64;
/// Packets until all flows must have followed: some tens of milliseconds of them.
const PACKETS_MAX: usize = 1 << 15;
/// The target of the backends that die.
const TARGET: u32 = 1;
/// Flows that are tried to find one whose backend dies: one in ten is.
const TRIES: u32 = 1_000;

/// The time from a decision to the last packet that it came too late for.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Failover {
    /// Services that all use the backend.
    pub services: u32,
    /// How often it was measured.
    pub repetitions: usize,
    /// Those of them in which the machine stalled.
    pub stalled: usize,
    /// All repetitions, us.
    pub all_us: Tail,
    /// Those without a stall, us.
    pub stall_free_us: Tail,
    /// How long the call that stores the decision took, in those without a stall, us.
    pub store_us: Tail,
}

/// A data plane with services that share a dying backend.
pub struct World {
    publisher: Publisher,
    liveness: Liveness,
    frames: Frames,
    flows: usize,
    services: u32,
    /// Unmounted last.
    bpffs: Bpffs,
}

impl World {
    /// Publishes so many services.
    pub fn publish(services: u32) -> Result<Self> {
        let bpffs = Bpffs::mount()?;
        let mut publisher = Publisher::open(&Options::new(bpffs.path().join("lb"), 1))?;
        publisher.apply(&snapshot(services))?;
        let program = publisher.plane().program();
        let mut frames = Vec::new();
        for service in 1..=services {
            for frame in frames_to_dying(program, service, FLOWS.div_ceil(services))? {
                frames.push(frame);
            }
        }
        let flows = frames.len();
        Ok(Self {
            liveness: publisher.liveness(),
            publisher,
            frames: Frames::of(frames),
            flows,
            services,
            bpffs,
        })
    }

    /// Memory of all maps, bytes.
    pub fn map_bytes(&self) -> Result<u64> {
        let maps = lb_userspace::observe::map_memory(&self.bpffs.path().join("lb"))?;
        Ok(maps.iter().map(|map| map.bytes).sum())
    }

    /// Lets the backend die so many times.
    pub fn measure(&mut self, repetitions: usize) -> Result<Failover> {
        let all: Vec<Repetition> = (0..repetitions).map(|_| self.repeat()).collect::<Result<_>>()?;
        let free: Vec<Repetition> = all.iter().copied().filter(|repetition| !repetition.stalled).collect();
        let tail = |of: fn(&Repetition) -> f64, some: &[Repetition]| {
            Tail::of(&some.iter().map(of).collect::<Vec<_>>())
        };
        Ok(Failover {
            services: self.services,
            repetitions,
            stalled: all.len() - free.len(),
            all_us: tail(|repetition| repetition.last_us, &all),
            stall_free_us: tail(|repetition| repetition.last_us, &free),
            store_us: tail(|repetition| repetition.store_us, &free),
        })
    }

    fn repeat(&mut self) -> Result<Repetition> {
        let (mut left, flows) = (2 * self.flows, self.flows);
        // Every flow twice after the decision: each service is seen to follow.
        let enough = |_: &Sent, decided: bool| {
            left -= usize::from(decided);
            left == 0
        };
        let liveness = &self.liveness;
        let (done, sent) =
            burst(self.publisher.plane().program(), &mut self.frames, PACKETS_MAX, enough, || {
                liveness.set(TARGET, false)?;
                Ok(())
            })?;
        // Up again at once: what the tables would have to take note of before, the next repetition does not need.
        self.liveness.forget(TARGET)?;
        judge(done, &sent, flows)
    }
}

/// One repetition.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Repetition {
    /// From the decision to the end of the last packet to the dead backend; 0 if there was none.
    last_us: f64,
    store_us: f64,
    stalled: bool,
}

fn judge(done: Done, sent: &[Sent], flows: usize) -> Result<Repetition> {
    let before = sent.iter().take_while(|packet| packet.ended_ns < done.called_ns);
    ensure!(
        before.clone().all(|packet| is_dying(packet.backend)),
        "a flow left its backend without a reason"
    );
    let last = sent.iter().rposition(|packet| is_dying(packet.backend)).context("no flow had the backend")?;
    ensure!(sent.len() - last > flows, "packets still go to the dead backend");
    let last_ns = sent[last].ended_ns.max(done.called_ns);
    let until_ns = last_ns.max(done.returned_ns);
    Ok(Repetition {
        last_us: (last_ns - done.called_ns) as f64 / 1e3,
        store_us: (done.returned_ns - done.called_ns) as f64 / 1e3,
        stalled: done.stalled || longest_gap_ns(sent, done.called_ns, until_ns) > STALL_NS,
    })
}

/// The longest time between two neighbouring stamps that has a part in a period.
fn longest_gap_ns(sent: &[Sent], from_ns: u64, until_ns: u64) -> u64 {
    let stamps: Vec<u64> = sent.iter().flat_map(|packet| [packet.started_ns, packet.ended_ns]).collect();
    let gaps = stamps.windows(2).filter(|gap| gap[1] >= from_ns && gap[0] <= until_ns);
    gaps.map(|gap| gap[1] - gap[0]).max().unwrap_or(0)
}

const fn first_backend(service: u32) -> u32 {
    (service - 1) * BACKENDS + 1
}

/// Whether a backend's target is the one that dies.
const fn is_dying(backend: u32) -> bool {
    backend % BACKENDS == 1
}

fn snapshot(services: u32) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for service in 1..=services {
        let first = first_backend(service);
        let backends = (first..first + BACKENDS).map(|id| (id, 100));
        let target = |id| if is_dying(id) { TARGET } else { id };
        world::add_service(&mut snapshot, service, CLASS_DEFAULT, backends, target);
    }
    snapshot
}

/// Packets of established flows that the packet path sends to the backend that is to die.
fn frames_to_dying(program: BorrowedFd<'_>, service: u32, count: u32) -> Result<Vec<Vec<u8>>> {
    let mut out = [0; OUT_BYTES];
    let mut found = Vec::new();
    for flow in 0..TRIES * count {
        let frame = world::frame(service, flow, packet::ACK);
        sys::test_run(program, &frame, &mut out).context("run the packet path")?;
        if world::backend_of(&out) == Some(first_backend(service)) {
            found.push(frame);
        }
        if found.len() == count as usize {
            return Ok(found);
        }
    }
    anyhow::bail!("no flow of service {service} goes to its first backend")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A packet every microsecond, the first so many to the dying backend.
    fn packets(dying: u64, of: u64) -> Vec<Sent> {
        let packet = |n: u64| Sent {
            started_ns: n * 1_000,
            ended_ns: n * 1_000 + 900,
            backend: if n < dying { 1 } else { 2 },
        };
        (0..of).map(packet).collect()
    }

    const DONE: Done = Done { called_ns: 9_950, returned_ns: 11_950, stalled: false };

    #[test]
    fn the_last_packet_counts_to_its_end() {
        let repetition = judge(DONE, &packets(12, 20), 4).unwrap();
        assert_eq!(repetition, Repetition { last_us: 1.95, store_us: 2.0, stalled: false });
        let none_after = judge(DONE, &packets(10, 20), 4).unwrap();
        assert_eq!((none_after.last_us, none_after.stalled), (0.0, false));
    }

    #[test]
    fn a_stall_counts_where_it_matters() {
        let stalled_at = |at: usize| {
            let mut sent = packets(12, 20);
            sent[at..].iter_mut().for_each(|packet| {
                (packet.started_ns, packet.ended_ns) =
                    (packet.started_ns + 300_000, packet.ended_ns + 300_000)
            });
            sent
        };
        assert!(judge(DONE, &stalled_at(10), 4).unwrap().stalled, "nothing was sent when it was decided");
        assert!(judge(DONE, &stalled_at(12), 4).unwrap().stalled, "more packets might have gone there");
        assert!(!judge(DONE, &stalled_at(14), 4).unwrap().stalled);
        assert!(judge(Done { stalled: true, ..DONE }, &packets(12, 20), 4).unwrap().stalled);
    }

    #[test]
    fn a_flow_that_does_not_follow_is_an_error() {
        assert!(judge(DONE, &packets(18, 20), 4).is_err());
    }
}
