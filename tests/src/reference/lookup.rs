//! Whose packet it is: the narrowest service that has its address and port.

use std::{cmp::Reverse, net::IpAddr};

use lb_common::{mode, service::Service};

use super::{Flow, Reference};
use crate::world::WorldService;

impl Reference {
    /// The service of a flow: of its address, else of the longest prefix that has a service for its port. At each of them an
    /// exact port comes first, then port ranges, then any port.
    pub(super) fn service(&self, flow: &Flow) -> Option<Service> {
        let mut about: Vec<&WorldService> = self
            .world
            .services
            .iter()
            .filter(|at| at.protocol == flow.protocol && (at.port == 0 || at.port == flow.destination_port))
            .filter(|at| covers(at, flow.destination))
            .collect();
        about.sort_by_key(|at| (at.prefix.is_some(), Reverse(at.prefix), Reverse(at.port)));
        let mut seen = Vec::new();
        for at in about {
            // Where the exact port has a service, any port's is not asked.
            if seen.contains(&at.prefix) {
                continue;
            }
            seen.push(at.prefix);
            let found = self.in_ranges(at.service, flow.destination_port);
            if found.is_some() {
                return found;
            }
        }
        None
    }

    /// The service itself, or what a list of port ranges has for the port.
    fn in_ranges(&self, found: Service, port: u16) -> Option<Service> {
        if found.mode != mode::RANGES {
            return Some(found);
        }
        let ranges = self.world.ranges.iter().skip(found.id as usize).take(found.flags.into());
        ranges.filter(|range| (range.first..=range.last).contains(&port)).map(|range| range.service).next()
    }
}

/// Whether an address is a service's, or in its prefix.
fn covers(at: &WorldService, address: IpAddr) -> bool {
    let length = at.prefix.map(u32::from);
    match (at.address, address) {
        (IpAddr::V4(of), IpAddr::V4(address)) => {
            let differing = u32::from(of) ^ u32::from(address);
            differing.leading_zeros() >= length.unwrap_or(32)
        }
        (IpAddr::V6(of), IpAddr::V6(address)) => {
            let differing = u128::from(of) ^ u128::from(address);
            differing.leading_zeros() >= length.unwrap_or(128)
        }
        _ => false,
    }
}
