//! TCP, UDP and other transports of the host itself.

use lb_common::verdict::Reason::{Malformed, NotService, OtherProtocol};
use lb_tests::{
    packet::{self, ACK, FIN, RST, SYN},
    sctp,
};

use super::{HOST_V4, HOST_V6, Kind, host4, host6};
use crate::world::{CLIENT_V4, CLIENT_V6, v4, v6, vip4, vip6};

/// Maximum segment size, SACK permitted, timestamps, window scale: what a Linux client sends.
const SYN_OPTIONS: [u8; 20] = [2, 4, 0x05, 0xb4, 4, 2, 8, 10, 0, 1, 2, 3, 0, 0, 0, 0, 1, 3, 3, 7];
/// Two bytes of padding, timestamps, three blocks of SACK: as long as options can be.
const LONGEST_OPTIONS: [u8; 40] = {
    let mut options = [0; 40];
    (options[0], options[1]) = (1, 1);
    (options[2], options[3]) = (8, 10);
    (options[12], options[13]) = (1, 1);
    (options[14], options[15]) = (5, 26);
    options
};

pub fn tcp_of_the_host() -> Vec<Kind> {
    let ssh = |flags, payload: &[u8]| packet::tcp(50_022, 22, flags, payload);
    let options = |options| packet::tcp_with_options(50_022, 22, SYN, options, b"");
    vec![
        ("ssh v4, SYN", host4(ssh(SYN, b"")).frame(), NotService),
        ("ssh v6, SYN", host6(ssh(SYN, b"")).frame(), NotService),
        ("ssh v4, data", host4(ssh(ACK, b"SSH-2.0-x\r\n")).frame(), NotService),
        ("ssh v6, data", host6(ssh(ACK, b"SSH-2.0-x\r\n")).frame(), NotService),
        ("ssh v4, FIN", host4(ssh(FIN | ACK, b"")).frame(), NotService),
        ("ssh v6, RST", host6(ssh(RST, b"")).frame(), NotService),
        ("v4, options of a Linux SYN", host4(options(&SYN_OPTIONS)).frame(), NotService),
        ("v6, options of a Linux SYN", host6(options(&SYN_OPTIONS)).frame(), NotService),
        ("v4, the longest options", host4(options(&LONGEST_OPTIONS)).frame(), NotService),
        ("v6, the longest options", host6(options(&LONGEST_OPTIONS)).frame(), NotService),
        ("v4, no flags at all", host4(ssh(0, b"")).frame(), NotService),
        ("v4, every flag", host4(ssh(0xff, b"")).frame(), NotService),
        ("v4, port 0", host4(packet::tcp(0, 0, SYN, b"")).frame(), NotService),
        ("v6, port 0", host6(packet::tcp(0, 0, SYN, b"")).frame(), NotService),
        (
            "a service's port on the host's v4 address",
            host4(packet::tcp(1, 80, SYN, b"")).frame(),
            NotService,
        ),
        (
            "a service's port on the host's v6 address",
            host6(packet::tcp(1, 80, SYN, b"")).frame(),
            NotService,
        ),
        ("ssh on a service's v4 address", v4(ssh(SYN, b""), 1).frame(), NotService),
        ("ssh on a service's v6 address", v6(ssh(SYN, b""), 5).frame(), NotService),
        ("an answer to the host, v4", host4(packet::tcp(443, 50_000, ACK, b"ok")).frame(), NotService),
        ("an answer to the host, v6", host6(packet::tcp(443, 50_000, ACK, b"ok")).frame(), NotService),
        (
            "an answer that a host routes, v4",
            packet::tcp(80, 9, ACK, b"").v4(vip4(1), CLIENT_V4).frame(),
            NotService,
        ),
        (
            "an answer that a host routes, v6",
            packet::tcp(80, 9, ACK, b"").v6(vip6(5), CLIENT_V6).frame(),
            NotService,
        ),
        ("the host to itself, v4", packet::tcp(9, 22, SYN, b"").v4(HOST_V4, HOST_V4).frame(), NotService),
        ("the host to itself, v6", packet::tcp(9, 22, SYN, b"").v6(HOST_V6, HOST_V6).frame(), NotService),
    ]
}

