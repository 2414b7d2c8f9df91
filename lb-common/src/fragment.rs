//! Fragments whose first part told their service: where the later parts go.

use crate::addr::RawAddr;

/// What the fragments of one packet have in common (RFC 791, RFC 8200).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FragmentKey {
    /// Client address.
    pub source: RawAddr,
    /// Service address.
    pub destination: RawAddr,
    /// Identification, as loaded from the packet: 16 bits of IPv4, 32 of IPv6.
    pub id: u32,
    /// IPv4: the protocol of the packet. IPv6: that of fragment headers, since what follows one counts in the first only.
    pub protocol: u8,
    /// See [`crate::addr`].
    pub family: u8,
    /// Zero.
    pub reserved: [u8; 2],
}

/// Where the first fragment went.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FragmentEntry {
    /// The service as a word; 0: none has the ports, the packet is the host's.
    pub service: u64,
    /// Hash of the packet's flow.
    pub hash: u64,
    /// The backend's id.
    pub backend: u32,
    /// Second of the boot clock in which the first fragment came.
    pub noted_s: u32,
}

/// For how long an entry holds, seconds: as long as Linux waits for missing fragments. Identifications come again.
pub const FRAGMENT_LIFE_S: u32 = 30;

const _: () = assert!(size_of::<FragmentKey>() == 40);
const _: () = assert!(size_of::<FragmentEntry>() == 24);
