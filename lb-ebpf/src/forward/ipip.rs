//! IP in IP: an outer header towards the backend, the packet inside untouched.

use aya_ebpf::programs::XdpContext;
use lb_common::{addr::FAMILY_V6, backend::Backend, verdict::Reason};
use network_types::eth::EtherType;

use lb_ebpf::packet::rewrite;

use super::{
    Shape,
    outer::{self, Inner},
};

/// Puts the packet in an outer header of the backend's family.
///
/// # Errors
/// [`Reason::NoHeadroom`] if the driver left no room for it; the packet is then as it came in.
#[inline(always)]
pub fn forward(ctx: &XdpContext, shape: Shape, backend: &Backend, hash: u64) -> Result<(), Reason> {
    let Shape { tags, length, traffic_class, protocol } = shape;
    let inner = Inner { protocol, length, traffic_class };
    if backend.family == FAMILY_V6 {
        rewrite::push(ctx, tags, backend, EtherType::Ipv6, outer::v6(inner, backend, hash))
    } else {
        rewrite::push(ctx, tags, backend, EtherType::Ipv4, outer::v4(inner, backend, hash))
    }
}
