//! Outer IP headers towards a backend, in words as they stand in the packet.

use lb_common::{
    addr::{self, RawAddr},
    backend::Backend,
    csum,
};
use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

/// Length of an outer IPv4 header, which has no options.
pub const V4_LEN: usize = Ipv4Hdr::LEN;
/// Length of an outer IPv6 header.
pub const V6_LEN: usize = Ipv6Hdr::LEN;

/// Hop limit of outer headers.
const HOP_LIMIT: u8 = 64;
/// "Don't fragment", in the first byte of the fragment field.
const DONT_FRAGMENT: u8 = 0x40;
/// Bits of an IPv6 flow label.
const FLOW_LABEL: u32 = 0x000f_ffff;

/// What an outer header says of the packet after it.
#[derive(Clone, Copy)]
pub struct Inner {
    /// Protocol number of what comes next.
    pub protocol: u8,
    /// Bytes after the outer header.
    pub length: u32,
    /// DSCP and ECN, which are the inner packet's.
    pub traffic_class: u8,
}

/// IPv4 header without options. Its identification is zero, as RFC 6864 has it for packets that are never fragmented.
#[inline(always)]
pub fn v4(inner: Inner, backend: &Backend, hash: u64) -> [u32; V4_LEN / 4] {
    let length = (inner.length as u16 + V4_LEN as u16).to_be_bytes();
    let source = spread(u32::from_be_bytes(addr::v4(&backend.source)), backend, hash);
    let mut header = [
        u32::from_ne_bytes([0x45, inner.traffic_class, length[0], length[1]]),
        u32::from_ne_bytes([0, 0, DONT_FRAGMENT, 0]),
        u32::from_ne_bytes([HOP_LIMIT, inner.protocol, 0, 0]),
        source.to_be(),
        u32::from_ne_bytes(addr::v4(&backend.address)),
    ];
    let [high, low] = csum::ipv4_words(&header).to_ne_bytes();
    header[2] |= u32::from_ne_bytes([0, 0, high, low]);
    header
}

/// IPv6 header. The flow label varies with the flow, for those who spread by it.
#[inline(always)]
pub fn v6(inner: Inner, backend: &Backend, hash: u64) -> [u64; V6_LEN / 8] {
    let first = 6 << 28 | u32::from(inner.traffic_class) << 20 | hash as u32 & FLOW_LABEL;
    let second = inner.length << 16 | u32::from(inner.protocol) << 8 | u32::from(HOP_LIMIT);
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
