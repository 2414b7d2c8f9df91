//! VLAN tags: each number of them before a packet, with each that its next hop wants, in every mode and on either way out.

use lb_common::{
    backend::{BACKEND_PRESENT, BACKEND_RESOLVED, Backend, hop_key},
    mode,
    verdict::Reason,
};
use lb_tests::{
    packet::{self, ACK, Frame, Ip},
    runner::{Action, Balancer, Slots, World},
};

use crate::world::{
    CLIENT_PORT, CLIENT_V4, LB_V4, LB_V6, Row, TCP, backend, backend4, backend6, check, data, hash_v4,
    hash_v6, label, once, sent, service, to, v4, v6, vip4, world,
};

/// Id in the tags that come in; the priority beside it is 1, and 4 with "drop eligible" in the service tag.
const ID: u16 = 0x064;
const PRIORITY: u16 = 0x2000;
const SERVICE_PRIORITY: u16 = 0x9000;

/// A frame with so many tags, and what is left of them beside the id.
fn tagged(frame: Frame, tags: usize) -> (Frame, u16) {
    match tags {
        0 => (frame, 0),
        1 => (frame.tag(0x8100, PRIORITY | ID), PRIORITY),
        _ => (frame.tag(0x88a8, SERVICE_PRIORITY | 7).tag(0x8100, PRIORITY | ID), SERVICE_PRIORITY),
    }
}

/// The rows' world with all next hops in one VLAN, or in none; through another interface, or back.
fn in_vlan(vlan: u16, elsewhere: bool) -> World {
    let mut world = world();
    for backend in world.backends.values_mut() {
        backend.vlan = vlan;
        if elsewhere {
            (backend.ifindex, backend.tx_port) = (77, 2);
        }
    }
    world
}

/// A packet of each mode and pair of families, with its frame as it leaves an untagged interface.
fn ways() -> Vec<(&'static str, Ip, Frame, u32)> {
    let source_port = |hash: u64| 49_152 + (hash >> 18 & 0x3fff) as u16;
    let (hash4, hash6) = (|id| hash_v4(id, TCP, CLIENT_PORT, 80), |id| hash_v6(id, TCP, CLIENT_PORT, 80));
    let four = |id| v4(data(), id).ip();
    let six = |id| v6(data(), id).ip();
    let over4 =
        |inner: &Ip, hash| inner.in_udp(source_port(hash), 6080).outer_v4(LB_V4, backend4(30), 0).frame();
    let over6 = |inner: &Ip, hash| {
        inner.in_udp(source_port(hash), 6081).outer_v6(LB_V6, backend6(31), 0, label(hash)).frame()
    };
    let in6 = |inner: &Ip, hash| inner.in_v6(LB_V6, backend6(2), 0, label(hash)).frame();
    vec![
        ("l2 v4", four(1), four(1).frame(), 1),
        ("l2 v6", six(5), six(5).frame(), 2),
        ("4in4", four(3), four(3).in_v4(LB_V4, backend4(1), 0).frame(), 1),
        ("4in6", four(4), in6(&four(4), hash4(4)), 2),
        ("6in6", six(7), in6(&six(7), hash6(7)), 2),
        ("6in4", six(8), six(8).in_v4(LB_V4, backend4(1), 0).frame(), 1),
        ("gue 4 over 4", four(50), over4(&four(50), hash4(50)), 30),
        ("gue 4 over 6", four(51), over6(&four(51), hash4(51)), 31),
        ("gue 6 over 6", six(52), over6(&six(52), hash6(52)), 31),
        ("gue 6 over 4", six(53), over4(&six(53), hash6(53)), 30),
    ]
}

/// A frame as it leaves for a next hop in a VLAN.
fn leaving(frame: Frame, vlan: u16, priority: u16) -> Frame {
    if vlan == 0 { frame } else { frame.tag(0x8100, priority | vlan) }
}

#[test]
fn frames_leave_with_the_tag_of_their_next_hop() {
    for (vlan, elsewhere) in [(0, false), (ID, false), (0xfff, false), (0, true), (ID, true), (1, true)] {
        let mut rows = Vec::new();
        for (description, packet, outer, id) in ways() {
            for tags in 0..=2 {
                let (frame, priority) = tagged(packet.clone().frame(), tags);
                let row = sent(description, &frame, &to(id, leaving(outer.clone(), vlan, priority)), id);
                let action = if elsewhere { Action::Redirect } else { row.action };
                rows.push(Row { action, ..row });
            }
        }
        println!("VLAN {vlan}, through another interface: {elsewhere}");
        let mut balancer = Balancer::load(&in_vlan(vlan, elsewhere)).unwrap();
        check(rows, |frame| balancer.run(frame).unwrap());
    }
}

#[test]
fn odd_tags_are_replaced_as_any() {
    let frame = || v4(data(), 1).frame();
    let rows = |vlan| {
        let out = |priority| to(1, leaving(frame(), vlan, priority));
        vec![
            sent("a priority and no id", &frame().tag(0x8100, 0xe000), &out(0xe000), 1),
            sent("a service tag alone", &frame().tag(0x88a8, 0x3000 | ID), &out(0x3000), 1),
            sent("tags in the wrong order", &frame().tag(0x8100, 5).tag(0x88a8, 6), &out(0), 1),
            sent("padding", &frame().tag(0x8100, 5).padding(3), &out(0).padding(3), 1),
        ]
    };
    for vlan in [0, ID] {
        let mut balancer = Balancer::load(&in_vlan(vlan, false)).unwrap();
        check(rows(vlan), |frame| balancer.run(frame).unwrap());
    }
}

