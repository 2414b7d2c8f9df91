//! As much of SCTP as decides over connections: what its first chunk does to the association (RFC 9260, section 3).

use super::{TCP_FIN, TCP_RST, TCP_SYN, frame::load};

/// Least length of a packet: the common header (ports, verification tag, checksum) and the header of a chunk, without which
/// it would be of no association.
pub const LEN: usize = CHUNK + 4;
/// Where the first chunk begins, with its type.
pub const CHUNK: usize = 12;

/// Chunk types that begin and end an association.
const INIT: u8 = 1;
const ABORT: u8 = 6;
const SHUTDOWN: u8 = 7;
const SHUTDOWN_ACK: u8 = 8;
const SHUTDOWN_COMPLETE: u8 = 14;

/// Flags by chunk type, four bits each, for the types up to 15.
const FLAGS: u64 = flags_of(INIT, TCP_SYN)
    | flags_of(ABORT, TCP_RST)
    | flags_of(SHUTDOWN, TCP_FIN)
    | flags_of(SHUTDOWN_ACK, TCP_FIN)
    | flags_of(SHUTDOWN_COMPLETE, TCP_FIN);

const fn flags_of(kind: u8, flags: u8) -> u64 {
    (flags as u64) << (kind as u32 * 4)
}

/// The flags of the TCP segment that does the same as the packet's first chunk.
///
/// # Safety
/// [`LEN`] bytes at `at` lie in the frame.
#[inline(always)]
pub unsafe fn as_tcp_flags(at: usize) -> u8 {
    // SAFETY: as the caller promises.
    flags_of_chunk(unsafe { load::<u8>(at + CHUNK) })
}

/// The same by the chunk's type: INIT opens an association as a SYN does, the chunks of a shutdown are a FIN, ABORT is an
/// RST, and anything else is data. Without a branch: the verifier would follow each of them through the whole path.
#[inline(always)]
pub const fn flags_of_chunk(kind: u8) -> u8 {
    let kind = kind as u32;
    // All ones below 16, else zero.
    let known = kind.wrapping_sub(16) >> 28;
    (FLAGS >> ((kind & 15) * 4)) as u8 & known as u8
}
