//! Packets that reach a backend: each mode and family, tags, options, padding, the way out.

use lb_common::verdict::Reason;
use lb_tests::{
    packet::{self, SYN},
    runner::{Action, Label},
};

use crate::world::{
    CLIENT_PORT, LB_V4, LB_V6, Row, TCP, UDP, backend4, backend6, balancer, check, data, datagram, ends,
    hash_v4, hash_v6, label, sent, to, v4, v6,
};

#[test]
fn l2_changes_the_mac_addresses_and_takes_tags_off() {
    let big = packet::tcp(CLIENT_PORT, 80, packet::ACK, &[7; 1460]);
    let mut rows = Vec::new();
    let mut row = |description, frame: packet::Frame, backend| {
        rows.push(sent(description, &frame, &to(backend, frame.clone().untagged()), backend));
    };
    row("tcp v4", v4(data(), 1).frame(), 1);
    row("tcp v4, first segment", v4(packet::tcp(CLIENT_PORT, 80, SYN, b""), 1).frame(), 1);
    row("tcp v4, last segment", v4(packet::tcp(CLIENT_PORT, 80, packet::FIN, b""), 1).frame(), 1);
    row("tcp v4, reset", v4(packet::tcp(CLIENT_PORT, 80, packet::RST, b""), 1).frame(), 1);
    row("udp v4", v4(datagram(), 2).frame(), 1);
    row("udp v4, no payload", v4(packet::udp(CLIENT_PORT, 53, b""), 2).frame(), 1);
    row("tcp v6", v6(data(), 5).frame(), 2);
    row("udp v6", v6(datagram(), 6).frame(), 2);
    row("udp v6, any port", v6(packet::udp(1, 9999, b""), 23).frame(), 2);
    row("tcp v4, any port", v4(packet::tcp(CLIENT_PORT, 8080, SYN, b""), 9).frame(), 1);
    row("tcp v4, exact port before any port", v4(packet::tcp(CLIENT_PORT, 443, SYN, b""), 9).frame(), 2);
    row("v4 as large as the MTU", v4(big, 1).frame(), 1);
    row("v4 with a tag", v4(data(), 1).frame().tag(0x8100, 0x2064), 1);
    row("v4 with a service tag and a tag", v4(data(), 1).frame().tag(0x88a8, 7).tag(0x8100, 100), 1);
    row("v4 with two tags of the same kind", v4(data(), 1).frame().tag(0x8100, 7).tag(0x8100, 100), 1);
    row("v6 with a tag", v6(data(), 5).frame().tag(0x8100, 0x2064), 2);
    row("v6 with two tags", v6(datagram(), 6).frame().tag(0x88a8, 7).tag(0x8100, 100), 2);
    row("v4 with options", v4(data(), 1).with(|ip| ip.options = vec![1; 12]).frame(), 1);
    row(
        "v4 with as many options as there can be",
        v4(datagram(), 2).with(|ip| ip.options = vec![1; 40]).frame(),
        1,
    );
    row(
        "v4 with options behind two tags",
        v4(data(), 1).with(|ip| ip.options = vec![1; 4]).frame().tag(0x88a8, 1).tag(0x8100, 2),
        1,
    );
    row("v4, padded", v4(packet::tcp(CLIENT_PORT, 80, SYN, b""), 1).frame().padding(6), 1);
    row("v6, padded", v6(packet::udp(CLIENT_PORT, 53, b""), 6).frame().padding(20), 2);
    row("v4 whose TTL is 1: no hop is counted", v4(data(), 1).with(|ip| ip.ttl = 1).frame(), 1);
    row("v4 that may be fragmented", v4(data(), 1).with(|ip| ip.fragment = 0).frame(), 1);
    row("v4 with the evil bit", v4(data(), 1).with(|ip| ip.fragment = 0x8000).frame(), 1);
    row(
        "v4 with a wrong checksum: the receiver's to see",
        v4(data(), 1).ip().patch(10, &[0xde, 0xad]).frame(),
        1,
    );
    row("v4 of another class", v4(data(), 1).with(|ip| ip.tos = 0xb9).frame(), 1);
    let mut balancer = balancer();
    check(rows, |frame| balancer.run(frame).unwrap());
}

