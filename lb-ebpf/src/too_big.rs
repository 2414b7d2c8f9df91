//! Packets that don't fit on the way to their backend: their senders are told which size does, so many a second.

use aya_ebpf::{Global, bindings::xdp_action, btf_maps::PerCpuArray, macros::btf_map, programs::XdpContext};
use lb_common::{backend::Backend, rate::Window, service::Service, verdict::Reason, wire::protocol};
use lb_ebpf::packet::{Flow, Packet, frame_len, too_big};

use crate::{clock, forward, rate, reasons, trace};

/// Answers per second on this CPU; the agent divides its cap by the number of CPUs. Set when the program is loaded.
#[unsafe(no_mangle)]
static TOO_BIG_PER_SECOND: Global<u32> = Global::new(u32::MAX);

#[btf_map]
static TOO_BIG_RATE: PerCpuArray<Window, 1> = PerCpuArray::new();

/// Sends the packet back as an error to its sender, which then knows the size that fits. Packets that may be fragmented
/// are answered as well: nobody on this way could.
///
/// # Errors
/// [`Reason::TooBig`] if it is not answered: over the cap of this second, no room in the frame, a sender that can't be
/// told. The packet is then as it was.
#[inline(always)]
pub fn answer<F: Flow>(
    ctx: &XdpContext,
    service: &Service,
    packet: &Packet<F>,
    backend: &Backend,
) -> Result<u32, Reason> {
    let mtu = u32::from(backend.mtu).saturating_sub(forward::overhead(service, backend));
    tell(ctx, F::PROTOCOL_IN_IP == protocol::IPV4, packet.tags as u32, mtu)
}

/// Sends a packet back as an error that tells its sender of an MTU. It comes from where the packet was sent to.
///
/// # Errors
/// As of [`answer`].
#[inline(always)]
pub fn tell(ctx: &XdpContext, is_v4: bool, tags: u32, mtu: u32) -> Result<u32, Reason> {
    let bytes = frame_len(ctx);
    if !is_allowed() {
        return Err(Reason::TooBig);
    }
    let answered =
        if is_v4 { too_big::answer_v4(ctx, tags, mtu) } else { too_big::answer_v6(ctx, tags, mtu) };
    answered.ok_or(Reason::TooBig)?;
    reasons::count(Reason::TooBigAnswered, bytes);
    trace::reason(ctx, Reason::TooBigAnswered, bytes);
    Ok(xdp_action::XDP_TX)
}

/// Whether another answer may be sent in this second. A function of its own, so that the packets that fit don't have its
/// registers to save.
#[inline(never)]
fn is_allowed() -> bool {
    rate::is_allowed(&TOO_BIG_RATE, TOO_BIG_PER_SECOND.load(), clock::now_s())
}
