//! Builds service tables: every key stands in one of its two places.
//!
//! Cuckoo hashing after R. Pagh and F. F. Rodler, 2001: a new key takes its first place and sends whatever stood there
//! to its other place, and so on. Where that goes on for too long, everything is placed anew under another seed.

use crate::{
    hash, mode,
    service::{
        ANY_PORT, EntryV4, EntryV6, KeyV4, KeyV6, MAX_ENTRIES, PLACES, Service, ServiceTableV4,
        ServiceTableV6, TableHead,
    },
    wide::{MAX_LENGTHS, MAX_RANGES, PortRange},
};

/// Why no table could be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CuckooError {
    /// More entries than there is room for.
    #[error("{0} services and addresses of one family; at most {MAX_ENTRIES} fit")]
    TooMany(usize),
    /// Two services have the same address, port and protocol.
    #[error("services {0} and {1} have the same address, port and protocol")]
    Duplicate(u32, u32),
    /// More port ranges than there is room for.
    #[error("{0} port ranges of one family; at most {MAX_RANGES} fit")]
    TooManyRanges(usize),
    /// More different lengths of prefixes than the packet path tries.
    #[error("prefixes of more than {MAX_LENGTHS} different lengths in one family")]
    TooManyLengths,
    /// No seed had a place for every key. Does not happen at the loads that [`MAX_ENTRIES`] allows.
    #[error("no arrangement of {0} services was found in {SEEDS} attempts")]
    NoSeed(usize),
}

/// Seeds that are tried. One fails in about a hundred times with a quarter of the places taken.
const SEEDS: u64 = 64;
/// Keys that one insertion may displace before the seed is given up; far above what succeeds at these loads.
const DISPLACEMENTS: u32 = 256;

/// Builds the table of the IPv4 services. `ranges` are those of the lists among them, see [`crate::wide`].
///
/// # Errors
/// See [`CuckooError`].
pub fn build_v4(
    seed: u64,
    services: &[(KeyV4, Service)],
    ranges: &[PortRange],
) -> Result<Box<ServiceTableV4>, CuckooError> {
    build(seed, services, ranges)
}

/// Builds the table of the IPv6 services. `ranges` are those of the lists among them, see [`crate::wide`].
///
/// # Errors
/// See [`CuckooError`].
pub fn build_v6(
    seed: u64,
    services: &[(KeyV6, Service)],
    ranges: &[PortRange],
) -> Result<Box<ServiceTableV6>, CuckooError> {
    build(seed, services, ranges)
}

/// The service of an exact key, as the packet path finds it.
pub fn find_v4(table: &ServiceTableV4, key: KeyV4) -> Option<Service> {
    find(table, key)
}

/// The service of an exact key, as the packet path finds it.
pub fn find_v6(table: &ServiceTableV6, key: KeyV6) -> Option<Service> {
    find(table, key)
}

/// What the tables of both families have in common.
trait Table: Sized {
    type Key: Copy + PartialEq;

    /// A table without services.
    fn zeroed() -> Box<Self>;
    fn head(&mut self) -> &mut TableHead;
    fn places(&self, key: Self::Key) -> [usize; 2];
    fn is_any_port(key: Self::Key) -> bool;
    /// Length of the prefix that a key is of.
    fn prefix_length(key: Self::Key) -> Option<u8>;
    fn is_source(key: Self::Key) -> bool;
    fn ranges(&mut self) -> &mut [PortRange; MAX_RANGES];
    /// The occupant of a place.
    fn get(&self, place: usize) -> Option<(Self::Key, Service)>;
    fn set(&mut self, place: usize, key: Self::Key, service: Service);
}

fn build<T: Table>(
    seed: u64,
    services: &[(T::Key, Service)],
    ranges: &[PortRange],
) -> Result<Box<T>, CuckooError> {
    if services.len() > MAX_ENTRIES as usize {
        return Err(CuckooError::TooMany(services.len()));
    }
    if ranges.len() > MAX_RANGES {
        return Err(CuckooError::TooManyRanges(ranges.len()));
    }
    for attempt in 0..SEEDS {
        let mut table = T::zeroed();
        *table.head() = TableHead::of(hash::mix(seed.wrapping_add(attempt)));
        if fill(&mut *table, services)? {
            table.ranges()[..ranges.len()].copy_from_slice(ranges);
            table.head().range_count = ranges.len() as u32;
            return Ok(table);
        }
    }
    Err(CuckooError::NoSeed(services.len()))
}