#[test]
fn extension_headers_are_followed() {
    let mut rows = Vec::new();
    let mut row = |description, frame: packet::Frame, backend| {
        rows.push(sent(description, &frame, &to(backend, frame.clone().untagged()), backend));
    };
    row("hop-by-hop options", v6(data(), 5).extension(0, 8).frame(), 2);
    row("routing", v6(data(), 5).extension(43, 24).frame(), 2);
    row("destination options", v6(datagram(), 6).extension(60, 16).frame(), 2);
    row("authentication", v6(data(), 5).extension(51, 24).frame(), 2);
    row("authentication of no multiple of eight", v6(data(), 5).extension(51, 12).frame(), 2);
    row("the longest there is", v6(data(), 5).extension(60, 2048 - 1024).frame(), 2);
    row(
        "five, the most",
        v6(data(), 5)
            .extension(0, 8)
            .extension(60, 8)
            .extension(43, 8)
            .extension(51, 16)
            .extension(60, 8)
            .frame(),
        2,
    );
    row("behind a tag", v6(datagram(), 6).extension(0, 8).frame().tag(0x8100, 5), 2);
    row("whole behind a fragment header", v6(data(), 5).extension(44, 8).frame(), 2);
    row("the same after options", v6(data(), 5).extension(0, 8).extension(44, 8).frame(), 2);
    let six = v6(data(), 5).extension(0, 8).extension(60, 8).extension(43, 8).extension(51, 16);
    let six = six.extension(60, 8).extension(60, 8);
    rows.push(ends("six, one too many", &six.frame(), Reason::ExtensionHeaders));
    rows.push(ends("no next header", &v6(packet::other(59, b"?"), 5).frame(), Reason::OtherProtocol));
    rows.push(ends(
        "an unknown header",
        &v6(packet::other(253, &[0; 40]), 5).extension(0, 8).frame(),
        Reason::OtherProtocol,
    ));
    rows.push(ends(
        "payload that options cut short",
        &v6(data(), 5).extension(60, 16).ip().patch(41, &[9]).frame(),
        Reason::Malformed,
    ));
    let mut balancer = balancer();
    check(rows, |frame| balancer.run(frame).unwrap());
}

#[test]
fn ipip_adds_an_outer_header() {
    let mut rows = Vec::new();
    let inner = v4(data(), 3);
    let outer = to(1, inner.ip().in_v4(LB_V4, backend4(1), 0).frame());
    rows.push(sent("4in4", &inner.frame(), &outer, 1));

    let inner = v4(data(), 4).with(|ip| ip.tos = 0xb9);
    let flow = label(hash_v4(4, TCP, CLIENT_PORT, 80));
    let outer = to(2, inner.ip().in_v6(LB_V6, backend6(2), 0xb9, flow).frame());
    rows.push(sent("4in6, DSCP and ECN kept", &inner.frame(), &outer, 2));

    let inner = v6(data(), 7).with(|ip| (ip.traffic_class, ip.flow_label) = (0x2e, 0x12345));
    let flow = label(hash_v6(7, TCP, CLIENT_PORT, 80));
    let outer = to(2, inner.ip().in_v6(LB_V6, backend6(2), 0x2e, flow).frame());
    rows.push(sent("6in6, DSCP and ECN kept", &inner.frame(), &outer, 2));

    let inner = v6(data(), 8).with(|ip| ip.traffic_class = 3);
    let outer = to(1, inner.ip().in_v4(LB_V4, backend4(1), 3).frame());
    rows.push(sent("6in4, ECN kept", &inner.frame(), &outer, 1));

    let inner = v4(datagram(), 30).with(|ip| (ip.fragment, ip.ttl) = (0, 1));
    let outer = to(1, inner.ip().in_v4(LB_V4, backend4(1), 0).frame());
    rows.push(sent("udp 4in4: not to be fragmented, TTL of its own", &inner.frame(), &outer, 1));

    let inner = v6(datagram(), 31).extension(60, 8);
    let flow = label(hash_v6(31, UDP, CLIENT_PORT, 53));
    let outer = to(2, inner.ip().in_v6(LB_V6, backend6(2), 0, flow).frame());
    rows.push(sent("udp 6in6 with options", &inner.frame(), &outer, 2));

    let inner = v4(data(), 3).with(|ip| ip.options = vec![1; 8]);
    let outer = to(1, inner.ip().in_v4(LB_V4, backend4(1), 0).frame());
    rows.push(sent("4in4 with options", &inner.frame(), &outer, 1));
    let mut balancer = balancer();
    check(rows, |frame| balancer.run(frame).unwrap());
}

