//! ICMP, neighbour discovery, groups and broadcasts.

use std::net::{Ipv4Addr, Ipv6Addr};

use lb_common::verdict::Reason::{Fragment, NotService, OtherProtocol};
use lb_tests::packet::{self, SYN, raw_frame};

use super::{HOST_V4, HOST_V6, Kind, host4, host6, icmp_v4, icmp_v6};
use crate::world::{CLIENT_V4, CLIENT_V6, data};

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
const BROADCAST_MAC: [u8; 6] = [0xff; 6];
const PEER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0xbb];

pub fn pings_and_errors_to_the_host() -> Vec<Kind> {
    let quoted4 = packet::tcp(50_000, 443, SYN, b"").v4(HOST_V4, CLIENT_V4).ip();
    let quoted6 = packet::tcp(50_000, 443, SYN, b"").v6(HOST_V6, CLIENT_V6).ip();
    let error4 = |kind, code, word| host4(icmp_v4(kind, code, word, &quoted4.bytes()[..28])).frame();
    let error6 = |kind, code, word| host6(icmp_v6(kind, code, word, quoted6.bytes())).frame();
    vec![
        ("ping v4", host4(icmp_v4(8, 0, [0, 7, 0, 1], &[0x55; 56])).frame(), OtherProtocol),
        ("ping v6", host6(icmp_v6(128, 0, [0, 7, 0, 1], &[0x55; 56])).frame(), OtherProtocol),
        (
            "an answer to a ping of the host, v4",
            host4(icmp_v4(0, 0, [0, 7, 0, 1], &[9; 56])).frame(),
            OtherProtocol,
        ),
        (
            "an answer to a ping of the host, v6",
            host6(icmp_v6(129, 0, [0, 7, 0, 1], &[9; 56])).frame(),
            OtherProtocol,
        ),
        ("a large ping v4", host4(icmp_v4(8, 0, [0; 4], &[1; 1472])).frame(), OtherProtocol),
        ("a large ping v6", host6(icmp_v6(128, 0, [0; 4], &[1; 1452])).frame(), OtherProtocol),
        ("timestamp request", host4(icmp_v4(13, 0, [0; 4], &[0; 12])).frame(), OtherProtocol),
        ("unreachable, of a host's flow v4", error4(3, 1, [0; 4]), OtherProtocol),
        ("port unreachable, of a host's flow v4", error4(3, 3, [0; 4]), OtherProtocol),
        ("fragmentation needed, of a host's flow", error4(3, 4, [0, 0, 5, 0]), OtherProtocol),
        ("time exceeded, of a host's flow v4", error4(11, 0, [0; 4]), OtherProtocol),
        ("parameter problem, of a host's flow v4", error4(12, 0, [0; 4]), OtherProtocol),
        ("redirect, of a host's flow v4", error4(5, 1, [10, 9, 0, 1]), OtherProtocol),
        ("unreachable, of a host's flow v6", error6(1, 0, [0; 4]), OtherProtocol),
        ("packet too big, of a host's flow", error6(2, 0, [0, 0, 5, 0]), OtherProtocol),
        ("time exceeded, of a host's flow v6", error6(3, 0, [0; 4]), OtherProtocol),
        ("parameter problem, of a host's flow v6", error6(4, 1, [0; 4]), OtherProtocol),
        ("an error that quotes nothing, v4", host4(icmp_v4(3, 1, [0; 4], b"")).frame(), OtherProtocol),
        ("an error that quotes nothing, v6", host6(icmp_v6(1, 0, [0; 4], b"")).frame(), OtherProtocol),
        (
            "an error that quotes half a header, v4",
            host4(icmp_v4(3, 1, [0; 4], &[0x45; 9])).frame(),
            OtherProtocol,
        ),
        (
            "an error that quotes half a header, v6",
            host6(icmp_v6(1, 0, [0; 4], &[0x60; 9])).frame(),
            OtherProtocol,
        ),
    ]
}

/// Address, target and one option with a MAC address.
fn neighbour(kind: u8, destination: Ipv6Addr) -> packet::Frame {
    let rest = [&HOST_V6.octets()[..], &[1, 1], &PEER_MAC].concat();
    icmp_v6(kind, 0, [0; 4], &rest).v6(CLIENT_V6, destination).with(|ip| ip.hop_limit = 255).frame()
}

pub fn neighbours_and_routers() -> Vec<Kind> {
    let solicited = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 250);
    let multicast_mac = [0x33, 0x33, 0xff, 0, 0, 250];
    let from_router = |kind, rest: &[u8]| {
        icmp_v6(kind, 0, [64, 0, 7, 8], rest).v6(LINK_LOCAL, ALL_NODES).with(|ip| ip.hop_limit = 255).frame()
    };
    // Hardware and protocol type, their lengths, the operation, then the four addresses.
    let arp = |operation: u8| {
        let peer = [&PEER_MAC[..], &CLIENT_V4.octets()].concat();
        let host = [&[0; 6][..], &HOST_V4.octets()].concat();
        raw_frame(0x0806, &[&[0, 1, 8, 0, 6, 4, 0, operation][..], &peer, &host, &[0; 18]].concat())
    };
    let not_ip = lb_common::verdict::Reason::NotIp;
    vec![
        ("ARP request", arp(1).macs(BROADCAST_MAC, PEER_MAC), not_ip),
        ("ARP answer", arp(2), not_ip),
        ("RARP request", raw_frame(0x8035, &[0; 46]).macs(BROADCAST_MAC, PEER_MAC), not_ip),
        ("neighbour solicitation", neighbour(135, solicited).macs(multicast_mac, PEER_MAC), OtherProtocol),
        ("neighbour solicitation to the address itself", neighbour(135, HOST_V6), OtherProtocol),
        ("neighbour advertisement", neighbour(136, HOST_V6), OtherProtocol),
        ("neighbour advertisement to all", neighbour(136, ALL_NODES), OtherProtocol),
        ("router advertisement", from_router(134, &[0; 16]), OtherProtocol),
        ("router solicitation", from_router(133, b""), OtherProtocol),
        ("IPv6 redirect", from_router(137, &[0; 32]), OtherProtocol),
        (
            "duplicate address detection, from no address",
            icmp_v6(135, 0, [0; 4], &HOST_V6.octets()).v6(Ipv6Addr::UNSPECIFIED, solicited).frame(),
            OtherProtocol,
        ),
    ]
}

