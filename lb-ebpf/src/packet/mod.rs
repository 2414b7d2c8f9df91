//! From a frame to checked values and back: the only pointer arithmetic of the packet path.
//!
//! Parsing copies everything that later stages decide by into a [`Packet`]; no pointer outlives it. Rewriting derives
//! its pointers anew, as the kernel demands after every change of the frame's head.

pub mod frame;
pub mod link;
pub mod v4;
pub mod v6;
pub mod quic;
pub mod sctp;
pub mod reader;
pub mod extensions;
pub mod fragment;
pub mod icmp;
pub mod rewrite;
pub mod tag;
pub mod translate;
pub mod too_big;
pub mod tunnel;
pub mod skb;

use aya_ebpf::programs::XdpContext;
use lb_common::{flow::FlowKey, hash::Multipliers, verdict::Reason, wire::protocol};
use network_types::{tcp::TcpHdr, udp::UdpHdr};

use frame::Frame;
pub use frame::frame_len;
pub use v4::FlowV4;
pub use v6::FlowV6;

/// Bit of the TCP flags: the connection begins.
pub const TCP_SYN: u8 = 1 << 1;
/// Bit of the TCP flags: the sender has no more to say.
pub const TCP_FIN: u8 = 1 << 0;
/// Bit of the TCP flags: the connection is gone.
pub const TCP_RST: u8 = 1 << 2;
/// Bit of the TCP flags: set on everything but a connection's first segment.
pub const TCP_ACK: u8 = 1 << 4;

/// Position of the flags in a TCP header; `network-types` has them as a bit field of the word before.
const TCP_FLAGS: usize = 13;

/// What the two families have in common: a flow that a service may own.
pub trait Flow: Copy {
    /// Next protocol of an outer header around a packet of this family.
    const PROTOCOL_IN_IP: u8;
    /// Leading bits of a client's address that it shares with the clients nearby.
    const GROUP_PREFIX: u32;

    /// Hash of addresses, ports and protocol.
    fn hash(&self, keys: impl Multipliers) -> u64;
    /// Hash of the first `prefix` bits of the client's address.
    fn source_hash(&self, keys: impl Multipliers, prefix: u32) -> u64;
    /// Key of the flow table.
    fn key(&self) -> FlowKey;
}

/// A packet of a flow, parsed: everything that is decided by, checked against the end of the frame.
#[derive(Clone, Copy)]
pub struct Packet<F> {
    /// Addresses, ports and protocol.
    pub flow: F,
    /// VLAN tags before the IP header, 0 to 2.
    pub tags: usize,
    /// Length of the IP packet, its header included. The frame may be longer, by padding.
    pub length: u32,
    /// IPv4 type of service or IPv6 traffic class: DSCP and ECN.
    pub traffic_class: u8,
    /// Flags of the TCP header, or those that say the same as SCTP's first chunk; zero for UDP.
    pub tcp_flags: u8,
    /// Where the transport header begins in the frame.
    pub transport_at: usize,
}

/// Whether a packet with these TCP flags, or SCTP's in their terms, opens a connection; those of UDP are 0.
#[inline(always)]
pub fn opens_tcp(tcp_flags: u8) -> bool {
    tcp_flags & (TCP_SYN | TCP_ACK | TCP_RST) == TCP_SYN
}

/// A parsed packet of either family.
pub enum Parsed {
    /// IPv4.
    V4(Packet<FlowV4>),
    /// IPv6.
    V6(Packet<FlowV6>),
}

/// Parses a frame.
///
/// # Errors
/// The reason why the packet is none that could belong to a service.
#[inline(always)]
pub fn parse(ctx: &XdpContext) -> Result<Parsed, Reason> {
    let frame = Frame::of(ctx);
    let l3 = link::parse(&frame)?;
    if l3.ether_type == link::IPV4 {
        Ok(Parsed::V4(v4::parse(&frame, &l3)?))
    } else if l3.ether_type == link::IPV6 {
        Ok(Parsed::V6(v6::parse(&frame, &l3)?))
    } else {
        Err(Reason::NotIp)
    }
}

/// Ports (both in one word, as loaded) and TCP flags, or what amounts to them.
struct Transport {
    ports: u32,
    tcp_flags: u8,
}

/// Parses the transport header at address `at`, of which `room` bytes belong to the IP packet.
#[inline(always)]
fn transport(frame: &Frame, at: usize, room: u32, protocol: u8) -> Result<Transport, Reason> {
    match protocol {
        protocol::TCP => {
            if room < TcpHdr::LEN as u32 || !frame.holds(at, TcpHdr::LEN) {
                return Err(Reason::Malformed);
            }
            // SAFETY: the whole header was checked to lie in the frame.
            Ok(unsafe { Transport { ports: frame::load(at), tcp_flags: frame::load(at + TCP_FLAGS) } })
        }
        protocol::UDP => {
            if room < UdpHdr::LEN as u32 || !frame.holds(at, UdpHdr::LEN) {
                return Err(Reason::Malformed);
            }
            // SAFETY: the whole header was checked to lie in the frame.
            Ok(unsafe { Transport { ports: frame::load(at), tcp_flags: 0 } })
        }
        protocol::SCTP => {
            if room < sctp::LEN as u32 || !frame.holds(at, sctp::LEN) {
                return Err(Reason::Malformed);
            }
            // SAFETY: the headers were checked to lie in the frame.
            Ok(unsafe { Transport { ports: frame::load(at), tcp_flags: sctp::as_tcp_flags(at) } })
        }
        _ => Err(Reason::OtherProtocol),
    }
}

/// Source and destination port from the word they were loaded in.
#[inline(always)]
fn split_ports(ports: u32) -> [[u8; 2]; 2] {
    [(ports as u16).to_le_bytes(), ((ports >> 16) as u16).to_le_bytes()]
}

/// The opposite.
#[inline(always)]
fn join_ports([a, b]: [u8; 2], [c, d]: [u8; 2]) -> u32 {
    u32::from_le_bytes([a, b, c, d])
}
