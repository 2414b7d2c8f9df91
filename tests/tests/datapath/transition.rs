//! Slots that change owner: who keeps a connection, who gets a new one, and what is recorded.

use lb_common::{
    flow::{FLOW_FIN, FLOW_RST, FlowEntry},
    slot::Slot,
    verdict::Reason,
};
use lb_tests::{
    packet::{self, ACK, FIN, Frame, RST, SYN},
    runner::{Balancer, Label, World},
};

use crate::world::{CLIENT_PORT, balancer, datagram, once, v4, v6, world};

fn frame(service: u8, flags: u8) -> Frame {
    v4(packet::tcp(CLIENT_PORT, 80, flags, b""), service).frame()
}

/// Who got the packet, or why nobody did.
fn counted(balancer: &mut Balancer, frame: &Frame) -> Label {
    let bytes = frame.bytes();
    let outcome = balancer.run(&bytes).unwrap();
    let label = *outcome.counted.keys().next().unwrap();
    assert_eq!(outcome.counted, once(label, bytes.len()));
    label
}

/// The one recorded flow.
fn entry(balancer: &Balancer) -> FlowEntry {
    let entries = balancer.flow_entries().unwrap();
    assert_eq!(entries.len(), 1, "{entries:?}");
    entries[0]
}

fn backend(id: u32) -> Label {
    Label::Forwarded(id)
}

#[test]
fn moving_an_older_connection_stays_and_is_recorded() {
    let mut balancer = balancer();
    assert_eq!(counted(&mut balancer, &frame(40, ACK)), backend(20));
    let entry = entry(&balancer);
    assert_eq!((entry.backend, entry.service, entry.flags), (20, 40, 0));
    assert!(entry.last_seen_s > 0);
    assert_eq!(counted(&mut balancer, &frame(40, ACK)), backend(20));
}

#[test]
fn moving_a_new_connection_goes_to_the_owner_and_stays_there() {
    let mut balancer = balancer();
    for flags in [SYN, SYN, ACK, ACK | FIN] {
        assert_eq!(counted(&mut balancer, &frame(40, flags)), backend(21));
    }
    assert_eq!(entry(&balancer).backend, 21);
}

#[test]
fn moving_a_syn_that_acknowledges_or_resets_is_no_new_connection() {
    for flags in [SYN | ACK, SYN | RST] {
        assert_eq!(counted(&mut balancer(), &frame(40, flags)), backend(20));
    }
}

#[test]
fn waiting_only_connections_that_begin_are_recorded() {
    let mut balancer = balancer();
    let service = world().services.into_iter().find(|service| service.service.id == 40).unwrap().service;
    balancer.publish_slots(service, &[(Slot(21 | Slot::MOVING | Slot::WAITING), 20)]).unwrap();
    assert_eq!(counted(&mut balancer, &frame(40, ACK)), backend(20));
    assert_eq!(balancer.flow_entries().unwrap().len(), 0);
    let new = |flags| v4(packet::tcp(1, 80, flags, b""), 40).frame();
    assert_eq!(counted(&mut balancer, &new(SYN)), backend(21));
    assert_eq!(counted(&mut balancer, &new(ACK)), backend(21));
    assert_eq!(entry(&balancer).backend, 21);
    balancer.set_liveness(20, 1).unwrap();
    assert_eq!(counted(&mut balancer, &frame(40, ACK)), backend(21), "its backend died");
    assert_eq!(balancer.flow_entries().unwrap().len(), 2);
}

#[test]
fn moving_v6_and_udp_behave_alike() {
    let mut balancer = balancer();
    assert_eq!(counted(&mut balancer, &v4(datagram(), 45).frame()), backend(20));
    let mut v6 = |flags, port| counted(&mut balancer, &v6(packet::tcp(port, 80, flags, b""), 46).frame());
    assert_eq!(v6(SYN, 1), backend(21));
    assert_eq!(v6(ACK, 1), backend(21));
    assert_eq!(v6(ACK, 2), backend(20));
}

#[test]
fn moving_the_former_owner_is_down_gone_or_none() {
    for service in [42, 43, 48] {
        let mut balancer = balancer();
        assert_eq!(counted(&mut balancer, &frame(service, ACK)), backend(21), "service {service}");
        assert_eq!(entry(&balancer).backend, 21);
    }
}

