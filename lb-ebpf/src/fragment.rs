//! Fragments for services: later ones go where the first went, which has the ports, or all of them by their addresses.
//!
//! In functions of their own, called one after another rather than one in another, so that packets that are whole have the
//! registers to themselves and each function has the stack to itself.

use core::hint::black_box;

use aya_ebpf::{
    bindings::BPF_ANY,
    btf_maps::{LruHashMap, PerCpuArray},
    macros::btf_map,
    programs::XdpContext,
};
use lb_common::{
    addr::FAMILY_V4,
    fragment::{FRAGMENT_LIFE_S, FragmentEntry, FragmentKey},
    maps::MAX_FRAGMENTS,
    mode,
    service::{SERVICE_BY_ADDRESS, Service},
    slot::Slot,
    verdict::Reason,
    wire::protocol,
};
use lb_ebpf::packet::{
    FlowV4, FlowV6, Packet,
    fragment::{FIRST, Fragment, Fragmented, Kind, LATER, MALFORMED, NOWHERE, OTHER, WHOLE},
    link, reader,
    reader::Network,
};

use crate::{
    backend,
    choice::{self, NOT_RECORDED},
    clock,
    flow::Record,
    forward, pipeline,
    service::Served,
    slot, too_big,
};

#[btf_map]
static FRAGMENTS: LruHashMap<FragmentKey, FragmentEntry, { MAX_FRAGMENTS as usize }> = LruHashMap::new();

/// What is to be done with the fragment at hand, the same for both families.
struct Plan {
    key: FragmentKey,
    to: FragmentEntry,
    /// Where its flow's slot is, and what stands there.
    slot_hash: u64,
    slot: Slot,
    /// Not 0: its later parts go where it goes.
    is_followed: u32,
    kind: Kind,
    /// Not 0: the first part was seen.
    is_found: u32,
}

#[btf_map]
static FRAGMENT: PerCpuArray<Plan, 1> = PerCpuArray::new();

// The fragment itself: the stack has no room for it.
#[btf_map]
static FRAGMENT_V4: PerCpuArray<Fragment<FlowV4>, 1> = PerCpuArray::new();

#[btf_map]
static FRAGMENT_V6: PerCpuArray<Fragment<FlowV6>, 1> = PerCpuArray::new();

/// This CPU's value.
#[expect(clippy::mut_from_ref, reason = "the map is the kernel's, each CPU's value its own")]
#[inline(always)]
fn own<T>(map: &'static PerCpuArray<T, 1>) -> Option<&'static mut T> {
    // SAFETY: the value is this CPU's own, and XDP programs do not interrupt each other on a CPU.
    map.get_ptr_mut(0).map(|value| unsafe { &mut *value })
}

/// A family and the map of its fragments.
trait Noted: Fragmented + Served + 'static {
    fn map() -> &'static PerCpuArray<Fragment<Self>, 1>;
}

impl Noted for FlowV4 {
    #[inline(always)]
    fn map() -> &'static PerCpuArray<Fragment<Self>, 1> {
        &FRAGMENT_V4
    }
}

impl Noted for FlowV6 {
    #[inline(always)]
    fn map() -> &'static PerCpuArray<Fragment<Self>, 1> {
        &FRAGMENT_V6
    }
}

/// For no service.
const PASSED: u32 = Reason::as_number(Err(Reason::Fragment));
const NO_BACKEND: u32 = Reason::as_number(Err(Reason::NoBackend));
const BACKEND_MISSING: u32 = Reason::as_number(Err(Reason::BackendMissing));
const TOO_BIG: u32 = Reason::as_number(Err(Reason::TooBig));
const UNMATCHED: u32 = Reason::as_number(Err(Reason::FragmentUnmatched));
/// No verdict's number: where it goes stands in the plan.
const PLANNED: u32 = u32::MAX;
/// No verdict's number: its slot and its record are noted, and have the backend.
const NOTED: u32 = u32::MAX - 1;

/// What becomes of a fragment.
///
/// # Errors
/// The reason why it is passed or dropped; it is then as it came in.
#[inline(always)]
pub fn run(ctx: &XdpContext) -> Result<u32, Reason> {
    let network = reader::network(ctx)?;
    let step = if network.ether_type == link::IPV4 {
        plan::<FlowV4>(ctx, network.at, network.tags)
    } else {
        plan::<FlowV6>(ctx, network.at, network.tags)
    };
    // From here on nothing is known but what was noted: the verifier goes this way once, not for each family, kind and
    // number of tags.
    let mut step = black_box(step);
    if step == NOTED {
        step = choose(ctx);
    }
    if step == PLANNED {
        step = go(ctx);
    }
    Reason::in_number(step)
}

