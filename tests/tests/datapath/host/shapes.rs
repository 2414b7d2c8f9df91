//! Options, fragments and extension headers of the host's own packets, and headers that contradict themselves.

use lb_common::verdict::Reason::{ExtensionHeaders, Fragment, Malformed, NotService, OtherProtocol};
use lb_tests::packet::{self, SYN};

use super::{Kind, host4, host6, icmp_v4, icmp_v6};

pub fn options_of_ipv4() -> Vec<Kind> {
    let with =
        |options: &[u8]| host4(packet::tcp(9, 22, SYN, b"")).with(|ip| ip.options = options.to_vec()).frame();
    let route: Vec<u8> = [&[0x07, 39, 4][..], &[0; 36], &[0]].concat();
    vec![
        ("no-operations", with(&[1; 4]), NotService),
        ("end of options", with(&[0; 4]), NotService),
        ("record route, the longest", with(&route), NotService),
        ("timestamp", with(&[0x44, 12, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0]), NotService),
        ("loose source route", with(&[0x83, 7, 4, 10, 0, 0, 1, 0]), NotService),
        ("strict source route", with(&[0x89, 7, 4, 10, 0, 0, 1, 0]), NotService),
        ("router alert", with(&[0x94, 4, 0, 0]), NotService),
        ("security label", with(&[0x86, 6, 0, 0, 0, 1, 0, 0]), NotService),
        ("an option of length 0", with(&[0x44, 0, 0, 0]), NotService),
        ("an option longer than the header", with(&[0x44, 40, 5, 0]), NotService),
        (
            "ping with options",
            host4(icmp_v4(8, 0, [0; 4], b"")).with(|ip| ip.options = vec![1; 8]).frame(),
            OtherProtocol,
        ),
    ]
}

pub fn fragments_of_the_host() -> Vec<Kind> {
    let tcp = || host4(packet::tcp(9, 22, SYN, &[1; 40]));
    let at = |fragment| tcp().with(|ip| ip.fragment = fragment).frame();
    let ping = host4(icmp_v4(8, 0, [0; 4], &[1; 64]));
    let atomic = |segment: packet::Segment| host6(segment).extension(44, 8);
    let offset = |high: u8, low: u8| atomic(packet::udp(9, 9, &[1; 64])).ip().patch(42, &[high, low]).frame();
    vec![
        ("the first, v4", at(0x2000), Fragment),
        ("one of the middle, v4", at(0x2001), Fragment),
        ("the last, v4", at(0x0005), Fragment),
        ("the farthest there can be, v4", at(0x1fff), Fragment),
        ("first and not to be fragmented, v4", at(0x6000), Fragment),
        ("not to be fragmented, v4", at(0x4000), NotService),
        ("the reserved bit, v4", at(0x8000), NotService),
        ("a ping's first, v4", ping.clone().with(|ip| ip.fragment = 0x2000).frame(), Fragment),
        ("a ping's last, v4", ping.with(|ip| ip.fragment = 8).frame(), Fragment),
        (
            "too short for a header, v4",
            host4(packet::other(6, b"")).with(|ip| ip.fragment = 3).frame(),
            Fragment,
        ),
        (
            "a protocol of none, v4",
            host4(packet::other(99, &[0; 8])).with(|ip| ip.fragment = 1).frame(),
            Fragment,
        ),
        ("atomic, TCP v6", atomic(packet::tcp(9, 22, SYN, b"")).frame(), Fragment),
        ("atomic, UDP v6", atomic(packet::udp(9, 9, b"x")).frame(), Fragment),
        ("atomic, ping v6", atomic(icmp_v6(128, 0, [0; 4], b"x")).frame(), Fragment),
        ("the first, v6", offset(0, 1), Fragment),
        ("one of the middle, v6", offset(0, 9), Fragment),
        ("the last, v6", offset(0, 8), Fragment),
        ("the farthest there can be, v6", offset(0xff, 0xf8), Fragment),
        (
            "behind hop-by-hop options, v6",
            host6(packet::udp(9, 9, b"")).extension(0, 8).extension(44, 8).frame(),
            Fragment,
        ),
        (
            "with options after it, v6",
            host6(packet::udp(9, 9, b"")).extension(44, 8).extension(60, 8).frame(),
            Fragment,
        ),
    ]
}

