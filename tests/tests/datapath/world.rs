//! The world that the rows play in, and what a row is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lb_common::{
    backend::{BACKEND_PRESENT, Backend},
    hash, mode,
    service::Service,
    slot::{CLASS_DEFAULT, CLASS_LARGE, CLASS_SMALL, CLASS_TINY},
    stats::Counter,
};
use lb_tests::{
    packet::{self, Frame, Segment, V4, V6},
    runner::{self, Action, Balancer, Counters, Label, Outcome, Slots, World, WorldService},
};

pub const SEED: u64 = 0x5eed_0000_1234_9876;
pub const CLIENT_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
pub const CLIENT_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 0, 7);
pub const CLIENT_PORT: u16 = 40_000;
pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
/// Source address of outer headers.
pub const LB_V4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
pub const LB_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xf, 0, 0, 0, 0, 1);

/// A row: description, packet in, verdict, packet out, counter.
pub struct Row {
    pub description: &'static str,
    pub packet: Vec<u8>,
    pub action: Action,
    pub out: Vec<u8>,
    pub counted: Label,
}

/// A packet that reaches a backend through the interface it came in on.
pub fn sent(description: &'static str, packet: &Frame, out: &Frame, backend: u32) -> Row {
    let (packet, out) = (packet.bytes(), out.bytes());
    Row { description, packet, action: Action::Transmit, out, counted: Label::Forwarded(backend) }
}

/// A packet that ends for a reason, unchanged.
pub fn ends(description: &'static str, packet: &Frame, reason: lb_common::verdict::Reason) -> Row {
    let action = if reason.is_drop() { Action::Drop } else { Action::Pass };
    let packet = packet.bytes();
    Row { description, action, out: packet.clone(), packet, counted: reason.into() }
}

/// Runs all rows and shows every one that differs.
pub fn check(rows: Vec<Row>, mut run: impl FnMut(&[u8]) -> Outcome) {
    let mut wrong = 0;
    for row in &rows {
        let outcome = run(&row.packet);
        let expected = Outcome {
            action: row.action,
            bytes: row.out.clone(),
            counted: once(row.counted, row.packet.len()),
        };
        if outcome != expected {
            wrong += 1;
            eprintln!("{}\n  expected {expected:02x?}\n  got      {outcome:02x?}", row.description);
        }
    }
    assert_eq!(wrong, 0, "{wrong} of {} rows differ", rows.len());
}

/// Who got the packet, which must be counted there and nowhere else.
pub fn forwarded_to(balancer: &mut Balancer, frame: &Frame) -> u32 {
    let bytes = frame.bytes();
    let outcome = balancer.run(&bytes).unwrap();
    let Some(Label::Forwarded(id)) = outcome.counted.keys().next().copied() else {
        panic!("not forwarded: {outcome:?}");
    };
    assert_eq!(outcome.counted, once(Label::Forwarded(id), bytes.len()));
    assert_eq!(outcome.bytes, to(id, frame.clone()).bytes());
    id
}

/// A backend that direct return reaches.
pub fn backend(id: u32) -> Backend {
    runner::backend(id, backend4(id).into(), LB_V4.into())
}

/// Counters after one packet.
pub fn once(label: Label, bytes: usize) -> Counters {
    Counters::from([(label, Counter { packets: 1, bytes: bytes as u64 })])
}

/// Address of the IPv4 service with an id.
pub fn vip4(id: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 9, 0, id)
}

/// Address of the IPv6 service with an id.
pub fn vip6(id: u8) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, id.into())
}

/// Address of a backend.
pub fn backend4(id: u32) -> Ipv4Addr {
    Ipv4Addr::new(10, 1, 0, id as u8)
}

/// Address of a backend.
pub fn backend6(id: u32) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, id as u16)
}

/// The frame, addressed to a backend's next hop.
pub fn to(backend: u32, frame: Frame) -> Frame {
    frame.macs([2, 0, 0, 1, 0, backend as u8], [2, 0, 0, 2, 0, backend as u8])
}

/// A data segment of an established connection.
pub fn data() -> Segment {
    packet::tcp(CLIENT_PORT, 80, packet::ACK, b"GET /")
}

