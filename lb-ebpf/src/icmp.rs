//! ICMP for services: errors go to the backend whose packet they are about, echo requests are answered here.

use aya_ebpf::{Global, bindings::xdp_action, btf_maps::PerCpuArray, macros::btf_map, programs::XdpContext};
use lb_common::{mode, rate::Window, service::Service, verdict::Reason};

use lb_ebpf::packet::{
    self, FlowV4, FlowV6, Packet,
    icmp::{self, Echo, EchoV4, EchoV6, Handler},
    link, reader,
    reader::Network,
};

use crate::{choice, clock, forward, pipeline, rate, reasons, service::Served, slot, trace};

/// Echo requests that are answered per second on this CPU; 0: they are the host's. Set when the program is loaded.
#[unsafe(no_mangle)]
static ECHO_PER_SECOND: Global<u32> = Global::new(u32::MAX);

#[btf_map]
static RATE_ECHO: PerCpuArray<Window, 1> = PerCpuArray::new();

/// The message at hand, with the flow that it is about: the stack has no room for it.
#[btf_map]
static ERROR_V4: PerCpuArray<Packet<FlowV4>, 1> = PerCpuArray::new();

#[btf_map]
static ERROR_V6: PerCpuArray<Packet<FlowV6>, 1> = PerCpuArray::new();

#[btf_map]
static ECHO_V4: PerCpuArray<EchoV4, 1> = PerCpuArray::new();

#[btf_map]
static ECHO_V6: PerCpuArray<EchoV6, 1> = PerCpuArray::new();

/// No verdict's number: an error was found, and stands in its map.
const IS_ERROR: u32 = u32::MAX;
/// No verdict's number: an echo request was found, and stands in its map.
const IS_ECHO: u32 = u32::MAX - 1;
/// No message for a service.
const NONE: u32 = Reason::as_number(Err(Reason::OtherProtocol));

/// What becomes of a packet that is none of a flow.
///
/// # Errors
/// The reason why it is passed or dropped; it is then as it came in.
#[inline(always)]
pub fn run(ctx: &XdpContext) -> Result<u32, Reason> {
    let network = reader::network(ctx)?;
    let number = if network.ether_type == link::IPV4 {
        match icmp_v4(ctx, network.at, network.tags) {
            IS_ERROR => error_v4(ctx, network.tags, service(&ERROR_V4, |error| error.flow)),
            IS_ECHO => echo_v4(ctx, service(&ECHO_V4, Echo::flow)),
            number => number,
        }
    } else {
        match icmp_v6(ctx, network.at, network.tags) {
            IS_ERROR => error_v6(ctx, network.tags, service(&ERROR_V6, |error| error.flow)),
            IS_ECHO => echo_v6(ctx, service(&ECHO_V6, Echo::flow)),
            number => number,
        }
    };
    Reason::in_number(number)
}

// Functions of their own, so that the packets of flows have the registers to themselves, and one after another rather
// than one in another, so that each has the stack to itself.

#[inline(never)]
fn icmp_v4(ctx: &XdpContext, at: u32, tags: usize) -> u32 {
    let network = Network { at, tags, ether_type: link::IPV4 };
    icmp::v4::parse(ctx, network, First(ERROR_V4.get_ptr_mut(0), ECHO_V4.get_ptr_mut(0))).unwrap_or(NONE)
}

#[inline(never)]
fn icmp_v6(ctx: &XdpContext, at: u32, tags: usize) -> u32 {
    let network = Network { at, tags, ether_type: link::IPV6 };
    icmp::v6::parse(ctx, network, First(ERROR_V6.get_ptr_mut(0), ECHO_V6.get_ptr_mut(0))).unwrap_or(NONE)
}

/// The service of the flow or address that the message at hand is about, as a word; 0 if there is none.
#[inline(never)]
fn service<M, F: Served>(message: &'static PerCpuArray<M, 1>, flow: impl Fn(&M) -> F) -> u64 {
    message.get(0).and_then(|message| flow(message).service()).map_or(0, Service::word)
}

