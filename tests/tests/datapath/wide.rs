//! Port ranges and prefixes: which of the services that have a packet's address and port gets it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lb_common::{
    mode,
    verdict::Reason,
    wide::{self, MAX_LENGTHS, MAX_RANGES_EACH, PortRange},
};
use lb_tests::{
    packet::{self, Frame},
    runner::{Balancer, Slots, World, WorldService},
};

use crate::world::{CLIENT_PORT, CLIENT_V4, CLIENT_V6, Row, TCP, UDP, check, ends, sent, service, to, world};

/// A service of an id that goes to a backend, on an address or its prefix.
fn on(
    address: IpAddr,
    prefix: Option<u8>,
    port: u16,
    protocol: u8,
    (id, backend): (u8, u32),
) -> WorldService {
    WorldService { prefix, ..service(id, address, port, protocol, mode::L2, Slots::steady(backend)) }
}

/// The entry of a list. Its ranges are those of the services on [`nowhere`].
fn list(address: IpAddr, prefix: u8, protocol: u8, first: usize, count: usize) -> WorldService {
    let entry = service(0, address, 0, protocol, mode::L2, Slots::Missing);
    WorldService { prefix: Some(prefix), service: wide::list(first, count), ..entry }
}

/// A service that is found by its ranges alone: where its key is, no packet goes.
fn nowhere(id: u8, backend: u32) -> WorldService {
    on(Ipv4Addr::new(127, 0, 0, id).into(), None, 1, TCP, (id, backend))
}

fn range(first: u16, last: u16, of: &WorldService) -> PortRange {
    PortRange { first, last, service: of.service }
}

fn v4_address(end: [u8; 2]) -> Ipv4Addr {
    Ipv4Addr::new(10, 7, end[0], end[1])
}

const NET6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 7, 0, 0, 0, 0, 0);

fn balancer() -> Balancer {
    let ranged = [nowhere(61, 11), nowhere(62, 12), nowhere(63, 13), nowhere(65, 20), nowhere(69, 1)];
    let [some, rest, other, of_prefix, v6] = &ranged;
    let ranges = vec![
        range(8000, 8100, some),
        range(0, u16::MAX, rest),
        range(100, 200, other),
        range(1000, 1999, of_prefix),
        range(10, 20, v6),
    ];
    let v4 = |end| IpAddr::from(v4_address(end));
    let mut services = vec![
        on(v4([0, 1]), None, 80, TCP, (60, 1)),
        list(v4([0, 1]), 32, TCP, 0, 2),
        list(v4([0, 2]), 32, TCP, 2, 1),
        on(v4([0, 0]), Some(24), 443, TCP, (64, 14)),
        list(v4([0, 0]), 24, TCP, 3, 1),
        on(v4([0, 0]), Some(16), 0, TCP, (66, 21)),
        on(v4([0, 0]), Some(25), 53, UDP, (67, 22)),
        on(v4([0, 3]), None, 0, TCP, (70, 23)),
        on(NET6.into(), Some(48), 0, UDP, (68, 2)),
        list(NET6.into(), 128, UDP, 4, 1),
    ];
    services.extend(ranged);
    Balancer::load(&World { services, ranges, ..world() }).unwrap()
}

fn row(description: &'static str, frame: &Frame, backend: Option<u32>) -> Row {
    match backend {
        Some(id) => sent(description, frame, &to(id, frame.clone()), id),
        None => ends(description, frame, Reason::NotService),
    }
}

