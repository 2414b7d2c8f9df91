//! Rewrites a packet for its backend, in the mode of its service.

pub mod l2;
mod outer;
pub mod ipip;
pub mod gue;
mod tagged;

use aya_ebpf::programs::XdpContext;
use lb_common::{addr::FAMILY_V6, backend::Backend, mode, service::Service, verdict::Reason};

use lb_ebpf::packet::{Flow, Packet, link::MAX_TAGS};

/// What a rewrite asks of a packet, whatever its family.
#[derive(Clone, Copy)]
pub struct Shape {
    /// VLAN tags before the IP header, 0 to 2.
    pub tags: usize,
    /// Length of the IP packet.
    pub length: u32,
    /// DSCP and ECN.
    pub traffic_class: u8,
    /// Next protocol of an IP header around it.
    pub protocol: u8,
}

impl Shape {
    #[inline(always)]
    fn of<F: Flow>(packet: &Packet<F>) -> Self {
        let Packet { tags, length, traffic_class, .. } = *packet;
        Self { tags, length, traffic_class, protocol: F::PROTOCOL_IN_IP }
    }

    /// All of it in one register.
    #[inline(always)]
    fn word(self) -> u64 {
        let (class, protocol) = (u64::from(self.traffic_class), u64::from(self.protocol));
        u64::from(self.length) | class << 32 | protocol << 40 | (self.tags as u64) << 48
    }

    #[inline(always)]
    fn from_word(word: u64) -> Self {
        let (traffic_class, protocol) = ((word >> 32) as u8, (word >> 40) as u8);
        let tags = ((word >> 48) as usize).min(MAX_TAGS);
        Self { tags, length: word as u32, traffic_class, protocol }
    }
}

/// Bytes that the packet grows by on its way to the backend.
#[inline(always)]
pub fn overhead(service: &Service, backend: &Backend) -> u32 {
    let bytes = match (service.mode, backend.family) {
        (mode::IPIP, FAMILY_V6) => outer::V6_LEN,
        (mode::IPIP, _) => outer::V4_LEN,
        (mode::GUE, FAMILY_V6) => gue::OVER_V6_LEN,
        (mode::GUE, _) => gue::OVER_V4_LEN,
        _ => 0,
    };
    bytes as u32
}

/// Whether the packet fits the egress interface once it is rewritten.
#[inline(always)]
pub fn fits<F>(service: &Service, packet: &Packet<F>, backend: &Backend) -> bool {
    packet.length + overhead(service, backend) <= u32::from(backend.mtu)
}

/// Rewrites the packet, with the VLAN tag of its next hop.
///
/// # Errors
/// [`Reason::NoHeadroom`]; the packet is then as it came in.
#[inline(always)]
pub fn forward<F: Flow>(
    ctx: &XdpContext,
    service: &Service,
    packet: &Packet<F>,
    backend: &Backend,
    hash: u64,
) -> Result<(), Reason> {
    // One comparison for both: few packets have tags or get one.
    if packet.tags as u32 | u32::from(backend.vlan) == 0 {
        return rewrite(ctx, service, Shape { tags: 0, ..Shape::of(packet) }, backend, hash);
    }
    let shape = Shape::of(packet).word();
    Reason::in_number(tagged::forward_tagged(ctx.ctx, service.word(), shape, backend, hash)).map(|_done| ())
}

/// Rewrites the packet behind the tags that are there.
///
/// # Errors
/// As of [`forward`].
#[inline(always)]
fn rewrite(
    ctx: &XdpContext,
    service: &Service,
    shape: Shape,
    backend: &Backend,
    hash: u64,
) -> Result<(), Reason> {
    match service.mode {
        mode::IPIP => ipip::forward(ctx, shape, backend, hash),
        mode::GUE => gue::forward(ctx, shape, backend, hash),
        _ => l2::forward(ctx, backend),
    }
}
