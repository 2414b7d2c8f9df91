//! The traffic generator: every byte of a frame is written for each packet.

use aya_ebpf::{btf_maps::Array, macros::btf_map, programs::XdpContext};
use lb_common::traffic::{TRAFFIC_FIRST_PORT, TRAFFIC_FRAME_LEN, TRAFFIC_SOURCES, Traffic};
use lb_ebpf::packet::frame::{Frame, store};

const IP_CHECKSUM: usize = 24;
/// The half of the source address that varies.
const SOURCE: usize = 28;
const SOURCE_PORT: usize = 34;
const TCP_CHECKSUM: usize = 50;

/// One thread sends, so nobody else changes the value meanwhile.
#[btf_map]
static TRAFFIC: Array<Traffic, 1> = Array::new();

/// Writes the next packet; returns the interface to send it by.
#[inline(always)]
pub fn run(ctx: &XdpContext) -> Option<u32> {
    let traffic = TRAFFIC.get_ptr_mut(0)?;
    // SAFETY: the value of an array map stays; only this program on this CPU writes to it while traffic runs.
    let traffic = unsafe { &mut *traffic };
    let flow = traffic.next;
    traffic.next = if flow + 1 < traffic.end { flow + 1 } else { traffic.first };
    let source = 1 + (flow % TRAFFIC_SOURCES) as u16;
    let port = TRAFFIC_FIRST_PORT + (flow / TRAFFIC_SOURCES) as u16;
    let frame = Frame::of(ctx);
    if !frame.holds(frame.start, TRAFFIC_FRAME_LEN) {
        return None;
    }
    let mut at = 0;
    while at < TRAFFIC_FRAME_LEN / 8 {
        // SAFETY: the frame was just checked to be this long.
        unsafe { store(frame.start + 8 * at, traffic.frame[at]) };
        at += 1;
    }
    let (source_sum, port_sum) = (u32::from(source), u32::from(port));
    // SAFETY: as above.
    unsafe {
        store(frame.start + SOURCE, source.to_be());
        store(frame.start + SOURCE_PORT, port.to_be());
        store(frame.start + IP_CHECKSUM, checksum(traffic.ip_sum + source_sum).to_be());
        store(frame.start + TCP_CHECKSUM, checksum(traffic.tcp_sum + source_sum + port_sum).to_be());
    }
    Some(traffic.ifindex)
}

/// The checksum of words with this sum.
#[inline(always)]
fn checksum(sum: u32) -> u16 {
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}
