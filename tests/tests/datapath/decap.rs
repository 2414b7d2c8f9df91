//! `lb decap`, packet by packet.

use std::net::IpAddr;

use lb_common::verdict::Reason;
use lb_tests::{
    packet::{Frame, other},
    runner::{Action, Decap, Label},
};

use crate::world::{
    CLIENT_V4, CLIENT_V6, LB_V4, LB_V6, Row, backend4, backend6, check, data, datagram, ends, v4, v6, vip4,
    vip6,
};

fn program() -> Decap {
    Decap::load(&[IpAddr::from(vip4(1)), vip6(5).into()]).unwrap()
}

/// A packet that loses its outer header.
fn unpacked(description: &'static str, packet: &Frame, inner: &Frame) -> Row {
    let counted = Label::from(Reason::Decapsulated);
    Row { description, packet: packet.bytes(), action: Action::Pass, out: inner.bytes(), counted }
}

#[test]
fn tunnel_packets_lose_their_outer_header() {
    let (four, six) = (v4(data(), 1), v6(data(), 5));
    let one = |frame: Frame| frame.tag(0x8100, 0x2064);
    let two = |frame: Frame| frame.tag(0x88a8, 0x1007).tag(0x8100, 0x2064);
    let in4 = four.ip().in_v4(LB_V4, backend4(1), 0).frame();
    let in6 = six.ip().in_v6(LB_V6, backend6(2), 0, 0x12345).frame();
    let mixed46 = four.ip().in_v6(LB_V6, backend6(2), 0, 0).frame();
    let mixed64 = six.ip().in_v4(LB_V4, backend4(1), 0).frame();
    let rows = vec![
        unpacked("4in4", &in4, &four.frame()),
        unpacked("6in6", &in6, &six.frame()),
        unpacked("4in6", &mixed46, &four.frame()),
        unpacked("6in4", &mixed64, &six.frame()),
        unpacked("4in4, padded", &in4.clone().padding(9), &four.frame().padding(9)),
        unpacked("4in4 with a tag", &one(in4.clone()), &one(four.frame())),
        unpacked("4in4 with two tags", &two(in4), &two(four.frame())),
        unpacked("6in6 with a tag", &one(in6.clone()), &one(six.frame())),
        unpacked("6in6 with two tags", &two(in6), &two(six.frame())),
        unpacked("4in6 with a tag", &one(mixed46), &one(four.frame())),
        unpacked("6in4 with two tags", &two(mixed64), &two(six.frame())),
    ];
    let mut decap = program();
    check(rows, |frame| decap.run(frame).unwrap());
}

#[test]
fn everything_else_is_passed_or_dropped_unchanged() {
    let tunnel = || v4(data(), 1).ip().in_v4(LB_V4, backend4(1), 0);
    let inner = |at: usize, bytes: &[u8]| tunnel().ip().patch(20 + at, bytes).frame();
    let in6 =
        |at: usize, bytes: &[u8]| v6(data(), 5).ip().patch(at, bytes).in_v6(LB_V6, backend6(2), 0, 0).frame();
    let rows = vec![
        ends("a plain packet", &v4(data(), 1).frame(), Reason::NotTunnel),
        ends("a plain packet, v6", &v6(datagram(), 5).frame(), Reason::NotTunnel),
        ends("ARP", &lb_tests::packet::raw_frame(0x0806, &[0; 46]), Reason::NotTunnel),
        ends("GRE", &other(47, &[0; 40]).v4(CLIENT_V4, backend4(1)).frame(), Reason::NotTunnel),
        ends("outer options", &tunnel().with(|ip| ip.options = vec![1; 4]).frame(), Reason::NotTunnel),
        ends("outer fragment", &tunnel().with(|ip| ip.fragment = 0x2000).frame(), Reason::NotTunnel),
        ends("outer length beyond the frame", &tunnel().ip().patch(2, &[1, 0]).frame(), Reason::NotTunnel),
        ends(
            "another service",
            &v4(data(), 2).ip().in_v4(LB_V4, backend4(1), 0).frame(),
            Reason::InnerNotService,
        ),
        ends(
            "another service, v6",
            &v6(data(), 6).ip().in_v4(LB_V4, backend4(1), 0).frame(),
            Reason::InnerNotService,
        ),
        ends("inner version", &inner(0, &[0x65]), Reason::InnerMalformed),
        ends("inner header length", &inner(0, &[0x44]), Reason::InnerMalformed),
        ends("inner length below its header's", &inner(2, &[0, 19]), Reason::InnerMalformed),
        ends("inner length beyond the outer one", &inner(2, &[0, 46]), Reason::InnerMalformed),
        ends("inner v6 version", &in6(0, &[0x45]), Reason::InnerMalformed),
        ends("inner v6 length beyond the outer one", &in6(4, &[0, 26]), Reason::InnerMalformed),
        ends("nothing inside", &other(4, &[]).v4(CLIENT_V4, backend4(1)).frame(), Reason::InnerMalformed),
        ends(
            "half a header inside",
            &other(41, &[0x60; 20]).v6(CLIENT_V6, backend6(2)).frame(),
            Reason::InnerMalformed,
        ),
    ];
    let mut decap = program();
    check(rows, |frame| decap.run(frame).unwrap());
}

#[test]
fn a_tunnel_packet_cut_at_any_byte_is_unchanged() {
    let frames = [
        v4(data(), 1).ip().in_v4(LB_V4, backend4(1), 0).frame(),
        v6(data(), 5).ip().in_v6(LB_V6, backend6(2), 0, 0).frame().tag(0x8100, 1),
    ];
    let mut decap = program();
    for frame in frames {
        let whole = frame.bytes();
        for length in 14..whole.len() {
            let outcome = decap.run(&whole[..length]).unwrap();
            assert_eq!(
                (outcome.action, &outcome.bytes[..]),
                (Action::Pass, &whole[..length]),
                "cut to {length}"
            );
        }
    }
}
