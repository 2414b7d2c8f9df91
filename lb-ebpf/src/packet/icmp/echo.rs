//! Answers to echo requests, made of the requests themselves.

use aya_ebpf::programs::XdpContext;
use lb_common::{csum, wire::protocol};

use super::super::{FlowV4, FlowV6, reader};

/// Hop limit of an answer.
const HOP_LIMIT: u8 = 64;
/// Position of the hop limit in an IPv4 header; protocol, checksum and addresses follow.
const HOP_LIMIT_V4: u32 = 8;
/// Position of the hop limit in an IPv6 header; the addresses follow.
const HOP_LIMIT_V6: u32 = 7;
/// Type and code of a request and of its answer, as they stand in the message.
const REQUEST_V4: u16 = u16::from_ne_bytes([8, 0]);
const REPLY_V4: u16 = 0;
const REQUEST_V6: u16 = u16::from_ne_bytes([128, 0]);
const REPLY_V6: u16 = u16::from_ne_bytes([129, 0]);
/// The bit of a MAC address's first byte that says "several".
const GROUP: u8 = 1;

/// An echo request.
pub trait Echo {
    /// Its flow's type.
    type Flow;

    /// Who asks whom, as a flow without ports.
    fn flow(&self) -> Self::Flow;

    /// Whether it may be answered: it is from one host.
    fn is_from_one(&self) -> bool;

    /// Makes it its answer. None if it must not have one; the frame is then as it was.
    fn answer(&self, ctx: &XdpContext) -> Option<()>;
}

/// An ICMP echo request in an IPv4 packet without options.
#[derive(Clone, Copy)]
pub struct EchoV4 {
    /// Position of the IP header.
    pub(super) ip: u32,
    /// The last words of the IP header, as they stand there: hop limit, protocol and checksum; source; destination.
    pub(super) words: [u32; 3],
    /// Position of the message.
    pub(super) at: u32,
    /// The message's checksum, as it stands there.
    pub(super) checksum: u16,
}

impl Echo for EchoV4 {
    type Flow = FlowV4;

    #[inline(always)]
    fn flow(&self) -> FlowV4 {
        let addresses = u64::from(self.words[1]) | u64::from(self.words[2]) << 32;
        FlowV4 { addresses, ports: 0, protocol: protocol::ICMP }
    }

    /// Neither "this host" nor multicast, nor anything above.
    #[inline(always)]
    fn is_from_one(&self) -> bool {
        let first = self.words[1] as u8;
        first != 0 && first < 224
    }

    #[inline(always)]
    fn answer(&self, ctx: &XdpContext) -> Option<()> {
        let [ttl_and_checksum, source, destination] = self.words;
        let (old, checksum) = (ttl_and_checksum as u16, (ttl_and_checksum >> 16) as u16);
        let new = old & !0xff | u16::from(HOP_LIMIT);
        let checksum = csum::replace(checksum, old, new);
        swap_macs(ctx)?;
        let words = [u32::from(new) | u32::from(checksum) << 16, destination, source];
        reader::store(ctx, self.ip + HOP_LIMIT_V4, words)?;
        // All else may be zero, and then only this form of zero is right.
        let checksum = csum::not_zero(csum::replace(self.checksum, REQUEST_V4, REPLY_V4));
        reader::store(ctx, self.at, [REPLY_V4, checksum])
    }
}

/// An ICMPv6 echo request right behind an IPv6 header.
#[derive(Clone, Copy)]
pub struct EchoV6 {
    /// Position of the IP header.
    pub(super) ip: u32,
    pub(super) source: [u64; 2],
    pub(super) destination: [u64; 2],
    /// Position of the message.
    pub(super) at: u32,
    /// The message's checksum, as it stands there.
    pub(super) checksum: u16,
}

impl Echo for EchoV6 {
    type Flow = FlowV6;

    #[inline(always)]
    fn flow(&self) -> FlowV6 {
        let (source, destination) = (self.source, self.destination);
        FlowV6 { source, destination, ports: 0, protocol: protocol::ICMPV6 }
    }

    /// Neither the unspecified address nor multicast.
    #[inline(always)]
    fn is_from_one(&self) -> bool {
        self.source != [0; 2] && self.source[0] as u8 != 0xff
    }

    #[inline(always)]
    fn answer(&self, ctx: &XdpContext) -> Option<()> {
        swap_macs(ctx)?;
        reader::store(ctx, self.ip + HOP_LIMIT_V6, HOP_LIMIT)?;
        let [[a, b], [c, d]] = [self.destination, self.source];
        reader::store(ctx, self.ip + HOP_LIMIT_V6 + 1, [a, b, c, d])?;
        let checksum = csum::replace(self.checksum, REQUEST_V6, REPLY_V6);
        reader::store(ctx, self.at, [REPLY_V6, checksum])
    }
}

/// Sends the frame back to who sent it. None if it was sent to several; the frame is then as it was.
#[inline(always)]
fn swap_macs(ctx: &XdpContext) -> Option<()> {
    let [destination, source]: [[u8; 6]; 2] = reader::load(ctx, 0, u32::MAX)?;
    if (destination[0] | source[0]) & GROUP != 0 {
        return None;
    }
    reader::store(ctx, 0, [source, destination])
}