/// Places all keys; false if one found no place.
fn fill<T: Table>(table: &mut T, services: &[(T::Key, Service)]) -> Result<bool, CuckooError> {
    for (key, service) in services {
        if let Some(other) = find(table, *key) {
            return Err(CuckooError::Duplicate(other.id.min(service.id), other.id.max(service.id)));
        }
        if !insert(table, *key, *service) {
            return Ok(false);
        }
        table.head().services += 1;
        let length = T::prefix_length(*key);
        if let Some(length) = length {
            note_length(table.head(), length)?;
        }
        table.head().source_count += u32::from(T::is_source(*key));
        // A packet of a flow never has the protocol of an echo marker.
        let is_any_port = T::is_any_port(*key) && service.mode != mode::ECHO;
        table.head().any_port_services += u32::from(length.is_some() || is_any_port);
    }
    let head = table.head();
    head.wide_count = head.length_count + head.source_count;
    Ok(true)
}

/// Adds the length of a prefix to those that are looked for, longest first.
fn note_length(head: &mut TableHead, length: u8) -> Result<(), CuckooError> {
    let count = head.length_count as usize;
    if head.lengths[..count].contains(&length) {
        return Ok(());
    }
    let place = head.lengths.get_mut(count).ok_or(CuckooError::TooManyLengths)?;
    *place = length;
    head.length_count += 1;
    head.lengths[..=count].sort_unstable_by(|one, other| other.cmp(one));
    Ok(())
}

fn find<T: Table>(table: &T, key: T::Key) -> Option<Service> {
    table
        .places(key)
        .into_iter()
        .filter_map(|place| table.get(place))
        .find_map(|(occupant, service)| (occupant == key).then_some(service))
}

fn insert<T: Table>(table: &mut T, mut key: T::Key, mut service: Service) -> bool {
    let mut place = table.places(key)[0];
    for _ in 0..DISPLACEMENTS {
        let displaced = table.get(place);
        table.set(place, key, service);
        let Some(next) = displaced else { return true };
        (key, service) = next;
        let [first, second] = table.places(key);
        place = if place == first { second } else { first };
    }
    false
}

/// The two families differ in their types and nowhere else.
macro_rules! table {
    ($table:ty, $entry:ident, $key:ty, |$k:ident| vacant: $vacant:expr, port: $port:expr) => {
        impl Table for $table {
            type Key = $key;

            fn zeroed() -> Box<Self> {
                // SAFETY: the table is plain integers, for which zero is a value.
                unsafe { Box::new_zeroed().assume_init() }
            }

            fn head(&mut self) -> &mut TableHead {
                &mut self.head
            }

            fn places(&self, key: $key) -> [usize; 2] {
                key.places(&self.head)
            }

            fn is_any_port($k: $key) -> bool {
                $port == u64::from(ANY_PORT)
            }

            fn prefix_length($k: $key) -> Option<u8> {
                $k.prefix_length()
            }

            fn is_source($k: $key) -> bool {
                $k.is_source()
            }

            fn ranges(&mut self) -> &mut [PortRange; MAX_RANGES] {
                &mut self.ranges
            }

            fn get(&self, place: usize) -> Option<($key, Service)> {
                let $entry { key: $k, service } = self.entries[place % PLACES];
                (!$vacant).then_some(($k, service))
            }

            fn set(&mut self, place: usize, key: $key, service: Service) {
                self.entries[place % PLACES] = $entry { key, service };
            }
        }
    };
}

