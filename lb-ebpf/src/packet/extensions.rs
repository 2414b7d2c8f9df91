//! IPv6 extension headers, followed by position: for packets that are rare.

use aya_ebpf::programs::XdpContext;
use lb_common::wire::protocol;

use super::reader;

/// Extension headers that are followed; see [`super::v6`].
const MAX_EXTENSIONS: usize = 5;
/// Length of a fragment header.
const FRAGMENT_HEADER: u32 = 8;
/// Bits of the position in the whole packet.
const FRAGMENT_OFFSET: u16 = 0xfff8;

/// The header after the extension headers.
pub struct Upper {
    /// Its position in the frame.
    pub at: u32,
    /// Its protocol.
    pub protocol: u8,
    /// Not zero: it is a later fragment's, so that the header itself is elsewhere.
    pub fragment_offset: u16,
}

/// Follows the extension headers from position `at`, up to `end`. None if they don't end there, or are too many.
#[inline(always)]
pub fn skip(ctx: &XdpContext, mut at: u32, end: u32, mut protocol: u8) -> Option<Upper> {
    let mut fragment_offset = 0;
    for _ in 0..=MAX_EXTENSIONS {
        // What a unit of the length field counts for.
        let unit = match protocol {
            protocol::HOP_BY_HOP | protocol::ROUTING | protocol::DESTINATION_OPTIONS => 8,
            protocol::AUTHENTICATION => 4,
            protocol::FRAGMENT => 0,
            _ => return Some(Upper { at, protocol, fragment_offset }),
        };
        let [next, units, offset_high, offset_low]: [u8; 4] = reader::load(ctx, at, end)?;
        if protocol == protocol::FRAGMENT {
            fragment_offset = u16::from_be_bytes([offset_high, offset_low]) & FRAGMENT_OFFSET;
        }
        at += u32::from(units) * unit + FRAGMENT_HEADER;
        protocol = next;
        if fragment_offset != 0 {
            return Some(Upper { at, protocol, fragment_offset });
        }
    }
    None
}
