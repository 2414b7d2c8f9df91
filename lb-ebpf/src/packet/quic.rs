//! As much of QUIC as can be told without its keys: whether a datagram begins a connection, and which server's it is.

use aya_ebpf::programs::XdpContext;
use lb_common::quic::{Layout, SERVER_ID_MAX};
use network_types::udp::UdpHdr;

use super::{
    frame::{Frame, load},
    reader,
};

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

/// Bit of the first byte: a long header (RFC 8999, section 5.1). It says how long its connection id is.
const LONG: u8 = 0b1000_0000;
/// Bits of the first byte: the type of a long header.
const TYPE: u8 = 0b0011_0000;
/// From one type to the next.
const TYPE_STEP: u8 = 0b0001_0000;
/// Type of 0-RTT packets, which comes after that of Initials in either version.
const ZERO_RTT: u8 = 0b0001_0000;
/// Where the connection id begins in a packet with a short header (RFC 9000, section 17.3).
const ID_IN_SHORT: u32 = 1;
/// The same with a long header.
const ID_IN_LONG: u32 = 6;

/// The first bytes of a QUIC packet.
pub struct Head {
    /// Where they begin in the frame.
    at: u32,
    /// With a long header: first byte, version, length of the destination connection id.
    bytes: [u8; ID_IN_LONG as usize],
}

impl Head {
    /// The head of a UDP packet whose header begins at `transport_at` in the frame; none if it is shorter.
    #[inline(always)]
    pub fn of(ctx: &XdpContext, transport_at: usize) -> Option<Self> {
        let at = transport_at as u32 + UdpHdr::LEN as u32;
        Some(Self { at, bytes: reader::load(ctx, at, u32::MAX)? })
    }

    const fn is_long(&self) -> bool {
        self.bytes[0] & LONG != 0
    }

    /// Whether the client made the connection id up, since it knows none of the server's yet: in Initial and 0-RTT
    /// packets. Of an unknown version the types are those of version 1.
    #[inline(always)]
    pub const fn is_of_client_choice(&self) -> bool {
        let [first, a, b, c, d, _] = self.bytes;
        let is_v2 = u32::from_be_bytes([a, b, c, d]) == VERSION_2;
        let kind = first.wrapping_sub(if is_v2 { TYPE_STEP } else { 0 }) & TYPE;
        self.is_long() && kind <= ZERO_RTT
    }

    /// The server id in the connection id, then zeros; none if there is no room for it.
    #[inline(always)]
    pub fn server_id(&self, ctx: &XdpContext, layout: Layout) -> Option<[u8; SERVER_ID_MAX]> {
        let (offset, length) = (u32::from(layout.offset), u32::from(layout.length));
        if self.is_long() && offset + length > u32::from(self.bytes[5]) {
            return None;
        }
        let begin = if self.is_long() { ID_IN_LONG } else { ID_IN_SHORT };
        reader::load_some(ctx, self.at + begin + offset, length)
    }
}
