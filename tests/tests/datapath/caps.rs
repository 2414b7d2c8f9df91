//! New flow entries are capped: what is over the cap is forwarded all the same, and its connections stay together.

use std::collections::BTreeMap;

use lb_common::{
    event::Event,
    hash,
    service::{SERVICE_LEAST_CONNECTIONS, SERVICE_QUIC, SERVICE_ROUND_ROBIN, Service},
    slot::{SIZES, Slot},
    verdict::Reason,
};
use lb_tests::{
    packet::{self, ACK, SYN},
    runner::{Balancer, Label, Slots, World},
};

use crate::world::{UDP, forwarded_to, hash_v4, once, service, v4, vip4, world};

const NOW_S: u32 = 1_000;

fn balancer(change: impl FnOnce(&mut World)) -> Balancer {
    let mut world = World { now_s: Some(NOW_S), ..world() };
    change(&mut world);
    // Caps are per CPU.
    lb_tests::cpu::pin_to(0).unwrap();
    Balancer::load(&world).unwrap()
}

/// Who got a segment for the service that moves from 20 to 21.
fn tcp(balancer: &mut Balancer, port: u16, flags: u8) -> u32 {
    forwarded_to(balancer, &v4(packet::tcp(port, 80, flags, b""), 40).frame())
}

fn recorded(balancer: &Balancer) -> usize {
    balancer.flow_entries().unwrap().len()
}

fn events(balancer: &Balancer, expected: &[(Event, u64)]) {
    assert_eq!(balancer.events().unwrap(), BTreeMap::from_iter(expected.iter().copied()));
}

#[test]
fn over_the_cap_new_connections_go_to_the_former_owner_and_stay() {
    let mut balancer = balancer(|world| world.new_flows = Some(2));
    assert_eq!([1, 2, 3, 4].map(|port| tcp(&mut balancer, port, SYN)), [21, 21, 20, 20]);
    events(&balancer, &[(Event::CappedGlobal, 2)]);
    assert_eq!([1, 2, 3, 4].map(|port| tcp(&mut balancer, port, ACK)), [21, 21, 20, 20]);
    assert_eq!(recorded(&balancer), 2);
    events(&balancer, &[(Event::CappedGlobal, 4)]);
    balancer.set_clock(NOW_S + 1).unwrap();
    assert_eq!([3, 4].map(|port| tcp(&mut balancer, port, ACK)), [20, 20], "recorded where they are");
    assert_eq!(recorded(&balancer), 4);
    events(&balancer, &[(Event::CappedGlobal, 4)]);
}

#[test]
fn clients_nearby_share_a_cap_that_others_do_not() {
    let mut balancer = balancer(|world| world.new_flows_per_source = Some(1));
    let mut syn = |client: [u8; 4]| {
        forwarded_to(&mut balancer, &packet::tcp(1, 80, SYN, b"").v4(client.into(), vip4(40)).frame())
    };
    assert_eq!(syn([192, 0, 2, 1]), 21);
    assert_eq!(syn([192, 0, 2, 200]), 20, "of the same /24");
    assert_eq!(syn([192, 0, 3, 1]), 21);
    events(&balancer, &[(Event::CappedSource, 1)]);
}

#[test]
fn a_group_over_its_cap_takes_nothing_from_the_others() {
    let mut balancer = balancer(|world| {
        world.new_flows_per_source = Some(1);
        world.new_flows = Some(2);
    });
    for port in 1..=10 {
        tcp(&mut balancer, port, SYN);
    }
    let other = packet::tcp(1, 80, SYN, b"").v4([192, 0, 3, 1].into(), vip4(40)).frame();
    assert_eq!(forwarded_to(&mut balancer, &other), 21);
    events(&balancer, &[(Event::CappedSource, 9)]);
}

#[test]
fn recorded_flows_live_through_a_flood() {
    let mut balancer = balancer(|world| {
        world.new_flows = Some(4);
        world.max_flows = Some(3);
    });
    assert_eq!([1, 2].map(|port| tcp(&mut balancer, port, SYN)), [21, 21]);
    assert_eq!(tcp(&mut balancer, 3, ACK), 20);
    for port in 100..300 {
        assert_eq!(tcp(&mut balancer, port, SYN), 20);
        assert_eq!(tcp(&mut balancer, port + 1_000, ACK), 20);
    }
    assert_eq!([1, 2, 3].map(|port| tcp(&mut balancer, port, ACK)), [21, 21, 20]);
    assert_eq!(recorded(&balancer), 3);
    events(&balancer, &[(Event::CappedGlobal, 399), (Event::TableFull, 1)]);
}

#[test]
fn a_probed_choice_is_recorded_and_over_the_cap_it_is_the_same() {
    let mut balancer = balancer(|world| world.new_flows = Some(1));
    let data = |port| v4(packet::tcp(port, 80, ACK, b""), 28).frame();
    // Flows whose slot names the dead 5.
    let mut probed = Vec::new();
    for port in 1000..1040 {
        let before = balancer.events().unwrap().get(&Event::Probed).copied();
        let first = forwarded_to(&mut balancer, &data(port));
        if balancer.events().unwrap().get(&Event::Probed).copied() != before {
            probed.push((port, first));
        }
    }
    assert!(probed.len() > 3);
    let entries = balancer.flow_entries().unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!((entries[0].backend, entries[0].service), (probed[0].1, 28));
    for (port, first) in &probed {
        assert_eq!(forwarded_to(&mut balancer, &data(*port)), *first);
    }
    // The next table, settled: the record holds, whoever is up.
    let id = Service { id: 28, class: 2, ..Service::default() };
    balancer.publish_slots(id, &[(Slot(20 | Slot::SETTLED), 20)]).unwrap();
    assert_eq!(forwarded_to(&mut balancer, &data(probed[0].0)), probed[0].1);
    assert_eq!(forwarded_to(&mut balancer, &data(probed[1].0)), 20);
}

