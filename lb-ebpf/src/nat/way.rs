//! The way to a client, asked of the kernel: replies go to anyone, so that no table of next hops could be kept.

use aya_ebpf::{EbpfContext as _, bindings::bpf_fib_lookup, helpers::generated, programs::XdpContext};
use lb_common::{
    addr::{FAMILY_V6, RawAddr},
    nat::{Handed, Translation},
};
use lb_ebpf::packet::rewrite::Macs;

/// The next hop towards a client.
#[derive(Default)]
pub struct Way {
    /// Egress interface.
    pub ifindex: u32,
    /// Destination and source address, as they stand in a frame.
    pub macs: Macs,
    /// The MTU that the packet is too big for, if it is.
    pub mtu: u32,
}

/// The way is known.
pub const FOUND: u32 = 0;
/// The packet is too big for it (`BPF_FIB_LKUP_RET_FRAG_NEEDED`). All others: there is none.
pub const TOO_BIG: u32 = 8;

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// Asks for the way of the translated packet. A function of its own for its stack, which what follows has to itself.
#[inline(never)]
pub fn look_up(ctx: &XdpContext, handed: &Handed, entry: &Translation, way: &mut Way) -> u32 {
    // SAFETY: plain integers, for which zero is a value.
    let mut params: bpf_fib_lookup = unsafe { core::mem::zeroed() };
    let is_v6 = handed.key.family == FAMILY_V6;
    params.family = if is_v6 { AF_INET6 } else { AF_INET };
    params.l4_protocol = handed.key.protocol;
    params.sport = u16::from_ne_bytes(entry.source_port);
    params.dport = u16::from_ne_bytes(entry.destination_port);
    params.__bindgen_anon_1.tot_len = handed.length as u16;
    params.ifindex = ctx.ingress_ifindex() as u32;
    // An IPv4 address is the first word and zeros.
    params.__bindgen_anon_3.ipv6_src = words(&entry.source);
    params.__bindgen_anon_4.ipv6_dst = words(&entry.destination);
    let length = size_of::<bpf_fib_lookup>() as i32;
    // SAFETY: the parameters are as long as they are said to be.
    let found = unsafe { generated::bpf_fib_lookup(ctx.as_ptr(), &raw mut params, length, 0) };
    way.ifindex = params.ifindex;
    // SAFETY: plain integers, which the kernel has written or left as they were.
    way.mtu = unsafe { params.__bindgen_anon_1.mtu_result }.into();
    let ([a, b, c, d, e, f], [g, h, i, j, k, l]) = (params.dmac, params.smac);
    let word = u32::from_ne_bytes;
    way.macs = [word([a, b, c, d]), word([e, f, g, h]), word([i, j, k, l])];
    found as u32
}

/// An address in words, as they stand in the packet.
#[inline(always)]
fn words(address: &RawAddr) -> [u32; 4] {
    let address = u128::from_le_bytes(*address);
    [address as u32, (address >> 32) as u32, (address >> 64) as u32, (address >> 96) as u32].map(u32::to_le)
}
