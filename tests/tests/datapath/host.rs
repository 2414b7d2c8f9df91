//! The host is never harmed: every kind of traffic that is not for a service is passed as it came in, beside services of
//! both families. Each row runs bare, with a VLAN tag and with two.

mod transport;
mod control;
mod link;
mod tunnels;
mod shapes;
mod wire;

use std::net::{Ipv4Addr, Ipv6Addr};

use lb_common::verdict::Reason;
use lb_tests::packet::{self, Frame, Segment, V4, V6};

use crate::world::{CLIENT_V4, CLIENT_V6, balancer, check, ends};

/// The balancer's own address, which is no service's.
pub const HOST_V4: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 250);
/// The same for IPv6.
pub const HOST_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 250);

/// A kind of traffic: its name, a packet of it, and what it is counted as.
pub type Kind = (&'static str, Frame, Reason);

/// From the client to the host.
pub fn host4(segment: Segment) -> V4 {
    segment.v4(CLIENT_V4, HOST_V4)
}

/// From the client to the host.
pub fn host6(segment: Segment) -> V6 {
    segment.v6(CLIENT_V6, HOST_V6)
}

/// An ICMP message: type, code, the four bytes after its checksum, the rest.
pub fn icmp_v4(kind: u8, code: u8, word: [u8; 4], rest: &[u8]) -> Segment {
    packet::icmp(kind, code, &[&word, rest].concat())
}

/// The same of ICMPv6.
pub fn icmp_v6(kind: u8, code: u8, word: [u8; 4], rest: &[u8]) -> Segment {
    packet::icmpv6(kind, code, &[&word, rest].concat())
}

/// How each kind is sent: bare, with a VLAN tag and with two.
pub const WRAPS: [fn(&Frame) -> Frame; 3] = [
    Frame::clone,
    |frame| frame.clone().tag(0x8100, 0x2064),
    |frame| frame.clone().tag(0x88a8, 0x1007).tag(0x8100, 0x0064),
];

/// Checks that each kind is passed unchanged, also behind tags.
fn passes(kinds: &[Kind]) {
    let mut balancer = balancer();
    for wrap in WRAPS {
        let rows: Vec<_> =
            kinds.iter().map(|(name, frame, reason)| ends(name, &wrap(frame), *reason)).collect();
        assert!(
            rows.iter().all(|row| row.action == lb_tests::runner::Action::Pass),
            "a kind that is dropped"
        );
        check(rows, |frame| balancer.run(frame).unwrap());
    }
}

/// A test for each list of kinds, and all lists together.
macro_rules! kinds {
    ($($module:ident: $($list:ident),+;)+) => {
        $($(
            #[test]
            fn $list() {
                passes(&$module::$list());
            }
        )+)+

        /// Every kind there is.
        pub fn all() -> Vec<Kind> {
            [$($($module::$list()),+),+].concat()
        }
    };
}

kinds! {
    control: pings_and_errors_to_the_host, neighbours_and_routers, groups_and_broadcasts;
    link: protocols_of_the_link, sizes_out_of_the_ordinary;
    shapes: options_of_ipv4, fragments_of_the_host, extension_headers_of_the_host, contradictions_to_the_host;
    transport: tcp_of_the_host, udp_of_the_host, sctp_of_the_host, other_transports_of_the_host, transports_that_are_cut_short;
    tunnels: tunnels_of_the_host;
}
