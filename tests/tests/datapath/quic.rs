//! QUIC connection ids that name their server: who gets which packet, and what is recorded of it.

use lb_common::{
    backend::Backend,
    connections::Connections,
    event::Event,
    quic::{Layout, ServerKey},
    service::{SERVICE_QUIC, SERVICE_QUIC_ID, SERVICE_ROUND_ROBIN},
    slot::{CLASS_DEFAULT, Slot},
    verdict::Reason,
};
use lb_tests::{
    packet::{self, Frame},
    runner::{Balancer, Slots, World},
};

use crate::world::{
    Row, UDP, backend, check, ends, forwarded_to, sent, service, to, v4, v6, vip4, vip6, world,
};

/// Initial packets go by the table, all but these by the id.
const INITIAL: &[u8] = &[0xc3, 0, 0, 0, 1, 8, 7, 0xb2, 0x01, 0, 0, 0, 0, 0];
const VERSION_1: [u8; 4] = [0, 0, 0, 1];
const VERSION_2: [u8; 4] = [0x6b, 0x33, 0x43, 0xcf];
const NOW_S: u32 = 1_000;

fn key(service: u32, id: &[u8]) -> ServerKey {
    let mut key = ServerKey { service, length: id.len() as u32, id: [0; 8] };
    key.id[..id.len()].copy_from_slice(id);
    key
}

/// A short header, then a connection id that names server `b2 XX`, an octet of configuration before it.
fn short(server: u8) -> Vec<u8> {
    [&[0x43, 0x07, 0xb2, server][..], &[9; 30]].concat()
}

/// A long header with such a connection id of eight bytes.
fn long(first: u8, version: [u8; 4], server: u8) -> Vec<u8> {
    [&[first][..], &version, &[8, 0x07, 0xb2, server], &[9; 30]].concat()
}

/// Services 60 of IPv4 and 61 of IPv6, whose server ids `b2 01` and on are of the backends 12, 13, 5 (down), 7 (vacant),
/// 4 (without next hop), 75 (drains).
fn balancer(flags: u16, slots: Slots, change: impl FnOnce(&mut World)) -> Balancer {
    let mut world = World { now_s: Some(NOW_S), ..world() };
    world.backends.insert(75, Backend { weight: 0, ..backend(75) });
    for (id, address) in [(60, vip4(60).into()), (61, vip6(61).into())] {
        let mut quic = service(id, address, 443, UDP, 0, slots.clone());
        quic.service.flags = SERVICE_QUIC | flags;
        world.services.push(quic);
        world.quic_layouts.insert(id.into(), Layout { offset: 1, length: 2, reserved: [0; 2] });
        for (server, backend) in (1..).zip([12, 13, 5, 7, 4, 75]) {
            world.quic_ids.insert(key(id.into(), &[0xb2, server]), backend);
        }
    }
    change(&mut world);
    // Caps and turns are per CPU.
    lb_tests::cpu::pin_to(0).unwrap();
    Balancer::load(&world).unwrap()
}

fn frame(port: u16, payload: &[u8]) -> Frame {
    v4(packet::udp(port, 443, payload), 60).frame()
}

fn unknown(balancer: &Balancer) -> u64 {
    balancer.events().unwrap().get(&Event::UnknownServerId).copied().unwrap_or(0)
}

/// Who got each of some packets, which are of one flow.
fn got(balancer: &mut Balancer, packets: &[&[u8]]) -> Vec<u32> {
    packets.iter().map(|payload| forwarded_to(balancer, &frame(7, payload))).collect()
}

