//! IP in IP: an outer header towards the backend, the packet inside untouched.

use aya_ebpf::programs::XdpContext;
use lb_common::{addr::FAMILY_V6, backend::Backend, verdict::Reason};
use network_types::eth::EtherType;

use lb_ebpf::packet::{Flow, Packet, rewrite};

use super::outer::{self, Inner};

/// Puts the packet in an outer header of the backend's family.
///
/// # Errors
/// [`Reason::NoHeadroom`] if the driver left no room for it; the packet is then as it came in.
#[inline(always)]
pub fn forward<F: Flow>(
    ctx: &XdpContext,
    packet: &Packet<F>,
    backend: &Backend,
    hash: u64,
) -> Result<(), Reason> {
    let inner =
        Inner { protocol: F::PROTOCOL_IN_IP, length: packet.length, traffic_class: packet.traffic_class };
    if backend.family == FAMILY_V6 {
        rewrite::push(ctx, packet.tags, backend, EtherType::Ipv6, outer::v6(inner, backend, hash))
    } else {
        rewrite::push(ctx, packet.tags, backend, EtherType::Ipv4, outer::v4(inner, backend, hash))
    }
}
