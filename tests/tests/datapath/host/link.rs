//! What is not IP, and frames of unusual size.

use lb_common::verdict::Reason::{Malformed, NotIp, NotService};
use lb_tests::packet::{self, ACK, SYN, raw_frame};

use super::{Kind, host4, host6};
use crate::world::{balancer, check, data, ends, v4, v6};

pub fn protocols_of_the_link() -> Vec<Kind> {
    const PEER: [u8; 6] = [2, 0, 0, 0, 0, 0xbb];
    let stp = raw_frame(38, &[&[0x42, 0x42, 3], &[0; 35][..], &[0; 8]].concat());
    let snap = |oui: [u8; 3], protocol: [u8; 2]| {
        raw_frame(60, &[&[0xaa, 0xaa, 3], &oui[..], &protocol, &[1; 52]].concat())
    };
    vec![
        ("LLDP", raw_frame(0x88cc, &[2; 60]).macs([1, 0x80, 0xc2, 0, 0, 0xe], PEER), NotIp),
        ("STP in a frame with a length", stp.macs([1, 0x80, 0xc2, 0, 0, 0], PEER), NotIp),
        ("CDP in SNAP", snap([0, 0, 0xc], [0x20, 0]), NotIp),
        ("PVST in SNAP", snap([0, 0, 0xc], [1, 0xb]), NotIp),
        ("IPv4 in SNAP, which nobody uses", snap([0, 0, 0], [8, 0]), NotIp),
        ("IS-IS in a frame with a length", raw_frame(1500, &[0xfe; 1500]), NotIp),
        ("length 0", raw_frame(0, &[0; 46]), NotIp),
        ("LACP", raw_frame(0x8809, &[1; 110]).macs([1, 0x80, 0xc2, 0, 0, 2], PEER), NotIp),
        (
            "a pause frame",
            raw_frame(0x8808, &[0, 1, 0, 9]).padding(42).macs([1, 0x80, 0xc2, 0, 0, 1], PEER),
            NotIp,
        ),
        ("802.1X", raw_frame(0x888e, &[2; 46]), NotIp),
        ("MACsec", raw_frame(0x88e5, &[0x2c; 64]), NotIp),
        ("MPLS", raw_frame(0x8847, &[0, 0, 0x11, 0x40, 0x45, 0, 0, 20]), NotIp),
        ("MPLS multicast", raw_frame(0x8848, &[0; 46]), NotIp),
        ("PPPoE discovery", raw_frame(0x8863, &[0x11, 9, 0, 0, 0, 4, 1, 1, 0, 0]), NotIp),
        ("PPPoE session with IPv4 inside", raw_frame(0x8864, &[0x11, 0, 0, 1, 0, 40, 0, 0x21, 0x45]), NotIp),
        ("PTP over Ethernet", raw_frame(0x88f7, &[0; 46]), NotIp),
        ("802.1ag", raw_frame(0x8902, &[0; 60]), NotIp),
        ("FCoE", raw_frame(0x8906, &[0; 60]), NotIp),
        ("RoCE", raw_frame(0x8915, &[0; 60]), NotIp),
        ("Wake-on-LAN", raw_frame(0x0842, &[0xff; 102]), NotIp),
        ("provider backbone bridging", raw_frame(0x88e7, &[0; 60]), NotIp),
        ("the oldest QinQ tag, 0x9100", raw_frame(0x9100, &[0; 60]), NotIp),
        ("batman-adv", raw_frame(0x4305, &[0; 60]), NotIp),
        ("IPX", raw_frame(0x8137, &[0xff; 46]), NotIp),
        ("EtherType 0xffff", raw_frame(0xffff, &[0; 46]), NotIp),
        ("a service's packet under another EtherType", raw_frame(0x0801, v4(data(), 1).ip().bytes()), NotIp),
    ]
}

pub fn sizes_out_of_the_ordinary() -> Vec<Kind> {
    let large = |length| packet::tcp(50_022, 22, ACK, &vec![3; length]);
    vec![
        ("v4, jumbo", host4(large(3_300)).frame(), NotService),
        ("v6, jumbo", host6(large(3_280)).frame(), NotService),
        ("v4, exactly 1500 bytes", host4(large(1_460)).frame(), NotService),
        ("v6, exactly 1500 bytes", host6(large(1_440)).frame(), NotService),
        ("v4, padded to the least frame", host4(packet::tcp(9, 22, SYN, b"")).frame().padding(6), NotService),
        ("v6, padded by a card that aligns", host6(packet::udp(9, 9, b"")).frame().padding(2), NotService),
        (
            "v4, padded by hundreds of bytes",
            host4(packet::tcp(9, 22, SYN, b"")).frame().padding(700),
            NotService,
        ),
        ("a runt with an EtherType of IPv4", raw_frame(0x0800, b""), Malformed),
        ("a runt with an EtherType of IPv6", raw_frame(0x86dd, b""), Malformed),
        ("a runt of ARP", raw_frame(0x0806, b""), NotIp),
        ("half an IPv4 header", raw_frame(0x0800, &[0x45; 10]), Malformed),
        ("half an IPv6 header", raw_frame(0x86dd, &[0x60; 20]), Malformed),
        ("nothing but padding, IPv4", raw_frame(0x0800, &[0; 46]), Malformed),
        ("nothing but padding, IPv6", raw_frame(0x86dd, &[0; 46]), Malformed),
    ]
}

#[test]
fn tags_out_of_the_ordinary() {
    let ssh4 = || host4(packet::tcp(9, 22, SYN, b"")).frame();
    let ssh6 = || host6(packet::tcp(9, 22, SYN, b"")).frame();
    let three = |frame: packet::Frame| frame.tag(0x88a8, 1).tag(0x8100, 2).tag(0x8100, 3);
    let rows = vec![
        ends("priority tag, v4", &ssh4().tag(0x8100, 0xe000), NotService),
        ends("priority tag, v6", &ssh6().tag(0x8100, 0xe000), NotService),
        ends("service tag alone, v4", &ssh4().tag(0x88a8, 5), NotService),
        ends("service tag alone, v6", &ssh6().tag(0x88a8, 5), NotService),
        ends("tags in the wrong order", &ssh4().tag(0x8100, 5).tag(0x88a8, 6), NotService),
        ends("the reserved VLAN", &ssh4().tag(0x8100, 0x0fff), NotService),
        ends("three tags, v4", &three(ssh4()), NotIp),
        ends("three tags, v6", &three(ssh6()), NotIp),
        ends("a service's packet behind three tags", &three(v6(data(), 5).frame()), NotIp),
        ends("a tag and nothing after it", &raw_frame(0x8100, b""), Malformed),
        ends("half a tag", &raw_frame(0x8100, &[0, 1]), Malformed),
        ends("a tag and half another", &raw_frame(0x8100, &[0, 1, 0x81, 0, 0]), Malformed),
    ];
    let mut balancer = balancer();
    check(rows, |frame| balancer.run(frame).unwrap());
}
