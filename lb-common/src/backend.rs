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
    /// Egress interface; never a VLAN device but the one below it, see [`Backend::vlan`].
    pub ifindex: u32,
    /// Index of the `LIVENESS` map.
    pub target: u32,
    /// Id of the VLAN on [`Backend::ifindex`] that the next hop is in; zero: none, frames leave without a tag.
    pub vlan: u16,
    /// Share of new connections relative to the service's other backends. Zero: drained, gets none.
    pub weight: u16,
    /// `BACKEND_*` bits, and [`Backend::hops`]. Zero: the entry is vacant.
    pub flags: u8,
    /// Family of [`Backend::address`] and [`Backend::source`].
    pub family: u8,
    /// How many low bits of [`Backend::source`] are replaced by bits of the flow hash (0 to 32).
    pub source_spread_bits: u8,
    /// Index of the egress interface in the `TX_PORTS` map (a DEVMAP).
    pub tx_port: u8,
    /// Largest IP packet that the egress interface takes, or the VLAN device on it, in bytes.
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
/// Where the flags have the number of next hops, less one: in the three highest bits.
const HOPS_SHIFT: u32 = 5;

/// Next hops of one backend.
pub const MAX_HOPS: u8 = 8;

impl Backend {
    /// How many next hops lead there, this entry's included: one, unless [`BACKEND_MULTIPATH`] is set.
    #[inline(always)]
    pub const fn hops(&self) -> u8 {
        (self.flags >> HOPS_SHIFT) + 1
    }

    /// Flags of an entry that is the first of so many next hops, from 2 to [`MAX_HOPS`].
    pub const fn multipath_flags(hops: u8) -> u8 {
        let most = if hops < MAX_HOPS { hops } else { MAX_HOPS };
        BACKEND_MULTIPATH | most.saturating_sub(1) << HOPS_SHIFT
    }
}

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
const _: () = assert!((MAX_HOPS - 1) >> (u8::BITS - HOPS_SHIFT) == 0);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_hops_stands_beside_the_flags() {
        let ready = BACKEND_PRESENT | BACKEND_RESOLVED;
        assert_eq!(Backend { flags: ready, ..Backend::default() }.hops(), 1);
        for hops in 2..=MAX_HOPS {
            let backend = Backend { flags: ready | Backend::multipath_flags(hops), ..Backend::default() };
            assert_eq!(backend.hops(), hops);
            assert_eq!(backend.flags & 0xf, ready | BACKEND_MULTIPATH);
        }
        assert_eq!(Backend::multipath_flags(MAX_HOPS + 1), Backend::multipath_flags(MAX_HOPS));
    }
}
