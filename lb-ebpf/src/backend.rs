//! Backends and whether they are up.

use aya_ebpf::{
    bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC},
    btf_maps::{Array, HashMap},
    macros::btf_map,
};
use lb_common::{
    backend::{BACKEND_MULTIPATH, BACKEND_PRESENT, BACKEND_RESOLVED, Backend, TARGET_UP, hop_key},
    event::Event,
    hash,
    maps::{MAX_BACKENDS, MAX_MORE_HOPS},
    slot::Slot,
    verdict::Reason,
};

use crate::{events, slot};

// Memory that can be mapped begins at a page, so that each entry is one cache line and not parts of two.
#[btf_map]
static BACKENDS: Array<Backend, { MAX_BACKENDS as usize }, { BPF_F_MMAPABLE as usize }> = Array::new();

#[btf_map]
static HOPS: HashMap<u32, Backend, { MAX_MORE_HOPS as usize }, { BPF_F_NO_PREALLOC as usize }> =
    HashMap::new();

#[btf_map]
static LIVENESS: Array<u32, { MAX_BACKENDS as usize }> = Array::new();

/// Slots that are tried for a flow whose backend is down. With one of two backends down, 1 of 256 flows finds none
/// and is dropped, until the agent has published a table without the dead one.
pub const PROBES: u32 = 8;

/// A backend that takes traffic, and its id.
pub type Chosen = (u32, &'static Backend);

/// What a backend's flags hold if packets can be sent to it while it is up.
const READY: u8 = BACKEND_PRESENT | BACKEND_RESOLVED;

/// The backend of an id if packets can be sent to it and one next hop leads there: what nearly every packet asks, with
/// nothing else in the way.
#[inline(always)]
pub fn plain(id: u32) -> Option<Chosen> {
    let backend = BACKENDS.get(id)?;
    let is_plain = backend.flags & (READY | BACKEND_MULTIPATH) == READY;
    (is_plain && *LIVENESS.get(backend.target)? == TARGET_UP).then_some((id, backend))
}

/// The backend of an id if packets can be sent to it.
#[inline(always)]
pub fn ready(id: u32) -> Option<Chosen> {
    let backend = BACKENDS.get(id)?;
    let is_ready = backend.flags & READY == READY && *LIVENESS.get(backend.target)? == TARGET_UP;
    is_ready.then_some((id, backend))
}

/// The backend with the next hop that a flow of this hash takes.
#[inline(always)]
pub fn by_hop((id, backend): Chosen, hash: u64) -> Chosen {
    if backend.flags & BACKEND_MULTIPATH == 0 {
        return (id, backend);
    }
    let hop = ((hash & u64::from(u32::MAX)) * u64::from(backend.hops())) >> 32;
    // SAFETY: entries are read only; one that is being replaced is whole in its new or its former memory.
    let other = unsafe { HOPS.get(hop_key(id, hop as u32)) };
    // Number 0 is not in the map, and any other may be missing while the agent writes.
    (id, other.unwrap_or(backend))
}

/// The backend of an id; none if it is down.
///
/// # Errors
/// The reason why no packet can be sent to it although it is not known to be down.
#[inline(always)]
pub fn get(id: u32) -> Result<Option<Chosen>, Reason> {
    let vacant = if id == 0 { Reason::NoBackend } else { Reason::BackendMissing };
    let backend = BACKENDS.get(id).ok_or(vacant)?;
    if backend.flags & BACKEND_PRESENT == 0 {
        return Err(vacant);
    }
    if LIVENESS.get(backend.target).is_none_or(|state| *state != TARGET_UP) {
        return Ok(None);
    }
    // Asked last: the neighbour of a dead host is unresolved as well, and its flows should find another backend.
    if backend.flags & BACKEND_RESOLVED == 0 {
        return Err(Reason::NextHopUnresolved);
    }
    Ok(Some((id, backend)))
}

/// Whether the backend of an id takes traffic. One that is gone is as good as down.
#[inline(always)]
pub fn is_up(id: u32) -> bool {
    !matches!(get(id), Ok(None) | Err(Reason::BackendMissing | Reason::NoBackend))
}

/// The backend of an id that was just found to be up.
///
/// # Errors
/// As of [`get`], and [`Reason::NoBackend`] if it went down meanwhile.
#[inline(always)]
pub fn chosen(id: u32) -> Result<Chosen, Reason> {
    get(id)?.ok_or(Reason::NoBackend)
}

/// The owner of the first slot along the flow's probe sequence that is up; 0 if none of a few is. A function of its
/// own, to keep the verifier's work small.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn backend_probe(class: u32, service: u32, slot_hash: u64) -> u32 {
    for attempt in 1..=PROBES {
        let slot = Slot(slot::slot_other(class, service, hash::probe(slot_hash, attempt)));
        if is_ready(slot.backend()) {
            events::count(Event::Probed);
            return slot.backend();
        }
    }
    0
}

/// Whether packets can be sent to the backend of an id.
#[inline(always)]
pub fn is_ready(id: u32) -> bool {
    ready(id).is_some()
}

/// Whether the backend of an id gets no new connections.
#[inline(always)]
pub fn is_draining(id: u32) -> bool {
    BACKENDS.get(id).is_some_and(|backend| backend.weight == 0)
}

/// Whether the backend of an id is known to be down.
#[inline(always)]
pub fn is_down(id: u32) -> bool {
    matches!(get(id), Ok(None))
}
