//! Tracked services: who gets a new connection. Every flow is recorded, so that it stays where it began.

use aya_ebpf::{
    btf_maps::PerCpuArray, helpers::generated::bpf_get_prandom_u32, macros::btf_map, programs::XdpContext,
};
use lb_common::{
    flow::FLOW_OPENED,
    service::{MAX_SERVICES, SERVICE_QUIC, SERVICE_ROUND_ROBIN, Service},
    slot::Slot,
    verdict::Reason,
};

use crate::{
    backend::{self, Chosen, PROBES},
    connections,
    flow::Record,
    slot, transition,
};

/// The slot that each round-robin service turns to next. Every CPU has a turn of its own.
#[btf_map]
static NEXT: PerCpuArray<u32, { MAX_SERVICES as usize }> = PerCpuArray::new();

/// Chooses the backend of a packet for a tracked service; 0 if there is none.
///
/// A recorded flow stays with its backend while that is up. A new connection goes where the algorithm says, recorded;
/// if it can't be recorded, to its slot's owner, since its later packets go there too. Any other packet without a record
/// is of a connection that was forgotten or that began unrecorded: it goes to its slot's owner, recorded. While all
/// backends are drained there is none for new connections; a datagram may be of an older flow and goes by its hash as well.
///
/// # Errors
/// [`Reason::NotRecorded`] for a new connection that can't be recorded while its slot's owner is down: who stands in for
/// the owner now does so until the next table only.
#[inline(always)]
pub fn choose(
    ctx: &XdpContext,
    record: &Record,
    service: &Service,
    slot: Slot,
    slot_hash: u64,
) -> Result<u32, Reason> {
    let opens = opens(ctx, record, service);
    if let Some(entry) = record.find() {
        if !backend::is_up(entry.backend) {
            let chosen = pick(service, slot_hash);
            if chosen == 0 {
                return Ok(0);
            }
            connections::reassign(entry, chosen);
        }
        connections::follow(entry, opens);
        return Ok(entry.backend);
    }
    let mut is_over_cap = false;
    if opens {
        let chosen = pick(service, slot_hash);
        if chosen != 0 && record.insert(chosen, FLOW_OPENED) {
            connections::open(chosen);
            return Ok(chosen);
        }
        is_over_cap = chosen != 0;
        // The slot's former owner may be up, but it takes no new connections.
        if !is_over_cap && tries_again(record, service) {
            return Ok(0);
        }
    }
    let chosen = transition::by_hash(service, slot, slot_hash);
    if chosen == 0 {
        return Ok(0);
    }
    if !is_over_cap {
        record.insert(chosen, 0);
    } else if tries_again(record, service) && !is_named(service, slot, slot_hash, chosen) {
        return Err(Reason::NotRecorded);
    }
    Ok(chosen)
}

/// Whether a packet that begins a connection is known to, so that its client repeats it when it is lost. Other datagrams
/// may be of a flow that is older.
#[inline(always)]
fn tries_again(record: &Record, service: &Service) -> bool {
    record.opens_tcp() || service.flags & SERVICE_QUIC != 0
}

/// Whether a slot names a backend, as its owner or its former owner.
#[inline(always)]
fn is_named(service: &Service, slot: Slot, slot_hash: u64, backend: u32) -> bool {
    backend == slot.backend()
        || backend == slot::slot_former_owner(service.class.into(), service.id, slot_hash)
}

/// Whether a packet without a record begins a connection. Any datagram does, except in QUIC.
#[inline(always)]
fn opens(ctx: &XdpContext, record: &Record, service: &Service) -> bool {
    record.opens(ctx, service) || service.flags & SERVICE_QUIC == 0 && record.is_udp()
}

/// Whom a new connection is given: as the algorithm says, else whoever is found by probing; 0 if nobody is up.
#[inline(always)]
pub fn pick(service: &Service, slot_hash: u64) -> u32 {
    let class = service.class.into();
    let picked = algorithm_pick(class, service.id, service.flags.into());
    // Not called from there: the stack of a chain of functions is limited.
    if picked != 0 { picked } else { backend::backend_probe(class, service.id, slot_hash) }
}

/// Whom the algorithm gives a new connection; 0 if it finds nobody who is up. A function of its own, to keep the
/// verifier's work small.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn algorithm_pick(class: u32, service: u32, flags: u32) -> u32 {
    if flags & u32::from(SERVICE_ROUND_ROBIN) != 0 {
        round_robin(class, service)
    } else {
        least_connections(class, service)
    }
}

/// The owner of the next slot; those that are down are skipped. The agent laid the slots out in turns.
#[inline(always)]
fn round_robin(class: u32, service: u32) -> u32 {
    let Some(next) = NEXT.get_ptr_mut(service) else { return 0 };
    // SAFETY: the number is this CPU's own, and XDP programs do not interrupt each other on a CPU.
    let next = unsafe { &mut *next };
    let size = slot::size(class as u8);
    for _ in 0..PROBES {
        let index = if *next < size { *next } else { 0 };
        *next = index + 1;
        let owner = Slot(slot::slot_other(class, service, slot::hash_of_index(index, size))).backend();
        if backend::is_ready(owner) {
            return owner;
        }
    }
    0
}

/// Of the owners of two random slots, the one with fewer live connections for its weight (M. Mitzenmacher, "The power
/// of two choices in randomized load balancing", 2001). Slots are shared out by weight, and so are the draws.
#[inline(always)]
fn least_connections(class: u32, service: u32) -> u32 {
    let (one, other) = match (draw(class, service), draw(class, service)) {
        (Some(one), Some(other)) => (one, other),
        (one, other) => return one.or(other).map_or(0, |chosen| chosen.0),
    };
    let load_of_one = connections::live(one.0) * u64::from(other.1.weight.max(1));
    let load_of_other = connections::live(other.0) * u64::from(one.1.weight.max(1));
    if load_of_other < load_of_one { other.0 } else { one.0 }
}

/// The owner of a random slot, unless it is down.
#[inline(always)]
fn draw(class: u32, service: u32) -> Option<Chosen> {
    // SAFETY: the helper takes no arguments.
    let random = unsafe { bpf_get_prandom_u32() };
    backend::ready(Slot(slot::slot_other(class, service, u64::from(random) << 32)).backend())
}