/// A datagram.
pub fn datagram() -> Segment {
    packet::udp(CLIENT_PORT, 53, b"question")
}

/// From the client to an IPv4 service.
pub fn v4(segment: Segment, id: u8) -> V4 {
    segment.v4(CLIENT_V4, vip4(id))
}

/// From the client to an IPv6 service.
pub fn v6(segment: Segment, id: u8) -> V6 {
    segment.v6(CLIENT_V6, vip6(id))
}

/// Hash of a flow of the client.
pub fn hash_v4(id: u8, protocol: u8, source_port: u16, port: u16) -> u64 {
    let addresses = u64::from(u32::from_le_bytes(CLIENT_V4.octets()))
        | u64::from(u32::from_le_bytes(vip4(id).octets())) << 32;
    hash::flow_v4(&hash::Keys::of(SEED), addresses, ports(source_port, port), protocol)
}

/// Hash of a flow of the client.
pub fn hash_v6(id: u8, protocol: u8, source_port: u16, port: u16) -> u64 {
    let (source, destination) = (runner::words(CLIENT_V6), runner::words(vip6(id)));
    hash::flow_v6(&hash::Keys::of(SEED), source, destination, ports(source_port, port), protocol)
}

fn ports(source: u16, destination: u16) -> u32 {
    u32::from(source.swap_bytes()) | u32::from(destination.swap_bytes()) << 16
}

/// Flow label of outer headers.
pub fn label(hash: u64) -> u32 {
    hash as u32 & 0xf_ffff
}

pub fn service(id: u8, address: IpAddr, port: u16, protocol: u8, mode: u8, slots: Slots) -> WorldService {
    let service = Service { id: id.into(), mode, class: CLASS_DEFAULT, flags: 0 };
    WorldService { address, port, protocol, service, slots, prefix: None }
}

fn in_class(class: u8, mut service: WorldService) -> WorldService {
    service.service.class = class;
    service
}

/// Backends: 1 and 2 of either family, the others each with a trait of its own.
fn backends() -> Vec<(u32, Backend)> {
    let v4 = |id| runner::backend(id, backend4(id).into(), LB_V4.into());
    let v6 = |id| runner::backend(id, backend6(id).into(), LB_V6.into());
    let mut all = vec![
        (1, v4(1)),
        (2, v6(2)),
        (3, Backend { ifindex: 77, tx_port: 2, ..v4(3) }),
        (4, Backend { flags: BACKEND_PRESENT, ..v4(4) }),
        (5, v4(5)),
        (6, Backend { ifindex: 77, tx_port: 9, ..v4(6) }),
        // 7 is vacant.
        (8, Backend { mtu: 60, ..v4(8) }),
        (9, Backend { source_spread_bits: 8, ..v4(9) }),
        (10, Backend { source_spread_bits: 16, ..v6(10) }),
        (15, Backend { flags: BACKEND_PRESENT, ..v4(15) }),
        (16, Backend { mtu: 100, ..v6(16) }),
        (17, Backend { source_spread_bits: 32, ..v4(17) }),
    ];
    let gue = |port: u16, backend| Backend { port: port.to_be_bytes(), ..backend };
    all.extend([
        (30, gue(6080, v4(30))),
        (31, gue(6081, v6(31))),
        (32, gue(6080, Backend { source_spread_bits: 8, ..v4(32) })),
        (33, gue(6080, Backend { mtu: 100, ..v4(33) })),
        (34, gue(6080, Backend { mtu: 100, ..v6(34) })),
    ]);
    all.extend((11..=14).map(|id| (id, v4(id))));
    all.extend((20..=23).map(|id| (id, v4(id))));
    all
}

