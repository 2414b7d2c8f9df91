//! Packets that reach a backend in a UDP datagram: every pair of families, tags, padding, ports that vary.

use std::collections::BTreeSet;

use lb_common::verdict::Reason;
use lb_tests::{
    packet::{self, Frame, Ip, SYN},
    runner::Action,
};

use crate::world::{
    CLIENT_PORT, LB_V4, LB_V6, Row, TCP, UDP, backend4, backend6, balancer, check, data, datagram, ends,
    hash_v4, hash_v6, label, once, sent, to, v4, v6,
};

/// Source port of a flow.
fn source_port(hash: u64) -> u16 {
    49_152 + (hash >> 18 & 0x3fff) as u16
}

/// The packet on its way to the IPv4 backend, whose port is 6080.
fn over_v4(inner: &Ip, hash: u64, tos: u8) -> Frame {
    to(30, inner.in_udp(source_port(hash), 6080).outer_v4(LB_V4, backend4(30), tos).frame())
}

/// The packet on its way to the IPv6 backend, whose port is 6081.
fn over_v6(inner: &Ip, hash: u64, traffic_class: u8) -> Frame {
    let datagram = inner.in_udp(source_port(hash), 6081);
    to(31, datagram.outer_v6(LB_V6, backend6(31), traffic_class, label(hash)).frame())
}

#[test]
fn gue_adds_an_outer_header_and_a_udp_header() {
    let mut rows = Vec::new();
    let mut row = |description, inner: &Ip, outer: &Frame, backend| {
        rows.push(sent(description, &inner.clone().frame(), outer, backend));
    };
    let inner = v4(data(), 50).ip();
    row("4 over 4", &inner, &over_v4(&inner, hash_v4(50, TCP, CLIENT_PORT, 80), 0), 30);
    let inner = v4(data(), 51).with(|ip| ip.tos = 0xb9).ip();
    let outer = over_v6(&inner, hash_v4(51, TCP, CLIENT_PORT, 80), 0xb9);
    row("4 over 6, DSCP and ECN kept", &inner, &outer, 31);
    let inner = v6(data(), 52).with(|ip| (ip.traffic_class, ip.flow_label) = (0x2e, 0x12345)).ip();
    let outer = over_v6(&inner, hash_v6(52, TCP, CLIENT_PORT, 80), 0x2e);
    row("6 over 6, DSCP and ECN kept", &inner, &outer, 31);
    let inner = v6(data(), 53).with(|ip| ip.traffic_class = 3).ip();
    row("6 over 4, ECN kept", &inner, &over_v4(&inner, hash_v6(53, TCP, CLIENT_PORT, 80), 3), 30);
    let inner = v4(datagram(), 54).with(|ip| (ip.fragment, ip.ttl) = (0, 1)).ip();
    let outer = over_v4(&inner, hash_v4(54, UDP, CLIENT_PORT, 53), 0);
    row("udp 4 over 4: not to be fragmented, TTL of its own", &inner, &outer, 30);
    let inner = v4(data(), 50).with(|ip| ip.options = vec![1; 8]).ip();
    let outer = over_v4(&inner, hash_v4(50, TCP, CLIENT_PORT, 80), 0);
    row("4 over 4 with options", &inner, &outer, 30);
    let inner = v6(data(), 52).extension(60, 8).ip();
    let outer = over_v6(&inner, hash_v6(52, TCP, CLIENT_PORT, 80), 0);
    row("6 over 6 with options", &inner, &outer, 31);
    let mut balancer = balancer();
    check(rows, |frame| balancer.run(frame).unwrap());
}

#[test]
fn gue_takes_tags_off_and_keeps_padding() {
    let mut rows: Vec<Row> = Vec::new();
    let one = |frame: Frame| frame.tag(0x8100, 0x2064);
    let two = |frame: Frame| frame.tag(0x88a8, 0x1007).tag(0x8100, 0x2064);
    let hash = |id| hash_v4(id, TCP, CLIENT_PORT, 80);
    let hash6 = |id| hash_v6(id, TCP, CLIENT_PORT, 80);
    let [four, mixed] = [50, 51].map(|id| v4(data(), id).ip());
    let [six, mixed6] = [52, 53].map(|id| v6(data(), id).ip());
    for (description, inner, outer, backend) in [
        ("4 over 4", &four, over_v4(&four, hash(50), 0), 30),
        ("4 over 6", &mixed, over_v6(&mixed, hash(51), 0), 31),
        ("6 over 6", &six, over_v6(&six, hash6(52), 0), 31),
        ("6 over 4", &mixed6, over_v4(&mixed6, hash6(53), 0), 30),
    ] {
        let frame = inner.clone().frame();
        rows.push(sent(description, &one(frame.clone()), &outer, backend));
        rows.push(sent(description, &two(frame), &outer, backend));
    }
    let short = v4(packet::tcp(CLIENT_PORT, 80, SYN, b""), 50).ip();
    let outer = over_v4(&short, hash(50), 0).padding(6);
    rows.push(sent("padding is no part of the datagram", &short.frame().padding(6), &outer, 30));
    let mut balancer = balancer();
    check(rows, |frame| balancer.run(frame).unwrap());
}

#[test]
fn source_ports_and_addresses_vary_with_the_flow() {
    let mut rows = Vec::new();
    let mut ports = BTreeSet::new();
    for port in 1..200 {
        let inner = v4(packet::tcp(port, 80, packet::ACK, b""), 55).ip();
        let hash = hash_v4(55, TCP, port, 80);
        ports.insert(source_port(hash));
        let source = u32::from(LB_V4) & !0xff | hash as u32 & 0xff;
        let datagram = inner.in_udp(source_port(hash), 6080);
        let outer = to(32, datagram.outer_v4(source.into(), backend4(32), 0).frame());
        rows.push(sent("another port", &inner.frame(), &outer, 32));
    }
    assert!(ports.len() > 190 && ports.first() >= Some(&49_152), "{ports:?}");
    let mut balancer = balancer();
    check(rows, |frame| balancer.run(frame).unwrap());
}

#[test]
fn both_headers_count_against_the_mtu() {
    let of = |length: usize| packet::tcp(CLIENT_PORT, 80, packet::ACK, &vec![1; length - 40]);
    let fits = v4(of(72), 56);
    let outer = fits.ip().in_udp(source_port(hash_v4(56, TCP, CLIENT_PORT, 80)), 6080);
    let outer = to(33, outer.outer_v4(LB_V4, backend4(33), 0).frame());
    let rows = vec![
        sent("28 bytes more over IPv4, at the limit", &fits.frame(), &outer, 33),
        ends("28 bytes more over IPv4", &v4(of(73), 56).frame(), Reason::TooBig),
        ends("48 bytes more over IPv6", &v4(of(53), 57).frame(), Reason::TooBig),
    ];
    let mut balancer = balancer();
    check(rows, |frame| balancer.run(frame).unwrap());
}

/// Metadata stands where the outer header would go.
#[test]
fn no_headroom_drops_the_packet_as_it_is() {
    let frame = v6(data(), 52).frame().bytes();
    let mut balancer = balancer();
    let outcome = balancer.run_with(&frame, Some(216)).unwrap();
    assert_eq!(outcome.counted, once(Reason::NoHeadroom.into(), frame.len()));
    assert_eq!((outcome.action, outcome.bytes), (Action::Drop, frame));
}
