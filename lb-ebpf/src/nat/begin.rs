//! A flow begins: its backend, a free address and port to send from, and an entry for each direction.

use core::hint::black_box;

use aya_ebpf::{
    bindings::{BPF_ANY, BPF_F_NO_PREALLOC, BPF_NOEXIST},
    btf_maps::{HashMap, PerCpuArray},
    macros::btf_map,
};
use lb_common::{
    addr::{FAMILY_V4, RawAddr},
    backend::Backend,
    event::Event,
    flow::{FLOW_OPENED, FlowEntry, FlowKey},
    maps::MAX_POOLS,
    mode,
    nat::{ATTEMPTS, Handed, MAX_POOL, Pool, TRANSLATION_REPLY, Translation, candidate},
    service::Service,
    verdict::Reason,
};
use lb_ebpf::packet::{FlowV4, FlowV6};

use super::{TRANSLATIONS, find};
use crate::{
    algorithm, backend, clock, connections, events, flow::closing_flags, rate, service::Served as _, slot,
    stage, transition,
};

#[btf_map]
static POOLS: HashMap<u32, Pool, { MAX_POOLS as usize }, { BPF_F_NO_PREALLOC as usize }> = HashMap::new();

/// A flow that is about to begin: the stack has no room for it.
struct Draft {
    /// What packets of the client become.
    there: Translation,
    /// What packets of the backend become, and by which key they are found.
    back: Translation,
    back_key: FlowKey,
    /// From where the host reaches the backend.
    source: RawAddr,
}

#[btf_map]
static DRAFT: PerCpuArray<Draft, 1> = PerCpuArray::new();

/// What a candidate turned out to be.
const TAKEN: u32 = 0;
const FREE: u32 = 1;
const TABLE_FULL: u32 = 2;

/// Records a new flow in both directions. 0, or the number of the reason why it can't be. A function of its own, so that
/// the packets of recorded flows have the registers to themselves.
#[inline(never)]
pub fn begin(handed: &Handed) -> u32 {
    Reason::as_number(choose(handed).and_then(|(id, backend)| record(handed, id, backend).map(|()| 0)))
}

/// The backend of a new flow: in a tracked service as its algorithm says, else the slot's owner.
#[inline(always)]
fn choose(handed: &Handed) -> Result<backend::Chosen, Reason> {
    let service = &handed.service;
    let slot = slot::of(service, handed.slot_hash).ok_or(Reason::TableMissing)?;
    let id = if service.is_tracked() {
        algorithm::pick(service, handed.slot_hash)
    } else {
        transition::owner(service, slot, handed.slot_hash)
    };
    let (id, backend) = backend::by_hop(backend::chosen(id)?, handed.hash);
    // The agent keeps others out.
    if backend.family != handed.key.family { Err(Reason::BackendMissing) } else { Ok((id, backend)) }
}

#[inline(always)]
fn record(handed: &Handed, id: u32, backend: &Backend) -> Result<(), Reason> {
    let now_s = clock::now_s();
    let unrecorded = |event| {
        events::count(event);
        Reason::NotTranslated
    };
    rate::take(handed.group_hash, now_s).map_err(unrecorded)?;
    if let Some(former) = find(handed) {
        end(handed, former);
    }
    draft(handed, id, backend, now_s).ok_or(Reason::NotTranslated)?;
    let mut found = TAKEN;
    // The source of a flow that keeps its own is what it is.
    let attempts = if handed.service.mode == mode::DNAT { 1 } else { ATTEMPTS };
    for attempt in 0..ATTEMPTS {
        if found != TAKEN || attempt >= attempts {
            break;
        }
        nat_candidate(attempt);
        let is_ours = if handed.key.family == FAMILY_V4 { nat_is_ours_v4() } else { nat_is_ours_v6() };
        if is_ours != 0 {
            found = nat_take();
        }
    }
    match found {
        FREE => {}
        TABLE_FULL => return Err(unrecorded(Event::TableFull)),
        _ => return Err(Reason::NatExhausted),
    }
    let draft = DRAFT.get(0).ok_or(Reason::NotTranslated)?;
    if TRANSLATIONS.insert(&handed.key, &draft.there, u64::from(BPF_ANY)).is_err() {
        let _ = TRANSLATIONS.remove(&draft.back_key);
        return Err(unrecorded(Event::TableFull));
    }
    connections::open(id);
    Ok(())
}

/// Ends a flow whose place another one takes.
#[inline(always)]
fn end(handed: &Handed, former: &mut Translation) {
    connections::end(&mut former.state);
    if let Some(draft) = DRAFT.get_ptr_mut(0) {
        // SAFETY: the value is this CPU's own, and XDP programs do not interrupt each other on a CPU.
        let key = unsafe { &mut (*draft).back_key };
        *key = former.other(&handed.key);
        let _ = TRANSLATIONS.remove(&*key);
    }
}

