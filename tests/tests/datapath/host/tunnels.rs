//! Tunnels that end on the host or pass it, whatever they carry: also packets of a service.

use lb_common::verdict::Reason::{NotService, OtherProtocol};
use lb_tests::packet;

use super::{HOST_V4, HOST_V6, Kind, host4, host6};
use crate::world::{CLIENT_V4, CLIENT_V6, data, v4, v6, vip4, vip6};

pub fn tunnels_of_the_host() -> Vec<Kind> {
    let (inner4, inner6) = (v4(data(), 1).ip(), v6(data(), 5).ip());
    let gre = |protocol: [u8; 2], inner: &packet::Ip| {
        packet::other(47, &[&[0, 0], &protocol[..], inner.bytes()].concat())
    };
    let in_udp =
        |port, head: &[u8], inner: &packet::Ip| packet::udp(40_000, port, &[head, inner.bytes()].concat());
    vec![
        ("4in4 of the host", inner4.in_v4(CLIENT_V4, HOST_V4, 0).frame(), OtherProtocol),
        ("6in4 of the host", inner6.in_v4(CLIENT_V4, HOST_V4, 0).frame(), OtherProtocol),
        ("4in6 of the host", inner4.in_v6(CLIENT_V6, HOST_V6, 0, 7).frame(), OtherProtocol),
        ("6in6 of the host", inner6.in_v6(CLIENT_V6, HOST_V6, 0, 7).frame(), OtherProtocol),
        ("4in4 to a service's address", inner4.in_v4(CLIENT_V4, vip4(1), 0).frame(), OtherProtocol),
        ("6in6 to a service's address", inner6.in_v6(CLIENT_V6, vip6(5), 0, 7).frame(), OtherProtocol),
        (
            "4in4 in 4in4",
            inner4.in_v4(CLIENT_V4, HOST_V4, 0).ip().in_v4(CLIENT_V4, HOST_V4, 0).frame(),
            OtherProtocol,
        ),
        ("GRE v4 with IPv4 inside", host4(gre([8, 0], &inner4)).frame(), OtherProtocol),
        ("GRE v4 with IPv6 inside", host4(gre([0x86, 0xdd], &inner6)).frame(), OtherProtocol),
        ("GRE v6 with IPv4 inside", host6(gre([8, 0], &inner4)).frame(), OtherProtocol),
        ("GRE v6 with Ethernet inside", host6(gre([0x65, 0x58], &inner6)).frame(), OtherProtocol),
        ("ESP v4", host4(packet::other(50, &[0xee; 120])).frame(), OtherProtocol),
        ("ESP v6", host6(packet::other(50, &[0xee; 120])).frame(), OtherProtocol),
        ("AH v4", host4(packet::other(51, &[6, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1])).frame(), OtherProtocol),
        ("L2TP v4", host4(packet::other(115, &[0; 40])).frame(), OtherProtocol),
        ("L2TP v6", host6(packet::other(115, &[0; 40])).frame(), OtherProtocol),
        ("EtherIP v4", host4(packet::other(97, &[0x30; 40])).frame(), OtherProtocol),
        ("MPLS in IP v4", host4(packet::other(137, &[0; 40])).frame(), OtherProtocol),
        ("IPComp v4", host4(packet::other(108, &[4; 40])).frame(), OtherProtocol),
        ("FOU v4 with a service's packet inside", host4(in_udp(5555, b"", &inner4)).frame(), NotService),
        (
            "GUE v6 with a service's packet inside",
            host6(in_udp(6080, &[0, 41, 0, 0], &inner6)).frame(),
            NotService,
        ),
        ("L2TP in UDP v4", host4(in_udp(1701, &[0x40; 8], &inner4)).frame(), NotService),
        ("GTP v4", host4(in_udp(2152, &[0x30, 0xff, 0, 44, 0, 0, 0, 1], &inner4)).frame(), NotService),
    ]
}