table!(ServiceTableV4, EntryV4, KeyV4, |key| vacant: key.0 == 0, port: key.0 >> 32 & 0xffff);
table!(ServiceTableV6, EntryV6, KeyV6, |key| vacant: key.tail == 0, port: key.tail & 0xffff);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn service(id: u32) -> Service {
        Service { id, mode: crate::mode::L2, class: 2, flags: 0 }
    }

    /// Services on successive ports and addresses, as real ones are: keys that differ in few bits.
    fn many_v4(count: u32) -> Vec<(KeyV4, Service)> {
        (0..count)
            .map(|n| {
                let address = (0x0a00_0000 + n / 16).to_be_bytes();
                (KeyV4::new(address, ((n % 16) as u16).to_be_bytes(), 6), service(n))
            })
            .collect()
    }

    fn many_v6(count: u32) -> Vec<(KeyV6, Service)> {
        (0..count)
            .map(|n| (KeyV6::new([0x0020_0120, u64::from(n)], 443u16.to_be_bytes(), 17), service(n)))
            .collect()
    }

    #[test]
    fn a_full_table_holds_every_service_of_either_family() {
        for seed in 0..20 {
            let v4 = many_v4(MAX_ENTRIES);
            let table = build_v4(seed, &v4, &[]).unwrap();
            assert_eq!(table.head.services, MAX_ENTRIES);
            assert_eq!(table.head.any_port_services, MAX_ENTRIES / 16);
            assert!(v4.iter().all(|(key, service)| find_v4(&table, *key) == Some(*service)));
            let v6 = many_v6(MAX_ENTRIES);
            let table = build_v6(seed, &v6, &[]).unwrap();
            assert_eq!((table.head.services, table.head.any_port_services), (MAX_ENTRIES, 0));
            assert!(v6.iter().all(|(key, service)| find_v6(&table, *key) == Some(*service)));
        }
    }

    #[test]
    fn an_echo_marker_is_an_entry_but_no_service_of_any_port() {
        let marker = (KeyV4::new([10, 0, 0, 1], [0; 2], 1), Service { mode: mode::ECHO, ..service(0) });
        let table = build_v4(1, &[marker, many_v4(1)[0]], &[]).unwrap();
        assert_eq!((table.head.services, table.head.any_port_services), (2, 1));
        assert_eq!(find_v4(&table, marker.0), Some(marker.1));
    }

    #[test]
    fn a_source_of_replies_is_found_as_that_alone() {
        let key = KeyV4::new([10, 0, 0, 1], [0; 2], 6);
        let table = build_v4(1, &[(key.source(), service(0))], &[]).unwrap();
        let head = &table.head;
        assert_eq!(
            (head.any_port_services, head.length_count, head.source_count, head.wide_count),
            (1, 0, 1, 1)
        );
        assert_eq!((find_v4(&table, key), find_v4(&table, key.source())), (None, Some(service(0))));
        let key = KeyV6::new([1, 2], [0; 2], 17);
        let table = build_v6(1, &[(key.source(), service(0)), (key, service(1))], &[]).unwrap();
        assert_eq!((table.head.length_count, table.head.wide_count), (0, 1));
        assert_eq!(find_v6(&table, key.source()), Some(service(0)));
        assert_eq!(build_v4(1, &many_v4(9), &[]).unwrap().head.wide_count, 0);
    }

    #[test]
    fn other_keys_are_not_found() {
        let table = build_v4(1, &many_v4(1000), &[]).unwrap();
        let other = KeyV4::new([10, 0, 0, 0], 80u16.to_be_bytes(), 6);
        assert_eq!(find_v4(&table, other), None);
        assert_eq!(find_v4(&table, KeyV4::new([10, 0, 0, 0], [0, 1], 17)), None);
        assert_eq!(find_v6(&build_v6(1, &[], &[]).unwrap(), many_v6(1)[0].0), None);
    }

    #[test]
    fn duplicates_and_too_many_are_refused() {
        let mut services = many_v4(9);
        services.push((services[3].0, service(77)));
        assert_eq!(build_v4(1, &services, &[]).err(), Some(CuckooError::Duplicate(3, 77)));
        let count = MAX_ENTRIES + 1;
        assert_eq!(build_v4(1, &many_v4(count), &[]).err(), Some(CuckooError::TooMany(count as usize)));
    }

    /// Three keys in two places can never stand under one seed; another seed parts them.
    #[test]
    fn a_cycle_makes_it_choose_another_seed() {
        let first_seed = hash::mix(5);
        let keys = three_in_two_places(first_seed);
        let table = build_v4(5, &keys, &[]).unwrap();
        assert_ne!(table.head.seed, first_seed);
        assert!(keys.iter().all(|(key, service)| find_v4(&table, *key) == Some(*service)));
    }

    /// Two keys that have just one place, the same, and a third.
    fn three_in_two_places(seed: u64) -> [(KeyV4, Service); 3] {
        let mut lone = std::collections::HashMap::new();
        for n in 0u64.. {
            // Neighbours would meet too rarely.
            let key = KeyV4(hash::mix(n) | 1);
            let [first, second] = key.places(&TableHead::of(seed));
            if first != second {
                continue;
            }
            if let Some(other) = lone.insert(first, key) {
                return [(other, service(1)), (KeyV4(2), service(3)), (key, service(2))];
            }
        }
        unreachable!("the integers end only after two keys have met")
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn random_keys_are_all_found(seed: u64, keys in prop::collection::hash_set(1u64..1 << 57, 0..500)) {
            let services: Vec<_> = keys.into_iter().map(KeyV4).zip((1..).map(service)).collect();
            let table = build_v4(seed, &services, &[]).unwrap();
            for (key, service) in services {
                prop_assert_eq!(find_v4(&table, key), Some(service));
            }
        }
    }
}
