//! Packets that are none of our business: each reason for which one is handed to the host.

use lb_common::verdict::Reason;
use lb_tests::{
    packet::{self, raw_frame},
    sctp,
};

use crate::world::{CLIENT_V4, balancer, check, data, ends, v4, v6, vip4};

#[test]
fn not_ip_is_passed() {
    let rows = vec![
        ends("ARP", &raw_frame(0x0806, &[0; 46]), Reason::NotIp),
        ends("LLDP", &raw_frame(0x88cc, &[1; 60]), Reason::NotIp),
        ends("ARP behind a tag", &raw_frame(0x0806, &[0; 46]).tag(0x8100, 1), Reason::NotIp),
        ends("a frame of old, with a length", &raw_frame(0x0040, &[0xaa; 64]), Reason::NotIp),
        ends(
            "three tags",
            &v4(data(), 1).frame().tag(0x88a8, 1).tag(0x8100, 2).tag(0x8100, 3),
            Reason::NotIp,
        ),
    ];
    let mut balancer = balancer();
    check(rows, |frame| balancer.run(frame).unwrap());
}

#[test]
fn other_traffic_is_passed() {
    let rows = vec![
        ends("another address", &v4(data(), 200).frame(), Reason::NotService),
        ends("another address, v6", &v6(data(), 200).frame(), Reason::NotService),
        ends("another port", &v4(packet::tcp(1, 81, 2, b""), 1).frame(), Reason::NotService),
        ends("the other protocol", &v4(packet::udp(1, 80, b""), 1).frame(), Reason::NotService),
        ends("the other protocol, any port", &v4(packet::udp(1, 80, b""), 9).frame(), Reason::NotService),
        ends(
            "a reply: the ports are the other way round",
            &v4(packet::tcp(80, 40_000, 16, b""), 1).frame(),
            Reason::NotService,
        ),
        ends("the service as source", &data().v4(vip4(1), CLIENT_V4).frame(), Reason::NotService),
        ends("ICMP", &v4(packet::other(1, &[8, 0, 0, 0, 0, 0, 0, 0]), 1).frame(), Reason::OtherProtocol),
        ends("ICMPv6", &v6(packet::other(58, &[128, 0, 0, 0, 0, 0, 0, 0]), 5).frame(), Reason::OtherProtocol),
        ends("ESP", &v4(packet::other(50, &[0; 40]), 1).frame(), Reason::OtherProtocol),
        ends(
            "SCTP",
            &v4(packet::other(132, &sctp::packet(9, 80, 0, b"data")), 1).frame(),
            Reason::NotService,
        ),
        ends("a tunnel", &v4(data(), 1).ip().in_v4(CLIENT_V4, vip4(1), 0).frame(), Reason::OtherProtocol),
    ];
    let mut balancer = balancer();
    check(rows, |frame| balancer.run(frame).unwrap());
}

#[test]
fn contradictions_are_passed() {
    let v4 = || v4(data(), 1).ip();
    let v6 = || v6(data(), 5).ip();
    let short = |length: u16| v4().patch(2, &length.to_be_bytes()).frame();
    let rows = vec![
        ends("version 5", &v4().patch(0, &[0x55]).frame(), Reason::Malformed),
        ends("version 6 in a frame of IPv4", &v4().patch(0, &[0x65]).frame(), Reason::Malformed),
        ends("version 4 in a frame of IPv6", &v6().patch(0, &[0x40]).frame(), Reason::Malformed),
        ends("header of 16 bytes", &v4().patch(0, &[0x44]).frame(), Reason::Malformed),
        ends("header of no bytes", &v4().patch(0, &[0x40]).frame(), Reason::Malformed),
        ends("header longer than the packet", &v4().patch(0, &[0x4f]).frame(), Reason::Malformed),
        ends("total length 0", &short(0), Reason::Malformed),
        ends("total length 19", &short(19), Reason::Malformed),
        ends("total length of the header alone", &short(20), Reason::Malformed),
        ends("total length one short of a TCP header", &short(39), Reason::Malformed),
        ends("total length one beyond the frame", &short(46), Reason::Malformed),
        ends("total length 65535", &short(65_535), Reason::Malformed),
        ends("payload length 0", &v6().patch(4, &[0, 0]).frame(), Reason::Malformed),
        ends("payload length one short of a TCP header", &v6().patch(4, &[0, 19]).frame(), Reason::Malformed),
        ends("payload length one beyond the frame", &v6().patch(4, &[0, 26]).frame(), Reason::Malformed),
        ends("payload length 65535", &v6().patch(4, &[255, 255]).frame(), Reason::Malformed),
    ];
    let mut balancer = balancer();
    check(rows, |frame| balancer.run(frame).unwrap());
}
