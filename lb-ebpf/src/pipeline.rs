//! A packet's whole way on one screen.

use aya_ebpf::{bindings::xdp_action, programs::XdpContext};
use lb_common::verdict::Reason;
use lb_ebpf::packet::{self, Packet, Parsed};

use crate::{choice, forward, icmp, redirect, service::Served, slot, stats, too_big, trace};

/// Decides over one packet: the action of a forwarded one, or the reason why it is passed or dropped. A packet that
/// ends for a reason is as it came in, but for an answered one.
#[inline(always)]
pub fn run(ctx: &XdpContext) -> Result<u32, Reason> {
    match packet::parse(ctx) {
        Ok(Parsed::V4(packet)) => balance(ctx, &packet),
        Ok(Parsed::V6(packet)) => balance(ctx, &packet),
        Err(Reason::OtherProtocol) => icmp::run(ctx),
        Err(reason) => Err(reason),
    }
}

/// Compiled once per family.
#[inline(always)]
fn balance<F: Served>(ctx: &XdpContext, packet: &Packet<F>) -> Result<u32, Reason> {
    let service = packet.flow.service().ok_or(Reason::NotService)?;
    let hash = packet.flow.hash(slot::HashKeys);
    let (id, backend) = choice::choose(ctx, packet, &service, hash)?;
    if !forward::fits(&service, packet, backend) {
        return too_big::answer(ctx, &service, packet, backend);
    }
    let action = redirect::egress(ctx, backend)?;
    let bytes = packet::frame_len(ctx);
    if action != xdp_action::XDP_PASS {
        forward::forward(ctx, &service, packet, backend, hash)?;
    }
    stats::count_forwarded(id, bytes);
    trace::forwarded(ctx, id, bytes);
    Ok(action)
}