/// Services, each on an address that ends with its id.
fn services() -> Vec<WorldService> {
    let v4 = |id: u8, mode, slots| service(id, vip4(id).into(), 80, TCP, mode, slots);
    let v6 = |id: u8, mode, slots| service(id, vip6(id).into(), 80, TCP, mode, slots);
    let source_hash = |mut service: WorldService| {
        service.service.flags = Service::source_hash_flags(32);
        service
    };
    vec![
        v4(1, mode::L2, Slots::steady(1)),
        service(2, vip4(2).into(), 53, UDP, mode::L2, Slots::steady(1)),
        v4(3, mode::IPIP, Slots::steady(1)),
        v4(4, mode::IPIP, Slots::steady(2)),
        v6(5, mode::L2, Slots::steady(2)),
        service(6, vip6(6).into(), 53, UDP, mode::L2, Slots::steady(2)),
        v6(7, mode::IPIP, Slots::steady(2)),
        v6(8, mode::IPIP, Slots::steady(1)),
        service(9, vip4(9).into(), 0, TCP, mode::L2, Slots::steady(1)),
        service(10, vip4(9).into(), 443, TCP, mode::L2, Slots::steady(2)),
        v4(11, mode::L2, Slots::steady(3)),
        v4(12, mode::IPIP, Slots::steady(3)),
        v4(13, mode::L2, Slots::steady(4)),
        v4(14, mode::L2, Slots::steady(5)),
        v4(15, mode::L2, Slots::steady(0)),
        v4(16, mode::L2, Slots::Missing),
        v4(17, mode::IPIP, Slots::steady(6)),
        v4(18, mode::L2, Slots::steady(7)),
        v4(19, mode::IPIP, Slots::steady(8)),
        v4(20, mode::L2, Slots::steady(8)),
        v4(21, mode::IPIP, Slots::steady(9)),
        v4(22, mode::IPIP, Slots::steady(10)),
        service(23, vip6(23).into(), 0, UDP, mode::L2, Slots::steady(2)),
        in_class(CLASS_TINY, v4(24, mode::L2, Slots::shared(&[11, 12, 13, 14]))),
        in_class(CLASS_SMALL, v4(25, mode::L2, Slots::shared(&[11, 12, 13, 14]))),
        in_class(CLASS_LARGE, v4(26, mode::L2, Slots::shared(&[11, 12, 13, 14]))),
        v4(27, mode::L2, Slots::shared(&[11, 12, 13, 14])),
        v4(28, mode::L2, Slots::shared(&[5, 12, 13, 14])),
        source_hash(v4(29, mode::L2, Slots::shared(&[11, 12, 13, 14]))),
        service(30, vip4(30).into(), 53, UDP, mode::IPIP, Slots::steady(1)),
        service(31, vip6(31).into(), 53, UDP, mode::IPIP, Slots::steady(2)),
        v4(32, mode::L2, Slots::steady(15)),
        v6(33, mode::IPIP, Slots::steady(16)),
        in_class(4, v4(34, mode::L2, Slots::Missing)),
        v4(35, mode::IPIP, Slots::steady(17)),
        v4(40, mode::L2, Slots::moving(20, 21)),
        v4(41, mode::L2, Slots::settled(21)),
        v4(42, mode::L2, Slots::moving(5, 21)),
        v4(43, mode::L2, Slots::moving(0, 21)),
        v4(44, mode::L2, Slots::moving(20, 5)),
        service(45, vip4(45).into(), 53, UDP, mode::L2, Slots::moving(20, 21)),
        v6(46, mode::L2, Slots::moving(20, 21)),
        v4(47, mode::IPIP, Slots::settled(5)),
        v4(48, mode::L2, Slots::moving(7, 21)),
        v4(50, mode::GUE, Slots::steady(30)),
        v4(51, mode::GUE, Slots::steady(31)),
        v6(52, mode::GUE, Slots::steady(31)),
        v6(53, mode::GUE, Slots::steady(30)),
        service(54, vip4(54).into(), 53, UDP, mode::GUE, Slots::steady(30)),
        v4(55, mode::GUE, Slots::steady(32)),
        v4(56, mode::GUE, Slots::steady(33)),
        v4(57, mode::GUE, Slots::steady(34)),
    ]
}

/// The world of the rows. Target 5 is down; 15 is down and not resolved either.
pub fn world() -> World {
    World {
        seed: SEED,
        services: services(),
        backends: backends().into_iter().collect(),
        down: vec![5, 15],
        tx_ports: [(2, 1)].into(),
        ..World::default()
    }
}

/// The balancer in that world.
pub fn balancer() -> Balancer {
    Balancer::load(&world()).unwrap()
}
