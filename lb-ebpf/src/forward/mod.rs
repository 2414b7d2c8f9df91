//! Rewrites a packet for its backend, in the mode of its service.

pub mod l2;
mod outer;
pub mod ipip;
pub mod gue;

use aya_ebpf::programs::XdpContext;
use lb_common::{addr::FAMILY_V6, backend::Backend, mode, service::Service, verdict::Reason};

use lb_ebpf::packet::{Flow, Packet};

/// Bytes that the packet grows by on its way to the backend.
#[inline(always)]
pub fn overhead(service: &Service, backend: &Backend) -> u32 {
    let bytes = match (service.mode, backend.family) {
        (mode::IPIP, FAMILY_V6) => outer::V6_LEN,
        (mode::IPIP, _) => outer::V4_LEN,
        (mode::GUE, FAMILY_V6) => gue::OVER_V6_LEN,
        (mode::GUE, _) => gue::OVER_V4_LEN,
        _ => 0,
    };
    bytes as u32
}

/// Whether the packet fits the egress interface once it is rewritten.
#[inline(always)]
pub fn fits<F>(service: &Service, packet: &Packet<F>, backend: &Backend) -> bool {
    packet.length + overhead(service, backend) <= u32::from(backend.mtu)
}

/// Rewrites the packet.
///
/// # Errors
/// [`Reason::NoHeadroom`]; the packet is then as it came in.
#[inline(always)]
pub fn forward<F: Flow>(
    ctx: &XdpContext,
    service: &Service,
    packet: &Packet<F>,
    backend: &Backend,
    hash: u64,
) -> Result<(), Reason> {
    match service.mode {
        mode::IPIP => ipip::forward(ctx, packet, backend, hash),
        mode::GUE => gue::forward(ctx, packet, backend, hash),
        _ => l2::forward(ctx, backend),
    }
}
