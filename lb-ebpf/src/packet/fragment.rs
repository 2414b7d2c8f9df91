//! Fragments of IPv4 packets (RFC 791) and of IPv6 packets (RFC 8200, section 4.5).

use aya_ebpf::programs::XdpContext;
use lb_common::{fragment::FragmentKey, wire::protocol};
use network_types::{ip::Ipv6Hdr, tcp::TcpHdr, udp::UdpHdr};

use super::{
    Flow, FlowV4, FlowV6, Packet, TCP_FLAGS, extensions,
    icmp::{v4, v6},
    reader,
    reader::Network,
    sctp,
};

/// A fragment, parsed.
#[derive(Clone, Copy)]
pub struct Fragment<F> {
    /// What it says of its packet; a later one's flow has no ports.
    pub packet: Packet<F>,
    /// Identification, as loaded.
    pub id: u32,
}

/// What a fragment is. A number and no enum: functions of the packet path return nothing else.
pub type Kind = u32;
/// Of no flow that could be for a service.
pub const OTHER: Kind = 0;
/// A whole packet behind a fragment header (RFC 6946).
pub const WHOLE: Kind = 1;
/// The first, with the ports.
pub const FIRST: Kind = 2;
/// Any other.
pub const LATER: Kind = 3;
/// One that no sound sender makes.
pub const MALFORMED: Kind = 4;

/// In the place of a transport header that is elsewhere: no frame reaches so far.
pub const NOWHERE: usize = usize::MAX;
/// Longest packet.
const LENGTH_MAX: u32 = u16::MAX as u32;

/// A flow whose packets may come in parts.
pub trait Fragmented: Flow {
    /// Parses the packet whose IP header begins at `network`, which is known to fit in the frame. `note` is written for
    /// all but [`OTHER`].
    fn parse(ctx: &XdpContext, network: Network, note: &mut Fragment<Self>) -> Kind;

    /// The flow with other ports, both as loaded, and another protocol.
    fn with(self, ports: u32, protocol: u8) -> Self;

    /// Its protocol.
    fn protocol(&self) -> u8;

    /// What its parts have in common.
    #[inline(always)]
    fn fragment_key(&self, id: u32) -> FragmentKey {
        let key = self.key();
        let is_v4 = Self::PROTOCOL_IN_IP == protocol::IPV4;
        FragmentKey {
            source: key.source,
            destination: key.destination,
            id,
            protocol: if is_v4 { key.protocol } else { protocol::FRAGMENT },
            family: key.family,
            reserved: [0; 2],
        }
    }
}

/// Where in its packet a fragment lies.
struct Part {
    protocol: u8,
    /// Position in the packet, in bytes.
    offset: u32,
    is_more: bool,
    /// Where in the frame its content begins and ends.
    at: u32,
    end: u32,
    /// Bytes of the packet before its fragmentable part that its length counts.
    before: u32,
}

impl Part {
    /// What it is, with ports (else 0) and TCP flags, or those that say the same as SCTP's first chunk.
    #[inline(always)]
    fn kind(&self, ctx: &XdpContext) -> (Kind, u32, u8) {
        let header = header_length(self.protocol);
        if self.offset != 0 {
            let is_over = self.before + self.offset + self.end - self.at > LENGTH_MAX;
            // One that begins within the transport header would replace a part of it (RFC 1858, RFC 3128).
            let kind = if is_over || self.offset < header { MALFORMED } else { LATER };
            return (kind, 0, 0);
        }
        let ports = if self.at + header > self.end { None } else { reader::load(ctx, self.at, self.end) };
        let Some(ports) = ports else { return (MALFORMED, 0, 0) };
        let flags = match self.protocol {
            protocol::TCP => reader::load(ctx, self.at + TCP_FLAGS as u32, self.end).unwrap_or(0),
            protocol::SCTP => {
                let chunk = reader::load(ctx, self.at + sctp::CHUNK as u32, self.end);
                sctp::flags_of_chunk(chunk.unwrap_or(u8::MAX))
            }
            _ => 0,
        };
        (if self.is_more { FIRST } else { WHOLE }, ports, flags)
    }
}

/// Least length of a transport header; 0 for a protocol that is none of a service.
#[inline(always)]
const fn header_length(protocol: u8) -> u32 {
    match protocol {
        protocol::TCP => TcpHdr::LEN as u32,
        protocol::UDP => UdpHdr::LEN as u32,
        protocol::SCTP => sctp::LEN as u32,
        _ => 0,
    }
}

impl Fragmented for FlowV4 {
    #[inline(always)]
    fn parse(ctx: &XdpContext, network: Network, note: &mut Fragment<Self>) -> Kind {
        let ip = network.at;
        let Some(header) = v4::Header::load(ctx, ip, u32::MAX) else { return OTHER };
        let protocol = header.protocol();
        if header_length(protocol) == 0 {
            return OTHER;
        }
        let part = Part {
            protocol,
            offset: u32::from(header.fragment_offset()) * 8,
            // Neither this nor a position: it would be no fragment.
            is_more: true,
            at: ip + header.length(),
            end: ip + header.total_length(),
            before: header.length(),
        };
        let (kind, ports, tcp_flags) = part.kind(ctx);
        let packet = Packet {
            flow: Self { addresses: header.addresses(), ports, protocol },
            tags: network.tags,
            length: header.total_length(),
            traffic_class: header.traffic_class(),
            tcp_flags,
            transport_at: if kind == FIRST { part.at as usize } else { NOWHERE },
        };
        *note = Fragment { packet, id: header.id() };
        kind
    }

    #[inline(always)]
    fn with(self, ports: u32, protocol: u8) -> Self {
        Self { ports, protocol, ..self }
    }

    #[inline(always)]
    fn protocol(&self) -> u8 {
        self.protocol
    }
}

impl Fragmented for FlowV6 {
    #[inline(always)]
    fn parse(ctx: &XdpContext, network: Network, note: &mut Fragment<Self>) -> Kind {
        let ip = network.at;
        let Some(header) = v6::Header::load(ctx, ip, u32::MAX) else { return OTHER };
        let end = ip + header.total_length();
        let mut upper = extensions::Upper::beginning(ip + Ipv6Hdr::LEN as u32, header.next());
        let is_followed = extensions::follow(ctx, &mut upper, end).is_some();
        if upper.fragment_headers == 0 {
            return OTHER;
        }
        let protocol = upper.protocol;
        let is_first = upper.fragment_offset == 0;
        let part = Part {
            protocol,
            offset: u32::from(upper.fragment_offset),
            is_more: upper.is_more,
            at: upper.at,
            end,
            before: 0,
        };
        let (kind, ports, tcp_flags) = if !is_followed || upper.fragment_headers > 1 {
            // The first has all headers (RFC 7112), and nobody cuts a part in parts.
            (MALFORMED, 0, 0)
        } else if header_length(protocol) == 0 && (is_first || extensions::unit(protocol).is_none()) {
            return OTHER;
        } else {
            part.kind(ctx)
        };
        let (source, destination) = (header.source(), header.destination());
        let packet = Packet {
            flow: Self { source, destination, ports, protocol },
            tags: network.tags,
            length: header.total_length(),
            traffic_class: header.traffic_class(),
            tcp_flags,
            transport_at: if is_first { part.at as usize } else { NOWHERE },
        };
        *note = Fragment { packet, id: upper.fragment_id };
        kind
    }

    #[inline(always)]
    fn with(self, ports: u32, protocol: u8) -> Self {
        Self { ports, protocol, ..self }
    }

    #[inline(always)]
    fn protocol(&self) -> u8 {
        self.protocol
    }
}