#[inline(never)]
fn error_v4(ctx: &XdpContext, tags: usize, service: u64) -> u32 {
    hand_over(ctx, ERROR_V4.get(0), tags, service)
}

#[inline(never)]
fn error_v6(ctx: &XdpContext, tags: usize, service: u64) -> u32 {
    hand_over(ctx, ERROR_V6.get(0), tags, service)
}

#[inline(never)]
fn echo_v4(ctx: &XdpContext, marker: u64) -> u32 {
    let echo = ECHO_V4.get(0).ok_or(Reason::OtherProtocol);
    Reason::as_number(echo.and_then(|echo| answer(ctx, echo, marker)))
}

#[inline(never)]
fn echo_v6(ctx: &XdpContext, marker: u64) -> u32 {
    let echo = ECHO_V6.get(0).ok_or(Reason::OtherProtocol);
    Reason::as_number(echo.and_then(|echo| answer(ctx, echo, marker)))
}

/// The first step: notes what was found.
struct First<F, E>(Option<*mut Packet<F>>, Option<*mut E>);

impl<F, E> Handler<F, E, u32> for First<F, E> {
    #[inline(always)]
    fn error(self, packet: Packet<F>) -> u32 {
        let Some(note) = self.0 else { return NONE };
        // SAFETY: the value is this CPU's own, and XDP programs do not interrupt each other on a CPU.
        unsafe { note.write(packet) };
        IS_ERROR
    }

    #[inline(always)]
    fn echo(self, echo: E) -> u32 {
        let Some(note) = self.1 else { return NONE };
        // SAFETY: as above.
        unsafe { note.write(echo) };
        IS_ECHO
    }
}

/// `tags` are those of the error. The verifier knows nothing of a value that was in a map.
#[inline(always)]
fn hand_over<F: Served>(ctx: &XdpContext, error: Option<&Packet<F>>, tags: usize, service: u64) -> u32 {
    let error = error.ok_or(Reason::OtherProtocol);
    Reason::as_number(error.and_then(|error| forward_error(ctx, error, tags, Service::from_word(service))))
}

/// Sends an error to the backend that its flow goes to. Whoever makes errors up can't have anything recorded.
#[inline(always)]
fn forward_error<F: Served>(
    ctx: &XdpContext,
    error: &Packet<F>,
    tags: usize,
    service: Option<Service>,
) -> Result<u32, Reason> {
    let service = service.filter(|service| service.mode < mode::MARKER && !service.is_translated());
    let service = service.ok_or(Reason::OtherProtocol)?;
    let hash = error.flow.hash(slot::HashKeys);
    let chosen = choice::look_up(&error.flow, &service, hash)?;
    let packet = &Packet { tags, ..*error };
    // Nothing is said about an error that does not fit (RFC 1812, section 4.3.2.7).
    if !forward::fits(&service, packet, chosen.1) {
        return Err(Reason::TooBig);
    }
    pipeline::send(ctx, packet, &service, chosen, hash)
}

/// Answers an echo request to a service address, whether or not any backend is up: it asks for the address.
#[inline(always)]
fn answer<E: Echo>(ctx: &XdpContext, echo: &E, marker: u64) -> Result<u32, Reason> {
    let per_second = ECHO_PER_SECOND.load();
    if per_second == 0 || !echo.is_from_one() {
        return Err(Reason::OtherProtocol);
    }
    let marker = Service::from_word(marker).filter(|marker| marker.mode == mode::ECHO);
    marker.ok_or(Reason::OtherProtocol)?;
    if !rate::is_allowed(&RATE_ECHO, per_second, clock::now_s()) {
        return Err(Reason::EchoLimited);
    }
    let bytes = packet::frame_len(ctx);
    echo.answer(ctx).ok_or(Reason::OtherProtocol)?;
    reasons::count(Reason::EchoAnswered, bytes);
    trace::reason(ctx, Reason::EchoAnswered, bytes);
    Ok(xdp_action::XDP_TX)
}
