//! The service table: which addresses, protocols and ports are balanced, and how.
//!
//! A cuckoo table with two places per key, kept in one map value: a lookup is at most two loads at known places,
//! without a helper call (R. Pagh and F. F. Rodler, "Cuckoo hashing", 2001). The agent builds it and swaps it whole.

use crate::{
    hash,
    wide::{MAX_LENGTHS, MAX_RANGES, PortRange},
};

/// Services of both families together. Service ids are below this; id 0 is never used.
pub const MAX_SERVICES: u32 = 16_384;
/// Entries of one family: services, a marker for each of their addresses, and what [`SERVICE_BY_ADDRESS`] adds.
pub const MAX_ENTRIES: u32 = 3 * MAX_SERVICES;
/// Places in the table of one family: at [`MAX_ENTRIES`] three of eight are taken, so that building practically never fails.
pub const PLACES: usize = 1 << PLACE_BITS;
const PLACE_BITS: u32 = 17;

/// Port that stands for "any port".
pub const ANY_PORT: u16 = 0;

/// What the packet path needs to know about a service. Eight bytes beside the key.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// Index of the service's slot map in the outer map of its class.
    pub id: u32,
    /// See [`crate::mode`].
    pub mode: u8,
    /// Index in [`crate::slot::SIZES`].
    pub class: u8,
    /// `SERVICE_*` bits.
    pub flags: u16,
}

/// The slot is chosen by the client's address alone, or its first [`Service::source_prefix`] bits.
pub const SERVICE_SOURCE_HASH: u16 = 1 << 0;
/// Each new connection takes the next slot. Tracked.
pub const SERVICE_ROUND_ROBIN: u16 = 1 << 1;
/// Each new connection takes the less loaded backend of two random slots. Tracked.
pub const SERVICE_LEAST_CONNECTIONS: u16 = 1 << 2;
/// UDP is QUIC, whose connections begin with an Initial packet.
pub const SERVICE_QUIC: u16 = 1 << 3;
/// QUIC connection ids name their server, see [`crate::quic`].
pub const SERVICE_QUIC_ID: u16 = 1 << 4;
/// Packets are rewritten by the stage that translates; each flow has a record there. Also on [`crate::mode::REPLIES`].
pub const SERVICE_TRANSLATED: u16 = 1 << 5;
/// Fragments go by the hash of both addresses rather than where the first goes. A second entry of the service, under the
/// protocol number of fragment headers and with its own protocol's number as the port, tells those without ports.
pub const SERVICE_BY_ADDRESS: u16 = 1 << 7;
/// Either of these: each flow is recorded in the flow table from its beginning to its end.
pub const SERVICE_TRACKED: u16 = SERVICE_ROUND_ROBIN | SERVICE_LEAST_CONNECTIONS;
/// Any of these: a packet's slot alone does not say whose it is, even at rest.
pub const SERVICE_BEYOND_SLOTS: u16 = SERVICE_TRACKED | SERVICE_QUIC_ID | SERVICE_TRANSLATED;
/// Where the bits of the source prefix begin.
const SOURCE_PREFIX_SHIFT: u32 = 8;

impl Service {
    /// All of it in a number, for functions that return one; never 0 for a service.
    #[inline(always)]
    pub const fn word(self) -> u64 {
        self.id as u64 | (self.mode as u64) << 32 | (self.class as u64) << 40 | (self.flags as u64) << 48
    }

    /// The service of a number; none of 0.
    #[inline(always)]
    pub const fn from_word(word: u64) -> Option<Self> {
        let (mode, class, flags) = ((word >> 32) as u8, (word >> 40) as u8, (word >> 48) as u16);
        if word == 0 { None } else { Some(Self { id: word as u32, mode, class, flags }) }
    }

    /// Flags of a source-hash service: how many leading bits of the client's address choose the slot, up to 32 for
    /// IPv4 and 128 for IPv6.
    pub const fn source_hash_flags(prefix: u8) -> u16 {
        SERVICE_SOURCE_HASH | (prefix as u16) << SOURCE_PREFIX_SHIFT
    }

    /// Leading bits of the client's address that choose the slot of a source-hash service.
    #[inline(always)]
    pub const fn source_prefix(&self) -> u32 {
        (self.flags >> SOURCE_PREFIX_SHIFT) as u32
    }

    /// Whether the service is one of [`SERVICE_TRACKED`].
    #[inline(always)]
    pub const fn is_tracked(&self) -> bool {
        self.flags & SERVICE_TRACKED != 0
    }

