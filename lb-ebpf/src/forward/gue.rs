//! GUE variant 1: the packet in a UDP datagram towards the backend, see [`lb_common::gue`].

use aya_ebpf::programs::XdpContext;
use lb_common::{addr::FAMILY_V6, backend::Backend, gue, verdict::Reason, wire::protocol};
use network_types::{eth::EtherType, udp::UdpHdr};

use lb_ebpf::packet::rewrite;

use super::{
    Shape,
    outer::{self, Inner},
};

/// An outer IPv4 and a UDP header.
#[repr(C)]
#[derive(Clone, Copy)]
struct OverV4 {
    ip: [u32; outer::V4_LEN / 4],
    udp: [u32; UdpHdr::LEN / 4],
}

/// An outer IPv6 and a UDP header.
#[repr(C)]
#[derive(Clone, Copy)]
struct OverV6 {
    ip: [u64; outer::V6_LEN / 8],
    udp: [u32; UdpHdr::LEN / 4],
}

/// Length of the headers over IPv4.
pub const OVER_V4_LEN: usize = size_of::<OverV4>();
/// Length of the headers over IPv6.
pub const OVER_V6_LEN: usize = size_of::<OverV6>();

/// Puts the packet in a UDP datagram and an outer header of the backend's family.
///
/// # Errors
/// [`Reason::NoHeadroom`] if the driver left no room for it; the packet is then as it came in.
#[inline(always)]
pub fn forward(ctx: &XdpContext, shape: Shape, backend: &Backend, hash: u64) -> Result<(), Reason> {
    let length = shape.length + UdpHdr::LEN as u32;
    let udp = header(length, backend, hash);
    let inner = Inner { protocol: protocol::UDP, length, traffic_class: shape.traffic_class };
    if backend.family == FAMILY_V6 {
        let headers = OverV6 { ip: outer::v6(inner, backend, hash), udp };
        rewrite::push(ctx, shape.tags, backend, EtherType::Ipv6, headers)
    } else {
        let headers = OverV4 { ip: outer::v4(inner, backend, hash), udp };
        rewrite::push(ctx, shape.tags, backend, EtherType::Ipv4, headers)
    }
}

/// UDP header, in words as they stand in the packet. Its checksum is zero, over IPv6 as well (RFC 6935): the packet inside
/// has its own, and summing all of it would cost more than forwarding it.
#[inline(always)]
fn header(length: u32, backend: &Backend, hash: u64) -> [u32; UdpHdr::LEN / 4] {
    let [source_high, source_low] = gue::source_port(hash).to_be_bytes();
    let [port_high, port_low] = backend.port;
    let [length_high, length_low] = (length as u16).to_be_bytes();
    [
        u32::from_ne_bytes([source_high, source_low, port_high, port_low]),
        u32::from_ne_bytes([length_high, length_low, 0, 0]),
    ]
}
