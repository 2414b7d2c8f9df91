//! Which backend: the slot that the flow's hash names, in tables of each size, and another where that one is down.

use std::net::Ipv6Addr;

use lb_common::{hash, service::Service, slot::SIZES};
use lb_tests::{
    packet::{self, ACK, Frame},
    runner::{Balancer, Label, Slots, WorldService, words},
};

use crate::world::{
    CLIENT_PORT, CLIENT_V4, SEED, TCP, balancer, data, forwarded_to, hash_v4, service, v4, vip4, vip6, world,
};

/// The backend that a packet of the flow goes to.
fn chosen(balancer: &mut Balancer, service: u8, source_port: u16) -> Label {
    let segment = packet::tcp(source_port, 80, ACK, b"");
    let outcome = balancer.run(&v4(segment, service).frame().bytes()).unwrap();
    *outcome.counted.keys().next().unwrap()
}

#[test]
fn the_hash_names_the_slot_in_tables_of_each_size() {
    let mut balancer = balancer();
    for (service, class) in [(24, 0), (25, 1), (27, 2), (26, 3)] {
        for port in 1000..1050 {
            let slot = hash::slot_index(hash_v4(service, TCP, port, 80), SIZES[class]);
            let expected = Label::Forwarded(11 + slot as u32 % 4);
            assert_eq!(chosen(&mut balancer, service, port), expected, "service {service}, port {port}");
        }
    }
}

#[test]
fn a_dead_backend_is_replaced_by_the_first_live_one_along_the_probes() {
    let mut balancer = balancer();
    let owner = |hash| [5, 12, 13, 14][hash::slot_index(hash, SIZES[2]) % 4];
    let mut probed = 0;
    for port in 1000..1100 {
        let hash = hash_v4(28, TCP, port, 80);
        let mut sequence = std::iter::once(hash).chain((1..=8).map(|attempt| hash::probe(hash, attempt)));
        let expected = sequence.clone().map(owner).find(|owner| *owner != 5).unwrap();
        probed += u32::from(sequence.next().map(owner) == Some(5));
        assert_eq!(chosen(&mut balancer, 28, port), Label::Forwarded(expected), "port {port}");
    }
    assert!(probed > 10, "only {probed} flows had to look further");
}

#[test]
fn a_target_that_comes_up_takes_its_flows_at_once() {
    let mut balancer = balancer();
    let frame = v4(data(), 14).frame().bytes();
    balancer.set_liveness(5, 0).unwrap();
    assert!(balancer.run(&frame).unwrap().counted.contains_key(&Label::Forwarded(5)));
    balancer.set_liveness(5, 1).unwrap();
    assert!(!balancer.run(&frame).unwrap().counted.contains_key(&Label::Forwarded(5)));
}

#[test]
fn source_hash_looks_at_the_client_alone() {
    let mut balancer = balancer();
    let source = u64::from(u32::from_le_bytes(CLIENT_V4.octets()));
    let slot = hash::slot_index(hash::flow_v4(&hash::Keys::of(SEED), source, 0, 0), SIZES[2]);
    for port in CLIENT_PORT..CLIENT_PORT + 20 {
        assert_eq!(chosen(&mut balancer, 29, port), Label::Forwarded(11 + slot as u32 % 4));
    }
}

#[test]
fn source_hash_looks_at_the_prefix_alone() {
    let mut world = world();
    let mut add = |service: WorldService, prefix| {
        let flags = Service::source_hash_flags(prefix);
        world.services.push(WorldService { service: Service { flags, ..service.service }, ..service });
    };
    let owners = Slots::shared(&[11, 12, 13, 14]);
    add(service(60, vip4(60).into(), 80, TCP, 0, owners.clone()), 24);
    add(service(61, vip4(61).into(), 80, TCP, 0, owners.clone()), 0);
    add(service(62, vip6(62).into(), 80, TCP, 0, owners.clone()), 64);
    add(service(63, vip6(63).into(), 80, TCP, 0, owners), 128);
    let mut balancer = Balancer::load(&world).unwrap();
    let mut chosen = |frame: Frame| forwarded_to(&mut balancer, &frame);
    let owner = |hash| 11 + hash::slot_index(hash, SIZES[2]) as u32 % 4;
    for third in 0..20 {
        for last in [0, 1, 255] {
            let client = [192, 0, third, last];
            let frame = |service| {
                packet::tcp(u16::from(last) + 1, 80, ACK, b"").v4(client.into(), vip4(service)).frame()
            };
            let expected =
                hash::flow_v4(&hash::Keys::of(SEED), u64::from(u32::from_le_bytes([192, 0, third, 0])), 0, 0);
            assert_eq!(chosen(frame(60)), owner(expected), "{client:?}");
            assert_eq!(chosen(frame(61)), owner(hash::flow_v4(&hash::Keys::of(SEED), 0, 0, 0)));
        }
        for last in [0, 1, 0xffff] {
            let client = Ipv6Addr::new(0x2001, 0xdb8, 0, third.into(), 0, 0, 0, last);
            let frame = |service| packet::tcp(1, 80, ACK, b"").v6(client, vip6(service)).frame();
            let [high, low] = words(client);
            assert_eq!(
                chosen(frame(62)),
                owner(hash::flow_v6(&hash::Keys::of(SEED), [high, 0], [0; 2], 0, 0)),
                "{client}"
            );
            assert_eq!(
                chosen(frame(63)),
                owner(hash::flow_v6(&hash::Keys::of(SEED), [high, low], [0; 2], 0, 0)),
                "{client}"
            );
        }
    }
}
