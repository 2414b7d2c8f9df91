//! Loads and stores by position in the frame, through the kernel: slower than pointers, but the verifier has no bounds to
//! follow. For packets that are rare.

use core::{ffi::c_void, mem::MaybeUninit};

use aya_ebpf::{
    helpers::generated::{bpf_xdp_load_bytes, bpf_xdp_store_bytes},
    programs::XdpContext,
};
use lb_common::verdict::Reason;
use network_types::{eth::EthHdr, vlan::VlanHdr};

use super::{frame::Frame, link};

/// Where the IP header of a frame begins.
#[derive(Clone, Copy)]
pub struct Network {
    /// Position of the header in the frame.
    pub at: u32,
    /// VLAN tags before it.
    pub tags: usize,
    /// EtherType, as loaded.
    pub ether_type: u16,
}

/// Finds the IP header of a frame.
///
/// # Errors
/// [`Reason::Malformed`] for a frame that ends before it.
#[inline(always)]
pub fn network(ctx: &XdpContext) -> Result<Network, Reason> {
    let l3 = link::parse(&Frame::of(ctx))?;
    let at = EthHdr::LEN + l3.tags * VlanHdr::LEN;
    Ok(Network { at: at as u32, tags: l3.tags, ether_type: l3.ether_type })
}

/// The value at a position in the frame; none if it does not end before `end`.
///
/// Only for types without invalid bit patterns.
#[inline(always)]
pub fn load<T: Copy>(ctx: &XdpContext, at: u32, end: u32) -> Option<T> {
    if at + size_of::<T>() as u32 > end {
        return None;
    }
    let mut value = MaybeUninit::<T>::uninit();
    let buffer = value.as_mut_ptr().cast::<c_void>();
    // SAFETY: the buffer is as long as it is said to be.
    let result = unsafe { bpf_xdp_load_bytes(ctx.ctx, at, buffer, size_of::<T>() as u32) };
    // SAFETY: the kernel filled the buffer, and any bits make a value.
    (result == 0).then(|| unsafe { value.assume_init() })
}

/// The first `length` of eight bytes at a position in the frame, then zeros; none if the frame ends before. A length is
/// taken modulo eight, and 0 as eight.
#[inline(always)]
pub fn load_some(ctx: &XdpContext, at: u32, length: u32) -> Option<[u8; 8]> {
    let mut value = [0u8; 8];
    // In this form the verifier sees that it is within the buffer and not zero.
    let length = (length.wrapping_sub(1) & 7) + 1;
    // SAFETY: the buffer has room for as many bytes.
    let result = unsafe { bpf_xdp_load_bytes(ctx.ctx, at, value.as_mut_ptr().cast::<c_void>(), length) };
    (result == 0).then_some(value)
}

/// Stores a value at a position in the frame; none if the frame ends before.
#[inline(always)]
pub fn store<T: Copy>(ctx: &XdpContext, at: u32, mut value: T) -> Option<()> {
    let buffer = (&raw mut value).cast::<c_void>();
    // SAFETY: the buffer is as long as it is said to be; the kernel only reads it.
    let result = unsafe { bpf_xdp_store_bytes(ctx.ctx, at, buffer, size_of::<T>() as u32) };
    (result == 0).then_some(())
}
