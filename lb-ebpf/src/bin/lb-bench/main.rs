//! Measures other programs: restores the packet, varies the flow, calls the program under test.
//!
//! BPF_PROG_TEST_RUN with a repeat count gives every run the packet that the last one left, which is of no use for a
//! program that rewrites packets.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![expect(missing_docs, reason = "the `xdp` attribute makes an undocumented function of its own")]

use aya_ebpf::{
    bindings::xdp_action,
    btf_maps::{Array, ProgramArray},
    helpers::bpf_xdp_adjust_head,
    macros::{btf_map, xdp},
    programs::XdpContext,
};
use lb_common::bench::{HEADER_LEN, Template};
use lb_ebpf::{
    bpf_object,
    packet::frame::{Frame, store},
};

/// The program under test.
#[btf_map]
static TARGET: ProgramArray<1> = ProgramArray::new();

#[btf_map]
static TEMPLATE: Array<Template, 1> = Array::new();

/// The number of the next packet. Set before each sample, so that all programs see the same flows.
#[btf_map]
static ROUND: Array<u32, 1> = Array::new();

/// What the programs under test are compared with.
#[xdp]
pub fn empty(_ctx: XdpContext) -> u32 {
    xdp_action::XDP_TX
}

/// Entry point.
#[xdp]
pub fn wrap(ctx: XdpContext) -> u32 {
    if restore(&ctx).is_some() {
        // SAFETY: the context is the program's own.
        unsafe { TARGET.tail_call(&ctx, 0) };
    }
    xdp_action::XDP_ABORTED
}

/// Makes the frame what it was, with the next flow's addresses and port.
#[inline(always)]
fn restore(ctx: &XdpContext) -> Option<()> {
    let template = TEMPLATE.get(0)?;
    // Called even where nothing is to be moved, so that it costs the same with every program under test.
    let moved = (ctx.data_end() - ctx.data()) as i32 - template.length as i32;
    // SAFETY: the context is the program's own; addresses in the frame are derived below.
    if unsafe { bpf_xdp_adjust_head(ctx.ctx, moved) } != 0 {
        return None;
    }
    let frame = Frame::of(ctx);
    if !frame.holds(frame.start, HEADER_LEN) {
        return None;
    }
    let mut at = 0;
    while at < HEADER_LEN / 8 {
        // SAFETY: the header was just checked to lie in the frame.
        unsafe { store(frame.start + 8 * at, template.header[at]) };
        at += 1;
    }
    let next = ROUND.get_ptr_mut(0)?;
    // SAFETY: the kernel keeps array values, and only one program runs at a time.
    let round = unsafe { *next };
    // SAFETY: as above.
    unsafe { *next = round.wrapping_add(1) };
    let variation = template.variation(round);
    store_number(&frame, template.destination_at, variation.destination)?;
    store_number(&frame, template.source_at, variation.source)?;
    store_number(&frame, template.port_at, variation.port)
}

/// Stores two bytes, in network order, at one of the first 64 places of the frame.
#[inline(always)]
fn store_number(frame: &Frame, at: u32, value: u16) -> Option<()> {
    let at = frame.start + (at & 63) as usize;
    if !frame.holds(at, size_of::<u16>()) {
        return None;
    }
    // SAFETY: the place was just checked to lie in the frame.
    unsafe { store(at, value.to_be()) };
    Some(())
}

bpf_object!();
