//! Tracked services: who gets a new connection, that it stays there, and how its end is counted.

use std::collections::BTreeMap;

use lb_common::{
    connections::Connections,
    flow::{FLOW_CLOSED, FLOW_FIN, FLOW_OPENED, FLOW_RST},
    hash,
    service::{SERVICE_LEAST_CONNECTIONS, SERVICE_QUIC, SERVICE_ROUND_ROBIN, Service},
    slot::{SIZES, Slot},
    verdict::Reason,
};
use lb_tests::{
    packet::{self, ACK, FIN, RST, SYN},
    runner::{Balancer, Slots, World, WorldService},
};

use crate::world::{UDP, backend, forwarded_to, hash_v4, once, service, v4, v6, vip4, vip6, world};

const OWNERS: [u32; 4] = [11, 12, 13, 14];

/// One service with these flags, beside those of the other rows.
fn balancer(flags: u16, slots: Slots) -> Balancer {
    let mut world = world();
    let tracked = |id: u8, address: std::net::IpAddr, protocol| -> WorldService {
        let mut service = service(id, address, 80, protocol, 0, slots.clone());
        service.service.flags = flags;
        service
    };
    world.services.push(tracked(60, vip4(60).into(), 6));
    world.services.push(tracked(61, vip4(61).into(), UDP));
    world.services.push(tracked(62, vip6(62).into(), 6));
    world.backends.extend(OWNERS.map(|id| (id, backend(id))));
    load(&world)
}

/// Turns are taken per CPU, so that the thread must stay on one.
fn load(world: &World) -> Balancer {
    lb_tests::cpu::pin_to(0).unwrap();
    Balancer::load(world).unwrap()
}

fn tcp(balancer: &mut Balancer, port: u16, flags: u8) -> u32 {
    forwarded_to(balancer, &v4(packet::tcp(port, 80, flags, b""), 60).frame())
}

fn udp(balancer: &mut Balancer, port: u16, payload: &[u8]) -> u32 {
    forwarded_to(balancer, &v4(packet::udp(port, 80, payload), 61).frame())
}

fn counted(balancer: &Balancer, id: u32) -> (u64, u64) {
    let Connections { opened, closed } = balancer.connections(id).unwrap();
    (opened, closed)
}

/// The owner of the slot that a flow's hash names.
fn by_hash(service: u8, protocol: u8, port: u16) -> u32 {
    OWNERS[hash::slot_index(hash_v4(service, protocol, port, 80), SIZES[2]) % 4]
}

#[test]
fn round_robin_takes_turns_and_keeps_connections() {
    let mut balancer = balancer(SERVICE_ROUND_ROBIN, Slots::shared(&OWNERS));
    let first: Vec<u32> = (0..8).map(|port| tcp(&mut balancer, port + 1, SYN)).collect();
    assert_eq!(first, [OWNERS, OWNERS].concat());
    let later: Vec<u32> = (0..8).map(|port| tcp(&mut balancer, port + 1, ACK)).collect();
    assert_eq!(later, first, "recorded");
    assert_eq!(tcp(&mut balancer, 1, SYN), 11, "a repeated SYN begins nothing");
    assert_eq!(OWNERS.map(|id| counted(&balancer, id)), [(2, 0); 4]);
    assert_eq!(balancer.flow_entries().unwrap().len(), 8);
    assert!(balancer.events().unwrap().is_empty());
}

#[test]
fn round_robin_of_datagrams_and_ipv6() {
    let mut balancer = balancer(SERVICE_ROUND_ROBIN, Slots::shared(&OWNERS));
    let first: Vec<u32> = (1..=4).map(|port| udp(&mut balancer, port, b"?")).collect();
    assert_eq!(first, OWNERS);
    assert_eq!(udp(&mut balancer, 2, b"?"), 12);
    let mut tcp = |port| forwarded_to(&mut balancer, &v6(packet::tcp(port, 80, SYN, b""), 62).frame());
    assert_eq!([tcp(1), tcp(2), tcp(1), tcp(3)], [11, 12, 11, 13]);
}

#[test]
fn round_robin_skips_the_dead() {
    let mut balancer = balancer(SERVICE_ROUND_ROBIN, Slots::shared(&OWNERS));
    balancer.set_liveness(12, 1).unwrap();
    let turns: Vec<u32> = (1..=6).map(|port| tcp(&mut balancer, port, SYN)).collect();
    assert_eq!(turns, [11, 13, 14, 11, 13, 14]);
}

#[test]
fn round_robin_begins_anew_after_the_last_slot() {
    let service =
        Service { class: 0, flags: SERVICE_ROUND_ROBIN, ..Service { id: 60, ..Service::default() } };
    let mut world = world();
    world.services.push(WorldService {
        prefix: None,
        address: vip4(60).into(),
        port: 80,
        protocol: 6,
        service,
        slots: Slots::Missing,
    });
    let mut balancer = load(&world);
    // 1,021 slots: the last of them is the only one of 14.
    let mut cycle = vec![(Slot::steady(13), 13); 1020];
    cycle.push((Slot::steady(14), 14));
    balancer.publish_slots(service, &cycle).unwrap();
    let turns: Vec<u32> = (1..=1022).map(|port| tcp(&mut balancer, port, SYN)).collect();
    assert_eq!((turns[1019], turns[1020], turns[1021]), (13, 14, 13));
}

