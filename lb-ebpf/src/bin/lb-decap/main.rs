//! The decapsulation program for backends: hands every packet to the host or drops it, and counts why.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![expect(missing_docs, reason = "the `xdp` attribute makes an undocumented function of its own")]

mod decap;
#[path = "../../reasons.rs"]
mod reasons;

use aya_ebpf::{bindings::xdp_action, macros::xdp, programs::XdpContext};
use lb_ebpf::{bpf_object, packet::frame_len};

/// Entry point.
#[xdp]
pub fn decap(ctx: XdpContext) -> u32 {
    let bytes = frame_len(&ctx);
    let reason = decap::run(&ctx);
    reasons::count(reason, bytes);
    if reason.is_drop() { xdp_action::XDP_DROP } else { xdp_action::XDP_PASS }
}

bpf_object!();
