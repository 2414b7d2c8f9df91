//! A backend as the packet path sees it: everything a rewrite needs, in one cache line.

use crate::addr::RawAddr;

/// One backend of one service. Index of the `BACKENDS` map is the backend's id; id 0 is never used.
///
/// Ids belong to a pair of service and address, so one counter gives both the backend's and the service's traffic.
/// Liveness belongs to [`Backend::target`], which services with the same address and health check share, so that one
/// store takes a dead target out of all of them.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backend {
    /// MAC address of the next hop.
    pub next_hop_mac: [u8; 6],
    /// MAC address of the egress interface.
    pub source_mac: [u8; 6],
    /// Egress interface.
    pub ifindex: u32,
    /// Index of the `LIVENESS` map.
    pub target: u32,
    /// Index of the egress interface in the `TX_PORTS` map (a DEVMAP).
    pub tx_port: u16,
    /// Share of new connections relative to the service's other backends. Zero: drained, gets none.
    pub weight: u16,
    /// `BACKEND_*` bits. Zero: the entry is vacant.
    pub flags: u8,
    /// Family of [`Backend::address`] and [`Backend::source`].
    pub family: u8,
    /// How many low bits of [`Backend::source`] are replaced by bits of the flow hash (0 to 32).
    pub source_spread_bits: u8,
    /// With [`BACKEND_MULTIPATH`]: how many next hops lead there, this entry's included, up to [`MAX_HOPS`].
    pub hops: u8,
    /// Largest IP packet that the egress interface takes, in bytes.
    pub mtu: u16,
    /// Port on the backend, network byte order, for the modes that translate it (zero: unchanged). For
    /// [`crate::mode::GUE`]: destination port of the outer datagrams.
    pub port: [u8; 2],
    /// Address of the backend.
    pub address: RawAddr,
    /// Outer source address of encapsulated packets.
    pub source: RawAddr,
}

/// The entry describes a backend.
pub const BACKEND_PRESENT: u8 = 1 << 0;
/// The next hop is known: MAC addresses and egress are valid.
pub const BACKEND_RESOLVED: u8 = 1 << 1;
/// The address is one of the balancer's own: packets are handed to its host. [`BACKEND_RESOLVED`] is set as well.
pub const BACKEND_LOCAL: u8 = 1 << 2;
/// Several next hops lead there, of which each flow takes one: the others are in the `HOPS` map.
pub const BACKEND_MULTIPATH: u8 = 1 << 3;

/// Next hops of one backend.
pub const MAX_HOPS: u8 = 8;

/// Key of the `HOPS` map: a next hop of a backend, from 1. The entry in `BACKENDS` is number 0.
#[inline(always)]
pub const fn hop_key(backend: u32, hop: u32) -> u32 {
    // Ids have 24 bits at most, see `Slot::ID_MASK`.
    backend | hop << 24
}

/// Value of the `LIVENESS` map: the target takes traffic.
pub const TARGET_UP: u32 = 0;
/// Value of the `LIVENESS` map: the target is dead, packets for it probe the table for another.
pub const TARGET_DOWN: u32 = 1;

const _: () = assert!(size_of::<Backend>() == 64);