    /// Whether the slot of a packet says whose it is while that is at rest.
    #[inline(always)]
    pub const fn goes_by_slots(&self) -> bool {
        self.flags & SERVICE_BEYOND_SLOTS == 0
    }

    /// Whether packets are rewritten by the stage that translates.
    #[inline(always)]
    pub const fn is_translated(&self) -> bool {
        self.flags & SERVICE_TRANSLATED != 0
    }
}

/// Address, port and protocol of an IPv4 service in one word; never 0 for a key.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyV4(pub u64);

/// Where a key has the length of a prefix, plus one, counted from the port's first bit.
const LENGTH_SHIFT: u32 = 25;

/// Stands for "as a source" where the length of a prefix would be; more than any length.
const SOURCE_V4: u64 = 127;
/// The same for IPv6.
const SOURCE_V6: u64 = 255;

/// Bits above address and port: the protocol and a one that tells a key from a vacant place.
#[inline(always)]
const fn tail(port: [u8; 2], protocol: u8) -> u64 {
    u16::from_le_bytes(port) as u64 | (protocol as u64) << 16 | 1 << 24
}

impl KeyV4 {
    /// Key of an address, a port (both as they stand in the packet) and a protocol.
    #[inline(always)]
    pub const fn new(address: [u8; 4], port: [u8; 2], protocol: u8) -> Self {
        Self(u32::from_le_bytes(address) as u64 | tail(port, protocol) << 32)
    }

    /// The same address and protocol with [`ANY_PORT`].
    #[inline(always)]
    pub const fn any_port(self) -> Self {
        Self(self.0 & !(0xffff << 32))
    }

    /// The key of the prefix with the first `length` bits of the address. That of all 32 is another than the address's own.
    #[inline(always)]
    pub const fn prefix(self, length: u8) -> Self {
        let mask = hash::prefix_mask_v4(length as u32) as u64 | !(u32::MAX as u64);
        Self(self.0 & mask | (length as u64 + 1) << (32 + LENGTH_SHIFT))
    }

    /// The key of the address as the source of replies, with [`ANY_PORT`].
    #[inline(always)]
    pub const fn source(self) -> Self {
        Self(self.any_port().0 | SOURCE_V4 << (32 + LENGTH_SHIFT))
    }

    /// Whether the address is a source of replies.
    pub const fn is_source(self) -> bool {
        self.0 >> (32 + LENGTH_SHIFT) == SOURCE_V4
    }

    /// Length of the prefix; none for an address.
    pub const fn prefix_length(self) -> Option<u8> {
        if self.is_source() { None } else { ((self.0 >> (32 + LENGTH_SHIFT)) as u8).checked_sub(1) }
    }

    /// The two places where the key may stand in a table of this head. They may be equal; the table's builder copes.
    #[inline(always)]
    pub const fn places(self, head: &TableHead) -> [usize; 2] {
        let [first, second, ..] = head.multipliers;
        [place(self.0.wrapping_mul(first)), place(self.0.wrapping_mul(second))]
    }
}

/// Address, port and protocol of an IPv6 service; its tail is never 0 for a key.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyV6 {
    /// The address as two words, as loaded little-endian from the packet.
    pub address: [u64; 2],
    /// Port, protocol and a mark.
    pub tail: u64,
}

impl KeyV6 {
    /// Key of an address, a port (both as they stand in the packet) and a protocol.
    #[inline(always)]
    pub const fn new(address: [u64; 2], port: [u8; 2], protocol: u8) -> Self {
        Self { address, tail: tail(port, protocol) }
    }

    /// The same address and protocol with [`ANY_PORT`].
    #[inline(always)]
    pub const fn any_port(self) -> Self {
        Self { address: self.address, tail: self.tail & !0xffff }
    }

    /// The key of the prefix with the first `length` bits of the address. That of all 128 is another than the address's own.
    #[inline(always)]
    pub const fn prefix(self, length: u8) -> Self {
        let [high, low] = hash::prefix_mask_v6(length as u32);
        let tail = self.tail | (length as u64 + 1) << LENGTH_SHIFT;
        Self { address: [self.address[0] & high, self.address[1] & low], tail }
    }

    /// The key of the address as the source of replies, with [`ANY_PORT`].
    #[inline(always)]
    pub const fn source(self) -> Self {
        Self { address: self.address, tail: self.any_port().tail | SOURCE_V6 << LENGTH_SHIFT }
    }

    /// Whether the address is a source of replies.
    pub const fn is_source(self) -> bool {
        self.tail >> LENGTH_SHIFT == SOURCE_V6
    }

