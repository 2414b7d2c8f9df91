//! What the bench and its wrapper program share.

/// Bytes of a packet that the wrapper restores before each run.
pub const HEADER_LEN: usize = 80;

/// The packet of a bench and how its flow varies.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Template {
    /// The first bytes of the packet.
    pub header: [u64; HEADER_LEN / 8],
    /// Length of the whole packet.
    pub length: u32,
    /// Number of flows less one; the number is a power of two.
    pub flow_mask: u32,
    /// Where the last two bytes of the source address stand.
    pub source_at: u32,
    /// Where the source port stands.
    pub port_at: u32,
}

const _: () = assert!(size_of::<Template>() == HEADER_LEN + 16);

/// Bits of the flow's number that vary the source address; those above vary the source port.
pub const SOURCE_BITS: u32 = 10;
