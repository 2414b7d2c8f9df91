//! Ethernet and up to two VLAN tags.

use core::mem::offset_of;

use lb_common::verdict::Reason;
use network_types::{
    eth::{EthHdr, EtherType},
    vlan::VlanHdr,
};

use super::frame::{Frame, load};

/// EtherType of IPv4, as loaded from a frame.
pub const IPV4: u16 = EtherType::Ipv4 as u16;
/// EtherType of IPv6, as loaded from a frame.
pub const IPV6: u16 = EtherType::Ipv6 as u16;
/// EtherType of a VLAN tag, as loaded from a frame.
pub const VLAN: u16 = EtherType::Ieee8021q as u16;
const SERVICE_VLAN: u16 = EtherType::Ieee8021ad as u16;

/// VLAN tags that are followed; a packet with more is not for us.
pub const MAX_TAGS: usize = 2;

/// Where the layer-3 header begins, and what it is.
pub struct Layer3 {
    /// Address of the header.
    pub at: usize,
    /// VLAN tags before it.
    pub tags: usize,
    /// EtherType, as loaded.
    pub ether_type: u16,
}

/// Finds the layer-3 header.
///
/// # Errors
/// [`Reason::Malformed`] for a frame that ends before it.
#[inline(always)]
pub fn parse(frame: &Frame) -> Result<Layer3, Reason> {
    if !frame.holds(frame.start, EthHdr::LEN) {
        return Err(Reason::Malformed);
    }
    // SAFETY: the Ethernet header was just checked to lie in the frame.
    let mut ether_type = unsafe { load(frame.start + offset_of!(EthHdr, ether_type)) };
    let mut at = frame.start + EthHdr::LEN;
    let mut tags = 0;
    while tags < MAX_TAGS && (ether_type == VLAN || ether_type == SERVICE_VLAN) {
        if !frame.holds(at, VlanHdr::LEN) {
            return Err(Reason::Malformed);
        }
        // SAFETY: the tag was just checked to lie in the frame.
        ether_type = unsafe { load(at + offset_of!(VlanHdr, ether_type)) };
        at += VlanHdr::LEN;
        tags += 1;
    }
    Ok(Layer3 { at, tags, ether_type })
}
