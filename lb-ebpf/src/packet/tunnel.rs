//! IP in IP, or in UDP, as `lb decap` receives it.

use core::mem::offset_of;

use lb_common::{
    addr::{self, RawAddr},
    verdict::Reason,
    wire::protocol,
};
use network_types::{
    eth::EtherType,
    ip::{Ipv4Hdr, Ipv6Hdr},
    udp::UdpHdr,
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
    /// Length of the outer headers: IPv4 or IPv6, alone or with UDP.
    pub headers: usize,
    /// Family of the packet inside.
    pub inner: EtherType,
    /// Destination of the packet inside.
    pub destination: RawAddr,
}

/// What an outer header has in it.
struct Outer {
    /// Where it begins.
    at: usize,
    /// Its length.
    length: usize,
    /// Protocol of what it has inside.
    protocol: u8,
    /// Bytes inside.
    room: usize,
}

/// Parses a tunnel packet. `total` is the length of the frame, of which not all needs to be in reach; `gue_port` the UDP
/// port of tunnels. Outer headers with options or extension headers are none of ours.
///
/// # Errors
/// [`Reason::NotTunnel`] or, for what is inside, [`Reason::InnerMalformed`].
#[inline(always)]
pub fn parse(frame: &Frame, total: usize, gue_port: u16) -> Result<Tunnel, Reason> {
    let l3 = link::parse(frame).map_err(|_malformed| Reason::NotTunnel)?;
    let outer = match l3.ether_type {
        link::IPV4 => outer_v4(frame, l3.at, total),
        link::IPV6 => outer_v6(frame, l3.at, total),
        _ => None,
    };
    let outer = outer.ok_or(Reason::NotTunnel)?;
    let tunnel = match outer.protocol {
        protocol::UDP => datagram(frame, &outer, gue_port).ok_or(Reason::NotTunnel)?,
        _ => outer,
    };
    inner(frame, &tunnel, l3.tags)
}

/// An outer IPv4 header; none if it is not fit for a tunnel.
#[inline(always)]
fn outer_v4(frame: &Frame, ip: usize, total: usize) -> Option<Outer> {
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
    let fits = ip - frame.start + length <= total;
    let room = length.wrapping_sub(Ipv4Hdr::LEN);
    (whole && fits).then_some(Outer { at: ip, length: Ipv4Hdr::LEN, protocol, room })
}

/// The same for an outer IPv6 header.
#[inline(always)]
fn outer_v6(frame: &Frame, ip: usize, total: usize) -> Option<Outer> {
    if !frame.holds(ip, Ipv6Hdr::LEN) {
        return None;
    }
    // SAFETY: the header was just checked to lie in the frame.
    let (head, room, protocol) = unsafe {
        (
            load::<u8>(ip),
            usize::from(u16::from_be(load(ip + offset_of!(Ipv6Hdr, payload_len)))),
            load::<u8>(ip + offset_of!(Ipv6Hdr, next_hdr)),
        )
    };
    let fits = ip - frame.start + Ipv6Hdr::LEN + room <= total;
    (head >> 4 == 6 && fits).then_some(Outer { at: ip, length: Ipv6Hdr::LEN, protocol, room })
}

/// An outer header with a UDP header after it that begins a GUE tunnel of variant 1, where a packet's own version tells
/// what it is; none for any other datagram. The checksum is not looked at: lb sends none, and the packet inside has its
/// own (RFC 6935, RFC 6936).
#[inline(always)]
fn datagram(frame: &Frame, outer: &Outer, gue_port: u16) -> Option<Outer> {
    let udp = outer.at + outer.length;
    if !frame.holds(udp, UdpHdr::LEN + 1) {
        return None;
    }
    // SAFETY: the header and the byte after it were just checked to lie in the frame.
    let (port, length, version) = unsafe {
        (
            u16::from_be(load(udp + offset_of!(UdpHdr, dst))),
            usize::from(u16::from_be(load(udp + offset_of!(UdpHdr, len)))),
            load::<u8>(udp + UdpHdr::LEN) >> 4,
        )
    };
    if port != gue_port || length != outer.room || length < UdpHdr::LEN {
        return None;
    }
    let protocol = match version {
        4 => protocol::IPV4,
        6 => protocol::IPV6,
        // A GUE header (variant 0), or something else.
        _ => return None,
    };
    let room = length - UdpHdr::LEN;
    Some(Outer { at: outer.at, length: outer.length + UdpHdr::LEN, protocol, room })
}

/// The packet inside.
#[inline(always)]
fn inner(frame: &Frame, outer: &Outer, tags: usize) -> Result<Tunnel, Reason> {
    let ip = outer.at + outer.length;
    let (inner, destination, length) = match outer.protocol {
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
    if length > outer.room {
        return Err(Reason::InnerMalformed);
    }
    Ok(Tunnel { tags, headers: outer.length, inner, destination })
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
