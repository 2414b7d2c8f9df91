//! Random sequences; one that breaks a connection is shrunk and printed.

use std::{
    cell::Cell,
    rc::Rc,
    sync::atomic::{AtomicUsize, Ordering},
};

use lb_tests::lab::{Design, Lab, Settings};
use proptest::{
    collection::vec,
    test_runner::{Config, RngSeed, TestCaseError, TestRunner},
};

use crate::{
    ops::{Op, op, shapes},
    services::{SEED, SERVICES, Shape},
    world::World,
};

/// Sequences of each test, unless `LB_MODEL_SEQUENCES` says otherwise.
const SEQUENCES: u32 = 2000;
const STEPS: usize = 40;

/// The packet path with this cap, or none.
pub fn lab(new_flows_per_second: u32) -> Rc<Lab> {
    Lab::load(Settings {
        seed: SEED,
        design: Design::Transitions,
        // More than there ever are: a walk looks at all places.
        max_flows: 2_048,
        new_flows_per_second,
        new_flows_per_source_per_second: new_flows_per_second,
    })
    .expect("the packet path loads (needs root)")
}

/// Runs one sequence. The number of packets that had a backend to keep.
pub fn run(lab: &Rc<Lab>, shapes: [Shape; SERVICES], ops: &[Op]) -> Result<u64, String> {
    let mut world = World::new(Rc::clone(lab), shapes)?;
    for (index, op) in ops.iter().enumerate() {
        world.step(*op).map_err(|broken| format!("step {index}, {op:?}: {broken}"))?;
    }
    world.end().map_err(|broken| format!("at the end: {broken}"))?;
    Ok(world.checked)
}

fn number<T: std::str::FromStr>(variable: &str) -> Option<T> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Sequences, from a seed of their own unless `LB_MODEL_SEED` gives one. All follows from it but the random draws of
/// least-connections, which are the kernel's.
fn check(lab: &Rc<Lab>, floods: bool) {
    // Caps and turns are per CPU. Tests that run side by side take one each.
    static CPU: AtomicUsize = AtomicUsize::new(0);
    lb_tests::cpu::pin_to(CPU.fetch_add(1, Ordering::Relaxed)).expect("a CPU");
    let seed = number("LB_MODEL_SEED")
        .unwrap_or_else(|| std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0));
    println!("LB_MODEL_SEED={seed}");
    let config = Config {
        cases: number("LB_MODEL_SEQUENCES").unwrap_or(SEQUENCES),
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        ..Config::default()
    };
    let (sequences, packets) = (Cell::new(0u64), Cell::new(0u64));
    let result = TestRunner::new(config).run(&(shapes(), vec(op(floods), 1..STEPS)), |(shapes, ops)| {
        let checked = run(lab, shapes, &ops).map_err(TestCaseError::fail)?;
        sequences.set(sequences.get() + 1);
        packets.set(packets.get() + checked);
        Ok(())
    });
    println!("{} sequences, {} packets that had a backend to keep", sequences.get(), packets.get());
    if let Err(error) = result {
        panic!("LB_MODEL_SEED={seed}: {error}");
    }
}

/// The caps are so low that floods, and at times the connections themselves, go beyond them.
#[test]
fn connections_stay_under_a_flood() {
    let lab = lab(20);
    check(&lab, true);
    assert!(lab.unrecorded().unwrap() > 0, "no flood went over a cap");
}

#[test]
fn connections_stay_whatever_changes() {
    check(&lab(u32::MAX), false);
}