pub fn udp_of_the_host() -> Vec<Kind> {
    let dns = || packet::udp(53, 40_053, b"answer");
    vec![
        ("a DNS answer v4", host4(dns()).frame(), NotService),
        ("a DNS answer v6", host6(dns()).frame(), NotService),
        ("NTP v4", host4(packet::udp(123, 123, &[0x24; 48])).frame(), NotService),
        ("NTP v6", host6(packet::udp(123, 123, &[0x24; 48])).frame(), NotService),
        ("a datagram without payload, v4", host4(packet::udp(1, 2, b"")).frame(), NotService),
        (
            "a datagram without checksum, v4",
            host4(packet::udp(1, 2, b"x")).ip().patch(26, &[0, 0]).frame(),
            NotService,
        ),
        ("WireGuard v4", host4(packet::udp(51_820, 51_820, &[4; 64])).frame(), NotService),
        ("WireGuard v6", host6(packet::udp(51_820, 51_820, &[4; 64])).frame(), NotService),
        ("VXLAN v4", host4(packet::udp(40_000, 4789, &[8; 58])).frame(), NotService),
        ("Geneve v6", host6(packet::udp(40_000, 6081, &[0; 58])).frame(), NotService),
        ("IKE v4", host4(packet::udp(500, 500, &[1; 80])).frame(), NotService),
        ("ESP in UDP v4", host4(packet::udp(4500, 4500, &[1; 80])).frame(), NotService),
        ("BFD v4", host4(packet::udp(49_152, 3784, &[0x20; 24])).frame(), NotService),
        ("BFD v6", host6(packet::udp(49_152, 3784, &[0x20; 24])).frame(), NotService),
        ("QUIC of the host v6", host6(packet::udp(443, 50_443, &[0x40; 40])).frame(), NotService),
    ]
}

pub fn sctp_of_the_host() -> Vec<Kind> {
    let chunk = |kind| packet::other(sctp::PROTOCOL, &sctp::packet(9, 5_060, kind, b"data"));
    vec![
        ("SCTP v4, INIT", host4(chunk(sctp::INIT)).frame(), NotService),
        ("SCTP v6, INIT", host6(chunk(sctp::INIT)).frame(), NotService),
        ("SCTP v4, DATA", host4(chunk(sctp::DATA)).frame(), NotService),
        ("SCTP v6, SHUTDOWN", host6(chunk(sctp::SHUTDOWN)).frame(), NotService),
        ("SCTP v4, an unknown chunk", host4(chunk(200)).frame(), NotService),
        ("SCTP without a chunk, v4", host4(packet::other(sctp::PROTOCOL, &[0; 12])).frame(), Malformed),
        ("SCTP without a chunk, v6", host6(packet::other(sctp::PROTOCOL, &[0; 12])).frame(), Malformed),
    ]
}

pub fn other_transports_of_the_host() -> Vec<Kind> {
    let kinds = [
        ("DCCP v4", 33),
        ("UDP-Lite v4", 136),
        ("OSPF v4", 89),
        ("EIGRP v4", 88),
        ("VRRP v4", 112),
        ("PIM v4", 103),
        ("RSVP v4", 46),
        ("HOPOPT as a protocol of v4", 0),
        ("an experiment v4", 253),
        ("the reserved protocol v4", 255),
    ];
    let kinds =
        kinds.map(|(name, number)| (name, host4(packet::other(number, &[0; 32])).frame(), OtherProtocol));
    let mut all = kinds.to_vec();
    let kinds = [
        ("DCCP v6", 33),
        ("UDP-Lite v6", 136),
        ("OSPF v6", 89),
        ("VRRP v6", 112),
        ("PIM v6", 103),
        ("ICMP of the other family in v6", 1),
        ("an experiment v6", 254),
    ];
    let kinds =
        kinds.map(|(name, number)| (name, host6(packet::other(number, &[0; 32])).frame(), OtherProtocol));
    all.extend(kinds);
    all
}

pub fn transports_that_are_cut_short() -> Vec<Kind> {
    let short = |protocol, length| packet::other(protocol, &vec![0; length]);
    vec![
        ("TCP of 19 bytes, v4", host4(short(6, 19)).frame(), Malformed),
        ("TCP of 19 bytes, v6", host6(short(6, 19)).frame(), Malformed),
        ("TCP of no bytes, v4", host4(short(6, 0)).frame(), Malformed),
        ("TCP of no bytes, v6", host6(short(6, 0)).frame(), Malformed),
        ("UDP of 7 bytes, v4", host4(short(17, 7)).frame(), Malformed),
        ("UDP of 7 bytes, v6", host6(short(17, 7)).frame(), Malformed),
        ("UDP of 7 bytes, padded to more, v4", host4(short(17, 7)).frame().padding(30), Malformed),
        ("ICMP of no bytes, v4", host4(short(1, 0)).frame(), OtherProtocol),
        ("ICMPv6 of no bytes", host6(short(58, 0)).frame(), OtherProtocol),
    ]
}
