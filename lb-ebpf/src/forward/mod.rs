//! Rewrites a packet for its backend, in the mode of its service.

pub mod l2;
pub mod ipip;

use aya_ebpf::programs::XdpContext;
use lb_common::{addr::FAMILY_V6, backend::Backend, mode, service::Service, verdict::Reason};
use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

use lb_ebpf::packet::{Flow, Packet};

/// Whether the packet fits the egress interface once it is rewritten.
///
/// # Errors
/// [`Reason::TooBig`]
#[inline(always)]
pub fn check_mtu<F>(service: &Service, packet: &Packet<F>, backend: &Backend) -> Result<(), Reason> {
    let outer = match (service.mode, backend.family) {
        (mode::IPIP, FAMILY_V6) => Ipv6Hdr::LEN,
        (mode::IPIP, _) => Ipv4Hdr::LEN,
        _ => 0,
    };
    if packet.length + outer as u32 > u32::from(backend.mtu) { Err(Reason::TooBig) } else { Ok(()) }
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
    if service.mode == mode::IPIP {
        ipip::forward(ctx, packet, backend, hash)
    } else {
        l2::forward(ctx, backend)
    }
}
