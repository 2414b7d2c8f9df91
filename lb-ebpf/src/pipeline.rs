//! A packet's whole way on one screen.

use aya_ebpf::{bindings::xdp_action, programs::XdpContext};
use lb_common::{service::Service, verdict::Reason};
use lb_ebpf::packet::{self, Flow, Packet, Parsed};

use crate::{
    backend::Chosen, choice, forward, fragment, icmp, redirect, service::Served, slot, stats, too_big, trace,
};

/// Decides over one packet: the action of a forwarded one, or the reason why it is passed or dropped. A packet that
/// ends for a reason is as it came in, but for an answered one.
#[inline(always)]
pub fn run(ctx: &XdpContext) -> Result<u32, Reason> {
    match packet::parse(ctx) {
        Ok(Parsed::V4(packet)) => balance(ctx, &packet),
        Ok(Parsed::V6(packet)) => balance(ctx, &packet),
        Err(Reason::OtherProtocol) => icmp::run(ctx),
        Err(Reason::Fragment) => fragment::run(ctx),
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
    send(ctx, packet, &service, (id, backend), hash)
}

/// Sends a packet that fits to its backend. `hash` is its flow's.
///
/// # Errors
/// The reason why it can't be sent; it is then as it came in.
#[inline(always)]
pub fn send<F: Flow>(
    ctx: &XdpContext,
    packet: &Packet<F>,
    service: &Service,
    (id, backend): Chosen,
    hash: u64,
) -> Result<u32, Reason> {
    let action = redirect::egress(ctx, backend)?;
    let bytes = packet::frame_len(ctx);
    if action != xdp_action::XDP_PASS {
        forward::forward(ctx, service, packet, backend, hash)?;
    }
    stats::count_forwarded(id, bytes);
    trace::forwarded(ctx, id, bytes);
    Ok(action)
}
