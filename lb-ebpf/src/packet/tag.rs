//! The VLAN tag that a frame leaves with (IEEE 802.1Q).

use aya_ebpf::{helpers::bpf_xdp_adjust_head, programs::XdpContext};
use network_types::{eth::EthHdr, vlan::VlanHdr};

use super::{
    frame::{Frame, load, store},
    link::VLAN,
    rewrite::{ETHER_TYPE, MAX_LINK, Macs},
};

/// Bits of a tag that are not its id: priority, and whether it may be dropped first.
const PRIORITY: u16 = 0xf000_u16.to_be();

/// Puts a tag with the id `vlan` and no priority before an untagged packet. None if the driver left no room; the frame
/// is then as it was.
#[inline(always)]
pub fn add(ctx: &XdpContext, vlan: u16) -> Option<()> {
    // SAFETY: the context is the program's own; all addresses in the frame are derived again below.
    if unsafe { bpf_xdp_adjust_head(ctx.ctx, -(VlanHdr::LEN as i32)) } != 0 {
        return None;
    }
    let frame = Frame::of(ctx);
    if !frame.holds(frame.start, MAX_LINK) {
        return None;
    }
    // The packet's EtherType is where it has to be: before the packet.
    // SAFETY: all of it lies in the part of the frame that was just checked.
    unsafe {
        let macs = load::<Macs>(frame.start + VlanHdr::LEN);
        store(frame.start, macs);
        store(frame.start + ETHER_TYPE, [VLAN, vlan.to_be()]);
    }
    Some(())
}

/// Gives a frame with `tags` tags, one or two, a single one with the id `vlan`, or none for 0. The priority stays that of
/// the outer one. None if the frame ends before an IP header, which parsing has ruled out; the verifier asks.
#[inline(always)]
pub fn set(ctx: &XdpContext, tags: usize, vlan: u16) -> Option<()> {
    let frame = Frame::of(ctx);
    if !frame.holds(frame.start, MAX_LINK + VlanHdr::LEN) {
        return None;
    }
    let excess = if vlan == 0 { tags } else { tags - 1 } * VlanHdr::LEN;
    // As above, the EtherType stays where it is.
    // SAFETY: all of it lies in the part of the frame that was just checked, of two tags' length beyond the addresses.
    unsafe {
        let macs = load::<Macs>(frame.start);
        let outer = load::<u16>(frame.start + EthHdr::LEN);
        let start = frame.start + excess;
        store(start, macs);
        if vlan != 0 {
            store(start + ETHER_TYPE, [VLAN, outer & PRIORITY | vlan.to_be()]);
        }
    }
    if excess == 0 {
        return Some(());
    }
    // SAFETY: the context is the program's own, and no address in the frame is used after this.
    (unsafe { bpf_xdp_adjust_head(ctx.ctx, excess as i32) } == 0).then_some(())
}
