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
/// The bit that says that it is not the last part.
const MORE_FRAGMENTS: u16 = 1;

/// The header after the extension headers.
pub struct Upper {
    /// Its position in the frame.
    pub at: u32,
    /// Its protocol.
    pub protocol: u8,
    /// Not zero: it is a later fragment's, so that the header itself is elsewhere.
    pub fragment_offset: u16,
    /// Identification in the last fragment header, as loaded; 0 without one.
    pub fragment_id: u32,
    /// More fragments follow.
    pub is_more: bool,
    /// Fragment headers before it.
    pub fragment_headers: u32,
}

impl Upper {
    /// Before the first header is looked at.
    #[inline(always)]
    pub const fn beginning(at: u32, protocol: u8) -> Self {
        Self { at, protocol, fragment_offset: 0, fragment_id: 0, is_more: false, fragment_headers: 0 }
    }
}

/// What a unit of an extension header's length field counts for; none for any other header.
#[inline(always)]
pub const fn unit(protocol: u8) -> Option<u32> {
    match protocol {
        protocol::HOP_BY_HOP | protocol::ROUTING | protocol::DESTINATION_OPTIONS => Some(8),
        protocol::AUTHENTICATION => Some(4),
        protocol::FRAGMENT => Some(0),
        _ => None,
    }
}

/// Follows the extension headers from position `at`, up to `end`. None if they don't end there, or are too many.
#[inline(always)]
pub fn skip(ctx: &XdpContext, at: u32, end: u32, protocol: u8) -> Option<Upper> {
    let mut upper = Upper::beginning(at, protocol);
    follow(ctx, &mut upper, end)?;
    Some(upper)
}

/// The same from where `upper` is, which then is as far as they could be followed.
#[inline(always)]
pub fn follow(ctx: &XdpContext, upper: &mut Upper, end: u32) -> Option<()> {
    for _ in 0..=MAX_EXTENSIONS {
        let Some(unit) = unit(upper.protocol) else { return Some(()) };
        // None is shorter than this.
        let [word, id]: [u32; 2] = reader::load(ctx, upper.at, end)?;
        let [next, units, offset_high, offset_low] = word.to_le_bytes();
        if upper.protocol == protocol::FRAGMENT {
            let offset = u16::from_be_bytes([offset_high, offset_low]);
            upper.fragment_offset = offset & FRAGMENT_OFFSET;
            upper.is_more = offset & MORE_FRAGMENTS != 0;
            upper.fragment_id = id;
            upper.fragment_headers += 1;
        }
        upper.at += u32::from(units) * unit + FRAGMENT_HEADER;
        upper.protocol = next;
        if upper.fragment_offset != 0 {
            return Some(());
        }
    }
    None
}
