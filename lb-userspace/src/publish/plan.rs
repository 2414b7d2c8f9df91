//! What the tables should hold, worked out from a snapshot: pure functions.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use lb_common::{
    addr::{FAMILY_V4, FAMILY_V6, from_v4},
    maglev,
    maps::{MAX_BACKENDS, MAX_TX_PORTS},
    mode, round_robin,
    service::{
        ANY_PORT, MAX_SERVICES, SERVICE_BY_ADDRESS, SERVICE_QUIC, SERVICE_ROUND_ROBIN, SERVICE_TRACKED,
        Service,
    },
    slot::SIZES,
    wire::protocol,
};

use crate::{
    desired::model::{Protocol, Vip},
    error::Error,
    table::{
        snapshot::{Member, ServiceInput, Snapshot},
        transition::{self, Backends, Slots},
    },
};

/// What an entry of a service table is for: an address or, by its length, a prefix; a port, a range or any; a protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct EntryKey {
    pub address: IpAddr,
    pub length: u8,
    pub port: u16,
    pub last_port: u16,
    pub protocol: u8,
}

/// What the service tables hold: IPv4 and IPv6.
pub(crate) type Entries = [BTreeMap<EntryKey, Service>; 2];

/// What becomes of backends with a snapshot.
pub(crate) struct Fate<'a> {
    pub snapshot: &'a Snapshot,
    /// Targets that are down in the packet path and up then.
    pub rising: BTreeSet<u32>,
    /// Backends that change from a target that is down to one that is up, as at the end of their maintenance.
    pub returning: BTreeSet<u32>,
    /// `ALIVE` and `RETURNED`, by backend id: asked for every slot of a table, where searching would cost more than
    /// building the table.
    bits: Vec<u8>,
}

/// The backend exists and is up.
const ALIVE: u8 = 1 << 0;
/// The backend comes up again.
const RETURNED: u8 = 1 << 1;

impl<'a> Fate<'a> {
    /// With the targets that are `up` then. The snapshot has passed [`check`], so that ids are small.
    pub(crate) fn new(
        snapshot: &'a Snapshot,
        up: &BTreeSet<u32>,
        rising: BTreeSet<u32>,
        returning: BTreeSet<u32>,
    ) -> Self {
        let last = snapshot.backends.keys().last();
        let mut bits = vec![0; last.map_or(0, |last| *last as usize + 1)];
        for (id, backend) in &snapshot.backends {
            let alive = if up.contains(&backend.target) { ALIVE } else { 0 };
            let is_returned = rising.contains(&backend.target) || returning.contains(id);
            bits[*id as usize] = alive | if is_returned { RETURNED } else { 0 };
        }
        Self { snapshot, rising, returning, bits }
    }

    fn bits(&self, id: u32) -> u8 {
        self.bits.get(id as usize).copied().unwrap_or(0)
    }

    /// Whether a backend exists and is up.
    pub(crate) fn is_alive(&self, id: u32) -> bool {
        self.bits(id) & ALIVE != 0
    }

    /// Whether a backend comes up again.
    pub(crate) fn is_returned(&self, id: u32) -> bool {
        self.bits(id) & RETURNED != 0
    }
}

/// The slot table that a service should have, given the one that it has.
pub(crate) fn next_slots(
    seed: u64,
    current: Option<&Slots>,
    input: &ServiceInput,
    fate: &Fate<'_>,
) -> Result<Slots, Error> {
    let members: Vec<maglev::Member> = input.members.iter().map(maglev_member).collect();
    let size = SIZES[usize::from(input.class)];
    let owners = match input.flags & SERVICE_ROUND_ROBIN {
        0 => maglev::build(seed, size, &members),
        _ => round_robin::build(size, &members),
    };
    let owners = owners.map_err(|error| Error::invalid(format!("service {}: {error}", input.vip)))?;
    let stays: BTreeSet<u32> =
        input.members.iter().filter(|member| member.weight > 0).map(|member| member.id).collect();
    let tells_openings = tells_openings(input);
    let backends = Backends {
        alive: |id| fate.is_alive(id),
        returned: |id| fate.is_returned(id),
        can_wait: |id| tells_openings && stays.contains(&id),
    };
    Ok(match current {
        Some(current) => transition::change(current, &owners, &backends),
        None => Slots::steady(&owners),
    })
}

/// Whether a service's packets tell which connections begin. Tracked services record all of them anyway.
fn tells_openings(input: &ServiceInput) -> bool {
    let tells = input.vip.protocol != Protocol::Udp || input.flags & SERVICE_QUIC != 0;
    tells && input.flags & SERVICE_TRACKED == 0
}

fn maglev_member(member: &Member) -> maglev::Member {
    let (address, family) = match member.address {
        IpAddr::V4(v4) => (from_v4(v4.octets()), FAMILY_V4),
        IpAddr::V6(v6) => (v6.octets(), FAMILY_V6),
    };
    maglev::Member { id: member.id, address, family, weight: member.weight }
}