#[test]
fn a_packet_reaches_the_server_that_its_connection_id_names() {
    let row = |description, payload: &[u8], backend: u32| -> Row {
        sent(description, &frame(7, payload), &to(backend, frame(7, payload)), backend)
    };
    let cut = |payload: &[u8], length| payload[..length].to_vec();
    let no_room = [&[0xe0, 0, 0, 0, 1, 2, 7, 0xb2, 1][..], &[9; 20]].concat();
    let v6_frame = || v6(packet::udp(7, 443, &short(2)), 61).frame();
    let known = vec![
        row("a short header", &short(1), 12),
        row("another server", &short(2), 13),
        row("a short header without the fixed bit (RFC 9287)", &[&[0x03][..], &short(1)[1..]].concat(), 12),
        row("a Handshake packet", &long(0xe0, VERSION_1, 1), 12),
        row("a Handshake packet of version 2", &long(0xf0, VERSION_2, 1), 12),
        row("of a version that is not known", &long(0xe0, [0xfa, 0xce, 0, 1], 2), 13),
        row("the id ends with the packet", &cut(&short(1), 6), 12),
        sent("over IPv6", &v6_frame(), &to(13, v6_frame()), 13),
        row("an Initial, whose client chose the id", &long(0xc0, VERSION_1, 1), 11),
        row("an Initial of version 2", &long(0xd0, VERSION_2, 1), 11),
        row("0-RTT", &long(0xd0, VERSION_1, 1), 11),
        row("0-RTT of version 2", &long(0xe0, VERSION_2, 1), 11),
        row("the server is down", &short(3), 11),
        row("the server is gone", &short(4), 11),
        ends("the server has no next hop", &frame(7, &short(5)), Reason::NextHopUnresolved),
    ];
    let strange = vec![
        row("an unknown server", &short(9), 11),
        row("a Handshake packet for an unknown server", &long(0xe0, VERSION_1, 9), 11),
        row("a connection id that ends before the server id does", &no_room, 11),
        row("a packet that ends before the server id", &cut(&long(0xe0, VERSION_1, 1), 8), 11),
        row("shorter than any head", &cut(&short(1), 5), 11),
        row("empty", &[], 11),
    ];
    let mut balancer = balancer(SERVICE_QUIC_ID, Slots::steady(11), |_| {});
    check(known, |frame| balancer.run(frame).unwrap());
    assert!(balancer.events().unwrap().is_empty());
    let count = strange.len();
    check(strange, |frame| balancer.run(frame).unwrap());
    assert_eq!(unknown(&balancer), count as u64);
    assert!(balancer.flow_entries().unwrap().is_empty(), "nothing is recorded");
}

#[test]
fn without_the_services_flag_no_id_is_looked_at() {
    let mut balancer = balancer(0, Slots::steady(11), |_| {});
    assert_eq!(got(&mut balancer, &[&short(1), &short(9)]), [11, 11]);
    assert!(balancer.events().unwrap().is_empty());
}

#[test]
fn server_ids_stand_where_the_service_says() {
    for (offset, id) in
        [(0, &[1][..]), (19, &[1]), (0, &[1, 2, 3, 4, 5, 6, 7, 8]), (12, &[8, 7, 6, 5, 4, 3, 2, 1])]
    {
        let mut balancer = balancer(SERVICE_QUIC_ID, Slots::steady(11), |world| {
            let layout = Layout { offset, length: id.len() as u8, reserved: [0; 2] };
            world.quic_layouts.insert(60, layout);
            world.quic_ids.insert(key(60, id), 14);
            // Of another service, and what is left of another layout.
            world.quic_ids.insert(key(61, id), 13);
            world.quic_ids.insert(ServerKey { length: id.len() as u32 % 8 + 1, ..key(60, id) }, 13);
        });
        let connection_id = [&vec![0; offset.into()], id, &[0; 20]].concat()[..20].to_vec();
        let short = [&[0x40][..], &connection_id, &[9; 20]].concat();
        let long = [&[0xe0, 0, 0, 0, 1, 20][..], &connection_id, &[9; 20]].concat();
        assert_eq!(got(&mut balancer, &[&short, &long]), [14, 14], "{offset} {id:?}");
        assert_eq!(unknown(&balancer), 0);
    }
}