#[test]
fn moving_the_owner_is_down() {
    let mut balancer = balancer();
    assert_eq!(counted(&mut balancer, &frame(44, ACK)), backend(20));
    let new = v4(packet::tcp(1, 80, SYN, b""), 44).frame();
    assert_eq!(counted(&mut balancer, &new), Reason::NoBackend.into(), "each slot names the dead owner");
}

#[test]
fn settled_exceptions_stay_and_the_rest_goes_to_the_owner_unrecorded() {
    let mut balancer = balancer();
    assert_eq!(counted(&mut balancer, &frame(41, ACK)), backend(21));
    assert_eq!(balancer.flow_entries().unwrap().len(), 0);
    let service = world().services.into_iter().find(|service| service.service.id == 40).unwrap().service;
    counted(&mut balancer, &frame(40, ACK));
    balancer.publish_slots(service, &[(Slot(21 | Slot::SETTLED), 21)]).unwrap();
    assert_eq!(counted(&mut balancer, &frame(40, ACK)), backend(20));
    balancer.publish_slots(service, &[(Slot::steady(21), 21)]).unwrap();
    assert_eq!(counted(&mut balancer, &frame(40, ACK)), backend(21), "at rest nothing is looked up");
}

#[test]
fn a_flow_whose_backend_dies_finds_another_and_keeps_it() {
    let mut balancer = balancer();
    assert_eq!(counted(&mut balancer, &frame(40, ACK)), backend(20));
    balancer.set_liveness(20, 1).unwrap();
    assert_eq!(counted(&mut balancer, &frame(40, ACK)), backend(21));
    assert_eq!(entry(&balancer).backend, 21);
    balancer.set_liveness(20, 0).unwrap();
    assert_eq!(counted(&mut balancer, &frame(40, ACK)), backend(21));
}

#[test]
fn entries_of_another_service_or_of_a_deleted_backend_do_not_count() {
    let mut balancer = balancer();
    counted(&mut balancer, &frame(40, SYN));
    balancer.edit_flows(|entry| entry.service = 9).unwrap();
    assert_eq!(counted(&mut balancer, &frame(40, ACK)), backend(20));
    assert_eq!(entry(&balancer).service, 40);
    balancer.edit_flows(|entry| entry.backend = 7).unwrap();
    assert_eq!(counted(&mut balancer, &frame(40, ACK)), backend(21));
}

#[test]
fn the_end_of_a_connection_is_noted_and_forgotten_by_the_next() {
    let mut balancer = balancer();
    for (flags, noted) in
        [(SYN, 0), (ACK, 0), (ACK | FIN, FLOW_FIN), (ACK, FLOW_FIN), (RST, FLOW_FIN | FLOW_RST), (SYN, 0)]
    {
        counted(&mut balancer, &frame(40, flags));
        assert_eq!(entry(&balancer).flags, noted, "after flags {flags:#x}");
    }
}

#[test]
fn last_seen_is_refreshed() {
    let mut balancer = balancer();
    counted(&mut balancer, &frame(40, SYN));
    let seen = entry(&balancer).last_seen_s;
    balancer.edit_flows(|entry| entry.last_seen_s = 1).unwrap();
    counted(&mut balancer, &frame(40, ACK));
    assert!(entry(&balancer).last_seen_s >= seen);
}

#[test]
fn a_full_table_sends_what_it_cannot_record_to_the_former_owner() {
    let mut balancer = Balancer::load(&World { max_flows: Some(1), ..world() }).unwrap();
    let new = |port| v4(packet::tcp(port, 80, SYN, b""), 40).frame();
    assert_eq!(counted(&mut balancer, &new(1)), backend(21));
    assert_eq!(counted(&mut balancer, &new(2)), backend(20), "new, but later packets will go there too");
    assert_eq!(counted(&mut balancer, &frame(40, ACK)), backend(20));
    let to_the_living = v4(packet::tcp(3, 80, SYN, b""), 42).frame();
    assert_eq!(counted(&mut balancer, &to_the_living), backend(21));
    assert_eq!(balancer.flow_entries().unwrap().len(), 1);
}
