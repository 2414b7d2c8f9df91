//! The balancer's XDP programs: turn a verdict into an action, and nothing else.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![cfg_attr(target_arch = "bpf", feature(core_intrinsics))]
#![cfg_attr(
    target_arch = "bpf",
    expect(internal_features, reason = "`AtomicU64::fetch_add` does not exist on this target")
)]
#![expect(missing_docs, reason = "the `xdp` attribute makes an undocumented function of its own")]

mod pipeline;
mod icmp;
mod fragment;
mod service;
mod wide;
mod slot;
mod choice;
mod stage;
mod nat;
mod transition;
mod algorithm;
mod connections;
mod quic;
mod flow;
mod rate;
mod clock;
mod backend;
mod redirect;
mod forward;
mod too_big;
mod stats;
mod reasons;
mod events;
mod trace;

use aya_ebpf::{bindings::xdp_action, macros::xdp, programs::XdpContext};
use lb_common::verdict::Reason;
use lb_ebpf::{bpf_object, packet::frame_len};

/// Entry point.
#[xdp]
pub fn lb(ctx: XdpContext) -> u32 {
    action(&ctx, pipeline::run(&ctx))
}

/// Entry point of the stage that translates.
#[xdp]
pub fn translate(ctx: XdpContext) -> u32 {
    action(&ctx, nat::run(&ctx))
}

#[inline(always)]
fn action(ctx: &XdpContext, verdict: Result<u32, Reason>) -> u32 {
    match verdict {
        Ok(action) => action,
        Err(reason) => {
            let bytes = frame_len(ctx);
            reasons::count(reason, bytes);
            trace::reason(ctx, reason, bytes);
            if reason.is_drop() { xdp_action::XDP_DROP } else { xdp_action::XDP_PASS }
        }
    }
}

bpf_object!();
