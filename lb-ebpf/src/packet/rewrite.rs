//! Changes to the frame: addresses, an outer header put before a packet or taken off it.

use core::mem::offset_of;

use aya_ebpf::{helpers::bpf_xdp_adjust_head, programs::XdpContext};
use lb_common::{backend::Backend, verdict::Reason};
use network_types::{
    eth::{EthHdr, EtherType},
    ip::{Ipv4Hdr, Ipv6Hdr},
    udp::UdpHdr,
    vlan::VlanHdr,
};

use super::{
    frame::{Frame, load, store},
    link::MAX_TAGS,
    tunnel::Tunnel,
};

/// The EtherType, or the first VLAN tag with the EtherType after it, begins here.
pub(super) const ETHER_TYPE: usize = offset_of!(EthHdr, ether_type);
/// Longest header before layer 3.
pub(super) const MAX_LINK: usize = EthHdr::LEN + MAX_TAGS * VlanHdr::LEN;
/// Both addresses of an Ethernet header, as they stand there.
pub type Macs = [u32; 3];

const _: () = assert!(size_of::<Macs>() == ETHER_TYPE);
const _: () = assert!(offset_of!(Backend, next_hop_mac) == 0 && offset_of!(Backend, source_mac) == 6);

/// Addresses the frame to the backend's next hop; none if it has no Ethernet header.
#[inline(always)]
pub fn set_macs(ctx: &XdpContext, backend: &Backend) -> Option<()> {
    let frame = Frame::of(ctx);
    if !frame.holds(frame.start, EthHdr::LEN) {
        return None;
    }
    // SAFETY: the Ethernet header was just checked to lie in the frame.
    unsafe { store(frame.start, macs(backend)) };
    Some(())
}

/// Destination and source address towards a backend, which stand in its entry as they do in a frame.
#[inline(always)]
pub(super) fn macs(backend: &Backend) -> Macs {
    // SAFETY: both addresses are at the front of the entry (asserted above), which is aligned for words.
    unsafe { core::ptr::from_ref(backend).cast::<Macs>().read() }
}

/// Puts `header` before the IP packet, keeps the VLAN tags before it, and addresses the frame to the backend's next
/// hop. `tags` and the frame's length are those of a parsed packet.
///
/// # Errors
/// [`Reason::NoHeadroom`] if the driver left no room; the frame is then as it was.
#[inline(always)]
pub fn push<H: Copy>(
    ctx: &XdpContext,
    tags: usize,
    backend: &Backend,
    ether_type: EtherType,
    header: H,
) -> Result<(), Reason> {
    let length = size_of::<H>();
    // SAFETY: the context is the program's own; all addresses in the frame are derived again below.
    if unsafe { bpf_xdp_adjust_head(ctx.ctx, -(length as i32)) } != 0 {
        return Err(Reason::NoHeadroom);
    }
    let frame = Frame::of(ctx);
    // Holds for every parsed packet: an IP header is longer than two tags. The verifier needs to see it.
    if !frame.holds(frame.start, length + MAX_LINK) {
        return Err(Reason::NoHeadroom);
    }
    let (old, new) = (frame.start + length + ETHER_TYPE, frame.start + ETHER_TYPE);
    let l3 = frame.start + EthHdr::LEN + tags * VlanHdr::LEN;
    // SAFETY: all of it lies in the part of the frame that was just checked.
    unsafe {
        match tags {
            0 => {}
            1 => store(new, load::<u32>(old)),
            _ => store(new, load::<u64>(old)),
        }
        store(frame.start, macs(backend));
        store(l3 - size_of::<u16>(), ether_type as u16);
        store(l3, header);
    }
    Ok(())
}

/// Takes the outer headers off a tunnel packet, keeps the VLAN tags before it and gives the frame the EtherType of the
/// packet inside.
///
/// # Errors
/// [`Reason::InnerMalformed`] if the frame ends before the inner header, which parsing has ruled out.
#[inline(always)]
pub fn pop(ctx: &XdpContext, tunnel: &Tunnel) -> Result<(), Reason> {
    const OVER_V4: usize = Ipv4Hdr::LEN + UdpHdr::LEN;
    const OVER_V6: usize = Ipv6Hdr::LEN + UdpHdr::LEN;
    let Tunnel { tags, inner, .. } = *tunnel;
    match tunnel.headers {
        Ipv4Hdr::LEN => pop_bytes::<{ Ipv4Hdr::LEN }>(ctx, tags, inner),
        OVER_V4 => pop_bytes::<OVER_V4>(ctx, tags, inner),
        Ipv6Hdr::LEN => pop_bytes::<{ Ipv6Hdr::LEN }>(ctx, tags, inner),
        _ => pop_bytes::<OVER_V6>(ctx, tags, inner),
    }
}

#[inline(always)]
fn pop_bytes<const LENGTH: usize>(
    ctx: &XdpContext,
    tags: usize,
    ether_type: EtherType,
) -> Result<(), Reason> {
    let frame = Frame::of(ctx);
    if !frame.holds(frame.start, LENGTH + MAX_LINK) {
        return Err(Reason::InnerMalformed);
    }
    // The longest link header is longer than an IPv4 header, so the regions overlap: load all, then store.
    // SAFETY: all of it lies in the part of the frame that was just checked.
    unsafe {
        let macs = load::<Macs>(frame.start);
        let vlan = load::<u64>(frame.start + ETHER_TYPE);
        let start = frame.start + LENGTH;
        match tags {
            0 => {}
            1 => store(start + ETHER_TYPE, vlan as u32),
            _ => store(start + ETHER_TYPE, vlan),
        }
        store(start + EthHdr::LEN + tags * VlanHdr::LEN - size_of::<u16>(), ether_type as u16);
        store(start, macs);
    }
    // SAFETY: the context is the program's own, and no address in the frame is used after this.
    if unsafe { bpf_xdp_adjust_head(ctx.ctx, LENGTH as i32) } != 0 {
        return Err(Reason::InnerMalformed);
    }
    Ok(())
}
