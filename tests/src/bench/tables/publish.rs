//! How long a change takes to reach packets, and to return.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use aya_obj::generated::bpf_map_type::BPF_MAP_TYPE_ARRAY;
use lb_common::slot::{CLASS_DEFAULT, SIZES};
use lb_userspace::{
    publish::{Kernel, Options, Publisher, dataplane::DataPlane as _},
    table::{snapshot::Snapshot, transition::Slots},
};
use serde::{Deserialize, Serialize};

use super::{
    burst::{Frames, burst},
    world,
};
use crate::{bench::samples::Summary, bpffs::Bpffs, lab::sys, packet};

/// Backends of a service. The change replaces all of them by as many others, so that any packet shows it.
pub const BACKENDS: u32 = 1_000;
/// Packets until a change must show: more than half a second of them.
const PACKETS_MAX: usize = 1 << 19;
/// Service that changes.
const SERVICE: u32 = 1;

/// A change of one service's slots.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Publish {
    /// Slots of the table.
    pub slots: usize,
    /// Backends before, and as many others after.
    pub backends: u32,
    /// Making and filling an inner map of this size, ms.
    pub fill_ms: Summary,
    /// From the order to publish slots that are worked out to the end of the first packet that sees them, the fill
    /// included, ms.
    pub visible_ms: Summary,
    /// Until that order returns: no packet sees the former slots any more (RCU), ms.
    pub returned_ms: Summary,
    /// From a changed snapshot to the first packet: builds the table, works out the transition, publishes, ms.
    pub change_visible_ms: Summary,
    /// Until that returns, ms.
    pub change_returned_ms: Summary,
}

/// Measures the tables of all sizes, each in a data plane of its own.
pub fn publish(samples: usize) -> Result<Vec<Publish>> {
    (0..SIZES.len() as u8).map(|class| of_class(class, samples)).collect()
}

fn of_class(class: u8, samples: usize) -> Result<Publish> {
    let bpffs = Bpffs::mount()?;
    let options = Options::new(bpffs.path().join("lb"), 1);
    let [change_visible_ms, change_returned_ms] = changes(&options, class, samples)?;
    let [visible_ms, returned_ms] = swaps(&options, class, samples)?;
    let words = vec![0u32; 2 * SIZES[usize::from(class)]];
    Ok(Publish {
        slots: SIZES[usize::from(class)],
        backends: BACKENDS,
        fill_ms: fills(&words, samples)?,
        visible_ms,
        returned_ms,
        change_visible_ms,
        change_returned_ms,
    })
}

/// Backends of the first or the second set.
const fn first_of(second: bool) -> u32 {
    if second { BACKENDS + 1 } else { 1 }
}

const fn is_second(backend: u32) -> bool {
    backend > BACKENDS
}

/// Both sets exist, one of them owns the slots.
fn snapshot(class: u8, second: bool) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for owner in [!second, second] {
        let first = first_of(owner);
        let backends = (first..first + BACKENDS).map(|id| (id, 100));
        world::add_service(&mut snapshot, SERVICE, class, backends, |id| id);
    }
    snapshot
}

/// Whole changes by the publisher: from a snapshot to packets.
///
/// Only the way from the first set to the second is measured. On it no slot moves before the change, so that new flows
/// go to the owners of their slots, unrecorded; after it the first new flow shows the new owner.
fn changes(options: &Options, class: u8, samples: usize) -> Result<[Summary; 2]> {
    let [first, second] = [false, true].map(|second| snapshot(class, second));
    let mut publisher = Publisher::open(options)?;
    let program = publisher.plane().program().try_clone_to_owned()?;
    let mut frames = new_flows();
    let (mut visible, mut returned) = (Vec::new(), Vec::new());
    for sample in 0..=samples {
        publisher.apply(&first)?;
        let apply = || {
            publisher.apply(&second)?;
            Ok(())
        };
        let [visible_ms, returned_ms] = until_visible(&program, &mut frames, true, apply)?;
        // The first one only warms caches up.
        if sample > 0 {
            visible.push(visible_ms);
            returned.push(returned_ms);
        }
    }
    Ok([Summary::of(&visible), Summary::of(&returned)])
}

