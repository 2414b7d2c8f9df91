//! ICMPv6 (RFC 4443).

use aya_ebpf::programs::XdpContext;
use lb_common::wire::protocol;
use network_types::ip::Ipv6Hdr;

use super::{
    super::{FlowV6, Packet, extensions, reader, reader::Network},
    EchoV6, HEADER, Handler, Head, reversed,
};

const ECHO_REQUEST: u8 = 128;
/// Errors: "destination unreachable" is the first, then "packet too big" and "time exceeded", and the last is "parameter
/// problem".
const FIRST_ERROR: u8 = 1;
const LAST_ERROR: u8 = 4;

/// An IPv6 header, in words as they stand in the packet.
pub(in crate::packet) struct Header([u64; 5]);

impl Header {
    #[inline(always)]
    pub(in crate::packet) fn load(ctx: &XdpContext, at: u32, end: u32) -> Option<Self> {
        reader::load(ctx, at, end).map(Self).filter(|header| header.0[0] as u8 >> 4 == 6)
    }

    #[inline(always)]
    pub(in crate::packet) fn traffic_class(&self) -> u8 {
        (u16::from_be(self.0[0] as u16) >> 4) as u8
    }

    /// Length of the packet, this header included.
    #[inline(always)]
    pub(in crate::packet) fn total_length(&self) -> u32 {
        Ipv6Hdr::LEN as u32 + u32::from(u16::from_be((self.0[0] >> 32) as u16))
    }

    #[inline(always)]
    pub(in crate::packet) fn next(&self) -> u8 {
        (self.0[0] >> 48) as u8
    }

    #[inline(always)]
    pub(in crate::packet) fn source(&self) -> [u64; 2] {
        [self.0[1], self.0[2]]
    }

    #[inline(always)]
    pub(in crate::packet) fn destination(&self) -> [u64; 2] {
        [self.0[3], self.0[4]]
    }
}

/// Parses the packet whose IPv6 header begins at `network`, which is known to fit in the frame, and hands a message
/// that may be for a service to who handles it. None: it is no such message.
#[inline(always)]
pub fn parse<T>(ctx: &XdpContext, network: Network, handler: impl Handler<FlowV6, EchoV6, T>) -> Option<T> {
    let ip = network.at;
    let header = Header::load(ctx, ip, u32::MAX)?;
    let end = ip + header.total_length();
    let upper = extensions::skip(ctx, ip + Ipv6Hdr::LEN as u32, end, header.next())?;
    if upper.protocol != protocol::ICMPV6 {
        return None;
    }
    let at = upper.at;
    let head: Head = reader::load(ctx, at, end)?;
    match head.kind {
        // Extension headers may want more of an answer than an address: the host's matter.
        ECHO_REQUEST if head.code == 0 && header.next() == protocol::ICMPV6 && at + HEADER <= end => {
            let (source, destination) = (header.source(), header.destination());
            Some(handler.echo(EchoV6 { ip, source, destination, at, checksum: head.checksum }))
        }
        FIRST_ERROR..=LAST_ERROR => {
            let flow = quoted(ctx, at + HEADER, end)?;
            // Errors go to who sent the packet, and that was the service.
            if flow.destination != header.destination() {
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
fn quoted(ctx: &XdpContext, at: u32, end: u32) -> Option<FlowV6> {
    let header = Header::load(ctx, at, end)?;
    let upper = extensions::skip(ctx, at + Ipv6Hdr::LEN as u32, end, header.next())?;
    if upper.fragment_offset != 0 {
        return None;
    }
    let ports: u32 = reader::load(ctx, upper.at, end)?;
    Some(FlowV6 {
        source: header.destination(),
        destination: header.source(),
        ports: reversed(ports),
        protocol: upper.protocol,
    })
}
