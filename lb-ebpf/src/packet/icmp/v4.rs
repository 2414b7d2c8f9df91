//! ICMP (RFC 792).

use aya_ebpf::programs::XdpContext;
use lb_common::wire::protocol;
use network_types::ip::Ipv4Hdr;

use super::{
    super::{FlowV4, Packet, reader, reader::Network},
    EchoV4, HEADER, Handler, Head, reversed,
};

const ECHO_REQUEST: u8 = 8;
/// Errors: "destination unreachable" (with "fragmentation needed"), "time exceeded", "parameter problem".
const UNREACHABLE: u8 = 3;
const TIME_EXCEEDED: u8 = 11;
const PARAMETER_PROBLEM: u8 = 12;
/// Bits of the position in the whole packet; ports are in its first part.
const FRAGMENT_OFFSET: u16 = 0x1fff;

/// An IPv4 header without its options, in words as they stand in the packet.
pub(in crate::packet) struct Header([u32; 5]);

impl Header {
    #[inline(always)]
    pub(in crate::packet) fn load(ctx: &XdpContext, at: u32, end: u32) -> Option<Self> {
        reader::load(ctx, at, end).map(Self).filter(|header| header.0[0] as u8 >> 4 == 4)
    }

    /// Its length with options, in bytes.
    #[inline(always)]
    pub(in crate::packet) fn length(&self) -> u32 {
        (self.0[0] & 0xf) * 4
    }

    #[inline(always)]
    pub(in crate::packet) fn traffic_class(&self) -> u8 {
        (self.0[0] >> 8) as u8
    }

    /// Length of the packet.
    #[inline(always)]
    pub(in crate::packet) fn total_length(&self) -> u32 {
        u32::from(u16::from_be((self.0[0] >> 16) as u16))
    }

    #[inline(always)]
    pub(in crate::packet) fn fragment_offset(&self) -> u16 {
        u16::from_be((self.0[1] >> 16) as u16) & FRAGMENT_OFFSET
    }

    /// Identification, as loaded.
    #[inline(always)]
    pub(in crate::packet) fn id(&self) -> u32 {
        self.0[1] & 0xffff
    }

    #[inline(always)]
    pub(in crate::packet) fn protocol(&self) -> u8 {
        (self.0[2] >> 8) as u8
    }

    #[inline(always)]
    pub(in crate::packet) fn addresses(&self) -> u64 {
        u64::from(self.0[3]) | u64::from(self.0[4]) << 32
    }
}

/// Parses the packet whose IPv4 header begins at `network`, which is known to fit in the frame, and hands a message
/// that may be for a service to who handles it. None: it is no such message.
#[inline(always)]
pub fn parse<T>(ctx: &XdpContext, network: Network, handler: impl Handler<FlowV4, EchoV4, T>) -> Option<T> {
    let ip = network.at;
    let header = Header::load(ctx, ip, u32::MAX)?;
    if header.protocol() != protocol::ICMP {
        return None;
    }
    let end = ip + header.total_length();
    let at = ip + header.length();
    let head: Head = reader::load(ctx, at, end)?;
    match head.kind {
        // Options may want more of an answer than an address: the host's matter.
        ECHO_REQUEST if head.code == 0 && header.length() == Ipv4Hdr::LEN as u32 && at + HEADER <= end => {
            let (words, checksum) = (header.0, head.checksum);
            Some(handler.echo(EchoV4 { ip, words: [words[2], words[3], words[4]], at, checksum }))
        }
        UNREACHABLE | TIME_EXCEEDED | PARAMETER_PROBLEM => {
            let flow = quoted(ctx, at + HEADER, end)?;
            // Errors go to who sent the packet, and that was the service.
            if (flow.addresses >> 32) as u32 != header.0[4] {
                return None;
            }
            Some(handler.error(Packet {
                flow,
                tags: network.tags,
                length: header.total_length(),
                traffic_class: header.traffic_class(),
                tcp_flags: 0,
                transport_at: at as usize,
            }))
        }
        _ => None,
    }
}

/// The flow that the packet whose header is quoted at `at` answers: addresses and ports the other way round.
#[inline(always)]
fn quoted(ctx: &XdpContext, at: u32, end: u32) -> Option<FlowV4> {
    let header = Header::load(ctx, at, end)?;
    if header.length() < Ipv4Hdr::LEN as u32 || header.fragment_offset() != 0 {
        return None;
    }
    let ports: u32 = reader::load(ctx, at + header.length(), end)?;
    let addresses = header.addresses().rotate_left(32);
    Some(FlowV4 { addresses, ports: reversed(ports), protocol: header.protocol() })
}
