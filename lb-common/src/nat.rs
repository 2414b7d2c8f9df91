//! Address translation: what the packet path records of each flow that it rewrites, and where the addresses come from.
//!
//! A flow has two entries of one layout, one per direction: a packet's addresses and ports are the key, the value is what
//! they become. So a packet of either direction is one look-up and one rewrite.

use crate::{
    addr::RawAddr,
    csum,
    flow::{FlowEntry, FlowKey},
    service::Service,
};

/// In [`FlowEntry::flags`] of a translation: of packets from the backend.
pub const TRANSLATION_REPLY: u32 = 1 << 8;

/// Addresses of one pool.
pub const MAX_POOL: usize = 16;
/// Default ports of a pool. They end where Linux's own begin, so that no connection of the host meets one of them.
pub const FIRST_PORT: u16 = 1_024;
/// The last of them.
pub const LAST_PORT: u16 = 32_767;
/// Addresses and ports that are tried for a new flow.
pub const ATTEMPTS: u32 = 16;

/// What the packets of one direction of a flow become.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Translation {
    /// Source address.
    pub source: RawAddr,
    /// Destination address.
    pub destination: RawAddr,
    /// Source port, network byte order.
    pub source_port: [u8; 2],
    /// Destination port, network byte order.
    pub destination_port: [u8; 2],
    /// Backend, service, when a packet of this direction was last seen, `FLOW_*` bits and [`TRANSLATION_REPLY`].
    pub state: FlowEntry,
    /// What the sum of an IPv4 header changes by, see [`csum::apply`].
    pub header_change: u16,
    /// The same of the transport header's.
    pub transport_change: u16,
}

/// Where the source addresses and ports of a service's translated packets come from.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Addresses, [`Pool::count`] of them.
    pub addresses: [RawAddr; MAX_POOL],
    /// How many. None: the address from which the host reaches the backend, [`crate::backend::Backend::source`].
    pub count: u32,
    /// First port.
    pub first_port: u16,
    /// Last port.
    pub last_port: u16,
}

impl Default for Pool {
    fn default() -> Self {
        Self { addresses: [[0; 16]; MAX_POOL], count: 0, first_port: FIRST_PORT, last_port: LAST_PORT }
    }
}

/// What the main program hands over with a packet to the stage that translates it, so that nothing is parsed twice.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Handed {
    /// The packet's flow.
    pub key: FlowKey,
    /// What it is for.
    pub service: Service,
    /// Hash of the flow.
    pub hash: u64,
    /// Hash that chooses its slot.
    pub slot_hash: u64,
    /// Hash of the clients nearby.
    pub group_hash: u64,
    /// Length of the IP packet.
    pub length: u32,
    /// VLAN tags before it.
    pub tags: u32,
    /// Where the transport header begins in the frame.
    pub transport_at: u32,
    /// Flags of the TCP header; 0 for UDP.
    pub tcp_flags: u32,
}

const _: () = assert!(size_of::<Translation>() == 56);
const _: () = assert!(size_of::<Pool>() == 264);
const _: () = assert!(size_of::<Handed>() == 88);

impl Translation {
    /// Whether it is of packets from the backend.
    #[inline(always)]
    pub const fn is_reply(&self) -> bool {
        self.state.flags & TRANSLATION_REPLY != 0
    }

    /// The key of the other direction, given the key of this one.
    #[inline(always)]
    pub const fn other(&self, key: &FlowKey) -> FlowKey {
        FlowKey {
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
            protocol: key.protocol,
            family: key.family,
            reserved: [0; 2],
        }
    }

    /// Notes what it does to the checksums of packets with this key. In its place, for there is little stack.
    #[inline(always)]
    pub const fn note_changes(&mut self, key: &FlowKey) {
        let [old, new] =
            [addresses(&key.source, &key.destination), addresses(&self.source, &self.destination)];
        self.header_change = csum::change(old, new);
        let old = old + ports(key.source_port, key.destination_port);
        let new = new + ports(self.source_port, self.destination_port);
        self.transport_change = csum::change(old, new);
    }
}

/// Sum of the 16-bit words of two addresses, as they stand in the packet.
#[inline(always)]
const fn addresses(source: &RawAddr, destination: &RawAddr) -> u32 {
    csum::sum(u128::from_ne_bytes(*source)) + csum::sum(u128::from_ne_bytes(*destination))
}

#[inline(always)]
const fn ports(source: [u8; 2], destination: [u8; 2]) -> u32 {
    u16::from_ne_bytes(source) as u32 + u16::from_ne_bytes(destination) as u32
}

/// The candidate of an attempt for a new flow: index of an address, and port.
#[inline(always)]
pub const fn candidate(hash: u64, attempt: u32, count: u32, first_port: u16, last_port: u16) -> (u32, u16) {
    let hash = crate::hash::probe(hash, attempt);
    let index = ((hash >> 32) * count as u64) >> 32;
    let ports = last_port.saturating_sub(first_port) as u64 + 1;
    let offset = ((hash & 0xffff_ffff) * ports) >> 32;
    (index as u32, first_port.wrapping_add(offset as u16))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::{FAMILY_V4, from_v4};

    fn key() -> FlowKey {
        FlowKey {
            source: from_v4([192, 0, 2, 7]),
            destination: from_v4([203, 0, 113, 9]),
            source_port: [0x9c, 0x40],
            destination_port: [0, 80],
            protocol: 6,
            family: FAMILY_V4,
            reserved: [0; 2],
        }
    }

    fn forward() -> Translation {
        Translation {
            source: from_v4([10, 0, 0, 2]),
            destination: from_v4([10, 1, 0, 1]),
            source_port: [4, 1],
            destination_port: [0x1f, 0x90],
            ..Translation::default()
        }
    }

    #[test]
    fn the_other_direction_of_the_other_direction_is_the_flow() {
        let there = forward().other(&key());
        assert_eq!((there.source, there.source_port), (from_v4([10, 1, 0, 1]), [0x1f, 0x90]));
        let back = Translation {
            source: key().destination,
            destination: key().source,
            source_port: key().destination_port,
            destination_port: key().source_port,
            ..Translation::default()
        };
        assert_eq!(back.other(&there), key());
    }

    #[test]
    fn a_change_and_the_change_back_leave_the_checksum() {
        let mut there = forward();
        there.note_changes(&key());
        let mut back = Translation {
            source: key().destination,
            destination: key().source,
            source_port: key().destination_port,
            destination_port: key().source_port,
            ..Translation::default()
        };
        back.note_changes(&forward().other(&key()));
        for checksum in 1..u16::MAX {
            let header = csum::apply(csum::apply(checksum, there.header_change), back.header_change);
            let transport = csum::apply(csum::apply(checksum, there.transport_change), back.transport_change);
            assert_eq!((header, transport), (checksum, checksum));
        }
    }

    #[test]
    fn candidates_are_within_the_pool_and_reach_all_of_it() {
        let mut seen = std::collections::BTreeSet::new();
        for hash in 0..2_000u64 {
            for attempt in 0..ATTEMPTS {
                seen.insert(candidate(hash << 20, attempt, 3, 1_024, 1_039));
            }
        }
        let all = (0..3).flat_map(|index| (1_024..=1_039).map(move |port| (index, port)));
        assert!(seen.into_iter().eq(all));
        assert_eq!(candidate(7, 0, 1, 5, 5), (0, 5));
        assert!(candidate(u64::MAX, 3, 16, 1, u16::MAX).1 >= 1);
    }
}
