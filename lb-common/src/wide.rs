//! Services that are more than one address with one port or all: port ranges and prefixes, in the same table as the others.
//!
//! A prefix is an entry of the cuckoo table under the key of its masked address, its length in the key: a lookup tries the
//! lengths that the table has, longest first. Where an address or a prefix has port ranges, its entry with
//! [`crate::service::ANY_PORT`] is a list of them, [`crate::mode::RANGES`]. So everything is one value, swapped at once.

use crate::{mode, service::Service};

/// Ranges of one address or prefix and protocol; one more place of its list is for the service of all other ports.
pub const MAX_RANGES_EACH: usize = 16;
/// Ranges in the table of one family.
pub const MAX_RANGES: usize = 4_096;
/// Different lengths of prefixes in the table of one family.
pub const MAX_LENGTHS: usize = 16;

/// Ports and whose they are.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortRange {
    /// First port, as a number.
    pub first: u16,
    /// Last port, as a number.
    pub last: u16,
    /// The service.
    pub service: Service,
}

/// The entry of a list: of `count` ranges, beginning at index `first`.
pub const fn list(first: usize, count: usize) -> Service {
    Service { id: first as u32, mode: mode::RANGES, class: 0, flags: count as u16 }
}

/// The service of a port, given what was found under a key: the service itself, or the first range of a list that has the
/// port.
#[inline(always)]
pub fn resolve(ranges: &[PortRange; MAX_RANGES], found: Service, port: u16) -> Option<Service> {
    if found.mode != mode::RANGES {
        return Some(found);
    }
    for index in 0..=MAX_RANGES_EACH {
        if index >= found.flags as usize {
            break;
        }
        let range = ranges.get(found.id as usize + index)?;
        if range.first <= port && port <= range.last {
            return Some(range.service);
        }
    }
    None
}

const _: () = assert!(size_of::<PortRange>() == 12);
