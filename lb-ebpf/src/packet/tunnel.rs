//! IP in IP, as `lb decap` receives it.

use core::mem::offset_of;

use aya_ebpf::programs::XdpContext;
use lb_common::{
    addr::{self, RawAddr},
    verdict::Reason,
    wire::protocol,
};
use network_types::{
    eth::EtherType,
    ip::{Ipv4Hdr, Ipv6Hdr},
};

use super::{
    frame::{Frame, load},
    link,
    v4::FRAGMENT_BITS,
};

/// A tunnel packet, parsed.
pub struct Tunnel {
    /// VLAN tags before the outer header.
    pub tags: usize,
    /// Family of the outer header.
    pub outer: EtherType,
    /// Family of the packet inside.
    pub inner: EtherType,
    /// Destination of the packet inside.
    pub destination: RawAddr,
}

/// Parses a tunnel packet. Outer headers with options or extension headers are none of ours.
///
/// # Errors
/// [`Reason::NotTunnel`] or, for what is inside, [`Reason::InnerMalformed`].
#[inline(always)]
pub fn parse(ctx: &XdpContext) -> Result<Tunnel, Reason> {
    let frame = Frame::of(ctx);
    let l3 = link::parse(&frame).map_err(|_malformed| Reason::NotTunnel)?;
    if l3.ether_type == link::IPV4 {
        let (protocol, room) = outer_v4(&frame, l3.at).ok_or(Reason::NotTunnel)?;
        inner(&frame, l3.at + Ipv4Hdr::LEN, protocol, room, EtherType::Ipv4, l3.tags)
    } else if l3.ether_type == link::IPV6 {
        let (protocol, room) = outer_v6(&frame, l3.at).ok_or(Reason::NotTunnel)?;
        inner(&frame, l3.at + Ipv6Hdr::LEN, protocol, room, EtherType::Ipv6, l3.tags)
    } else {
        Err(Reason::NotTunnel)
    }
}

/// Protocol inside an outer IPv4 header, and the bytes that it has; none if the header is not fit for a tunnel.
#[inline(always)]
fn outer_v4(frame: &Frame, ip: usize) -> Option<(u8, usize)> {
    if !frame.holds(ip, Ipv4Hdr::LEN) {
        return None;
    }
    // SAFETY: the header was just checked to lie in the frame.
    let (vihl, length, fragment, protocol) = unsafe {
        (
            load::<u8>(ip),
            usize::from(u16::from_be(load(ip + offset_of!(Ipv4Hdr, tot_len)))),
            u16::from_be(load(ip + offset_of!(Ipv4Hdr, frags))),
            load::<u8>(ip + offset_of!(Ipv4Hdr, proto)),
        )
    };
    let whole = vihl == 0x45 && fragment & FRAGMENT_BITS == 0 && length >= Ipv4Hdr::LEN;
    (whole && frame.holds(ip, length)).then(|| (protocol, length - Ipv4Hdr::LEN))
}

/// The same for an outer IPv6 header.
#[inline(always)]
fn outer_v6(frame: &Frame, ip: usize) -> Option<(u8, usize)> {
    if !frame.holds(ip, Ipv6Hdr::LEN) {
        return None;
    }
    // SAFETY: the header was just checked to lie in the frame.
    let (head, length, protocol) = unsafe {
        (
            load::<u8>(ip),
            usize::from(u16::from_be(load(ip + offset_of!(Ipv6Hdr, payload_len)))),
            load::<u8>(ip + offset_of!(Ipv6Hdr, next_hdr)),
        )
    };
    (head >> 4 == 6 && frame.holds(ip, Ipv6Hdr::LEN + length)).then_some((protocol, length))
}

/// The packet inside, at address `ip`, in `room` bytes.
#[inline(always)]
fn inner(
    frame: &Frame,
    ip: usize,
    protocol: u8,
    room: usize,
    outer: EtherType,
    tags: usize,
) -> Result<Tunnel, Reason> {
    let (inner, destination, length) = match protocol {
        protocol::IPV4 => {
            let (destination, length) = inner_v4(frame, ip).ok_or(Reason::InnerMalformed)?;
            (EtherType::Ipv4, destination, length)
        }
        protocol::IPV6 => {
            let (destination, length) = inner_v6(frame, ip).ok_or(Reason::InnerMalformed)?;
            (EtherType::Ipv6, destination, length)
        }
        _ => return Err(Reason::NotTunnel),
    };
    if length > room { Err(Reason::InnerMalformed) } else { Ok(Tunnel { tags, outer, inner, destination }) }
}

/// Destination and length of an inner IPv4 packet; none if its header is broken.
#[inline(always)]
fn inner_v4(frame: &Frame, ip: usize) -> Option<(RawAddr, usize)> {
    if !frame.holds(ip, Ipv4Hdr::LEN) {
        return None;
    }
    // SAFETY: the header was just checked to lie in the frame.
    let (vihl, length, destination) = unsafe {
        (
            load::<u8>(ip),
            usize::from(u16::from_be(load(ip + offset_of!(Ipv4Hdr, tot_len)))),
            load::<[u8; 4]>(ip + offset_of!(Ipv4Hdr, dst_addr)),
        )
    };
    let header = usize::from(vihl & 0xf) * 4;
    let sound = vihl >> 4 == 4 && header >= Ipv4Hdr::LEN && length >= header;
    sound.then(|| (addr::from_v4(destination), length))
}

/// The same for an inner IPv6 packet.
#[inline(always)]
fn inner_v6(frame: &Frame, ip: usize) -> Option<(RawAddr, usize)> {
    if !frame.holds(ip, Ipv6Hdr::LEN) {
        return None;
    }
    // SAFETY: the header was just checked to lie in the frame.
    let (head, payload, destination) = unsafe {
        (
            load::<u8>(ip),
            usize::from(u16::from_be(load(ip + offset_of!(Ipv6Hdr, payload_len)))),
            load::<RawAddr>(ip + offset_of!(Ipv6Hdr, dst_addr)),
        )
    };
    (head >> 4 == 6).then_some((destination, Ipv6Hdr::LEN + payload))
}
