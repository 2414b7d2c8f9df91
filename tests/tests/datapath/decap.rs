//! `lb decap`, packet by packet.

use std::net::IpAddr;

use lb_common::verdict::Reason;
use lb_tests::{
    packet::{self, Frame, Ip, Segment, other},
    runner::{Action, DECAP_GUE_PORT, Decap, Label},
};

use crate::world::{
    CLIENT_V4, CLIENT_V6, LB_V4, LB_V6, Row, backend4, backend6, check, data, datagram, ends, v4, v6, vip4,
    vip6,
};

fn vips() -> [IpAddr; 2] {
    [vip4(1).into(), vip6(5).into()]
}

fn program() -> Decap {
    Decap::load(&vips()).unwrap()
}

/// The rows by XDP, and by traffic control. The kernel takes tags out of packets before traffic control sees them; one
/// with tags in it never gets there.
fn check_both(rows: impl Fn() -> Vec<Row>) {
    let (mut xdp, mut tc) = (program(), Decap::load_tc(&vips()).unwrap());
    check(rows(), |frame| xdp.run(frame).unwrap());
    let untagged = rows().into_iter().filter(|row| row.packet[12] != 0x81 && row.packet[12] != 0x88);
    check(untagged.collect(), |frame| tc.run(frame).unwrap());
}

/// A datagram of a tunnel, as `lb` sends it.
fn gue(packet: &Ip) -> Segment {
    packet.in_udp(50_000, DECAP_GUE_PORT)
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
    let gue4 = gue(&four.ip()).outer_v4(LB_V4, backend4(1), 0).frame();
    let gue6 = gue(&six.ip()).outer_v6(LB_V6, backend6(2), 0, 0x12345).frame();
    let gue46 = gue(&four.ip()).outer_v6(LB_V6, backend6(2), 0, 0).frame();
    let gue64 = gue(&six.ip()).outer_v4(LB_V4, backend4(1), 0).frame();
    let summed = gue(&four.ip()).outer_v4(LB_V4, backend4(1), 0).ip().patch(26, &[0x12, 0x34]).frame();
    let rows = || {
        vec![
            unpacked("4 over 4", &gue4, &four.frame()),
            unpacked("6 over 6", &gue6, &six.frame()),
            unpacked("4 over 6", &gue46, &four.frame()),
            unpacked("6 over 4", &gue64, &six.frame()),
            unpacked("4 over 4 with a checksum, which is not looked at", &summed, &four.frame()),
            unpacked("4 over 4, padded", &gue4.clone().padding(9), &four.frame().padding(9)),
            unpacked("4 over 4 with a tag", &one(gue4.clone()), &one(four.frame())),
            unpacked("4 over 4 with two tags", &two(gue4.clone()), &two(four.frame())),
            unpacked("6 over 6 with a tag", &one(gue6.clone()), &one(six.frame())),
            unpacked("6 over 6 with two tags", &two(gue6.clone()), &two(six.frame())),
            unpacked("4 over 6 with a tag", &one(gue46.clone()), &one(four.frame())),
            unpacked("6 over 4 with two tags", &two(gue64.clone()), &two(six.frame())),
            unpacked("4in4", &in4, &four.frame()),
            unpacked("6in6", &in6, &six.frame()),
            unpacked("4in6", &mixed46, &four.frame()),
            unpacked("6in4", &mixed64, &six.frame()),
            unpacked("4in4, padded", &in4.clone().padding(9), &four.frame().padding(9)),
            unpacked("4in4 with a tag", &one(in4.clone()), &one(four.frame())),
            unpacked("4in4 with two tags", &two(in4.clone()), &two(four.frame())),
            unpacked("6in6 with a tag", &one(in6.clone()), &one(six.frame())),
            unpacked("6in6 with two tags", &two(in6.clone()), &two(six.frame())),
            unpacked("4in6 with a tag", &one(mixed46.clone()), &one(four.frame())),
            unpacked("6in4 with two tags", &two(mixed64.clone()), &two(six.frame())),
        ]
    };
    check_both(rows);
}

