//! What service addresses become in the service tables: keys, and lists of port ranges. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use lb_common::{
    service::{ANY_PORT, KeyV4, KeyV6, Service},
    wide::{self, PortRange},
};

use super::plan::{Entries, EntryKey};

/// What the service table of one family is built from.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Contents<K> {
    pub keys: Vec<(K, Service)>,
    pub ranges: Vec<PortRange>,
}

/// The contents of both tables.
pub(crate) fn contents(entries: &Entries) -> (Contents<KeyV4>, Contents<KeyV6>) {
    let [v4, v6] = entries;
    (of_family(v4, key_v4), of_family(v6, key_v6))
}

/// An address or prefix, by its length, and a protocol: what has a list of its own if it has ranges.
type Place = (IpAddr, u8, u8);

fn of_family<K>(
    entries: &BTreeMap<EntryKey, Service>,
    key: impl Fn(Place, u16, bool) -> Option<K>,
) -> Contents<K> {
    let place = |entry: &EntryKey| (entry.address, entry.length, entry.protocol);
    let is_range = |entry: &EntryKey| entry.last_port > entry.port;
    let is_prefix = |entry: &EntryKey| entry.length < if entry.address.is_ipv4() { 32 } else { 128 };
    let listed: BTreeSet<Place> = entries.keys().filter(|entry| is_range(entry)).map(place).collect();
    let (mut keys, mut lists) = (Vec::new(), BTreeMap::<Place, Vec<PortRange>>::new());
    for (entry, service) in entries {
        if is_range(entry) || entry.port == ANY_PORT && listed.contains(&place(entry)) {
            let last = if is_range(entry) { entry.last_port } else { u16::MAX };
            let range = PortRange { first: entry.port, last, service: *service };
            lists.entry(place(entry)).or_default().push(range);
        } else {
            keys.extend(key(place(entry), entry.port, is_prefix(entry)).map(|key| (key, *service)));
        }
    }
    let mut ranges = Vec::new();
    for (place, mut list) in lists {
        // The service of any port is asked last.
        list.sort_by_key(|range| range.first == ANY_PORT);
        let entry = wide::list(ranges.len(), list.len());
        keys.extend(key(place, ANY_PORT, true).map(|key| (key, entry)));
        ranges.extend(list);
    }
    Contents { keys, ranges }
}

fn key_v4((address, length, protocol): Place, port: u16, is_wide: bool) -> Option<KeyV4> {
    let IpAddr::V4(address) = address else { return None };
    let key = KeyV4::new(address.octets(), port.to_be_bytes(), protocol);
    Some(if is_wide { key.prefix(length) } else { key })
}

fn key_v6((address, length, protocol): Place, port: u16, is_wide: bool) -> Option<KeyV6> {
    let IpAddr::V6(address) = address else { return None };
    let both = u128::from_le_bytes(address.octets());
    let words = [both as u64, (both >> 64) as u64];
    let key = KeyV6::new(words, port.to_be_bytes(), protocol);
    Some(if is_wide { key.prefix(length) } else { key })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{desired::model::Vip, publish::plan::protocol_number};

    fn service(id: u32) -> Service {
        Service { id, mode: lb_common::mode::L2, class: 2, flags: 0 }
    }

    fn contents_of(vips: &[&str]) -> (Contents<KeyV4>, Contents<KeyV6>) {
        let mut entries = [BTreeMap::new(), BTreeMap::new()];
        for (id, vip) in (1..).zip(vips) {
            let Vip { address, length, port, last_port, protocol } = vip.parse().unwrap();
            let protocol = protocol_number(protocol);
            let key = EntryKey { address, length, port, last_port, protocol };
            entries[usize::from(address.is_ipv6())].insert(key, service(id));
        }
        contents(&entries)
    }

    #[test]
    fn addresses_with_one_port_or_all_have_keys_of_their_own() {
        let (v4, v6) = contents_of(&["192.0.2.1:80/tcp", "192.0.2.1:0/udp", "[2001:db8::1]:53/udp"]);
        let key = |port: u16, protocol| KeyV4::new([192, 0, 2, 1], port.to_be_bytes(), protocol);
        assert_eq!(v4.keys, [(key(0, 17), service(2)), (key(80, 6), service(1))]);
        assert_eq!((v4.ranges, v6.keys.len(), v6.keys[0].0.prefix_length()), (vec![], 1, None));
    }

    #[test]
    fn an_address_with_ranges_has_a_list_with_any_port_at_its_end() {
        let vips = ["192.0.2.1:0/tcp", "192.0.2.1:90-99/tcp", "192.0.2.1:80/tcp", "192.0.2.1:10-19/tcp"];
        let (v4, _) = contents_of(&[&vips[..], &["192.0.2.1:5-6/udp"]].concat());
        let key = |port: u16, protocol| KeyV4::new([192, 0, 2, 1], port.to_be_bytes(), protocol);
        let lists = [(key(0, 6).prefix(32), wide::list(0, 3)), (key(0, 17).prefix(32), wide::list(3, 1))];
        assert_eq!(v4.keys, [&[(key(80, 6), service(3))], &lists[..]].concat());
        let range = |first, last, id| PortRange { first, last, service: service(id) };
        assert_eq!(v4.ranges, [range(10, 19, 4), range(90, 99, 2), range(0, u16::MAX, 1), range(5, 6, 5)]);
    }

    #[test]
    fn a_prefix_is_under_its_length() {
        let (v4, v6) =
            contents_of(&["192.0.2.0/24:443/tcp", "[2001:db8::/64]:0/udp", "[2001:db8::/64]:7-9/udp"]);
        assert_eq!(v4.keys[0].0, KeyV4::new([192, 0, 2, 77], 443u16.to_be_bytes(), 6).prefix(24));
        assert_eq!((v6.keys.len(), v6.keys[0].0.prefix_length(), v6.ranges.len()), (1, Some(64), 2));
    }
}
