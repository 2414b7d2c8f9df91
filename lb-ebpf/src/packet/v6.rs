//! IPv6 and its extension headers.

use core::mem::offset_of;

use lb_common::{
    addr::FAMILY_V6,
    flow::FlowKey,
    hash::{self, Multipliers},
    rate,
    verdict::Reason,
    wire::protocol,
};
use network_types::ip::Ipv6Hdr;

use super::{
    Flow, Packet,
    frame::{Frame, load},
    link::Layer3,
    transport,
};

/// Extension headers that are followed. RFC 8200 asks for no more than one of each, destination options twice; who
/// sends more is passed to the host.
const MAX_EXTENSIONS: usize = 5;

/// A flow's identity, in words as they stand in the packet.
#[derive(Clone, Copy)]
pub struct FlowV6 {
    /// Client address.
    pub source: [u64; 2],
    /// Service address.
    pub destination: [u64; 2],
    /// Source port in the low half, destination port in the high half.
    pub ports: u32,
    /// Protocol number of the transport header.
    pub protocol: u8,
}

impl FlowV6 {
    /// The flow of a key, which is of IPv6.
    #[inline(always)]
    pub fn of(key: &FlowKey) -> Self {
        Self {
            source: words(&key.source),
            destination: words(&key.destination),
            ports: super::join_ports(key.source_port, key.destination_port),
            protocol: key.protocol,
        }
    }
}

impl Flow for FlowV6 {
    const PROTOCOL_IN_IP: u8 = protocol::IPV6;
    const GROUP_PREFIX: u32 = rate::SOURCE_PREFIX_V6;

    #[inline(always)]
    fn hash(&self, keys: impl Multipliers) -> u64 {
        hash::flow_v6(keys, self.source, self.destination, self.ports, self.protocol)
    }

    #[inline(always)]
    fn source_hash(&self, keys: impl Multipliers, prefix: u32) -> u64 {
        hash::source_v6(keys, self.source, prefix)
    }

    #[inline(always)]
    fn key(&self) -> FlowKey {
        let [source_port, destination_port] = super::split_ports(self.ports);
        FlowKey {
            source: raw(self.source),
            destination: raw(self.destination),
            source_port,
            destination_port,
            protocol: self.protocol,
            family: FAMILY_V6,
            reserved: [0; 2],
        }
    }
}

/// The bytes of an address that was loaded as two words.
#[inline(always)]
fn raw([high, low]: [u64; 2]) -> [u8; 16] {
    (u128::from(high) | u128::from(low) << 64).to_le_bytes()
}

/// The opposite.
#[inline(always)]
fn words(address: &[u8; 16]) -> [u64; 2] {
    let both = u128::from_le_bytes(*address);
    [both as u64, (both >> 64) as u64]
}

/// Parses the packet whose IPv6 header begins at `l3`.
///
/// # Errors
/// The reason why it can't belong to a service. A fragment header is [`Reason::Fragment`] even where it stands in a
/// packet that is whole (RFC 6946): the host treats those alike.
#[inline(always)]
pub fn parse(frame: &Frame, l3: &Layer3) -> Result<Packet<FlowV6>, Reason> {
    let ip = l3.at;
    if !frame.holds(ip, Ipv6Hdr::LEN) {
        return Err(Reason::Malformed);
    }
    // SAFETY: the header was just checked to lie in the frame.
    let (head, payload, protocol, source, destination) = unsafe {
        (
            u16::from_be(load(ip)),
            u32::from(u16::from_be(load(ip + offset_of!(Ipv6Hdr, payload_len)))),
            load::<u8>(ip + offset_of!(Ipv6Hdr, next_hdr)),
            load::<[u64; 2]>(ip + offset_of!(Ipv6Hdr, src_addr)),
            load::<[u64; 2]>(ip + offset_of!(Ipv6Hdr, dst_addr)),
        )
    };
    if head >> 12 != 6 || !frame.holds(ip, Ipv6Hdr::LEN + payload as usize) {
        return Err(Reason::Malformed);
    }
    let upper = skip_extensions(frame, ip + Ipv6Hdr::LEN, payload, protocol)?;
    let transport = transport(frame, upper.at, upper.room, upper.protocol)?;
    Ok(Packet {
        flow: FlowV6 { source, destination, ports: transport.ports, protocol: upper.protocol },
        tags: l3.tags,
        length: Ipv6Hdr::LEN as u32 + payload,
        traffic_class: (head >> 4) as u8,
        tcp_flags: transport.tcp_flags,
        transport_at: upper.at - frame.start,
    })
}

/// The header after the extension headers.
struct Upper {
    at: usize,
    /// Bytes of the payload that remain for it.
    room: u32,
    protocol: u8,
}

/// Follows the extension headers, of which the first begins at address `at` if there is any.
#[inline(always)]
fn skip_extensions(frame: &Frame, mut at: usize, mut room: u32, mut protocol: u8) -> Result<Upper, Reason> {
    for _ in 0..MAX_EXTENSIONS {
        if protocol == protocol::TCP || protocol == protocol::UDP {
            return Ok(Upper { at, room, protocol });
        }
        // What a unit of the length field counts for, and what the field leaves out.
        let (unit, base) = match protocol {
            protocol::HOP_BY_HOP | protocol::ROUTING | protocol::DESTINATION_OPTIONS => (8, 8),
            protocol::AUTHENTICATION => (4, 8),
            protocol::FRAGMENT => return Err(Reason::Fragment),
            _ => return Ok(Upper { at, room, protocol }),
        };
        if !frame.holds(at, 8) {
            return Err(Reason::Malformed);
        }
        // SAFETY: the header's first eight bytes were just checked to lie in the frame.
        let (next, units) = unsafe { (load::<u8>(at), load::<u8>(at + 1)) };
        let length = u32::from(units) * unit + base;
        if length > room {
            return Err(Reason::Malformed);
        }
        at += length as usize;
        room -= length;
        protocol = next;
    }
    match protocol {
        protocol::TCP | protocol::UDP => Ok(Upper { at, room, protocol }),
        protocol::HOP_BY_HOP
        | protocol::ROUTING
        | protocol::DESTINATION_OPTIONS
        | protocol::AUTHENTICATION
        | protocol::FRAGMENT => Err(Reason::ExtensionHeaders),
        _ => Ok(Upper { at, room, protocol }),
    }
}
