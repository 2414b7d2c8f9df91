//! The fair limit: what no balancer of this topology can do without. No health, no IPv6, no options, one service.

use aya_ebpf::{
    Global,
    btf_maps::{Array, DevMap},
    macros::btf_map,
    programs::XdpContext,
};
use lb_common::{
    hash,
    traffic::{BASELINE_BACKENDS, NextHop},
    wire::protocol,
};
use lb_ebpf::packet::{
    frame::{Frame, load, store},
    link,
};

/// Ethernet, IPv4 without options, and the ports.
const HEADERS: usize = 14 + 20 + 4;
const ETHER_TYPE: usize = 12;
const VIHL: usize = 14;
const PROTOCOL: usize = 23;
const ADDRESSES: usize = 26;
const PORTS: usize = 34;

/// Nobody aims at it: the multipliers are no secret.
const KEYS: hash::Keys = hash::Keys::of(0);

/// Address of the service, as it stands in a packet.
#[unsafe(no_mangle)]
static VIP: Global<u32> = Global::new(0);

#[btf_map]
static NEXT_HOPS: Array<NextHop, BASELINE_BACKENDS> = Array::new();

#[btf_map]
static HASH_PORTS: DevMap<BASELINE_BACKENDS> = DevMap::new();

/// The action for a packet of the service; none for any other.
#[inline(always)]
pub fn run(ctx: &XdpContext) -> Option<u32> {
    let frame = Frame::of(ctx);
    if !frame.holds(frame.start, HEADERS) {
        return None;
    }
    // SAFETY: all headers were just checked to lie in the frame.
    let (ether_type, vihl, protocol, addresses, ports) = unsafe {
        (
            load::<u16>(frame.start + ETHER_TYPE),
            load::<u8>(frame.start + VIHL),
            load::<u8>(frame.start + PROTOCOL),
            load::<u64>(frame.start + ADDRESSES),
            load::<u32>(frame.start + PORTS),
        )
    };
    let carried = protocol == protocol::TCP || protocol == protocol::UDP;
    if ether_type != link::IPV4 || vihl != 0x45 || !carried || (addresses >> 32) as u32 != VIP.load() {
        return None;
    }
    let index = hash::slot_index(hash::flow_v4(&KEYS, addresses, ports, protocol), BASELINE_BACKENDS);
    let hop = NEXT_HOPS.get(index as u32)?;
    // SAFETY: the Ethernet header lies in the frame, as checked above.
    unsafe { store(frame.start, hop.macs) };
    HASH_PORTS.redirect(hop.tx_port, 0).ok()
}
