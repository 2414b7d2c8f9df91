//! A packet's whole way on one screen.

use aya_ebpf::programs::XdpContext;
use lb_common::verdict::Reason;
use lb_ebpf::packet::{self, Packet, Parsed};

use crate::{backend, forward, redirect, service::Served, slot, stats, trace, transition};

/// Decides over one packet: the action of a forwarded one, or the reason why it is passed or dropped. A packet that
/// ends for a reason is as it came in.
#[inline(always)]
pub fn run(ctx: &XdpContext) -> Result<u32, Reason> {
    match packet::parse(ctx)? {
        Parsed::V4(packet) => balance(ctx, &packet),
        Parsed::V6(packet) => balance(ctx, &packet),
    }
}

/// Compiled once per family.
#[inline(always)]
fn balance<F: Served>(ctx: &XdpContext, packet: &Packet<F>) -> Result<u32, Reason> {
    let service = packet.flow.service().ok_or(Reason::NotService)?;
    let hash = packet.flow.hash(slot::seed());
    let slot_hash = slot::hash(&service, &packet.flow, hash);
    let table = slot::table(&service).ok_or(Reason::TableMissing)?;
    let slot = table.slot(slot_hash);
    let (id, backend) = if slot.is_steady() {
        match backend::get(slot.backend())? {
            Some(chosen) => chosen,
            None => backend::probe(&table, slot_hash)?,
        }
    } else {
        transition::choose(packet, &service, &table, slot, slot_hash)?
    };
    forward::check_mtu(&service, packet, backend)?;
    let action = redirect::egress(ctx, backend)?;
    let bytes = packet::frame_len(ctx);
    forward::forward(ctx, &service, packet, backend, hash)?;
    stats::count_forwarded(id, bytes);
    trace::forwarded(ctx, id, bytes);
    Ok(action)
}
