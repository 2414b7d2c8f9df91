//! As much of QUIC as can be told without its keys: whether a datagram begins a connection.

use aya_ebpf::programs::XdpContext;
use network_types::udp::UdpHdr;

use super::frame::{Frame, load};

/// First byte: a long header, with the bit that is always set, and its packet type.
const FORM_AND_TYPE: u8 = 0b1111_0000;
/// Type "Initial" in version 1 (RFC 9000, section 17.2.2) and the drafts before it.
const INITIAL: u8 = 0b1100_0000;
/// The same in version 2 (RFC 9369, section 3.2), which has the types in another order.
const INITIAL_V2: u8 = 0b1101_0000;
/// Version number of version 2.
const VERSION_2: u32 = 0x6b33_43cf;
/// First byte and version.
const HEAD: usize = 5;
/// Bound of where a transport header can begin, for the verifier: a tunnel of headers longer than this is cut.
const TRANSPORT_MASK: usize = 0x3fff;

/// Whether a UDP packet, whose header begins at `transport_at` in the frame, is a QUIC client's Initial. Those of a
/// connection whose handshake is under way look the same.
#[inline(always)]
pub fn is_initial(ctx: &XdpContext, transport_at: usize) -> bool {
    let frame = Frame::of(ctx);
    let at = frame.start + (transport_at & TRANSPORT_MASK) + UdpHdr::LEN;
    if !frame.holds(at, HEAD) {
        return false;
    }
    // SAFETY: the bytes were just checked to lie in the frame.
    let (first, version) = unsafe { (load::<u8>(at), u32::from_be(load(at + 1))) };
    let initial = if version == VERSION_2 { INITIAL_V2 } else { INITIAL };
    first & FORM_AND_TYPE == initial
}