    /// Length of the prefix; none for an address.
    pub const fn prefix_length(self) -> Option<u8> {
        if self.is_source() { None } else { ((self.tail >> LENGTH_SHIFT) as u8).checked_sub(1) }
    }

    /// The two places where the key may stand in a table of this head. They may be equal; the table's builder copes.
    #[inline(always)]
    pub const fn places(&self, head: &TableHead) -> [usize; 2] {
        let [a, b, c, d, e, f] = head.multipliers;
        [self.place([a, b, c]), self.place([d, e, f])]
    }

    #[inline(always)]
    const fn place(&self, [high, low, tail]: [u64; 3]) -> usize {
        // The end of an address tells neighbours apart, and a product carries it only upwards.
        let address = self.address[0].swap_bytes().wrapping_mul(high);
        let address = address.wrapping_add(self.address[1].swap_bytes().wrapping_mul(low));
        place(address.wrapping_add(self.tail.wrapping_mul(tail)))
    }
}

/// The place that a product or a sum of products points to: multiply-shift hashing, as in [`crate::hash::flow_v4`].
#[inline(always)]
const fn place(product: u64) -> usize {
    (product >> (64 - PLACE_BITS)) as usize
}

/// A place of the IPv4 table. A zero key: vacant.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EntryV4 {
    /// What is balanced.
    pub key: KeyV4,
    /// How.
    pub service: Service,
}

/// A place of the IPv6 table. A zero tail in the key: vacant.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EntryV6 {
    /// What is balanced.
    pub key: KeyV6,
    /// How.
    pub service: Service,
}

/// Seed and shape of a table; both families share it.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableHead {
    /// Seed with which all keys found a place. The packet path has no use for it.
    pub seed: u64,
    /// Entries in the table. The path ends here when it is 0.
    pub services: u32,
    /// Those that are not one address with one port, echo markers of single addresses apart; all lookups but the first are
    /// skipped when it is 0.
    pub any_port_services: u32,
    /// What keys are multiplied with to find their places, from the seed. All odd: two for IPv4 keys, three for each place
    /// of IPv6 keys.
    pub multipliers: [u64; 6],
    /// Lengths of the prefixes in the table, longest first; see [`crate::wide`].
    pub lengths: [u8; MAX_LENGTHS],
    /// How many of them there are.
    pub length_count: u32,
    /// Port ranges in the table. The packet path has no use for it.
    pub range_count: u32,
    /// Addresses in the table that replies come from.
    pub source_count: u32,
    /// Prefix lengths and such addresses together. When it is 0, nothing follows the lookup of the address with any port.
    pub wide_count: u32,
    /// Zero.
    pub reserved: [u64; 4],
}

impl TableHead {
    /// The head of a table without services.
    pub const fn of(seed: u64) -> Self {
        let mut multipliers = [0; 6];
        let mut index = 0;
        while index < multipliers.len() {
            multipliers[index] = hash::mix(seed.wrapping_add(index as u64)) | 1;
            index += 1;
        }
        let lengths = [0; MAX_LENGTHS];
        Self {
            seed,
            services: 0,
            any_port_services: 0,
            multipliers,
            lengths,
            length_count: 0,
            range_count: 0,
            source_count: 0,
            wide_count: 0,
            reserved: [0; 4],
        }
    }
}

/// The IPv4 services, the value of the only element of a `SERVICES_V4` map.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ServiceTableV4 {
    /// Seed and counts.
    pub head: TableHead,
    /// The places.
    pub entries: [EntryV4; PLACES],
    /// Port ranges, those of a list side by side.
    pub ranges: [PortRange; MAX_RANGES],
}

/// The IPv6 services, the value of the only element of a `SERVICES_V6` map.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ServiceTableV6 {
    /// Seed and counts.
    pub head: TableHead,
    /// The places.
    pub entries: [EntryV6; PLACES],
    /// Port ranges, those of a list side by side.
    pub ranges: [PortRange; MAX_RANGES],
}

const _: () = assert!(size_of::<Service>() == 8);
const _: () = assert!(size_of::<EntryV4>() == 16);
const _: () = assert!(size_of::<EntryV6>() == 32);
const _: () = assert!(size_of::<TableHead>() == 128);
const _: () = assert!(size_of::<ServiceTableV4>() == 128 + 16 * PLACES + 12 * MAX_RANGES);
const _: () = assert!(size_of::<ServiceTableV6>() == 128 + 32 * PLACES + 12 * MAX_RANGES);