/// The first half of the way: where the fragment goes, or what that hangs on.
#[inline(always)]
fn plan<F: Noted>(ctx: &XdpContext, at: u32, tags: usize) -> u32 {
    match parse::<F>(ctx, at, tags) {
        OTHER => PASSED,
        LATER => match find() {
            NOTED => serve::<F>(LATER),
            step => step,
        },
        kind => serve::<F>(kind),
    }
}

/// The last part of the way.
#[inline(always)]
fn go(ctx: &XdpContext) -> u32 {
    let Some(plan) = own(&FRAGMENT) else { return PASSED };
    let is_v4 = plan.key.family == FAMILY_V4;
    let step = if is_v4 { send::<FlowV4>(ctx) } else { send::<FlowV6>(ctx) };
    match (black_box(step), plan.kind) {
        // Of one that went by its addresses, there is none as for any other packet.
        (NO_BACKEND | BACKEND_MISSING, LATER) if plan.is_found != 0 => UNMATCHED,
        (TOO_BIG, FIRST | WHOLE) if is_v4 => answer::<FlowV4>(ctx),
        (TOO_BIG, FIRST | WHOLE) => answer::<FlowV6>(ctx),
        (step, _) => step,
    }
}

#[inline(never)]
fn parse<F: Noted>(ctx: &XdpContext, at: u32, tags: usize) -> u32 {
    let (Some(fragment), Some(plan)) = (own(F::map()), own(&FRAGMENT)) else { return OTHER };
    let ether_type = if F::PROTOCOL_IN_IP == protocol::IPV4 { link::IPV4 } else { link::IPV6 };
    let kind = F::parse(ctx, Network { at, tags, ether_type }, fragment);
    if kind != OTHER {
        plan.kind = kind;
        plan.key = fragment.packet.flow.fragment_key(fragment.id);
    }
    kind
}

/// Where a later part goes: with the first, if that was seen; else [`NOTED`].
#[inline(never)]
fn find() -> u32 {
    let Some(plan) = own(&FRAGMENT) else { return PASSED };
    // SAFETY: it is copied at once. One that is being replaced is of the same parts.
    let Some(entry) = (unsafe { FRAGMENTS.get(plan.key) }) else { return NOTED };
    plan.to = *entry;
    if clock::now_s().wrapping_sub(plan.to.noted_s) > FRAGMENT_LIFE_S {
        return NOTED;
    }
    (plan.is_followed, plan.is_found) = (0, 1);
    if plan.to.service == 0 { PASSED } else { PLANNED }
}

/// Whose a fragment is that follows none: [`NOTED`] for a service's.
#[inline(always)]
fn serve<F: Noted>(kind: u32) -> u32 {
    let asked = match kind {
        LATER => BY_ADDRESS,
        MALFORMED => MARKER,
        _ => OWN,
    };
    let service = look_up::<F>(asked);
    if is_service(service) {
        return note::<F>(service, kind);
    }
    if look_up::<F>(MARKER) == 0 {
        return PASSED;
    }
    match kind {
        MALFORMED => Reason::as_number(Err(Reason::FragmentMalformed)),
        LATER => UNMATCHED,
        FIRST => {
            // The host's, as those that follow are.
            remember_host();
            PASSED
        }
        _ => PASSED,
    }
}

#[inline(always)]
fn is_service(word: u64) -> bool {
    Service::from_word(word).is_some_and(|service| service.mode < mode::MARKER)
}

/// What is looked up: the service of the flow.
const OWN: u32 = 0;
/// The service of the address that takes fragments without ports.
const BY_ADDRESS: u32 = 1;
/// The mark of an address of services, as pings find it.
const MARKER: u32 = 2;

/// What the service table has for the fragment at hand, as a word; 0 if nothing.
#[inline(never)]
fn look_up<F: Noted>(what: u32) -> u64 {
    let Some(fragment) = own(F::map()) else { return 0 };
    let flow = fragment.packet.flow;
    let flow = match what {
        BY_ADDRESS => {
            let port = u16::from(flow.protocol()).to_be();
            flow.with(u32::from(port) << 16, protocol::FRAGMENT)
        }
        MARKER if F::PROTOCOL_IN_IP == protocol::IPV4 => flow.with(0, protocol::ICMP),
        MARKER => flow.with(0, protocol::ICMPV6),
        _ => flow,
    };
    flow.service().map_or(0, Service::word)
}

