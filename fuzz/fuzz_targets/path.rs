//! The whole packet path in the kernel beside its reference: the same verdict, bytes and counters. Needs root.
#![no_main]

#[expect(dead_code, reason = "the rows use more of their world than its description")]
#[path = "../../tests/tests/datapath/world.rs"]
mod world;
#[path = "../../tests/tests/datapath/differential/scene.rs"]
mod scene;

use std::cell::RefCell;

use lb_tests::{
    reference::Reference,
    runner::{Balancer, Outcome},
};
use libfuzzer_sys::{Corpus, fuzz_target};

/// Lengths of frames that the kernel runs a program on.
const LENGTHS: std::ops::RangeInclusive<usize> = 14..=3_000;

thread_local! {
    /// Both, with the flows that earlier frames have left in both.
    static PAIR: RefCell<(Balancer, Reference)> = {
        let world = scene::world();
        let balancer = Balancer::load(&world).expect("the packet path needs root and BPF");
        RefCell::new((balancer, Reference::new(&world)))
    };
}

fuzz_target!(|frame: &[u8]| -> Corpus {
    if !LENGTHS.contains(&frame.len()) {
        return Corpus::Reject;
    }
    PAIR.with_borrow_mut(|(balancer, reference)| {
        let expected = reference.run(frame);
        let outcome = balancer.run(frame).expect("the kernel runs a program on a frame of this length");
        let expected =
            Outcome { action: expected.action, bytes: expected.bytes, counted: reference.counted() };
        assert_eq!(outcome, expected, "{frame:02x?}");
    });
    Corpus::Keep
});
