//! Packets with VLAN tags before them, or that have to get one: rewritten as others are, with the tag of their next hop.

use aya_ebpf::{bindings::xdp_md, programs::XdpContext};
use lb_common::{backend::Backend, service::Service, verdict::Reason};

use lb_ebpf::packet::tag;

use super::Shape;

/// Rewrites the packet and makes the tags before it those of the backend's next hop: one or none. Returns 0, or the number
/// of a reason. A function of its own, so that untagged packets have the registers to themselves; one that the verifier
/// walks once, whoever calls it. Service and shape are words, which take no room on the stack.
///
/// What can fail comes first, so that the packet is then as it came in: a tag is added before the rewrite, and taken
/// off after it.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn forward_tagged(
    ctx: *mut xdp_md,
    service: u64,
    shape: u64,
    backend: *const Backend,
    hash: u64,
) -> u32 {
    let (ctx, shape) = (&XdpContext::new(ctx), Shape::from_word(shape));
    // SAFETY: null or a backend's entry. The verifier knows no more than that.
    let (Some(service), Some(backend)) = (Service::from_word(service), unsafe { backend.as_ref() }) else {
        return Reason::as_number(Err(Reason::BackendMissing));
    };
    let is_added = shape.tags == 0;
    if is_added && tag::add(ctx, backend.vlan).is_none() {
        return Reason::as_number(Err(Reason::NoHeadroom));
    }
    // Hidden from the compiler, which would write the rewrite down twice.
    let tags = core::hint::black_box(if is_added { 1 } else { shape.tags });
    let done = super::rewrite(ctx, &service, Shape { tags, ..shape }, backend, hash);
    let tagged = match (is_added, done) {
        (true, Ok(())) | (false, Err(_)) => Some(()),
        (true, Err(_)) => tag::set(ctx, tags, 0),
        (false, Ok(())) => tag::set(ctx, tags, backend.vlan),
    };
    Reason::as_number(done.and(tagged.ok_or(Reason::Malformed)).map(|()| 0))
}