/// Notes what the backend of a service's fragment is chosen by. A packet that is whole, or its first part, is balanced as
/// others are.
#[inline(never)]
fn note<F: Noted>(word: u64, kind: u32) -> u32 {
    let (Some(fragment), Some(plan)) = (own(F::map()), own(&FRAGMENT)) else { return PASSED };
    let Some(service) = Service::from_word(word) else { return PASSED };
    let packet = &mut fragment.packet;
    let by_address = kind == LATER || kind == FIRST && service.flags & SERVICE_BY_ADDRESS != 0;
    if by_address {
        packet.flow = packet.flow.with(0, packet.flow.protocol());
        (packet.tcp_flags, packet.transport_at) = (0, NOWHERE);
    }
    let hash = packet.flow.hash(slot::HashKeys);
    plan.slot_hash = slot::hash(&service, &packet.flow, hash);
    let Some(slot) = slot::of(&service, plan.slot_hash) else {
        return Reason::as_number(Err(Reason::TableMissing));
    };
    plan.slot = slot;
    plan.is_found = 0;
    plan.is_followed = u32::from(kind == FIRST && !by_address);
    plan.to = FragmentEntry { service: word, hash, backend: 0, noted_s: clock::now_s() };
    if Record::note(packet, &service).is_none() { PASSED } else { NOTED }
}

/// Chooses the backend by what was noted.
#[inline(always)]
fn choose(ctx: &XdpContext) -> u32 {
    let (Some(plan), Some(record)) = (own(&FRAGMENT), Record::noted()) else { return PASSED };
    match choice::choose_by_flow(ctx, record, plan.slot, plan.slot_hash) {
        NOT_RECORDED => Reason::as_number(Err(Reason::NotRecorded)),
        id => {
            plan.to.backend = id;
            if plan.is_followed != 0 && id != 0 {
                remember();
            }
            PLANNED
        }
    }
}

/// Remembers for the parts that follow where the first goes.
#[inline(never)]
fn remember() -> u32 {
    // If it fails, the others are counted as what they are then.
    own(&FRAGMENT)
        .map_or(0, |plan| u32::from(FRAGMENTS.insert(plan.key, plan.to, u64::from(BPF_ANY)).is_ok()))
}

/// Remembers that they are the host's.
#[inline(always)]
fn remember_host() {
    if let Some(plan) = own(&FRAGMENT) {
        plan.to = FragmentEntry { service: 0, hash: 0, backend: 0, noted_s: clock::now_s() };
        remember();
    }
}

/// Sends the fragment to where it was planned to go.
#[inline(never)]
fn send<F: Noted>(ctx: &XdpContext) -> u32 {
    let (Some(fragment), Some(plan)) = (own(F::map()), own(&FRAGMENT)) else { return PASSED };
    let Some(service) = Service::from_word(plan.to.service) else { return PASSED };
    // The verifier knows nothing of a number of tags that was in a map.
    let Ok(Network { tags, .. }) = reader::network(ctx) else { return PASSED };
    let packet = &Packet { tags, ..fragment.packet };
    let FragmentEntry { backend, hash, .. } = plan.to;
    Reason::as_number(backend::chosen(backend).and_then(|chosen| {
        let chosen = backend::by_hop(chosen, hash);
        if !forward::fits(&service, packet, chosen.1) {
            return Err(Reason::TooBig);
        }
        pipeline::send(ctx, packet, &service, chosen, hash)
    }))
}

/// Tells the sender of a first part that did not fit: it then cuts smaller ones.
#[inline(never)]
fn answer<F: Noted>(ctx: &XdpContext) -> u32 {
    let (Some(fragment), Some(plan)) = (own(F::map()), own(&FRAGMENT)) else { return PASSED };
    let Some(service) = Service::from_word(plan.to.service) else { return PASSED };
    let Ok(Network { tags, .. }) = reader::network(ctx) else { return PASSED };
    let packet = &Packet { tags, ..fragment.packet };
    Reason::as_number(backend::chosen(plan.to.backend).and_then(|chosen| {
        let (_, backend) = backend::by_hop(chosen, plan.to.hash);
        too_big::answer(ctx, &service, packet, backend)
    }))
}