#[test]
fn over_the_cap_a_tracked_connection_goes_by_its_hash_unrecorded() {
    let mut balancer = balancer(|world| {
        world.new_flows = Some(0);
        let mut tracked = service(60, vip4(60).into(), 80, 6, 0, Slots::moving(20, 21));
        tracked.service.flags = SERVICE_ROUND_ROBIN;
        world.services.push(tracked);
    });
    for flags in [SYN, ACK, ACK] {
        let frame = v4(packet::tcp(1, 80, flags, b""), 60).frame();
        assert_eq!(forwarded_to(&mut balancer, &frame), 20);
    }
    assert_eq!(recorded(&balancer), 0);
    assert_eq!(balancer.connections(20).unwrap().opened, 0);
    events(&balancer, &[(Event::CappedGlobal, 3)]);
}

/// What becomes of a frame for a service whose owners are all down but for one, with no room for new flows: who got it,
/// and how often a flow was capped. Once for each of the states of the slots of the dead.
fn failover(states: [u32; 4], flags: u16, protocol: u8, frame: &packet::Frame) -> [(Option<u32>, u64); 4] {
    let mut service = service(60, vip4(60).into(), 80, protocol, 0, Slots::Missing);
    service.service.flags = flags;
    let mut balancer = balancer(|world| {
        world.new_flows = Some(0);
        world.services.push(service.clone());
    });
    let (bytes, mut capped) = (frame.bytes(), 0);
    states.map(|state| {
        let dead = (Slot(5 | state), 5);
        balancer.publish_slots(service.service, &[dead, dead, dead, (Slot::steady(12), 12)]).unwrap();
        let counted = balancer.run(&bytes).unwrap().counted;
        let to = match *counted.keys().next().unwrap() {
            Label::Forwarded(id) => Some(id),
            reason => {
                assert_eq!(counted, once(Reason::NotRecorded.into(), bytes.len()), "not for {reason:?}");
                None
            }
        };
        let before = capped;
        capped = balancer.events().unwrap().get(&Event::CappedGlobal).copied().unwrap_or(0);
        (to, capped - before)
    })
}

/// It would move with the table that is built without the dead one.
#[test]
fn over_the_cap_a_new_connection_is_not_given_a_stand_in_for_a_dead_owner() {
    let port_of_the_dead = |protocol| {
        let owner = |port| hash::slot_index(hash_v4(60, protocol, port, 80), SIZES[2]) % 4;
        (1..).find(|port| owner(*port) != 3).unwrap()
    };
    let tcp = |flags| v4(packet::tcp(port_of_the_dead(6), 80, flags, b""), 60).frame();
    let udp = |payload: &[u8]| v4(packet::udp(port_of_the_dead(UDP), 80, payload), 60).frame();
    let (initial, short): (&[u8], &[u8]) = (&[0xc3, 0, 0, 0, 1, 8], &[0x40, 1, 2, 3, 4, 5]);
    for algorithm in [0, SERVICE_ROUND_ROBIN, SERVICE_LEAST_CONNECTIONS] {
        let quic = algorithm | SERVICE_QUIC;
        for (what, flags, protocol, frame, to) in [
            ("a SYN", algorithm, 6, tcp(SYN), None),
            ("of an older connection, which is lost anyway", algorithm, 6, tcp(ACK), Some(12)),
            ("an Initial packet", quic, UDP, udp(initial), None),
            ("of an older QUIC connection", quic, UDP, udp(short), Some(12)),
            ("a datagram, which may be of an older flow", algorithm, UDP, udp(initial), Some(12)),
        ] {
            // At rest, and where the former owner of a moving slot is dead as well.
            let states = [0, Slot::SETTLED, Slot::MOVING, Slot::MOVING | Slot::WAITING];
            let got = failover(states, flags, protocol, &frame);
            assert_eq!(got, [(to, 1); 4], "{what}, flags {flags:#x}");
        }
    }
}

#[test]
fn moving_quic() {
    let mut balancer = balancer(|world| {
        let slots = Slots::moving(20, 21);
        let mut quic = service(60, vip4(60).into(), 443, UDP, 0, slots);
        quic.service.flags = SERVICE_QUIC;
        world.services.push(quic);
    });
    let rows: [(&str, &[u8], u32); 8] = [
        ("an Initial of version 1", &[0xc0, 0, 0, 0, 1, 8], 21),
        ("with other bits of the packet number's length", &[0xcf, 0, 0, 0, 1, 8], 21),
        ("of version 2", &[0xd0, 0x6b, 0x33, 0x43, 0xcf, 8], 21),
        ("0-RTT of version 1", &[0xd0, 0, 0, 0, 1, 8], 20),
        ("a Handshake packet", &[0xe0, 0, 0, 0, 1, 8], 20),
        ("a short header", &[0x40, 0, 0, 0, 1, 8], 20),
        ("a long header without the fixed bit", &[0x80, 0, 0, 0, 1, 8], 20),
        ("too short to tell", &[], 20),
    ];
    for (port, (description, payload, expected)) in (1..).zip(rows) {
        let frame = v4(packet::udp(port, 443, payload), 60).frame();
        assert_eq!(forwarded_to(&mut balancer, &frame), expected, "{description}");
        let later = v4(packet::udp(port, 443, &[0x40, 9, 9, 9, 9]), 60).frame();
        assert_eq!(forwarded_to(&mut balancer, &later), expected, "{description}, later");
    }
    assert_eq!(recorded(&balancer), 8);
}
