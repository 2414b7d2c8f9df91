//! Whose packet it is while its slot changes owner or the owner is down: connections stay with the backend that they
//! began on.

use aya_ebpf::programs::XdpContext;
use lb_common::{service::Service, slot::Slot, verdict::Reason};

use crate::{backend, flow::Record, slot};

/// Chooses the backend of a packet in a moving or settled slot, or in a steady one whose owner is down; 0 if there is
/// none.
///
/// | | flow recorded | new connection | any other |
/// |---|---|---|---|
/// | moving | its backend | owner, recorded | former owner, recorded |
/// | moving, waiting | its backend | owner, recorded | former owner |
/// | settled | its backend | owner | owner |
/// | owner down | its backend | another, recorded, or none | another, recorded |
///
/// A flow whose backend is down finds another, the owner or one by probing, which is recorded. One that can't be
/// recorded goes to the former owner of a moving slot even if it is new: its later packets will too.
///
/// # Errors
/// [`Reason::NotRecorded`] for a new connection while the owner is down, if no record would say whom it was given.
#[inline(always)]
pub fn choose(
    ctx: &XdpContext,
    record: &Record,
    service: &Service,
    slot: Slot,
    slot_hash: u64,
) -> Result<u32, Reason> {
    if let Some(entry) = record.find() {
        if backend::is_up(entry.backend) {
            return Ok(entry.backend);
        }
        let chosen = owner(service, slot, slot_hash);
        if chosen != 0 {
            entry.backend = chosen;
        }
        return Ok(chosen);
    }
    if slot.is_moving() {
        return begin(record, record.opens(ctx, service), service, slot, slot_hash);
    }
    if slot.is_settled() && backend::is_up(slot.backend()) {
        return Ok(slot.backend());
    }
    let chosen = backend::backend_probe(service.class.into(), service.id, slot_hash);
    let is_kept = chosen == 0 || record.insert(chosen, 0);
    // Any other packet lost its backend before, or is of a datagram flow that can't be told from one that did.
    if !is_kept && record.opens(ctx, service) {
        return Err(Reason::NotRecorded);
    }
    Ok(chosen)
}

/// A flow without a record in a moving slot.
#[inline(always)]
fn begin(record: &Record, opens: bool, service: &Service, slot: Slot, slot_hash: u64) -> Result<u32, Reason> {
    let former = slot::slot_former_owner(service.class.into(), service.id, slot_hash);
    let former_is_up = backend::is_up(former);
    if former_is_up && !opens && slot.is_waiting() {
        return Ok(former);
    }
    let chosen = if former_is_up && !opens { former } else { owner(service, slot, slot_hash) };
    if chosen == 0 || record.insert(chosen, 0) {
        Ok(chosen)
    } else if former_is_up {
        Ok(former)
    } else if opens && chosen != slot.backend() {
        Err(Reason::NotRecorded)
    } else {
        Ok(chosen)
    }
}

/// The owner of the slot, or who is found in its stead; 0 if nobody is.
#[inline(always)]
pub fn owner(service: &Service, slot: Slot, slot_hash: u64) -> u32 {
    if backend::is_up(slot.backend()) {
        slot.backend()
    } else {
        backend::backend_probe(service.class.into(), service.id, slot_hash)
    }
}

/// The backend of a flow that goes by its hash alone: the former owner of a moving slot, else the owner; 0 if there is
/// none.
#[inline(always)]
pub fn by_hash(service: &Service, slot: Slot, slot_hash: u64) -> u32 {
    if slot.is_moving() {
        let former = slot::slot_former_owner(service.class.into(), service.id, slot_hash);
        if backend::is_up(former) {
            return former;
        }
    }
    owner(service, slot, slot_hash)
}
