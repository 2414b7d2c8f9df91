//! IPv4, options included.

use core::mem::offset_of;

use lb_common::{
    addr::{self, FAMILY_V4},
    flow::FlowKey,
    hash::{self, Multipliers},
    rate,
    verdict::Reason,
    wire::protocol,
};
use network_types::ip::Ipv4Hdr;

use super::{
    Flow, Packet,
    frame::{Frame, load},
    link::Layer3,
    transport,
};

/// Any of these bits makes it a fragment: "more fragments" and the offset.
pub const FRAGMENT_BITS: u16 = 0x3fff;

/// A flow's identity, in words as they stand in the packet.
#[derive(Clone, Copy)]
pub struct FlowV4 {
    /// Source in the low half, destination in the high half.
    pub addresses: u64,
    /// Source port in the low half, destination port in the high half.
    pub ports: u32,
    /// IP protocol number.
    pub protocol: u8,
}

impl FlowV4 {
    /// The flow of a key, which is of IPv4.
    #[inline(always)]
    pub fn of(key: &FlowKey) -> Self {
        let ([a, b, c, d], [e, f, g, h]) = (addr::v4(&key.source), addr::v4(&key.destination));
        Self {
            addresses: u64::from_le_bytes([a, b, c, d, e, f, g, h]),
            ports: super::join_ports(key.source_port, key.destination_port),
            protocol: key.protocol,
        }
    }
}

impl Flow for FlowV4 {
    const PROTOCOL_IN_IP: u8 = protocol::IPV4;
    const GROUP_PREFIX: u32 = rate::SOURCE_PREFIX_V4;

    #[inline(always)]
    fn hash(&self, keys: impl Multipliers) -> u64 {
        hash::flow_v4(keys, self.addresses, self.ports, self.protocol)
    }

    #[inline(always)]
    fn source_hash(&self, keys: impl Multipliers, prefix: u32) -> u64 {
        hash::source_v4(keys, self.addresses as u32, prefix)
    }

    #[inline(always)]
    fn key(&self) -> FlowKey {
        let [source_port, destination_port] = super::split_ports(self.ports);
        FlowKey {
            source: addr::from_v4((self.addresses as u32).to_le_bytes()),
            destination: addr::from_v4(((self.addresses >> 32) as u32).to_le_bytes()),
            source_port,
            destination_port,
            protocol: self.protocol,
            family: FAMILY_V4,
            reserved: [0; 2],
        }
    }
}

/// Parses the packet whose IPv4 header begins at `l3`. Its checksum is left to the receiver.
///
/// # Errors
/// The reason why it can't belong to a service.
#[inline(always)]
pub fn parse(frame: &Frame, l3: &Layer3) -> Result<Packet<FlowV4>, Reason> {
    let ip = l3.at;
    if !frame.holds(ip, Ipv4Hdr::LEN) {
        return Err(Reason::Malformed);
    }
    // SAFETY: the header without options was just checked to lie in the frame.
    let (vihl, traffic_class, length, fragment, protocol, addresses) = unsafe {
        (
            load::<u8>(ip),
            load::<u8>(ip + offset_of!(Ipv4Hdr, tos)),
            u32::from(u16::from_be(load(ip + offset_of!(Ipv4Hdr, tot_len)))),
            u16::from_be(load(ip + offset_of!(Ipv4Hdr, frags))),
            load::<u8>(ip + offset_of!(Ipv4Hdr, proto)),
            load::<u64>(ip + offset_of!(Ipv4Hdr, src_addr)),
        )
    };
    let header = usize::from(vihl & 0xf) * 4;
    let headers_fit = vihl >> 4 == 4 && header >= Ipv4Hdr::LEN && length >= header as u32;
    if !headers_fit || !frame.holds(ip, length as usize) {
        return Err(Reason::Malformed);
    }
    if fragment & FRAGMENT_BITS != 0 {
        return Err(Reason::Fragment);
    }
    let at = ip + header;
    let transport = transport(frame, at, length - header as u32, protocol)?;
    Ok(Packet {
        flow: FlowV4 { addresses, ports: transport.ports, protocol },
        tags: l3.tags,
        length,
        traffic_class,
        tcp_flags: transport.tcp_flags,
        transport_at: at - frame.start,
    })
}