pub fn extension_headers_of_the_host() -> Vec<Kind> {
    let tcp = || host6(packet::tcp(9, 22, SYN, b""));
    let ping = || host6(icmp_v6(128, 0, [0; 4], b"x"));
    let many = |count: usize| (1..count).fold(tcp().extension(0, 8), |packet, _| packet.extension(60, 8));
    vec![
        ("hop-by-hop", tcp().extension(0, 8).frame(), NotService),
        ("hop-by-hop of 2048 bytes", tcp().extension(0, 2_048).frame(), NotService),
        ("destination options", tcp().extension(60, 24).frame(), NotService),
        ("routing", tcp().extension(43, 40).frame(), NotService),
        (
            "segment routing with a segment",
            tcp().extension(43, 24).ip().patch(42, &[4, 1]).frame(),
            NotService,
        ),
        ("authentication", tcp().extension(51, 24).frame(), NotService),
        ("five", many(5).frame(), NotService),
        ("six", many(6).frame(), ExtensionHeaders),
        ("ten", many(10).frame(), ExtensionHeaders),
        ("ping behind options", ping().extension(60, 8).frame(), OtherProtocol),
        ("ESP behind options", host6(packet::other(50, &[1; 40])).extension(60, 8).frame(), OtherProtocol),
        ("no next header", host6(packet::other(59, b"")).frame(), OtherProtocol),
        ("no next header, but bytes", host6(packet::other(59, b"bytes")).frame(), OtherProtocol),
        (
            "no next header behind options",
            host6(packet::other(59, b"")).extension(0, 8).frame(),
            OtherProtocol,
        ),
        ("mobility", host6(packet::other(135, &[59, 0, 1, 0, 0, 0, 0, 0])).frame(), OtherProtocol),
        (
            "host identity protocol",
            host6(packet::other(139, &[59, 4, 0, 0, 0, 0, 0, 0])).frame(),
            OtherProtocol,
        ),
        ("shim6", host6(packet::other(140, &[59, 0, 0, 0, 0, 0, 0, 0])).frame(), OtherProtocol),
        (
            "an option that ends beyond the packet",
            tcp().extension(60, 8).ip().patch(41, &[4]).frame(),
            Malformed,
        ),
        (
            "options and nothing after them",
            host6(packet::other(60, &[6, 0, 0, 0, 0, 0, 0, 0])).frame(),
            Malformed,
        ),
        ("options of four bytes", host6(packet::other(60, &[6, 0, 0, 0])).frame(), Malformed),
    ]
}

pub fn contradictions_to_the_host() -> Vec<Kind> {
    let (tcp4, tcp6) =
        (|| host4(packet::tcp(9, 22, SYN, b"")).ip(), || host6(packet::tcp(9, 22, SYN, b"")).ip());
    vec![
        ("IPv4 of version 0", tcp4().patch(0, &[0x05]).frame(), Malformed),
        ("IPv4 of version 15", tcp4().patch(0, &[0xf5]).frame(), Malformed),
        ("IPv6 of version 0", tcp6().patch(0, &[0]).frame(), Malformed),
        ("IPv4 with a header of 4 bytes", tcp4().patch(0, &[0x41]).frame(), Malformed),
        ("IPv4 of total length 0, as offloads leave it", tcp4().patch(2, &[0, 0]).frame(), Malformed),
        ("IPv6 of payload length 0, as jumbograms have it", tcp6().patch(4, &[0, 0]).frame(), Malformed),
        ("IPv4 longer than its frame", tcp4().patch(2, &[0, 41]).frame(), Malformed),
        ("IPv6 longer than its frame", tcp6().patch(4, &[0, 21]).frame(), Malformed),
        ("IPv4 with a wrong checksum", tcp4().patch(10, &[1, 2]).frame(), NotService),
        ("TCP with a wrong checksum, v4", tcp4().patch(36, &[1, 2]).frame(), NotService),
        ("TCP with a wrong checksum, v6", tcp6().patch(56, &[1, 2]).frame(), NotService),
        ("TCP whose header says 0 bytes, v4", tcp4().patch(32, &[0]).frame(), NotService),
        ("TCP whose header is longer than the packet, v6", tcp6().patch(52, &[0xf0]).frame(), NotService),
        (
            "UDP whose length is 0, v4",
            host4(packet::udp(9, 9, b"x")).ip().patch(24, &[0, 0]).frame(),
            NotService,
        ),
        (
            "UDP longer than its packet, v6",
            host6(packet::udp(9, 9, b"x")).ip().patch(44, &[1, 0]).frame(),
            NotService,
        ),
        ("TTL 0", host4(packet::tcp(9, 22, SYN, b"")).with(|ip| ip.ttl = 0).frame(), NotService),
        ("hop limit 0", host6(packet::tcp(9, 22, SYN, b"")).with(|ip| ip.hop_limit = 0).frame(), NotService),
    ]
}