#[test]
fn the_narrowest_service_gets_the_packet() {
    let mut rows = Vec::new();
    for (description, end, port, backend) in [
        ("an exact port before ranges and any port", [0, 1], 80, Some(1)),
        ("the first port of a range", [0, 1], 8000, Some(11)),
        ("the last port of a range", [0, 1], 8100, Some(11)),
        ("a port before a range: any port", [0, 1], 7999, Some(12)),
        ("a port after a range: any port", [0, 1], 8101, Some(12)),
        ("an address with any port before a prefix with the port", [0, 1], 443, Some(12)),
        ("the same without ranges", [0, 3], 443, Some(23)),
        ("an address with a range alone", [0, 2], 150, Some(13)),
        ("beside it, the port of a prefix", [0, 2], 443, Some(14)),
        ("beside it, the range of a prefix", [0, 2], 1000, Some(20)),
        ("beside it, the shorter prefix", [0, 2], 99, Some(21)),
        ("the port of a prefix", [0, 77], 443, Some(14)),
        ("the range of a prefix", [0, 77], 1999, Some(20)),
        ("neither: the shorter prefix", [0, 77], 2000, Some(21)),
        ("port 0, which stands for a list: the shorter prefix", [0, 77], 0, Some(21)),
        ("the first address of a prefix", [0, 0], 443, Some(14)),
        ("the last address of a prefix", [0, 255], 443, Some(14)),
        ("the next address", [1, 0], 443, Some(21)),
        ("the last address of the shorter prefix", [255, 255], 443, Some(21)),
    ] {
        let frame = packet::tcp(CLIENT_PORT, port, packet::SYN, b"").v4(CLIENT_V4, v4_address(end)).frame();
        rows.push(row(description, &frame, backend));
    }
    for (description, address, port, backend) in [
        ("udp of a prefix", v4_address([0, 127]), 53, Some(22)),
        ("udp beside a prefix", v4_address([0, 128]), 53, None),
        ("udp, another port", v4_address([0, 127]), 54, None),
        ("udp where tcp has any port", v4_address([0, 1]), 8000, None),
        ("before the prefix", Ipv4Addr::new(10, 6, 255, 255), 53, None),
    ] {
        let frame = packet::udp(CLIENT_PORT, port, b"?").v4(CLIENT_V4, address).frame();
        rows.push(row(description, &frame, backend));
    }
    let end = |end| Ipv6Addr::new(0x2001, 0xdb8, 7, 0, 0, 0, 0, end);
    for (description, address, port, backend) in [
        ("v6, a range", end(0), 10, Some(1)),
        ("v6, beside the range: the prefix", end(0), 21, Some(2)),
        ("v6, a prefix", end(0xffff), 10, Some(2)),
        ("v6, beside the prefix", Ipv6Addr::new(0x2001, 0xdb8, 8, 0, 0, 0, 0, 0), 10, None),
    ] {
        let frame = packet::udp(CLIENT_PORT, port, b"?").v6(CLIENT_V6, address).frame();
        rows.push(row(description, &frame, backend));
    }
    let mut balancer = balancer();
    check(rows, |frame| balancer.run(frame).unwrap());
}

/// As many lengths and ranges as there can be; the last of each is found.
#[test]
fn every_length_and_every_range_is_tried() {
    // An address with one bit set after the 32nd has just the prefix that ends with this bit.
    let address = |length: u8| Ipv6Addr::from_bits(0x2001_0db8 << 96 | 1 << (128 - u32::from(length)));
    let lengths = 33..33 + MAX_LENGTHS as u8;
    let backend = |number: u8| 11 + u32::from(number % 4);
    let mut services: Vec<WorldService> = lengths
        .clone()
        .map(|length| on(address(length).into(), Some(length), 80, TCP, (length, backend(length))))
        .collect();
    let vip = v4_address([0, 1]);
    services.push(list(vip.into(), 32, TCP, 0, MAX_RANGES_EACH + 1));
    let numbers = 0..=MAX_RANGES_EACH as u8;
    let ranged: Vec<WorldService> =
        numbers.clone().map(|number| nowhere(100 + number, backend(number))).collect();
    let ports = |number: u8| 1000 + 10 * u16::from(number);
    let ranges = numbers.clone().map(|n| range(ports(n), ports(n) + 4, &ranged[usize::from(n)])).collect();
    services.extend(ranged);
    let mut rows = Vec::new();
    for length in lengths {
        let frame = packet::tcp(CLIENT_PORT, 80, packet::ACK, b"").v6(CLIENT_V6, address(length)).frame();
        rows.push(row("a length", &frame, Some(backend(length))));
    }
    for number in numbers {
        let tcp = |port| packet::tcp(CLIENT_PORT, port, packet::ACK, b"").v4(CLIENT_V4, vip).frame();
        rows.push(row("a range", &tcp(ports(number) + 4), Some(backend(number))));
        rows.push(row("beside a range", &tcp(ports(number) + 5), None));
    }
    let mut balancer = Balancer::load(&World { services, ranges, ..world() }).unwrap();
    check(rows, |frame| balancer.run(frame).unwrap());
}
