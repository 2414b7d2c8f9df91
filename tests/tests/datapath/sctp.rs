//! SCTP: ports for the service and the hash, the first chunk for what begins and ends, bytes as they came.

use lb_common::{
    flow::{FLOW_FIN, FLOW_RST},
    mode,
    verdict::Reason,
};
use lb_tests::{
    packet::{Segment, other},
    runner::{Action, Balancer, Label, Slots, World, WorldService},
    sctp::{self, ABORT, COOKIE_ECHO, DATA, INIT, PROTOCOL, SHUTDOWN},
};

use crate::world::{
    CLIENT_PORT, LB_V4, LB_V6, backend4, backend6, check, ends, hash_v4, hash_v6, label, once, sent, service,
    to, v4, v6, vip4, vip6, world,
};

const PORT: u16 = 5060;

fn packet(chunk: u8) -> Segment {
    other(PROTOCOL, &sctp::packet(CLIENT_PORT, PORT, chunk, b"value"))
}

fn services() -> Vec<WorldService> {
    let v4 = |id: u8, mode, slots| service(id, vip4(id).into(), PORT, PROTOCOL, mode, slots);
    let v6 = |id: u8, mode, slots| service(id, vip6(id).into(), PORT, PROTOCOL, mode, slots);
    vec![
        v4(60, mode::L2, Slots::steady(1)),
        v6(61, mode::L2, Slots::steady(2)),
        v4(62, mode::IPIP, Slots::steady(1)),
        v6(63, mode::IPIP, Slots::steady(2)),
        v4(64, mode::L2, Slots::moving(20, 21)),
        service(65, vip4(65).into(), 0, PROTOCOL, mode::L2, Slots::steady(1)),
        v4(66, mode::L2, Slots::shared(&[11, 12, 13, 14])),
    ]
}

fn balancer() -> Balancer {
    Balancer::load(&World { services: services(), ..world() }).unwrap()
}

#[test]
fn sctp_is_forwarded_by_its_ports() {
    let l2 = |frame: &lb_tests::packet::Frame, backend| to(backend, frame.clone().untagged());
    let empty = other(PROTOCOL, &sctp::packet(CLIENT_PORT, PORT, DATA, b""));
    let (in4, in6) = (v4(packet(DATA), 62), v6(packet(INIT), 63));
    let flow = label(hash_v6(63, PROTOCOL, CLIENT_PORT, PORT));
    let mut rows = Vec::new();
    for (description, frame, backend) in [
        ("v4", v4(packet(DATA), 60).frame(), 1),
        ("v4, INIT", v4(packet(INIT), 60).frame(), 1),
        (
            "v4 with options and a tag",
            v4(packet(DATA), 60).with(|ip| ip.options = vec![1; 8]).frame().tag(0x8100, 3),
            1,
        ),
        ("v4, the least there is", v4(empty, 60).frame(), 1),
        ("v4, any port", v4(packet(ABORT), 65).frame(), 1),
        ("v6", v6(packet(DATA), 61).frame(), 2),
        ("v6 with an extension header", v6(packet(INIT), 61).extension(60, 8).frame(), 2),
        ("v6 with the most of them", five_extensions(), 2),
    ] {
        rows.push(sent(description, &frame, &l2(&frame, backend), backend));
    }
    rows.push(sent("4in4", &in4.frame(), &to(1, in4.ip().in_v4(LB_V4, backend4(1), 0).frame()), 1));
    rows.push(sent("6in6", &in6.frame(), &to(2, in6.ip().in_v6(LB_V6, backend6(2), 0, flow).frame()), 2));
    rows.push(ends(
        "another port",
        &v4(other(PROTOCOL, &sctp::packet(PORT, CLIENT_PORT, DATA, b"")), 60).frame(),
        Reason::NotService,
    ));
    rows.push(ends(
        "a header without a chunk",
        &v4(other(PROTOCOL, &sctp::packet(CLIENT_PORT, PORT, DATA, b"")[..15]), 60).frame(),
        Reason::Malformed,
    ));
    let mut balancer = balancer();
    check(rows, |frame| balancer.run(frame).unwrap());
}

fn five_extensions() -> lb_tests::packet::Frame {
    let ip = v6(packet(DATA), 61).extension(0, 8).extension(60, 8).extension(43, 8);
    ip.extension(51, 16).extension(60, 8).frame()
}

#[test]
fn sctp_ports_choose_the_slot() {
    let mut balancer = balancer();
    for port in 1..200 {
        let frame = v4(other(PROTOCOL, &sctp::packet(port, PORT, DATA, b"")), 66).frame();
        let slot =
            lb_common::hash::slot_index(hash_v4(66, PROTOCOL, port, PORT), lb_common::slot::SIZE_DEFAULT);
        let outcome = balancer.run(&frame.bytes()).unwrap();
        assert_eq!(outcome.counted, once(Label::Forwarded(11 + slot as u32 % 4), frame.bytes().len()));
    }
}

/// In a moving slot: an INIT goes to the owner, everything else stays with the former one; the entry tells the end.
#[test]
fn the_first_chunk_tells_what_an_association_does() {
    for (first, backend) in
        [(INIT, 21), (DATA, 20), (COOKIE_ECHO, 20), (ABORT, 20), (SHUTDOWN, 20), (0xff, 20)]
    {
        let mut balancer = balancer();
        for (chunk, flags) in [
            (
                first,
                match first {
                    ABORT => FLOW_RST,
                    SHUTDOWN => FLOW_FIN,
                    _ => 0,
                },
            ),
            (INIT, 0),
            (DATA, 0),
            (SHUTDOWN, FLOW_FIN),
            (ABORT, FLOW_FIN | FLOW_RST),
            (INIT, 0),
        ] {
            let frame = v4(packet(chunk), 64).frame();
            let outcome = balancer.run(&frame.bytes()).unwrap();
            assert_eq!(
                outcome.counted,
                once(Label::Forwarded(backend), frame.bytes().len()),
                "{first} {chunk}"
            );
            let entries = balancer.flow_entries().unwrap();
            assert_eq!((entries.len(), entries[0].backend, entries[0].flags), (1, backend, flags));
        }
    }
}

#[test]
fn an_sctp_packet_cut_at_any_byte_is_passed_unchanged() {
    let mut balancer = balancer();
    for frame in [v4(packet(INIT), 60).frame(), v6(packet(DATA), 63).extension(60, 8).frame()] {
        let whole = frame.bytes();
        assert_ne!(balancer.run(&whole).unwrap().action, Action::Pass);
        for length in 14..whole.len() {
            let outcome = balancer.run(&whole[..length]).unwrap();
            assert_eq!(outcome.counted, once(Reason::Malformed.into(), length), "cut to {length}");
            assert_eq!(outcome.bytes, whole[..length]);
        }
    }
}
