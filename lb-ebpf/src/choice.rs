//! Which backend a packet goes to: its slot's at rest, and otherwise what [`quic`], [`transition`] or [`algorithm`] says.

use aya_ebpf::programs::XdpContext;
use lb_common::{
    service::{SERVICE_QUIC_ID, Service},
    slot::Slot,
    verdict::Reason,
};
use lb_ebpf::packet::{Flow, Packet};

use crate::{
    algorithm,
    backend::{self, Chosen},
    flow::{self, Record},
    quic, slot, stage, transition,
};

/// Chooses the backend of a packet. `hash` is its flow's. One that is to be translated goes on to that stage instead.
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
    let slot = slot::of(service, slot_hash);
    if let Some(slot) = slot
        && service.goes_by_slots()
        && slot.is_steady()
        && let Some(chosen) = backend::plain(slot.backend())
    {
        return Ok(chosen);
    }
    if service.is_translated() {
        return Err(stage::translate(ctx, packet, service, (hash, slot_hash)));
    }
    let slot = slot.ok_or(Reason::TableMissing)?;
    let record = Record::note(packet, service).ok_or(Reason::NoBackend)?;
    let mut id = 0;
    if service.flags & SERVICE_QUIC_ID != 0 {
        id = quic::named(ctx, record);
    }
    if id == 0 {
        id = choose_by_flow(ctx, record, slot, slot_hash);
    }
    match id {
        NOT_RECORDED => Err(Reason::NotRecorded),
        id => Ok(backend::by_hop(backend::chosen(id)?, hash)),
    }
}

/// The backend that a packet of a flow goes to, for a packet that is about the flow but not of it: nothing is recorded.
/// `hash` is the flow's.
///
/// # Errors
/// The reason why no backend takes it.
#[inline(always)]
pub fn look_up<F: Flow>(flow: &F, service: &Service, hash: u64) -> Result<Chosen, Reason> {
    let slot_hash = slot::hash(service, flow, hash);
    let slot = slot::of(service, slot_hash).ok_or(Reason::TableMissing)?;
    if !service.is_tracked() && slot.is_steady() && !backend::is_down(slot.backend()) {
        return Ok(backend::by_hop(backend::chosen(slot.backend())?, hash));
    }
    let id = match flow::recorded(flow, service.id) {
        0 => transition::by_hash(service, slot, slot_hash),
        id if backend::is_up(id) => id,
        _ => transition::owner(service, slot, slot_hash),
    };
    Ok(backend::by_hop(backend::chosen(id)?, hash))
}

/// No backend's id: the packet is not to be sent, see [`Reason::NotRecorded`].
pub const NOT_RECORDED: u32 = u32::MAX;

/// The backend of a packet that may not simply go to its slot's owner; 0 if there is none, or [`NOT_RECORDED`]. A function
/// of its own, so that the packets that do have the registers to themselves.
#[inline(never)]
pub fn choose_by_flow(ctx: &XdpContext, record: &Record, slot: Slot, slot_hash: u64) -> u32 {
    let service = &record.service;
    let chosen = if service.is_tracked() {
        algorithm::choose(ctx, record, service, slot, slot_hash)
    } else if slot.is_steady() && !backend::is_down(slot.backend()) {
        // Nobody else's: its entry is vacant or its next hop unknown, which is counted.
        Ok(slot.backend())
    } else {
        transition::choose(ctx, record, service, slot, slot_hash)
    };
    chosen.unwrap_or(NOT_RECORDED)
}
