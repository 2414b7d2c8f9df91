//! The decapsulation programs for backends: they hand every packet to the host, and count why.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![expect(missing_docs, reason = "the `xdp` attribute makes an undocumented function of its own")]

mod decap;
#[path = "../../reasons.rs"]
mod reasons;

use aya_ebpf::{
    bindings::xdp_action,
    macros::{classifier, xdp},
    programs::{TcContext, XdpContext},
};
use lb_common::verdict::Reason;
use lb_ebpf::{
    bpf_object,
    packet::{self, frame::Frame, rewrite, skb},
};

/// Verdict of a program of traffic control: the next one decides.
const TCX_NEXT: i32 = -1;

/// Entry point in the driver, or before the stack.
#[xdp]
pub fn decap(ctx: XdpContext) -> u32 {
    let bytes = packet::frame_len(&ctx);
    let done = decap::tunnel(&Frame::of(&ctx), bytes as usize).and_then(|tunnel| rewrite::pop(&ctx, &tunnel));
    count(done, bytes);
    xdp_action::XDP_PASS
}

/// Entry point in the stack.
#[classifier]
pub fn decap_tc(ctx: TcContext) -> i32 {
    let bytes = u64::from(ctx.len());
    let done = decap::tunnel(&skb::frame(&ctx), bytes as usize).and_then(|tunnel| skb::pop(&ctx, &tunnel));
    count(done, bytes);
    TCX_NEXT
}

/// Counts what became of a packet.
#[inline(always)]
fn count(done: Result<(), Reason>, bytes: u64) {
    reasons::count(done.err().unwrap_or(Reason::Decapsulated), bytes);
}

bpf_object!();