#[test]
fn an_id_goes_before_what_is_recorded_and_leaves_it() {
    let mut balancer = balancer(SERVICE_QUIC_ID, Slots::moving(20, 21), |_| {});
    let packets: [&[u8]; 5] = [INITIAL, &short(1), &short(9), &short(2), &short(3)];
    assert_eq!(got(&mut balancer, &packets), [21, 12, 21, 13, 21]);
    let entries = balancer.flow_entries().unwrap();
    assert_eq!(entries.iter().map(|entry| entry.backend).collect::<Vec<_>>(), [21]);
    let other = forwarded_to(&mut balancer, &frame(8, &short(1)));
    assert_eq!((other, balancer.flow_entries().unwrap().len()), (12, 1), "nothing to record");
    assert_eq!(
        forwarded_to(&mut balancer, &frame(9, &short(3))),
        20,
        "the server is down: an older connection's"
    );
}

#[test]
fn where_the_owner_is_down_an_id_is_as_good() {
    let mut balancer = balancer(SERVICE_QUIC_ID, Slots::shared(&[5, 5, 5, 14]), |_| {});
    assert_eq!(got(&mut balancer, &[&short(1), &short(2)]), [12, 13]);
    assert!(balancer.events().unwrap().is_empty() && balancer.flow_entries().unwrap().is_empty());
}

/// A drain waits for recorded flows, so that those which come by an id must be among them.
#[test]
fn flows_of_a_draining_backend_are_recorded() {
    for slots in [Slots::steady(11), Slots::moving(20, 21), Slots::settled(11)] {
        let mut balancer = balancer(SERVICE_QUIC_ID, slots, |world| world.new_flows = Some(2));
        assert_eq!(got(&mut balancer, &[INITIAL, &short(6), &short(6)])[1..], [75, 75]);
        let entries = balancer.flow_entries().unwrap();
        assert_eq!(entries.len(), 1);
        assert_eq!((entries[0].backend, entries[0].service, entries[0].last_seen_s), (75, 60, NOW_S));
        balancer.set_clock(NOW_S + 5).unwrap();
        assert_eq!(got(&mut balancer, &[&short(6)]), [75]);
        assert_eq!(balancer.flow_entries().unwrap()[0].last_seen_s, NOW_S + 5, "seen again");
    }
}

#[test]
fn over_the_cap_a_draining_backend_keeps_its_packets() {
    let mut balancer = balancer(SERVICE_QUIC_ID, Slots::steady(11), |world| world.new_flows = Some(0));
    assert_eq!(got(&mut balancer, &[&short(6)]), [75]);
    assert!(balancer.flow_entries().unwrap().is_empty());
    assert_eq!(balancer.events().unwrap().get(&Event::CappedGlobal), Some(&1));
}

#[test]
fn tracked_services_keep_their_entries_and_counts() {
    let flags = SERVICE_QUIC_ID | SERVICE_ROUND_ROBIN;
    let mut balancer = balancer(flags, Slots::shared(&[12, 13]), |_| {});
    assert_eq!(got(&mut balancer, &[INITIAL]), [12]);
    let opened = |balancer: &Balancer, id| {
        let Connections { opened, closed } = balancer.connections(id).unwrap();
        (opened, closed)
    };
    balancer.set_clock(NOW_S + 5).unwrap();
    assert_eq!(got(&mut balancer, &[&short(1)]), [12]);
    assert_eq!(balancer.flow_entries().unwrap()[0].last_seen_s, NOW_S + 5, "it lives");
    // The same ports, a connection of another server.
    assert_eq!(got(&mut balancer, &[&short(2)]), [13]);
    assert_eq!((opened(&balancer, 12), opened(&balancer, 13)), ((1, 1), (1, 0)));
    assert_eq!(forwarded_to(&mut balancer, &frame(8, &short(1))), 12, "from a new address");
    assert_eq!(balancer.flow_entries().unwrap().len(), 1);
}

#[test]
fn a_table_that_is_missing_is_told_as_ever() {
    let mut balancer = balancer(SERVICE_QUIC_ID, Slots::Missing, |_| {});
    let row = ends("no table", &frame(7, &short(1)), Reason::TableMissing);
    check(vec![row], |frame| balancer.run(frame).unwrap());
    let service = lb_common::service::Service { id: 60, class: CLASS_DEFAULT, ..Default::default() };
    balancer.publish_slots(service, &[(Slot::steady(11), 11)]).unwrap();
    assert_eq!(got(&mut balancer, &[&short(1)]), [12]);
}