pub fn groups_and_broadcasts() -> Vec<Kind> {
    let group4 = |segment: packet::Segment, group: [u8; 4]| {
        let [_, b, c, d] = group;
        segment
            .v4(CLIENT_V4, Ipv4Addr::from(group))
            .with(|ip| ip.ttl = 1)
            .frame()
            .macs([1, 0, 0x5e, b & 0x7f, c, d], PEER_MAC)
    };
    let group6 = |segment: packet::Segment, last: u16| {
        let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, last);
        segment.v6(LINK_LOCAL, group).frame().macs([0x33, 0x33, 0, 0, 0, last as u8], PEER_MAC)
    };
    let dhcp = packet::udp(68, 67, &[1; 240]).v4(Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST);
    let router_alert = |protocol, payload: &[u8]| {
        packet::other(protocol, payload)
            .v4(CLIENT_V4, Ipv4Addr::new(224, 0, 0, 22))
            .with(|ip| (ip.options, ip.ttl) = (vec![0x94, 4, 0, 0], 1))
            .frame()
    };
    let report = icmp_v6(143, 0, [0, 0, 0, 1], &[4; 20]).v6(LINK_LOCAL, ALL_NODES).extension(0, 8);
    let query = icmp_v6(130, 0, [0; 4], &[0; 20]).v6(LINK_LOCAL, ALL_NODES).extension(0, 8);
    vec![
        ("mDNS v4", group4(packet::udp(5353, 5353, &[0; 40]), [224, 0, 0, 251]), NotService),
        ("mDNS v6", group6(packet::udp(5353, 5353, &[0; 40]), 0xfb), NotService),
        ("LLMNR v4", group4(packet::udp(5355, 5355, &[0; 30]), [224, 0, 0, 252]), NotService),
        ("LLMNR v6", group6(packet::udp(5355, 5355, &[0; 30]), 0x13), NotService),
        ("SSDP v4", group4(packet::udp(1900, 1900, b"NOTIFY *"), [239, 255, 255, 250]), NotService),
        ("SSDP v6", group6(packet::udp(1900, 1900, b"NOTIFY *"), 0xc), NotService),
        ("RIP v4", group4(packet::udp(520, 520, &[2; 24]), [224, 0, 0, 9]), NotService),
        ("PTP v4", group4(packet::udp(319, 319, &[0; 44]), [224, 0, 1, 129]), NotService),
        ("a group on a service's port", group4(packet::udp(9, 53, b"?"), [239, 1, 1, 1]), NotService),
        ("HSRP v4", group4(packet::udp(1985, 1985, &[0; 20]), [224, 0, 0, 2]), NotService),
        ("OSPF to its group", group4(packet::other(89, &[2; 44]), [224, 0, 0, 5]), OtherProtocol),
        ("VRRP to its group", group4(packet::other(112, &[0x31; 20]), [224, 0, 0, 18]), OtherProtocol),
        ("ping to all nodes", group6(icmp_v6(128, 0, [0; 4], b"hello"), 1), OtherProtocol),
        ("DHCP discover", dhcp.frame().macs(BROADCAST_MAC, PEER_MAC), NotService),
        (
            "DHCP offer to an address that is not there yet",
            packet::udp(67, 68, &[2; 240])
                .v4(CLIENT_V4, Ipv4Addr::BROADCAST)
                .frame()
                .macs(BROADCAST_MAC, PEER_MAC),
            NotService,
        ),
        ("DHCPv6 solicit", group6(packet::udp(546, 547, &[1; 60]), 2), NotService),
        (
            "a broadcast of the network",
            packet::udp(138, 138, &[0x11; 60]).v4(CLIENT_V4, Ipv4Addr::new(10, 9, 0, 255)).frame(),
            NotService,
        ),
        ("IGMPv2 with router alert", router_alert(2, &[0x16, 0, 0, 0, 224, 0, 0, 251]), OtherProtocol),
        ("IGMPv3 with router alert", router_alert(2, &[0x22, 0, 0, 0, 0, 0, 0, 1]), OtherProtocol),
        ("MLDv2 report behind router alert", report.frame(), OtherProtocol),
        ("MLD query behind router alert", query.frame(), OtherProtocol),
        (
            "a fragment to a group",
            data().v4(CLIENT_V4, Ipv4Addr::new(239, 1, 1, 1)).with(|ip| ip.fragment = 0x2000).frame(),
            Fragment,
        ),
    ]
}