/// Writes all that does not depend on the candidate.
#[inline(always)]
fn draft(handed: &Handed, id: u32, backend: &Backend, now_s: u32) -> Option<()> {
    let draft = DRAFT.get_ptr_mut(0)?;
    // SAFETY: as above.
    let draft = unsafe { &mut *draft };
    let key = &handed.key;
    let port = if backend.port == [0; 2] { key.destination_port } else { backend.port };
    let flags = FLOW_OPENED | closing_flags(0, handed.tcp_flags as u8);
    let state = FlowEntry { backend: id, service: handed.service.id, last_seen_s: now_s, flags };
    draft.there.destination = backend.address;
    draft.there.destination_port = port;
    draft.there.state = state;
    draft.back.source = key.destination;
    draft.back.source_port = key.destination_port;
    draft.back.destination = key.source;
    draft.back.destination_port = key.source_port;
    draft.back.state = FlowEntry { flags: TRANSLATION_REPLY, ..state };
    draft.source = backend.source;
    Some(())
}

// Functions of their own, to keep the verifier's work small, and one after another rather than one in another, so that each
// has the stack to itself.

/// Writes the source address and port of an attempt, and the key that replies to it will have.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn nat_candidate(attempt: u32) -> u32 {
    let Some((handed, draft)) = drafted() else { return 0 };
    if handed.service.mode == mode::DNAT {
        draft.there.source = handed.key.source;
        draft.there.source_port = handed.key.source_port;
    } else {
        source(handed, draft, attempt);
    }
    draft.back_key.source = draft.there.destination;
    draft.back_key.source_port = draft.there.destination_port;
    draft.back_key.destination = draft.there.source;
    draft.back_key.destination_port = draft.there.source_port;
    draft.back_key.protocol = handed.key.protocol;
    draft.back_key.family = handed.key.family;
    1
}

/// Whether replies come to the stage that translates: not to a service that has the address and port, nor, since nobody has
/// told the main program yet, to the host.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn nat_is_ours_v4() -> u32 {
    let Some((_, draft)) = drafted() else { return 0 };
    is_marker(FlowV4::of(&draft.back_key).service())
}

/// The same for IPv6.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn nat_is_ours_v6() -> u32 {
    let Some((_, draft)) = drafted() else { return 0 };
    is_marker(FlowV6::of(&draft.back_key).service())
}

/// Through one register, since the compiler would look at the mode of a service that there is not.
#[inline(always)]
fn is_marker(service: Option<Service>) -> u32 {
    let word = black_box(service.map_or(0, Service::word));
    u32::from(Service::from_word(word).is_some_and(|service| service.mode == mode::REPLIES))
}

/// Takes the candidate unless another flow to the backend has it.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn nat_take() -> u32 {
    let Some((handed, draft)) = drafted() else { return TAKEN };
    draft.there.note_changes(&handed.key);
    draft.back.note_changes(&draft.back_key);
    match TRANSLATIONS.insert(&draft.back_key, &draft.back, u64::from(BPF_NOEXIST)) {
        Ok(()) => FREE,
        Err(EEXIST) => TAKEN,
        Err(_full) => TABLE_FULL,
    }
}

/// The packet and the flow that it begins.
#[inline(always)]
fn drafted() -> Option<(&'static Handed, &'static mut Draft)> {
    let draft = DRAFT.get_ptr_mut(0)?;
    // SAFETY: the value is this CPU's own, and XDP programs do not interrupt each other on a CPU.
    Some((stage::handed()?, unsafe { &mut *draft }))
}

/// Error number of an entry that is there already.
const EEXIST: i32 = -17;

/// Address and port of an attempt.
#[inline(always)]
fn source(handed: &Handed, draft: &mut Draft, attempt: u32) {
    // SAFETY: entries are read only; one that is being replaced is whole in its new or its former memory.
    let pool = unsafe { POOLS.get(handed.service.id) };
    let (count, first, last) = match pool {
        Some(pool) => (pool.count, pool.first_port, pool.last_port),
        None => (0, lb_common::nat::FIRST_PORT, lb_common::nat::LAST_PORT),
    };
    let (index, port) = candidate(handed.hash, attempt, count, first, last);
    draft.there.source = match pool {
        Some(pool) if count != 0 => pool.addresses[index as usize & (MAX_POOL - 1)],
        _ => draft.source,
    };
    draft.there.source_port = port.to_be_bytes();
}