#[test]
fn ipip_takes_tags_off_and_keeps_padding() {
    let mut rows = Vec::new();
    let inner = v4(packet::tcp(CLIENT_PORT, 80, SYN, b""), 3);
    let outer = to(1, inner.ip().in_v4(LB_V4, backend4(1), 0).frame());
    rows.push(sent("4in4, padded", &inner.frame().padding(6), &outer.padding(6), 1));
    let (inner, flow) = (v6(data(), 7), label(hash_v6(7, TCP, CLIENT_PORT, 80)));
    let outer = to(2, inner.ip().in_v6(LB_V6, backend6(2), 0, flow).frame());
    let one = |frame: packet::Frame| frame.tag(0x8100, 0x2064);
    let two = |frame: packet::Frame| frame.tag(0x88a8, 0x1007).tag(0x8100, 0x2064);
    rows.push(sent("6in6 with a tag", &one(inner.frame()), &outer, 2));
    rows.push(sent("6in6 with two tags", &two(inner.frame()), &outer, 2));
    let inner = v4(data(), 3);
    let outer = to(1, inner.ip().in_v4(LB_V4, backend4(1), 0).frame());
    rows.push(sent("4in4 with a tag", &one(inner.frame()), &outer, 1));
    rows.push(sent("4in4 with two tags", &two(inner.frame()), &outer, 1));
    let (inner, flow) = (v4(data(), 4), label(hash_v4(4, TCP, CLIENT_PORT, 80)));
    let outer = to(2, inner.ip().in_v6(LB_V6, backend6(2), 0, flow).frame());
    rows.push(sent("4in6 with a tag: the EtherType changes", &one(inner.frame()), &outer, 2));
    rows.push(sent("4in6 with two tags", &two(inner.frame()), &outer, 2));
    let inner = v6(data(), 8);
    let outer = to(1, inner.ip().in_v4(LB_V4, backend4(1), 0).frame());
    rows.push(sent("6in4 with a tag", &one(inner.frame()), &outer, 1));
    rows.push(sent("6in4 with two tags", &two(inner.frame()), &outer, 1));
    let mut balancer = balancer();
    check(rows, |frame| balancer.run(frame).unwrap());
}

#[test]
fn outer_sources_vary_with_the_flow() {
    let mut rows = Vec::new();
    for port in [CLIENT_PORT, 1, 65_535] {
        let segment = || packet::tcp(port, 80, packet::ACK, b"");
        let (inner, hash) = (v4(segment(), 21), hash_v4(21, TCP, port, 80));
        let source = u32::from(LB_V4) & !0xff | hash as u32 & 0xff;
        let outer = to(9, inner.ip().in_v4(source.into(), backend4(9), 0).frame());
        rows.push(sent("the last 8 bits, v4", &inner.frame(), &outer, 9));
        let (inner, hash) = (v4(segment(), 22), hash_v4(22, TCP, port, 80));
        let source = u128::from(LB_V6) & !0xffff | u128::from(hash & 0xffff);
        let outer = to(10, inner.ip().in_v6(source.into(), backend6(10), 0, label(hash)).frame());
        rows.push(sent("the last 16 bits, v6", &inner.frame(), &outer, 10));
        let (inner, hash) = (v4(segment(), 35), hash_v4(35, TCP, port, 80));
        let outer = to(17, inner.ip().in_v4((hash as u32).into(), backend4(17), 0).frame());
        rows.push(sent("all 32 bits, v4", &inner.frame(), &outer, 17));
    }
    let mut balancer = balancer();
    check(rows, |frame| balancer.run(frame).unwrap());
}

#[test]
fn another_interface_takes_a_redirect() {
    let (l2, ipip) = (v4(data(), 11), v4(data(), 12));
    let outer = to(3, ipip.ip().in_v4(LB_V4, backend4(3), 0).frame());
    let redirected = |row| Row { action: Action::Redirect, ..row };
    let rows = vec![
        redirected(sent("l2", &l2.frame(), &to(3, l2.frame()), 3)),
        redirected(sent("ipip", &ipip.frame(), &outer, 3)),
    ];
    let mut balancer = balancer();
    check(rows, |frame| balancer.run(frame).unwrap());
    let frame = v4(data(), 1).frame().bytes();
    assert!(balancer.run(&frame).unwrap().counted.contains_key(&Label::Forwarded(1)));
}
