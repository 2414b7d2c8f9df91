//! QUIC packets whose connection id names their server: they reach it from whatever address their client has moved to.
//!
//! Off the steady path: only services that have such ids come here, see `SERVICE_BEYOND_SLOTS`.

use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    btf_maps::{Array, HashMap},
    macros::btf_map,
    programs::XdpContext,
};
use lb_common::{
    event::Event,
    maps::MAX_BACKENDS,
    quic::{Layout, ServerKey},
    service::MAX_SERVICES,
};
use lb_ebpf::packet::quic::Head;

use crate::{backend, connections, events, flow::Record};

#[btf_map]
static QUIC_LAYOUTS: Array<Layout, { MAX_SERVICES as usize }> = Array::new();

#[btf_map]
static QUIC_IDS: HashMap<ServerKey, u32, { MAX_BACKENDS as usize }, { BPF_F_NO_PREALLOC as usize }> =
    HashMap::new();

/// The backend that the packet's connection id names, whoever owns its slot and whatever is recorded of its flow; 0 if
/// it goes by the table: the client made the connection id up, its server is down or not known. A function of its own,
/// so that its key takes no room on the stack of what is called after it.
#[inline(never)]
pub fn named(ctx: &XdpContext, record: &Record) -> u32 {
    let layout = QUIC_LAYOUTS.get(record.service.id).copied().unwrap_or_default();
    if layout.length == 0 || !record.is_udp() {
        return 0;
    }
    let head = Head::of(ctx, record.transport_at);
    if head.as_ref().is_some_and(Head::is_of_client_choice) {
        return 0;
    }
    let Some(id) = head.and_then(|head| server(ctx, record, &head, layout)) else {
        events::count(Event::UnknownServerId);
        return 0;
    };
    if !backend::is_up(id) {
        return 0;
    }
    note(record, id);
    id
}

/// The backend that is registered with the server id of a connection id.
#[inline(always)]
fn server(ctx: &XdpContext, record: &Record, head: &Head, layout: Layout) -> Option<u32> {
    let id = head.server_id(ctx, layout)?;
    let key = ServerKey { service: record.service.id, length: layout.length.into(), id };
    // SAFETY: the kernel keeps the entry's memory until this program has ended, and it is one word.
    unsafe { QUIC_IDS.get(key) }.copied()
}

/// Notes the flow where that is of use. While its backend drains, it is recorded, since the drain waits for recorded
/// flows. A tracked service goes on with the entry that it has.
#[inline(always)]
fn note(record: &Record, id: u32) {
    let is_draining = backend::is_draining(id);
    if !is_draining && !record.service.is_tracked() {
        return;
    }
    match record.find() {
        Some(entry) if entry.backend != id => connections::reassign(entry, id),
        Some(_) => {}
        None if is_draining => {
            record.insert(id, 0);
        }
        None => {}
    }
}
