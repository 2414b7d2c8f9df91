//! Whose packet it is where no service has exactly its address and port: port ranges, prefixes, and addresses that replies
//! come from. Off the steady path.
//!
//! Functions of their own, to keep the verifier's work small. They begin with the exact lookup again, since they may see a
//! younger table than the caller did: the answer is that of one table.

use core::hint::black_box;

use lb_common::{
    service::{KeyV4, KeyV6, Service},
    wide::{MAX_LENGTHS, resolve},
};

use crate::service::{SERVICES_V4, SERVICES_V6, find_v4, find_v6};

/// The service of an IPv4 flow in a word, 0 if there is none: destination, both ports as loaded from the packet, protocol,
/// source.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn service_wide_v4(address: u32, ports: u32, protocol: u32, source: u32) -> u64 {
    let Some(table) = SERVICES_V4.get_value(0, &0) else { return 0 };
    let port = ((ports >> 16) as u16).to_le_bytes();
    let key = KeyV4::new(address.to_le_bytes(), port, protocol as u8);
    if let Some(service) = find_v4(table, key).or_else(|| find_v4(table, key.any_port())) {
        return service.word();
    }
    for index in 0..MAX_LENGTHS {
        if index >= table.head.length_count as usize {
            break;
        }
        let key = key.prefix(table.head.lengths[index]);
        let found = find_v4(table, key).or_else(|| find_v4(table, key.any_port()));
        // Through one register, so that what follows is verified once and not for each place that it can come from.
        let found = black_box(found.map_or(0, Service::word));
        if let Some(found) = Service::from_word(found)
            && let Some(service) = resolve(&table.ranges, found, u16::from_be_bytes(port))
        {
            return service.word();
        }
    }
    if table.head.source_count == 0 {
        return 0;
    }
    find_v4(table, KeyV4::new(source.to_le_bytes(), [0; 2], protocol as u8).source()).map_or(0, Service::word)
}

/// The same of an IPv6 flow, whose addresses are two words each; `transport` is the ports with the protocol above them.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn service_wide_v6(
    high: u64,
    low: u64,
    transport: u64,
    source_high: u64,
    source_low: u64,
) -> u64 {
    let Some(table) = SERVICES_V6.get_value(0, &0) else { return 0 };
    let (port, protocol) = (((transport >> 16) as u16).to_le_bytes(), (transport >> 32) as u8);
    let key = KeyV6::new([high, low], port, protocol);
    if let Some(service) = find_v6(table, key).or_else(|| find_v6(table, key.any_port())) {
        return service.word();
    }
    for index in 0..MAX_LENGTHS {
        if index >= table.head.length_count as usize {
            break;
        }
        let key = key.prefix(table.head.lengths[index]);
        let found = find_v6(table, key).or_else(|| find_v6(table, key.any_port()));
        // Through one register, so that what follows is verified once and not for each place that it can come from.
        let found = black_box(found.map_or(0, Service::word));
        if let Some(found) = Service::from_word(found)
            && let Some(service) = resolve(&table.ranges, found, u16::from_be_bytes(port))
        {
            return service.word();
        }
    }
    if table.head.source_count == 0 {
        return 0;
    }
    find_v6(table, KeyV6::new([source_high, source_low], [0; 2], protocol).source()).map_or(0, Service::word)
}
