//! IP in IP: an outer header towards the backend, the packet inside untouched.

use aya_ebpf::programs::XdpContext;
use lb_common::{
    addr::{self, FAMILY_V6, RawAddr},
    backend::Backend,
    csum,
    verdict::Reason,
};
use network_types::{eth::EtherType, ip::Ipv4Hdr};

use lb_ebpf::packet::{Flow, Packet, rewrite};

/// Hop limit of outer headers.
const HOP_LIMIT: u8 = 64;
/// "Don't fragment", in the first byte of the fragment field.
const DONT_FRAGMENT: u8 = 0x40;
/// Bits of an IPv6 flow label.
const FLOW_LABEL: u32 = 0x000f_ffff;

/// Puts the packet in an outer header of the backend's family.
///
/// # Errors
/// [`Reason::NoHeadroom`] if the driver left no room for it; the packet is then as it came in.
#[inline(always)]
pub fn forward<F: Flow>(
    ctx: &XdpContext,
    packet: &Packet<F>,
    backend: &Backend,
    hash: u64,
) -> Result<(), Reason> {
    if backend.family == FAMILY_V6 {
        rewrite::push(ctx, packet.tags, backend, EtherType::Ipv6, outer_v6(packet, backend, hash))
    } else {
        rewrite::push(ctx, packet.tags, backend, EtherType::Ipv4, outer_v4(packet, backend, hash))
    }
}

/// IPv4 header without options, in words as they stand in the packet. Its identification is zero, as RFC 6864 has it
/// for packets that are never fragmented.
#[inline(always)]
fn outer_v4<F: Flow>(packet: &Packet<F>, backend: &Backend, hash: u64) -> [u32; 5] {
    let length = (packet.length as u16 + Ipv4Hdr::LEN as u16).to_be_bytes();
    let source = spread(u32::from_be_bytes(addr::v4(&backend.source)), backend, hash);
    let mut header = [
        u32::from_ne_bytes([0x45, packet.traffic_class, length[0], length[1]]),
        u32::from_ne_bytes([0, 0, DONT_FRAGMENT, 0]),
        u32::from_ne_bytes([HOP_LIMIT, F::PROTOCOL_IN_IP, 0, 0]),
        source.to_be(),
        u32::from_ne_bytes(addr::v4(&backend.address)),
    ];
    let [high, low] = csum::ipv4_words(&header).to_ne_bytes();
    header[2] |= u32::from_ne_bytes([0, 0, high, low]);
    header
}

/// IPv6 header, in words as they stand in the packet. The flow label varies with the flow, for those who spread by it.
#[inline(always)]
fn outer_v6<F: Flow>(packet: &Packet<F>, backend: &Backend, hash: u64) -> [u64; 5] {
    let first = 6 << 28 | u32::from(packet.traffic_class) << 20 | hash as u32 & FLOW_LABEL;
    let second = packet.length << 16 | u32::from(F::PROTOCOL_IN_IP) << 8 | u32::from(HOP_LIMIT);
    let [source_high, source_low] = words(&backend.source);
    let spread_low = spread(u64::from_be(source_low) as u32, backend, hash);
    let source_low = u64::from_be(source_low) & !u64::from(u32::MAX) | u64::from(spread_low);
    let [high, low] = words(&backend.address);
    [(u64::from(first) << 32 | u64::from(second)).to_be(), source_high, source_low.to_be(), high, low]
}

/// The low bits of an outer source address, some of them replaced by the flow's.
#[inline(always)]
fn spread(source: u32, backend: &Backend, hash: u64) -> u32 {
    let mask = ((1u64 << (backend.source_spread_bits & 63)) - 1) as u32;
    source & !mask | hash as u32 & mask
}

/// An address as two words, as they stand in the packet.
#[inline(always)]
fn words(address: &RawAddr) -> [u64; 2] {
    let address = u128::from_ne_bytes(*address);
    let (low, high) = (address as u64, (address >> 64) as u64);
    if cfg!(target_endian = "little") { [low, high] } else { [high, low] }
}
