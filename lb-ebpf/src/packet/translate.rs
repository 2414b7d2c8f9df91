//! Gives a packet other addresses and ports, its checksums kept right by what they change (RFC 1624).

use core::mem::offset_of;

use aya_ebpf::programs::XdpContext;
use lb_common::{addr, backend::Backend, csum, nat::Translation, verdict::Reason, wire::protocol};
use network_types::{
    eth::EthHdr,
    ip::{Ipv4Hdr, Ipv6Hdr},
    tcp::TcpHdr,
    udp::UdpHdr,
    vlan::VlanHdr,
};

use super::{
    frame::{Frame, load, store},
    link::MAX_TAGS,
    rewrite::{Macs, macs},
};

/// Bound of where a transport header can begin, for the verifier.
const TRANSPORT_MASK: usize = 0x3fff;
/// Position of the hop limit in an IPv4 header; protocol, checksum and addresses follow.
const HOP_LIMIT_V4: usize = offset_of!(Ipv4Hdr, ttl);
/// Position of the hop limit in an IPv6 header; the addresses follow.
const HOP_LIMIT_V6: usize = offset_of!(Ipv6Hdr, hop_limit);
/// Position of the checksum in the transport headers.
const TCP_CHECKSUM: usize = 16;
const UDP_CHECKSUM: usize = 6;

/// Where the headers of a parsed packet are.
#[derive(Clone, Copy)]
pub struct Place {
    /// VLAN tags before the IP header.
    pub tags: u32,
    /// Where the transport header begins in the frame.
    pub transport_at: u32,
    /// TCP or UDP.
    pub protocol: u8,
}

/// Destination and source address towards a backend's next hop.
#[inline(always)]
pub fn towards(backend: &Backend) -> Macs {
    macs(backend)
}

/// Translates an IPv4 packet and addresses the frame; options stay.
///
/// # Errors
/// [`Reason::HopLimit`], or [`Reason::Malformed`] if the frame ends before the headers, which parsing has ruled out. The
/// frame is then as it was.
#[inline(always)]
pub fn v4(ctx: &XdpContext, place: Place, to: &Translation, macs: Macs) -> Result<(), Reason> {
    let frame = Frame::of(ctx);
    let ip = network(&frame, place, Ipv4Hdr::LEN)?;
    let transport = Transport::load(&frame, place)?;
    // SAFETY: the header was just checked to lie in the frame.
    let word: u32 = unsafe { load(ip + HOP_LIMIT_V4) };
    if word as u8 <= 1 {
        return Err(Reason::HopLimit);
    }
    let (old, new) = (word as u16, word as u16 - 1);
    let checksum = csum::replace(csum::apply((word >> 16) as u16, to.header_change), old, new);
    // SAFETY: as above, and so were the Ethernet and the transport header.
    unsafe {
        store(frame.start, macs);
        store(ip + HOP_LIMIT_V4, u32::from(new) | u32::from(checksum) << 16);
        store(ip + offset_of!(Ipv4Hdr, src_addr), u32::from_ne_bytes(addr::v4(&to.source)));
        store(ip + offset_of!(Ipv4Hdr, dst_addr), u32::from_ne_bytes(addr::v4(&to.destination)));
    }
    transport.store(&frame, to);
    Ok(())
}

/// Translates an IPv6 packet and addresses the frame; extension headers stay.
///
/// # Errors
/// As [`v4`].
#[inline(always)]
pub fn v6(ctx: &XdpContext, place: Place, to: &Translation, macs: Macs) -> Result<(), Reason> {
    let frame = Frame::of(ctx);
    let ip = network(&frame, place, Ipv6Hdr::LEN)?;
    let transport = Transport::load(&frame, place)?;
    // SAFETY: the header was just checked to lie in the frame.
    let hop_limit: u8 = unsafe { load(ip + HOP_LIMIT_V6) };
    if hop_limit <= 1 {
        return Err(Reason::HopLimit);
    }
    // SAFETY: as above, and so were the Ethernet and the transport header.
    unsafe {
        store(frame.start, macs);
        store(ip + HOP_LIMIT_V6, hop_limit - 1);
        store(ip + offset_of!(Ipv6Hdr, src_addr), words(&to.source));
        store(ip + offset_of!(Ipv6Hdr, dst_addr), words(&to.destination));
    }
    transport.store(&frame, to);
    Ok(())
}

/// Address of the IP header, which lies in the frame with everything before it.
#[inline(always)]
fn network(frame: &Frame, place: Place, length: usize) -> Result<usize, Reason> {
    let ip = frame.start + EthHdr::LEN + (place.tags as usize).min(MAX_TAGS) * VlanHdr::LEN;
    // Hidden from the compiler, which would take the check of what is before it for needless; the verifier does not.
    let ip = core::hint::black_box(ip);
    if !frame.holds(frame.start, EthHdr::LEN) || !frame.holds(ip, length) {
        return Err(Reason::Malformed);
    }
    Ok(ip)
}

/// A transport header that lies in the frame: where it and its checksum are, and that.
struct Transport {
    at: usize,
    is_tcp: bool,
    checksum: u16,
}

impl Transport {
    #[inline(always)]
    fn load(frame: &Frame, place: Place) -> Result<Self, Reason> {
        let at = frame.start + (place.transport_at as usize & TRANSPORT_MASK);
        let is_tcp = place.protocol == protocol::TCP;
        if !frame.holds(at, UdpHdr::LEN) || is_tcp && !frame.holds(at, TcpHdr::LEN) {
            return Err(Reason::Malformed);
        }
        // SAFETY: the header was just checked to lie in the frame.
        let checksum = unsafe { if is_tcp { load(at + TCP_CHECKSUM) } else { load(at + UDP_CHECKSUM) } };
        Ok(Self { at, is_tcp, checksum })
    }

    /// Ports and checksum. UDP's zero says that there is none (RFC 768), and stays.
    #[inline(always)]
    fn store(&self, frame: &Frame, to: &Translation) {
        let ([a, b], [c, d]) = (to.source_port, to.destination_port);
        let checksum = csum::apply(self.checksum, to.transport_change);
        // SAFETY: `load` has checked that the header lies in the frame.
        unsafe {
            store(self.at, u32::from_ne_bytes([a, b, c, d]));
            if self.is_tcp {
                // Holds, as `load` said; the verifier has lost it where both protocols met.
                if frame.holds(self.at, TcpHdr::LEN) {
                    store(self.at + TCP_CHECKSUM, checksum);
                }
            } else if self.checksum != 0 {
                store(self.at + UDP_CHECKSUM, csum::not_zero(checksum));
            }
        }
    }
}

/// An address as two words, as they stand in the packet.
#[inline(always)]
fn words(address: &addr::RawAddr) -> [u64; 2] {
    let address = u128::from_le_bytes(*address);
    [address as u64, (address >> 64) as u64].map(u64::to_le)
}