#[test]
fn a_connection_that_was_not_seen_to_begin_goes_by_its_hash() {
    for flags in [SERVICE_ROUND_ROBIN, SERVICE_LEAST_CONNECTIONS] {
        let mut balancer = balancer(flags, Slots::shared(&OWNERS));
        for port in 1..20 {
            assert_eq!(tcp(&mut balancer, port, ACK), by_hash(60, 6, port));
        }
        let entries = balancer.flow_entries().unwrap();
        assert_eq!(entries.len(), 19);
        assert!(entries.iter().all(|entry| entry.flags == 0), "none was opened");
        assert_eq!(OWNERS.map(|id| counted(&balancer, id)), [(0, 0); 4]);
    }
}

#[test]
fn the_end_of_a_connection_is_counted_once_and_a_syn_opens_it_again() {
    let mut balancer = balancer(SERVICE_ROUND_ROBIN, Slots::steady(11));
    let steps = [
        (SYN, FLOW_OPENED, (1, 0)),
        (ACK, FLOW_OPENED, (1, 0)),
        (ACK | FIN, FLOW_OPENED | FLOW_CLOSED | FLOW_FIN, (1, 1)),
        (ACK | FIN, FLOW_OPENED | FLOW_CLOSED | FLOW_FIN, (1, 1)),
        (RST, FLOW_OPENED | FLOW_CLOSED | FLOW_FIN | FLOW_RST, (1, 1)),
        (SYN, FLOW_OPENED, (2, 1)),
        (RST, FLOW_OPENED | FLOW_CLOSED | FLOW_RST, (2, 2)),
    ];
    for (step, (flags, entry_flags, connections)) in steps.into_iter().enumerate() {
        assert_eq!(tcp(&mut balancer, 1, flags), 11);
        assert_eq!(balancer.flow_entries().unwrap()[0].flags, entry_flags, "step {step}");
        assert_eq!(counted(&balancer, 11), connections, "step {step}");
    }
}

#[test]
fn a_connection_whose_backend_dies_is_counted_at_the_next() {
    let mut balancer = balancer(SERVICE_ROUND_ROBIN, Slots::shared(&OWNERS));
    assert_eq!(tcp(&mut balancer, 1, SYN), 11);
    balancer.set_liveness(11, 1).unwrap();
    assert_eq!(tcp(&mut balancer, 1, ACK), 12);
    balancer.set_liveness(11, 0).unwrap();
    assert_eq!(tcp(&mut balancer, 1, ACK), 12, "it stays");
    assert_eq!((counted(&balancer, 11), counted(&balancer, 12)), ((1, 1), (1, 0)));
    for id in OWNERS {
        balancer.set_liveness(id, 1).unwrap();
    }
    let frame = v4(packet::tcp(1, 80, ACK, b""), 60).frame().bytes();
    let outcome = balancer.run(&frame).unwrap();
    assert_eq!(outcome.counted, once(Reason::NoBackend.into(), frame.len()));
    balancer.set_liveness(12, 0).unwrap();
    assert_eq!(tcp(&mut balancer, 1, ACK), 12, "back, and nobody else had it meanwhile");
}

/// The slot still names the drained backend as its former owner, for the connections that it has.
#[test]
fn where_all_backends_are_drained_nobody_gets_a_new_connection() {
    for flags in [SERVICE_ROUND_ROBIN, SERVICE_LEAST_CONNECTIONS] {
        let mut balancer = balancer(flags, Slots::moving(11, 0));
        let frame = v4(packet::tcp(1, 80, SYN, b""), 60).frame().bytes();
        let counted = balancer.run(&frame).unwrap().counted;
        assert_eq!(counted, once(Reason::NoBackend.into(), frame.len()));
        assert_eq!(tcp(&mut balancer, 2, ACK), 11);
        assert_eq!(udp(&mut balancer, 3, b"?"), 11, "it may be of an older flow");
        assert_eq!(balancer.flow_entries().unwrap().len(), 2);
    }
}

#[test]
fn least_connections_evens_out() {
    let mut balancer = balancer(SERVICE_LEAST_CONNECTIONS, Slots::shared(&OWNERS));
    let mut opened = BTreeMap::new();
    for port in 1..=400 {
        *opened.entry(tcp(&mut balancer, port, SYN)).or_insert(0u64) += 1;
    }
    for id in OWNERS {
        assert_eq!(counted(&balancer, id), (opened[&id], 0));
        assert!((90..=110).contains(&opened[&id]), "{opened:?}");
    }
}

#[test]
fn least_connections_never_prefers_the_more_loaded() {
    // Only when both draws name 11, which owns three slots of four, can it be taken. With fewer of them a probe, too,
    // would now and then find none but those of 12.
    let mut balancer = balancer(SERVICE_LEAST_CONNECTIONS, Slots::shared(&[11, 11, 11, 12]));
    balancer.set_liveness(12, 1).unwrap();
    for port in 1..=200 {
        assert_eq!(tcp(&mut balancer, port, SYN), 11);
    }
    balancer.set_liveness(12, 0).unwrap();
    let to_12 = (201..=600).filter(|port| tcp(&mut balancer, *port, SYN) == 12).count();
    assert!(to_12 > 135, "{to_12} of 400, where random choice gives 100 and this one 175");
}

#[test]
fn quic_begins_with_an_initial_packet() {
    let mut balancer = balancer(SERVICE_ROUND_ROBIN | SERVICE_QUIC, Slots::shared(&OWNERS));
    let short = [0x40, 1, 2, 3, 4, 5];
    assert_eq!(udp(&mut balancer, 7, &short), by_hash(61, UDP, 7));
    let initial = [0xc3, 0, 0, 0, 1, 8];
    let turns: Vec<u32> = (10..14).map(|port| udp(&mut balancer, port, &initial)).collect();
    assert_eq!(turns, OWNERS);
    assert_eq!(udp(&mut balancer, 10, &short), 11);
}
