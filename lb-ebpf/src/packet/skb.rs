//! Packets as the kernel's stack has them, for programs of traffic control.

use core::mem::offset_of;

use aya_ebpf::{
    bindings::{
        BPF_F_ADJ_ROOM_DECAP_L3_IPV4, BPF_F_ADJ_ROOM_DECAP_L3_IPV6, BPF_F_ADJ_ROOM_FIXED_GSO,
        bpf_adj_room_mode::BPF_ADJ_ROOM_MAC,
    },
    programs::TcContext,
};
use lb_common::verdict::Reason;
use network_types::{
    eth::{EthHdr, EtherType},
    ip::Ipv6Hdr,
    udp::UdpHdr,
};

use super::{
    frame::{Frame, store},
    tunnel::Tunnel,
};

/// Bytes that parsing a tunnel packet looks at, at most. VLAN tags are not among them: the kernel takes them out of the
/// packet before.
const HEADERS: u32 = (EthHdr::LEN + Ipv6Hdr::LEN + UdpHdr::LEN + Ipv6Hdr::LEN) as u32;

/// The part of a packet that can be read at once, with the headers of tunnels in it.
#[inline(always)]
pub fn frame(ctx: &TcContext) -> Frame {
    let frame = Frame { start: ctx.data(), end: ctx.data_end() };
    let wanted = if ctx.len() < HEADERS { ctx.len() } else { HEADERS };
    if frame.end - frame.start >= wanted as usize {
        return frame;
    }
    // If it fails, what is there is not enough, and parsing says so.
    let _ = ctx.pull_data(wanted);
    Frame { start: ctx.data(), end: ctx.data_end() }
}

/// Takes the outer headers off a tunnel packet.
///
/// # Errors
/// [`Reason::NotTunnel`] if the kernel won't; the packet is then as it was.
#[inline(always)]
pub fn pop(ctx: &TcContext, tunnel: &Tunnel) -> Result<(), Reason> {
    // Behind a tag that is still in the packet, the kernel finds no IP header.
    if tunnel.tags != 0 {
        return Err(Reason::NotTunnel);
    }
    let family = match tunnel.inner {
        EtherType::Ipv4 => BPF_F_ADJ_ROOM_DECAP_L3_IPV4,
        _ => BPF_F_ADJ_ROOM_DECAP_L3_IPV6,
    };
    // The sizes of the segments that were merged into this packet stay: they are the inner packets'.
    let flags = u64::from(BPF_F_ADJ_ROOM_FIXED_GSO | family);
    ctx.adjust_room(-(tunnel.headers as i32), BPF_ADJ_ROOM_MAC, flags).map_err(|_| Reason::NotTunnel)?;
    let frame = Frame { start: ctx.data(), end: ctx.data_end() };
    if frame.holds(frame.start, EthHdr::LEN) {
        // SAFETY: the Ethernet header was just checked to lie in the frame.
        unsafe { store(frame.start + offset_of!(EthHdr, ether_type), tunnel.inner as u16) };
    }
    Ok(())
}
