//! Backends that are this host, and backends that several next hops lead to.

use lb_common::{
    backend::{BACKEND_LOCAL, BACKEND_PRESENT, BACKEND_RESOLVED, Backend, hop_key},
    mode,
    verdict::Reason,
};
use lb_tests::{
    packet::{self, ACK},
    runner::{Action, Balancer, Label, Outcome, Slots, World},
};

use crate::world::{
    CLIENT_PORT, Row, TCP, backend, check, data, ends, hash_v4, hash_v6, once, sent, service, to, v4, v6,
    vip4, vip6, world,
};

/// Id of a backend that three next hops lead to.
const SPREAD: u32 = 60;
/// One whose third next hop has not been written yet.
const HALF_WRITTEN: u32 = 63;
/// This host.
const LOCAL: u32 = 66;
/// This host, but its check fails.
const LOCAL_DOWN: u32 = 67;

/// The rows' world with such backends, each behind services of its id.
fn with_hops() -> World {
    let mut world = world();
    let several = |id| {
        let flags = BACKEND_PRESENT | BACKEND_RESOLVED | Backend::multipath_flags(3);
        Backend { flags, ..backend(id) }
    };
    // Hops take the place and the MAC addresses of the ids that follow.
    for id in [SPREAD, HALF_WRITTEN] {
        world.backends.insert(id, several(id));
        world.hops.insert(hop_key(id, 1), Backend { target: id, ..backend(id + 1) });
    }
    world.hops.insert(hop_key(SPREAD, 2), Backend { target: SPREAD, ..backend(SPREAD + 2) });
    let flags = BACKEND_PRESENT | BACKEND_RESOLVED | BACKEND_LOCAL;
    for id in [LOCAL, LOCAL_DOWN] {
        let entry = Backend { flags, mtu: u16::MAX, ifindex: 0, tx_port: 0, ..backend(id) };
        world.backends.insert(id, entry);
    }
    world.down.push(LOCAL_DOWN);
    let four = |id: u8, mode, slots| service(id, vip4(id).into(), 80, TCP, mode, slots);
    world.services.extend([
        four(60, mode::L2, Slots::steady(SPREAD)),
        four(61, mode::L2, Slots::moving(SPREAD, 20)),
        service(62, vip6(62).into(), 80, TCP, mode::L2, Slots::steady(SPREAD)),
        four(63, mode::L2, Slots::steady(HALF_WRITTEN)),
        four(66, mode::L2, Slots::steady(LOCAL)),
        four(67, mode::IPIP, Slots::steady(LOCAL)),
        service(68, vip6(68).into(), 80, TCP, mode::L2, Slots::steady(LOCAL)),
        four(69, mode::L2, Slots::shared(&[LOCAL_DOWN, 1, 1, 1])),
        four(70, mode::L2, Slots::steady(LOCAL_DOWN)),
    ]);
    world
}

/// The hop of three that a flow of this hash takes.
fn hop(hash: u64) -> u32 {
    ((u64::from(hash as u32) * 3) >> 32) as u32
}

#[test]
fn each_flow_takes_one_of_the_next_hops() {
    let mut balancer = Balancer::load(&with_hops()).unwrap();
    let mut taken = [0; 3];
    let mut rows = Vec::new();
    for port in CLIENT_PORT..CLIENT_PORT + 40 {
        let segment = || packet::tcp(port, 80, ACK, b"x");
        let index = hop(hash_v4(60, TCP, port, 80));
        taken[index as usize] += 1;
        let frame = v4(segment(), 60).frame();
        rows.push(sent("steady", &frame, &to(SPREAD + index, frame.clone()), SPREAD));
        let frame = v4(segment(), 61).frame();
        let index = hop(hash_v4(61, TCP, port, 80));
        rows.push(sent("of a former owner", &frame, &to(SPREAD + index, frame.clone()), SPREAD));
        let frame = v6(segment(), 62).frame();
        let index = hop(hash_v6(62, TCP, port, 80));
        rows.push(sent("IPv6", &frame, &to(SPREAD + index, frame.clone()), SPREAD));
    }
    assert!(taken.iter().all(|flows| *flows > 3), "{taken:?}");
    check(rows, |packet| balancer.run(packet).unwrap());
}

#[test]
fn a_next_hop_that_is_not_written_yet_leaves_the_first() {
    let mut balancer = Balancer::load(&with_hops()).unwrap();
    let rows = (CLIENT_PORT..CLIENT_PORT + 20).map(|port| {
        let frame = v4(packet::tcp(port, 80, ACK, b"x"), 63).frame();
        let index = hop(hash_v4(63, TCP, port, 80)) % 2;
        sent("one of two, or the first", &frame, &to(HALF_WRITTEN + index, frame.clone()), HALF_WRITTEN)
    });
    check(rows.collect(), |packet| balancer.run(packet).unwrap());
}

/// A packet that is handed to this host as it is, and counted for its backend.
fn handed(description: &'static str, packet: Vec<u8>) -> Row {
    let counted = Label::Forwarded(LOCAL);
    Row { description, action: Action::Pass, out: packet.clone(), packet, counted }
}

#[test]
fn packets_for_this_host_are_handed_to_it() {
    let mut balancer = Balancer::load(&with_hops()).unwrap();
    let long = packet::tcp(CLIENT_PORT, 80, ACK, &[7; 3_000]);
    let rows = vec![
        handed("l2", v4(data(), 66).frame().bytes()),
        handed("ipip: there is no tunnel to oneself", v4(data(), 67).frame().bytes()),
        handed("IPv6", v6(data(), 68).frame().bytes()),
        handed("tagged", v4(data(), 66).frame().tag(0x8100, 7).bytes()),
        handed("as long as can be: the host has no MTU towards itself", v4(long, 66).frame().bytes()),
        ends("its check fails", &v4(data(), 70).frame(), Reason::NoBackend),
    ];
    check(rows, |packet| balancer.run(packet).unwrap());
}

#[test]
fn another_stands_in_for_this_host_while_its_check_fails() {
    let mut balancer = Balancer::load(&with_hops()).unwrap();
    for port in CLIENT_PORT..CLIENT_PORT + 20 {
        let frame = v4(packet::tcp(port, 80, ACK, b"x"), 69).frame();
        let packet = frame.bytes();
        let counted = once(Label::Forwarded(1), packet.len());
        let expected = Outcome { action: Action::Transmit, bytes: to(1, frame).bytes(), counted };
        assert_eq!(balancer.run(&packet).unwrap(), expected, "port {port}");
    }
}
