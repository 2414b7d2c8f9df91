//! The stage that translates: rewrites the packets of flows whose services do so, in both directions.
//!
//! A packet's addresses and ports are looked up, and what is found is what they become. A packet of a client that is not
//! found begins a flow; one of a backend that is not found is the host's.

#![expect(
    clippy::needless_borrows_for_generic_args,
    reason = "keys and values that stand in maps need no copy on the stack"
)]

mod begin;
mod way;

use aya_ebpf::{
    bindings::{BPF_F_NO_PREALLOC, xdp_action},
    btf_maps::HashMap,
    macros::btf_map,
    programs::XdpContext,
};
use lb_common::{
    addr::FAMILY_V4,
    backend::BACKEND_LOCAL,
    flow::{FLOW_FIN, FLOW_RST, FlowKey},
    maps::MAX_TRANSLATIONS,
    mode,
    nat::{Handed, Translation},
    verdict::Reason,
};
use lb_ebpf::packet::{
    frame_len, opens_tcp,
    rewrite::Macs,
    translate::{self, Place},
};

use crate::{backend, clock, connections, flow, reasons, redirect, stage, stats, too_big, trace};

#[btf_map]
static TRANSLATIONS: HashMap<
    FlowKey,
    Translation,
    { MAX_TRANSLATIONS as usize },
    { BPF_F_NO_PREALLOC as usize },
> = HashMap::new();

/// Decides over a packet that was handed over: the action of one that is sent, or the reason why it is passed or dropped.
/// It is then as it came in.
#[inline(always)]
pub fn run(ctx: &XdpContext) -> Result<u32, Reason> {
    let handed = stage::handed().ok_or(Reason::NotService)?;
    let found = match find(handed) {
        Some(entry) if entry.is_reply() => return reply(ctx, handed, entry),
        found => found,
    };
    if handed.service.mode == mode::REPLIES {
        return Err(Reason::NotService);
    }
    let opens = opens_tcp(handed.tcp_flags as u8);
    let entry = match found.filter(|entry| is_kept(handed, entry, opens)) {
        Some(entry) => entry,
        None => {
            Reason::in_number(begin::begin(handed))?;
            find(handed).ok_or(Reason::NotTranslated)?
        }
    };
    forward(ctx, handed, entry, opens)
}

/// What the packet becomes.
#[inline(always)]
fn find(handed: &Handed) -> Option<&'static mut Translation> {
    let entry = TRANSLATIONS.get_ptr_mut(&handed.key)?;
    // SAFETY: the kernel keeps the entry's memory until this program has ended. Other CPUs may write the same entry; only
    // its state is written, each field of it one word, and any of the values written is right.
    Some(unsafe { &mut *entry })
}

/// Whether a client's packet keeps the translation that it has: that is of its service, its backend is up, and it is not a
/// new connection on the ports of one that was closed while its backend takes no new ones.
#[inline(always)]
fn is_kept(handed: &Handed, entry: &Translation, opens: bool) -> bool {
    if entry.state.service != handed.service.id || !backend::is_up(entry.state.backend) {
        return false;
    }
    let is_new = opens && entry.state.flags & (FLOW_FIN | FLOW_RST) != 0;
    !is_new || backend::ready(entry.state.backend).is_some_and(|(_, backend)| backend.weight != 0)
}

/// Notes that a packet of a direction was seen.
#[inline(always)]
fn note(handed: &Handed, entry: &mut Translation) {
    let now_s = clock::now_s();
    if entry.state.last_seen_s != now_s {
        entry.state.last_seen_s = now_s;
    }
    let flags = flow::closing_flags(entry.state.flags, handed.tcp_flags as u8);
    if entry.state.flags != flags {
        entry.state.flags = flags;
    }
}

/// Sends a client's packet to its backend.
#[inline(always)]
fn forward(ctx: &XdpContext, handed: &Handed, entry: &mut Translation, opens: bool) -> Result<u32, Reason> {
    let chosen = backend::chosen(entry.state.backend)?;
    let (id, backend) = backend::by_hop(chosen, handed.hash);
    if backend.flags & BACKEND_LOCAL != 0 {
        return Err(Reason::NextHopUnresolved);
    }
    if handed.length > u32::from(backend.mtu) {
        return too_big(ctx, handed, backend.mtu.into());
    }
    let action = redirect::egress(ctx, backend)?;
    let bytes = frame_len(ctx);
    rewrite(ctx, handed, entry, translate::towards(backend))?;
    note(handed, entry);
    connections::follow(&mut entry.state, opens);
    stats::count_forwarded(id, bytes);
    trace::forwarded(ctx, id, bytes);
    Ok(action)
}

/// Sends a backend's packet to its client.
#[inline(always)]
fn reply(ctx: &XdpContext, handed: &Handed, entry: &mut Translation) -> Result<u32, Reason> {
    let mut way = way::Way::default();
    match way::look_up(ctx, handed, entry, &mut way) {
        way::FOUND => {}
        way::TOO_BIG => return too_big(ctx, handed, way.mtu),
        _ => return Err(Reason::NoRouteToClient),
    }
    let bytes = frame_len(ctx);
    rewrite(ctx, handed, entry, way.macs)?;
    note(handed, entry);
    reasons::count(Reason::Replied, bytes);
    trace::reason(ctx, Reason::Replied, bytes);
    if way.ifindex as usize == ctx.ingress_ifindex() {
        Ok(xdp_action::XDP_TX)
    } else {
        Ok(redirect::through(way.ifindex))
    }
}

/// Makes the packet what its entry says, addressed to the next hop.
#[inline(always)]
fn rewrite(ctx: &XdpContext, handed: &Handed, entry: &Translation, macs: Macs) -> Result<(), Reason> {
    let place = Place { tags: handed.tags, transport_at: handed.transport_at, protocol: handed.key.protocol };
    if handed.key.family == FAMILY_V4 {
        translate::v4(ctx, place, entry, macs)
    } else {
        translate::v6(ctx, place, entry, macs)
    }
}

/// Tells the sender which size fits.
#[inline(always)]
fn too_big(ctx: &XdpContext, handed: &Handed, mtu: u32) -> Result<u32, Reason> {
    too_big::tell(ctx, handed.key.family == FAMILY_V4, handed.tags, mtu)
}
