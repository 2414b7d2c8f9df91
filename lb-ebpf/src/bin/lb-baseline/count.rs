//! The far end: counts the generator's packets, per CPU, so that none can be lost unseen.

use aya_ebpf::{Global, btf_maps::PerCpuArray, macros::btf_map, programs::XdpContext};
use lb_common::{
    traffic::{Arrived, TRAFFIC_PORT},
    wire::protocol,
};
use lb_ebpf::packet::{
    frame::{Frame, load},
    link,
};

const ETHER_TYPE: usize = 12;
const PROTOCOL: usize = 23;
const DESTINATION_PORT: usize = 36;
const HEADERS: usize = 38;

/// MAC address of the interface, as a word of which the last two bytes are the packet's next.
#[unsafe(no_mangle)]
static OWN_MAC: Global<u64> = Global::new(0);
const MAC_MASK: u64 = u64::from_le_bytes([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0]);

#[btf_map]
static ARRIVED: PerCpuArray<Arrived, 1> = PerCpuArray::new();

/// Counts a packet of the generator; none if it is another.
#[inline(always)]
pub fn run(ctx: &XdpContext) -> Option<()> {
    let frame = Frame::of(ctx);
    if !frame.holds(frame.start, HEADERS) {
        return None;
    }
    // SAFETY: all headers were just checked to lie in the frame.
    let (mac, ether_type, protocol, port) = unsafe {
        (
            load::<u64>(frame.start) & MAC_MASK,
            load::<u16>(frame.start + ETHER_TYPE),
            load::<u8>(frame.start + PROTOCOL),
            load::<u16>(frame.start + DESTINATION_PORT),
        )
    };
    if ether_type != link::IPV4 || protocol != protocol::TCP || port != TRAFFIC_PORT.to_be() {
        return None;
    }
    let arrived = ARRIVED.get_ptr_mut(0)?;
    // SAFETY: the value is this CPU's own.
    unsafe {
        if mac == OWN_MAC.load() {
            (*arrived).packets += 1;
        } else {
            (*arrived).strays += 1;
        }
    }
    Some(())
}