/// What the service tables should hold: IPv4 and IPv6.
pub(crate) fn service_entries(snapshot: &Snapshot) -> Entries {
    let mut entries = [BTreeMap::new(), BTreeMap::new()];
    for (id, input) in &snapshot.services {
        let service = Service { id: *id, mode: input.mode, class: input.class, flags: input.flags };
        let Vip { address, length, port, last_port, protocol } = input.vip;
        let key = EntryKey { address, length, port, last_port, protocol: protocol_number(protocol) };
        let family = &mut entries[usize::from(address.is_ipv6())];
        family.insert(key, service);
        let icmp = if address.is_ipv4() { protocol::ICMP } else { protocol::ICMPV6 };
        let marker = EntryKey { port: ANY_PORT, last_port: ANY_PORT, protocol: icmp, ..key };
        family.insert(marker, ECHO_MARKER);
        if service.flags & SERVICE_BY_ADDRESS != 0 {
            let port = u16::from(key.protocol);
            family.insert(EntryKey { port, last_port: port, protocol: protocol::FRAGMENT, ..key }, service);
        }
    }
    entries
}

/// Stands for an address of services, whatever their ports.
const ECHO_MARKER: Service = Service { id: 0, mode: mode::ECHO, class: 0, flags: 0 };

/// IP protocol number.
pub(crate) const fn protocol_number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => protocol::TCP,
        Protocol::Udp => protocol::UDP,
        Protocol::Sctp => protocol::SCTP,
    }
}

/// Whether everything in a snapshot has a place, so that nothing is written of one that has not.
pub(crate) fn check(snapshot: &Snapshot) -> Result<(), Error> {
    let within = |what: &str, last: Option<&u32>, limit: u32| match last {
        Some(id) if *id >= limit => {
            Err(Error::invalid(format!("{what} {id} is beyond the map, which holds {limit}")))
        }
        _ => Ok(()),
    };
    within("backend", snapshot.backends.keys().last(), MAX_BACKENDS)?;
    within("target", snapshot.targets.keys().last(), MAX_BACKENDS)?;
    within("service", snapshot.services.keys().last(), MAX_SERVICES)?;
    within("egress interface", snapshot.tx_ports.keys().last(), MAX_TX_PORTS)?;
    let mut vips = BTreeSet::new();
    for input in snapshot.services.values() {
        let of = |what: String| Error::invalid(format!("service {}: {what}", input.vip));
        let size = SIZES
            .get(usize::from(input.class))
            .ok_or_else(|| of(format!("no table class {}", input.class)))?;
        if input.members.len() > *size {
            return Err(of(format!(
                "{} backends do not fit in a table of {size} slots; choose a larger --table-size",
                input.members.len()
            )));
        }
        let addresses: BTreeSet<IpAddr> = input.members.iter().map(|member| member.address).collect();
        if addresses.len() < input.members.len() {
            return Err(of("a backend address is there twice".to_owned()));
        }
        if !vips.insert(input.vip) {
            return Err(Error::conflict(format!("two services have the address {}", input.vip)));
        }
    }
    Ok(())
}

/// Keys of one map that another does not have.
pub(crate) fn missing<V, W>(held: &BTreeMap<u32, V>, wanted: &BTreeMap<u32, W>) -> Vec<u32> {
    held.keys().filter(|key| !wanted.contains_key(key)).copied().collect()
}

/// Whole seconds.
pub(crate) fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_of_services_has_one_marker() {
        let mut snapshot = Snapshot::default();
        for (id, vip) in ["192.0.2.1:80/tcp", "192.0.2.1:0/udp", "192.0.2.2:80/tcp", "[2001:db8::1]:53/udp"]
            .into_iter()
            .enumerate()
        {
            let input = ServiceInput {
                vip: vip.parse().unwrap(),
                mode: mode::L2,
                class: 0,
                flags: 0,
                quiet_period: None,
                members: Vec::new(),
            };
            snapshot.services.insert(id as u32 + 1, input);
        }
        // Of UDP, and fragments without ports are its own.
        snapshot.services.get_mut(&2).unwrap().flags = SERVICE_BY_ADDRESS;
        let [v4, v6] = service_entries(&snapshot);
        let without_ports = v4.iter().find(|(key, _)| key.protocol == protocol::FRAGMENT).unwrap();
        assert_eq!((without_ports.0.port, without_ports.0.last_port, without_ports.1.id), (17, 17, 2));
        let addresses = |entries: &BTreeMap<EntryKey, Service>, protocol: u8| -> Vec<String> {
            let marked = entries.iter().filter(|(_, service)| **service == ECHO_MARKER);
            marked
                .filter(|(key, _)| (key.port, key.protocol) == (0, protocol))
                .map(|(key, _)| key.address.to_string())
                .collect()
        };
        assert_eq!((v4.len(), addresses(&v4, 1)), (6, vec!["192.0.2.1".to_owned(), "192.0.2.2".to_owned()]));
        assert_eq!((v6.len(), addresses(&v6, 58)), (2, vec!["2001:db8::1".to_owned()]));
    }
}
