//! The way out: back through the interface the packet came in on, or through another.

use aya_ebpf::{
    bindings::xdp_action, btf_maps::DevMap, helpers::generated::bpf_redirect, macros::btf_map,
    programs::XdpContext,
};
use lb_common::{
    backend::{BACKEND_LOCAL, Backend},
    maps::MAX_TX_PORTS,
    verdict::Reason,
};

#[btf_map]
static TX_PORTS: DevMap<{ MAX_TX_PORTS as usize }> = DevMap::new();

/// The action that sends a packet out of an interface, of which the kernel said that there is a way.
#[inline(always)]
pub fn through(ifindex: u32) -> u32 {
    // SAFETY: the helper takes numbers only.
    unsafe { bpf_redirect(ifindex, 0) as u32 }
}

/// The action that sends a packet to the backend; XDP_PASS if that is this host. Decided before the packet is changed, so that a missing interface
/// leaves it as it is.
///
/// # Errors
/// [`Reason::NoTxPort`] if the egress interface is not in the map.
#[inline(always)]
pub fn egress(ctx: &XdpContext, backend: &Backend) -> Result<u32, Reason> {
    if backend.ifindex as usize == ctx.ingress_ifindex() {
        return Ok(xdp_action::XDP_TX);
    }
    if backend.flags & BACKEND_LOCAL != 0 {
        return Ok(xdp_action::XDP_PASS);
    }
    TX_PORTS.redirect(u32::from(backend.tx_port), 0).map_err(|_fallback| Reason::NoTxPort)
}
