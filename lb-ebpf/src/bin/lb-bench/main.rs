//! Measures other programs: restores the packet, varies the flow, calls the program under test.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![expect(missing_docs, reason = "the `xdp` attribute makes an undocumented function of its own")]

use aya_ebpf::{bindings::xdp_action, macros::xdp, programs::XdpContext};
use lb_ebpf::bpf_object;

/// What the programs under test are compared with.
#[xdp]
pub fn empty(_ctx: XdpContext) -> u32 {
    xdp_action::XDP_TX
}

bpf_object!();