/// An error about what a service sent, as a router on the way to the client makes it.
fn error(id: u8) -> packet::V4 {
    let reply = packet::tcp(80, CLIENT_PORT, ACK, &[3; 100]).v4(vip4(id), CLIENT_V4).ip();
    packet::icmp(3, 4, &[&[0, 0, 5, 120], &reply.bytes()[..28]].concat())
        .v4([203, 0, 113, 1].into(), vip4(id))
}

#[test]
fn errors_leave_with_the_tag_of_their_flow_s_next_hop() {
    for vlan in [0, 0x123] {
        let mut rows = Vec::new();
        for tags in 0..=2 {
            let (l2, priority) = tagged(error(1).frame(), tags);
            rows.push(sent("l2", &l2, &to(1, leaving(error(1).frame(), vlan, priority)), 1));
            let (ipip, priority) = tagged(error(3).frame(), tags);
            let outer = error(3).ip().in_v4(LB_V4, backend4(1), 0).frame();
            rows.push(sent("4in4", &ipip, &to(1, leaving(outer, vlan, priority)), 1));
        }
        let mut balancer = Balancer::load(&in_vlan(vlan, false)).unwrap();
        check(rows, |frame| balancer.run(frame).unwrap());
    }
}

#[test]
fn what_is_answered_goes_back_with_the_tags_it_came_with() {
    let mut world = in_vlan(9, false);
    world.services.push(service(0, vip4(1).into(), 0, 1, mode::ECHO, Slots::Missing));
    let mut balancer = Balancer::load(&world).unwrap();
    let ping = packet::icmp(8, 0, b"\0\x01\0\x02ping").v4(CLIENT_V4, vip4(1));
    let pong = packet::icmp(0, 0, b"\0\x01\0\x02ping").v4(vip4(1), CLIENT_V4).with(|ip| {
        (ip.ttl, ip.id, ip.fragment) = (64, 0x1234, 0x4000);
    });
    let back = |frame: Frame| frame.macs([2, 0, 0, 0, 0, 0xbb], [2, 0, 0, 0, 0, 0xaa]);
    let rows = (0..=2).map(|tags| {
        let (packet, out) =
            (tagged(ping.frame(), tags).0.bytes(), back(tagged(pong.frame(), tags).0).bytes());
        let counted = Reason::EchoAnswered.into();
        Row { description: "a ping", packet, action: Action::Transmit, out, counted }
    });
    check(rows.collect(), |frame| balancer.run(frame).unwrap());
    for tags in 0..=2 {
        let big = v4(packet::tcp(CLIENT_PORT, 80, ACK, &[7; 1_461]), 1).frame();
        let frame = tagged(big, tags).0.bytes();
        let outcome = balancer.run(&frame).unwrap();
        assert_eq!(outcome.counted, once(Reason::TooBigAnswered.into(), frame.len()));
        assert_eq!(outcome.bytes[12..14 + 4 * tags], frame[12..14 + 4 * tags], "{tags} tags");
    }
}

/// Each flow takes one of three next hops: untagged, in VLAN 10, in VLAN 20.
#[test]
fn each_of_several_next_hops_has_its_own_tag() {
    let mut world = world();
    let flags = BACKEND_PRESENT | BACKEND_RESOLVED | Backend::multipath_flags(3);
    world.backends.insert(60, Backend { flags, ..backend(60) });
    for hop in 1..3 {
        let vlan = 10 * hop as u16;
        world.hops.insert(hop_key(60, hop), Backend { target: 60, vlan, ..backend(60 + hop) });
    }
    world.services.push(service(60, vip4(60).into(), 80, TCP, mode::L2, Slots::steady(60)));
    let mut taken = [0; 3];
    let rows = (CLIENT_PORT..CLIENT_PORT + 60).map(|port| {
        let frame = v4(packet::tcp(port, 80, ACK, b"x"), 60).frame();
        let hop = (u64::from(hash_v4(60, TCP, port, 80) as u32) * 3) >> 32;
        taken[hop as usize] += 1;
        let out = to(60 + hop as u32, leaving(frame.clone(), 10 * hop as u16, 0));
        sent("a flow", &frame, &out, 60)
    });
    let rows: Vec<Row> = rows.collect();
    assert!(taken.iter().all(|flows| *flows > 3), "{taken:?}");
    let mut balancer = Balancer::load(&world).unwrap();
    check(rows, |frame| balancer.run(frame).unwrap());
}

/// Metadata stands where the tag would go; with four bytes less of it, where the outer header would go after it.
#[test]
fn without_room_for_the_tag_or_what_follows_the_packet_is_dropped_as_it_is() {
    let mut balancer = Balancer::load(&in_vlan(ID, false)).unwrap();
    for (id, metadata) in [(1, 216), (3, 216), (3, 212), (50, 212)] {
        let frame = v4(data(), id).frame().bytes();
        let outcome = balancer.run_with(&frame, Some(metadata)).unwrap();
        assert_eq!(outcome.counted, once(Reason::NoHeadroom.into(), frame.len()), "service {id}, {metadata}");
        assert_eq!((outcome.action, outcome.bytes), (Action::Drop, frame), "service {id}, {metadata}");
    }
    let frame = v4(data(), 1).frame();
    let outcome = balancer.run_with(&frame.bytes(), Some(212)).unwrap();
    assert_eq!(outcome.action, Action::Transmit, "there is room for a tag");
    assert_eq!(outcome.bytes, to(1, leaving(frame, ID, 0)).bytes());
    for (id, tags) in [(3, 1), (3, 2), (50, 1)] {
        let frame = tagged(v4(data(), id).frame(), tags).0.bytes();
        let outcome = balancer.run_with(&frame, Some(216)).unwrap();
        assert_eq!((outcome.action, outcome.bytes), (Action::Drop, frame), "service {id}, {tags} tags");
    }
}
