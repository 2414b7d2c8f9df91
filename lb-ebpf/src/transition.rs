//! Whose packet it is while its slot changes owner: connections stay with the backend that they began on.

use lb_common::{service::Service, slot::Slot, verdict::Reason};
use lb_ebpf::packet::{Flow, Packet};

use crate::{
    backend::{self, Chosen},
    flow,
    slot::Table,
};

/// Chooses the backend of a packet in a moving or settled slot.
///
/// | | flow recorded | new connection | any other |
/// |---|---|---|---|
/// | moving | its backend | owner, recorded | former owner, recorded |
/// | settled | its backend | owner | owner |
///
/// A flow whose backend is down finds another by probing, which is recorded. One that can't be recorded goes to the
/// former owner even if it is new: its later packets will too.
///
/// # Errors
/// The reason why no backend takes the packet.
#[inline(always)]
pub fn choose<F: Flow>(
    packet: &Packet<F>,
    service: &Service,
    table: &Table,
    slot: Slot,
    slot_hash: u64,
) -> Result<Chosen, Reason> {
    let key = packet.flow.key();
    if let Some(recorded) = flow::find(&key, service.id, packet.tcp_flags) {
        if let Some(chosen) = alive(recorded)? {
            return Ok(chosen);
        }
    } else if slot.is_settled() {
        if let Some(chosen) = backend::get(slot.backend())? {
            return Ok(chosen);
        }
    } else {
        return begin(packet, &key, service, table, slot, slot_hash);
    }
    let chosen = backend::probe(table, slot_hash)?;
    flow::record(&key, service.id, chosen.0, packet.tcp_flags);
    Ok(chosen)
}

/// A flow without a record in a moving slot.
#[inline(always)]
fn begin<F: Flow>(
    packet: &Packet<F>,
    key: &lb_common::flow::FlowKey,
    service: &Service,
    table: &Table,
    slot: Slot,
    slot_hash: u64,
) -> Result<Chosen, Reason> {
    let opens = packet.opens_connection();
    let former = table.former_owner(slot_hash);
    let stays = if opens { None } else { alive(former)? };
    let chosen = match stays {
        Some(chosen) => chosen,
        None => match backend::get(slot.backend())? {
            Some(chosen) => chosen,
            None => backend::probe(table, slot_hash)?,
        },
    };
    if !flow::record(key, service.id, chosen.0, packet.tcp_flags)
        && opens
        && let Some(chosen) = alive(former)?
    {
        return Ok(chosen);
    }
    Ok(chosen)
}

/// The backend of an id that an older generation named: one that is gone since is as good as down.
#[inline(always)]
fn alive(id: u32) -> Result<Option<Chosen>, Reason> {
    match backend::get(id) {
        Err(Reason::BackendMissing | Reason::NoBackend) => Ok(None),
        other => other,
    }
}
