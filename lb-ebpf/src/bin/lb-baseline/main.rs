//! What the bench on veth needs beside the balancer: the least that a balancer can be, a traffic generator, a counter.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![expect(missing_docs, reason = "the `xdp` attribute makes an undocumented function of its own")]

mod hash;
mod generate;
mod count;

use aya_ebpf::{bindings::xdp_action, helpers::bpf_redirect, macros::xdp, programs::XdpContext};
use lb_ebpf::bpf_object;

/// A stateless hash over a fixed table of backends; passes what is not for its service.
#[xdp]
pub fn hash(ctx: XdpContext) -> u32 {
    hash::run(&ctx).unwrap_or(xdp_action::XDP_PASS)
}

/// Writes the next packet and sends it. Run with BPF_F_TEST_XDP_LIVE_FRAMES.
#[xdp]
pub fn generate(ctx: XdpContext) -> u32 {
    match generate::run(&ctx) {
        // SAFETY: a helper without pointers.
        Some(ifindex) => unsafe { bpf_redirect(ifindex, 0) as u32 },
        None => xdp_action::XDP_ABORTED,
    }
}

/// Counts and drops the generator's packets; passes everything else.
#[xdp]
pub fn count(ctx: XdpContext) -> u32 {
    match count::run(&ctx) {
        Some(()) => xdp_action::XDP_DROP,
        None => xdp_action::XDP_PASS,
    }
}

bpf_object!();