#[test]
fn datagrams_that_are_no_tunnel_of_ours_are_passed_unchanged() {
    let datagram_to = |port| v4(data(), 1).ip().in_udp(50_000, port).outer_v4(LB_V4, backend4(1), 0);
    let in_gue = |at: usize, bytes: &[u8]| datagram_to(DECAP_GUE_PORT).ip().patch(20 + at, bytes).frame();
    let rows = || {
        vec![
            ends("a datagram to another port", &datagram_to(6081).frame(), Reason::NotTunnel),
            ends("a GUE header", &in_gue(8, &[0x00, 0x04]), Reason::NotTunnel),
            ends("neither IPv4 nor IPv6 in a datagram", &in_gue(8, &[0x55]), Reason::NotTunnel),
            ends("a datagram shorter than its packet", &in_gue(4, &[0, 52]), Reason::NotTunnel),
            ends("a datagram longer than its packet", &in_gue(4, &[0, 54]), Reason::NotTunnel),
            ends(
                "a datagram's first fragment",
                &datagram_to(DECAP_GUE_PORT).with(|ip| ip.fragment = 0x2000).frame(),
                Reason::NotTunnel,
            ),
            ends(
                "an empty datagram",
                &packet::udp(1, DECAP_GUE_PORT, b"").v4(CLIENT_V4, backend4(1)).frame(),
                Reason::NotTunnel,
            ),
            ends(
                "half a header in a datagram",
                &packet::udp(1, DECAP_GUE_PORT, &[0x45; 12]).v4(CLIENT_V4, backend4(1)).frame(),
                Reason::InnerMalformed,
            ),
            ends("gue, inner length beyond the datagram's", &in_gue(10, &[0, 46]), Reason::InnerMalformed),
            ends(
                "gue, another service",
                &gue(&v4(data(), 2).ip()).outer_v4(LB_V4, backend4(1), 0).frame(),
                Reason::InnerNotService,
            ),
            ends(
                "gue, another service, v6",
                &gue(&v6(data(), 6).ip()).outer_v6(LB_V6, backend6(2), 0, 0).frame(),
                Reason::InnerNotService,
            ),
        ]
    };
    check_both(rows);
}

#[test]
fn everything_else_is_passed_or_dropped_unchanged() {
    let tunnel = || v4(data(), 1).ip().in_v4(LB_V4, backend4(1), 0);
    let inner = |at: usize, bytes: &[u8]| tunnel().ip().patch(20 + at, bytes).frame();
    let in6 =
        |at: usize, bytes: &[u8]| v6(data(), 5).ip().patch(at, bytes).in_v6(LB_V6, backend6(2), 0, 0).frame();
    let rows = || {
        vec![
            ends("a plain packet", &v4(data(), 1).frame(), Reason::NotTunnel),
            ends("a plain packet, v6", &v6(datagram(), 5).frame(), Reason::NotTunnel),
            ends("ARP", &lb_tests::packet::raw_frame(0x0806, &[0; 46]), Reason::NotTunnel),
            ends("GRE", &other(47, &[0; 40]).v4(CLIENT_V4, backend4(1)).frame(), Reason::NotTunnel),
            ends("outer options", &tunnel().with(|ip| ip.options = vec![1; 4]).frame(), Reason::NotTunnel),
            ends("outer fragment", &tunnel().with(|ip| ip.fragment = 0x2000).frame(), Reason::NotTunnel),
            ends(
                "outer length beyond the frame",
                &tunnel().ip().patch(2, &[1, 0]).frame(),
                Reason::NotTunnel,
            ),
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
        ]
    };
    check_both(rows);
}

#[test]
fn a_tunnel_packet_cut_at_any_byte_is_unchanged() {
    let frames = [
        v4(data(), 1).ip().in_v4(LB_V4, backend4(1), 0).frame(),
        v6(data(), 5).ip().in_v6(LB_V6, backend6(2), 0, 0).frame().tag(0x8100, 1),
        gue(&v4(data(), 1).ip()).outer_v4(LB_V4, backend4(1), 0).frame(),
        gue(&v6(data(), 5).ip()).outer_v6(LB_V6, backend6(2), 0, 0).frame(),
    ];
    let (mut xdp, mut tc) = (program(), Decap::load_tc(&vips()).unwrap());
    for frame in frames {
        let whole = frame.bytes();
        for length in 14..whole.len() {
            // The kernel makes no packet of less than an IP header.
            if length >= 14 + 40 {
                let outcome = tc.run(&whole[..length]).unwrap();
                assert_eq!(&outcome.bytes[..], &whole[..length], "tc, cut to {length}");
            }
            let outcome = xdp.run(&whole[..length]).unwrap();
            assert_eq!(
                (outcome.action, &outcome.bytes[..]),
                (Action::Pass, &whole[..length]),
                "cut to {length}"
            );
        }
    }
}
