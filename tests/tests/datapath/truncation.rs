//! Frames that end early: cut anywhere, a packet is never forwarded and never changed.

use lb_common::verdict::Reason;
use lb_tests::{
    packet::Frame,
    runner::{Action, Label},
};

use crate::world::{balancer, data, datagram, once, v4, v6};

/// Shortest frame that the kernel runs a program on.
const SHORTEST: usize = 14;

fn frames() -> Vec<(&'static str, Frame)> {
    vec![
        ("tcp v4", v4(data(), 1).frame()),
        ("udp v4 with options", v4(datagram(), 2).with(|ip| ip.options = vec![1; 8]).frame()),
        ("tcp v4 in ipip with two tags", v4(data(), 3).frame().tag(0x88a8, 1).tag(0x8100, 2)),
        ("tcp v6 with a tag", v6(data(), 5).frame().tag(0x8100, 2)),
        ("udp v6 with extension headers", v6(datagram(), 6).extension(0, 8).extension(51, 16).frame()),
        ("tcp v4 in gue", v4(data(), 51).frame()),
        ("tcp v6 in ipip", v6(data(), 7).frame()),
    ]
}

#[test]
fn a_packet_cut_at_any_byte_is_passed_unchanged() {
    let mut balancer = balancer();
    for (description, frame) in frames() {
        let whole = frame.bytes();
        assert_ne!(balancer.run(&whole).unwrap().action, Action::Pass, "{description}");
        for length in SHORTEST..whole.len() {
            let outcome = balancer.run(&whole[..length]).unwrap();
            assert_eq!(outcome.action, Action::Pass, "{description} cut to {length}");
            assert_eq!(outcome.bytes, whole[..length], "{description} cut to {length}");
            assert_eq!(
                outcome.counted,
                once(Reason::Malformed.into(), length),
                "{description} cut to {length}"
            );
        }
    }
}

/// With lengths that agree with the cut, what remains may be a packet; then it must hold its transport header.
#[test]
fn a_packet_whose_lengths_follow_the_cut_needs_its_transport_header() {
    let mut balancer = balancer();
    let (v4, v6) = (v4(data(), 1).frame().bytes(), v6(data(), 5).frame().bytes());
    for (mut frame, headers, length_at, less) in [(v4, 14 + 40, 16, 14), (v6, 14 + 60, 18, 54)] {
        let whole = frame.len();
        for length in (headers - 20..=whole).rev() {
            frame.truncate(length);
            frame[length_at..length_at + 2].copy_from_slice(&((length - less) as u16).to_be_bytes());
            let outcome = balancer.run(&frame).unwrap();
            let label = *outcome.counted.keys().next().unwrap();
            assert_eq!(matches!(label, Label::Forwarded(_)), length >= headers, "cut to {length}");
        }
    }
}
