//! Which backend a packet goes to: its slot's at rest, and otherwise what [`transition`] or [`algorithm`] says.

use aya_ebpf::programs::XdpContext;
use lb_common::{service::Service, verdict::Reason};
use lb_ebpf::packet::{Flow, Packet};

use crate::{
    algorithm,
    backend::{self, Chosen},
    slot, transition,
};

/// Chooses the backend of a packet. `hash` is its flow's.
///
/// # Errors
/// The reason why no backend takes it.
#[inline(always)]
pub fn choose<F: Flow>(
    ctx: &XdpContext,
    packet: &Packet<F>,
    service: &Service,
    hash: u64,
) -> Result<Chosen, Reason> {
    let slot_hash = slot::hash(service, &packet.flow, hash);
    let slot = slot::of(service, slot_hash).ok_or(Reason::TableMissing)?;
    if !service.is_tracked()
        && slot.is_steady()
        && let Some(chosen) = backend::get(slot.backend())?
    {
        return Ok(chosen);
    }
    let id = if service.is_tracked() {
        algorithm::choose(ctx, packet, service, slot, slot_hash)?
    } else {
        transition::choose(ctx, packet, service, slot, slot_hash)?
    };
    backend::chosen(id)
}
