//! Direct return: the backend owns the service's address, only the MAC addresses change.

use aya_ebpf::programs::XdpContext;
use lb_common::{backend::Backend, verdict::Reason};

use lb_ebpf::packet::rewrite;

/// Addresses the frame to the backend's next hop.
///
/// # Errors
/// [`Reason::Malformed`] for a frame without an Ethernet header, which parsing has ruled out; the verifier asks.
#[inline(always)]
pub fn forward(ctx: &XdpContext, backend: &Backend) -> Result<(), Reason> {
    rewrite::set_macs(ctx, backend).ok_or(Reason::Malformed)
}