/// The last step alone: slots that are worked out, at rest, in the place of others.
fn swaps(options: &Options, class: u8, samples: usize) -> Result<[Summary; 2]> {
    let owners = |second: bool| {
        (0..BACKENDS).cycle().take(SIZES[usize::from(class)]).map(move |n| n + first_of(second))
    };
    let tables = [false, true].map(|second| Slots::steady(&owners(second).collect::<Vec<u32>>()));
    // Over the pins of the publisher that made the changes.
    let mut kernel = Kernel::open(options)?;
    let program = kernel.program().try_clone_to_owned()?;
    let mut frames = new_flows();
    let (mut visible, mut returned) = (Vec::new(), Vec::new());
    kernel.publish_slots(SERVICE, class, &tables[0])?;
    for sample in 0..=samples {
        let second = sample % 2 == 0;
        let swap = || Ok(kernel.publish_slots(SERVICE, class, &tables[usize::from(second)])?);
        let [visible_ms, returned_ms] = until_visible(&program, &mut frames, second, swap)?;
        if sample > 0 {
            visible.push(visible_ms);
            returned.push(returned_ms);
        }
    }
    Ok([Summary::of(&visible), Summary::of(&returned)])
}

/// New connections to the service, each of another flow.
fn new_flows() -> Frames {
    Frames::of_flows_from(world::frame(SERVICE, 0, packet::SYN), 0)
}

/// Times until a change shows in a packet and until it returns, ms. The sender ends with the packet that shows it.
fn until_visible(
    program: &impl std::os::fd::AsFd,
    frames: &mut Frames,
    to_second: bool,
    change: impl FnOnce() -> Result<()>,
) -> Result<[f64; 2]> {
    let enough = |packet: &super::burst::Sent, _| is_second(packet.backend) == to_second;
    let (done, sent) = burst(program.as_fd(), frames, PACKETS_MAX, enough, change)?;
    let shown = sent.last().context("no packet was sent")?;
    ensure!(shown.ended_ns >= done.called_ns, "a packet showed the change before it was made");
    let since = |ns: u64| (ns - done.called_ns) as f64 / 1e6;
    Ok([since(shown.ended_ns), since(done.returned_ns)])
}

/// Making an inner map and filling it, as publishing does.
fn fills(words: &[u32], samples: usize) -> Result<Summary> {
    let mut times = Vec::new();
    for sample in 0..=samples {
        let started = Instant::now();
        let map = sys::create_map(BPF_MAP_TYPE_ARRAY as u32, 4, size_of_val(words), 1)?;
        sys::update(std::os::fd::AsFd::as_fd(&map), &0u32, words)?;
        let elapsed = started.elapsed();
        if sample > 0 {
            times.push(elapsed.as_secs_f64() * 1e3);
        }
    }
    Ok(Summary::of(&times))
}

/// A call of the publisher.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Step {
    /// What it does.
    pub step: String,
    /// Services of 1,000 backends that are there.
    pub services: u32,
    /// Time, ms.
    pub time_ms: Summary,
}

/// Measures what the publisher does at the start and when nothing, or everything, has changed.
pub fn steps(samples: usize) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    let mut told = |step, services, times: &[f64]| {
        steps.push(Step { step: String::from(step), services, time_ms: Summary::of(times) })
    };
    let opened = (0..samples).map(|_| {
        let bpffs = Bpffs::mount()?;
        time_ms(|| Publisher::open(&Options::new(bpffs.path().join("lb"), 1)))
    });
    told("open, nothing there", 0, &opened.map(|opened| Ok(opened?.0)).collect::<Result<Vec<f64>>>()?);
    let bpffs = Bpffs::mount()?;
    let options = Options::new(bpffs.path().join("lb"), 1);
    let mut publisher = Publisher::open(&options)?;
    for services in [1, 10] {
        let [all, fewer] = [BACKENDS, BACKENDS - 1].map(|backends| many(services, backends));
        publisher.apply(&fewer)?;
        let (mut changes, mut repeats) = (Vec::new(), Vec::new());
        for sample in 0..samples {
            let snapshot = if sample % 2 == 0 { &all } else { &fewer };
            changes.push(time_ms(|| publisher.apply(snapshot))?.0);
            repeats.push(time_ms(|| publisher.apply(snapshot))?.0);
        }
        told("change one backend of each service", services, &changes);
        told("apply what is there", services, &repeats);
    }
    drop(publisher);
    let again = (0..samples).map(|_| Ok(time_ms(|| Publisher::open(&options))?.0));
    told("open over what is there", 10, &again.collect::<Result<Vec<f64>>>()?);
    Ok(steps)
}

fn many(services: u32, backends: u32) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for service in 1..=services {
        let first = service * BACKENDS;
        let backends = (first..first + backends).map(|id| (id, 100));
        world::add_service(&mut snapshot, service, CLASS_DEFAULT, backends, |id| id);
    }
    snapshot
}

/// Time of a call that must succeed, ms, without that of dropping its result.
fn time_ms<T, E: Into<anyhow::Error>>(call: impl FnOnce() -> Result<T, E>) -> Result<(f64, T)> {
    let started = Instant::now();
    let result = call();
    let elapsed = started.elapsed();
    Ok((elapsed.as_secs_f64() * 1e3, result.map_err(Into::into)?))
}
