//! What services may be on: each address, port and protocol has one owner, or a rule that says which.

use std::{collections::BTreeSet, net::IpAddr};

use lb_common::wide::{MAX_LENGTHS, MAX_RANGES, MAX_RANGES_EACH};

use super::model::{Desired, Fragments, Protocol, Service, Vip};
use crate::error::Error;

impl Vip {
    /// One address with one port, or any.
    pub const fn new(address: IpAddr, port: u16, protocol: Protocol) -> Self {
        let length = if address.is_ipv4() { 32 } else { 128 };
        Self { address, length, port, last_port: port, protocol }
    }

    /// Whether it is more than one address.
    pub const fn is_prefix(&self) -> bool {
        self.length < if self.address.is_ipv4() { 32 } else { 128 }
    }

    /// Whether it is more than one port, but not all.
    pub const fn is_range(&self) -> bool {
        self.last_port > self.port
    }

    /// Its only port; 0 if it has several.
    pub const fn only_port(&self) -> u16 {
        if self.is_range() { 0 } else { self.port }
    }

    /// Whether an address belongs to it.
    pub fn contains(&self, address: IpAddr) -> bool {
        let host_bits = |width: u8| u32::from(width.saturating_sub(self.length));
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                (own.to_bits() ^ other.to_bits()).checked_shr(host_bits(32)).unwrap_or(0) == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                (own.to_bits() ^ other.to_bits()).checked_shr(host_bits(128)).unwrap_or(0) == 0
            }
            _ => false,
        }
    }

    /// What the packet path has one list of ranges for.
    fn place(&self) -> (IpAddr, u8, Protocol) {
        (self.address, self.length, self.protocol)
    }
}

/// Whether a service of this name can be on `vip` beside the others.
///
/// # Errors
/// Another one is there, or has a range that overlaps; there is no room for another range or length of prefix.
pub(super) fn is_free(desired: &Desired, name: &str, vip: Vip) -> Result<(), Error> {
    let others = || desired.services.iter().filter(|(other, _)| *other != name);
    if let Some((owner, _)) = others().find(|(_, service)| service.vip == vip) {
        return Err(Error::conflict(format!("{vip} belongs to service {owner}")));
    }
    if !vip.is_range() && !vip.is_prefix() {
        return Ok(());
    }
    let ranges = || others().filter(|(_, service)| service.vip.is_range());
    let beside = || ranges().filter(|(_, service)| service.vip.place() == vip.place());
    let overlaps = |other: &Vip| other.port <= vip.last_port && vip.port <= other.last_port;
    if let Some((owner, service)) = beside().find(|(_, service)| vip.is_range() && overlaps(&service.vip)) {
        return Err(Error::conflict(format!(
            "the ports of service {name} ({vip}) and service {owner} ({}) overlap; give ranges that don't, or single ports, \
             which go before ranges",
            service.vip
        )));
    }
    let is_v4 = vip.address.is_ipv4();
    let alike = |other: &Vip| other.address.is_ipv4() == is_v4;
    if vip.is_range() && beside().count() >= MAX_RANGES_EACH {
        return Err(Error::invalid(format!(
            "{vip}: no room for more than {MAX_RANGES_EACH} ranges per address"
        )));
    }
    // Each list has a place more than ranges, for the service of any port.
    if vip.is_range() && 2 * ranges().filter(|(_, service)| alike(&service.vip)).count() + 2 > MAX_RANGES {
        return Err(Error::invalid(format!("{vip}: no room for more than {} ranges", MAX_RANGES / 2)));
    }
    let wide = others().map(|(_, service)| service.vip).filter(|other| other.is_range() || other.is_prefix());
    let lengths: BTreeSet<u8> = wide.filter(alike).chain([vip]).map(|vip| vip.length).collect();
    if lengths.len() > MAX_LENGTHS {
        return Err(Error::invalid(format!(
            "{vip}: no room for more than {MAX_LENGTHS} lengths of prefixes"
        )));
    }
    Ok(())
}

/// Whether a service of this name can have the fragments that it asks for: without ports they are one service's of an
/// address.
///
/// # Errors
/// Another one has them.
pub(super) fn has_fragments(desired: &Desired, name: &str, service: &Service) -> Result<(), Error> {
    let has = |service: &Service| service.fragments == Fragments::ByAddress;
    let mut others = desired.services.iter().filter(|(other, _)| *other != name);
    match others.find(|(_, other)| has(service) && has(other) && other.vip.place() == service.vip.place()) {
        Some((owner, other)) => Err(Error::conflict(format!(
            "service {name} ({}): fragments without ports go to service {owner} ({}) already; use --fragments follow for one \
             of them, or another address",
            service.vip, other.vip
        ))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_prefix_contains() {
        let contains =
            |vip: &str, address: &str| vip.parse::<Vip>().unwrap().contains(address.parse().unwrap());
        assert!(
            contains("192.0.2.0/24:443/tcp", "192.0.2.255") && !contains("192.0.2.0/24:443/tcp", "192.0.3.0")
        );
        assert!(contains("192.0.2.1:443/tcp", "192.0.2.1") && !contains("192.0.2.1:443/tcp", "192.0.2.2"));
        assert!(
            contains("[2001:db8::/64]:0/udp", "2001:db8::1")
                && !contains("[2001:db8::/64]:0/udp", "2001:db9::1")
        );
        assert!(!contains("192.0.2.0/24:443/tcp", "2001:db8::1"));
    }
}
