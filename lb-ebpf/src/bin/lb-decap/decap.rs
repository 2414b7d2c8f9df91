//! The backend's side of `ipip`: takes the outer header off packets for the service's addresses.

use aya_ebpf::{btf_maps::HashMap, macros::btf_map, programs::XdpContext};
use lb_common::{addr::RawAddr, maps::MAX_DECAP_VIPS, verdict::Reason};
use network_types::{
    eth::EtherType,
    ip::{Ipv4Hdr, Ipv6Hdr},
};

use lb_ebpf::packet::{rewrite, tunnel};

#[btf_map]
static DECAP_VIPS: HashMap<RawAddr, u32, { MAX_DECAP_VIPS as usize }> = HashMap::new();

/// Takes the outer header off a tunnel packet. Every packet ends for a reason, [`Reason::Decapsulated`] among them; it
/// is unchanged for any other.
#[inline(always)]
pub fn run(ctx: &XdpContext) -> Reason {
    match unpack(ctx) {
        Ok(()) => Reason::Decapsulated,
        Err(reason) => reason,
    }
}

#[inline(always)]
fn unpack(ctx: &XdpContext) -> Result<(), Reason> {
    let tunnel = tunnel::parse(ctx)?;
    // SAFETY: only the presence of the entry counts, no reference to it is kept.
    if unsafe { DECAP_VIPS.get(tunnel.destination) }.is_none() {
        return Err(Reason::InnerNotService);
    }
    if tunnel.outer == EtherType::Ipv4 {
        rewrite::pop::<{ Ipv4Hdr::LEN }>(ctx, tunnel.tags, tunnel.inner)
    } else {
        rewrite::pop::<{ Ipv6Hdr::LEN }>(ctx, tunnel.tags, tunnel.inner)
    }
}
