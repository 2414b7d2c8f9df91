//! Desired state, health and next hops become one snapshot. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use lb_common::{
    backend::{BACKEND_LOCAL, BACKEND_PRESENT, BACKEND_RESOLVED, Backend, MAX_HOPS, hop_key},
    gue, mode,
    service::{
        SERVICE_BY_ADDRESS, SERVICE_LEAST_CONNECTIONS, SERVICE_QUIC, SERVICE_QUIC_ID, SERVICE_ROUND_ROBIN,
        Service as Wire,
    },
    slot,
};

use super::{
    assignments::{Assignments, MAINT_TARGET, leaves, raw, target_of},
    slow_start,
    snapshot::{Member, ServiceInput, Snapshot},
};
use crate::{
    desired::model::{self, Admin, Algorithm, CheckKind, Desired, Fragments, Mode, Service},
    net::{Egress, NextHop, NextHops},
    publish::Moment,
};

/// Whether each target is up, by target index. An absent one is not known yet and takes no traffic.
pub type Liveness = BTreeMap<u32, bool>;

/// Leading bits of an IPv4 client's address that source-hash looks at, unless it is told otherwise.
pub const SOURCE_PREFIX_V4: u8 = 32;
/// The same for IPv6: what a site's hosts share, since many of them change the rest.
pub const SOURCE_PREFIX_V6: u8 = 64;

/// Most bits of a source address that can vary.
const SPREAD_BITS_MAX: u8 = 32;

/// All that a snapshot follows from.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// What the operator asked for.
    pub desired: &'a Desired,
    /// Indices; [`Assignments::update`] has been called with the same desired state and next hops.
    pub assignments: &'a Assignments,
    /// Health.
    pub liveness: &'a Liveness,
    /// The last decision that is in it.
    pub known_until: Moment,
    /// The way to each address. An address that is not in it has not been looked up yet.
    pub hops: &'a NextHops,
    /// Entries of the packet path by backend id. They stay as they are until their address is looked up.
    pub held: &'a BTreeMap<u32, Backend>,
    /// Backends in a slow start, by id: since when.
    pub rising: &'a BTreeMap<u32, Duration>,
}

/// What the packet path should hold.
pub fn merge(inputs: Inputs<'_>) -> Snapshot {
    let mut snapshot = Snapshot { liveness_known_until: inputs.known_until, ..Snapshot::default() };
    for service in inputs.desired.services.values() {
        let mut members = Vec::new();
        let mut unresolved = Vec::new();
        for (address, backend) in &service.backends {
            let Some(checked) = inputs.assignments.target(&target_of(service, *address)) else { continue };
            let target = if backend.admin == Admin::Maint { MAINT_TARGET } else { checked };
            let weight = weight(service, backend, inputs.rising);
            let mut ways = entries(inputs, service, *address, (backend.id, target));
            // Weights were checked when they entered the desired state.
            ways.iter_mut().for_each(|entry| entry.weight = u16::try_from(weight).unwrap_or(u16::MAX));
            let entry = ways[0];
            snapshot.backends.insert(backend.id, entry);
            let more = (1u32..).zip(&ways[1..]);
            snapshot.hops.extend(more.map(|(hop, entry)| (hop_key(backend.id, hop), *entry)));
            let key = backend.quic_server_id.map(|id| (id.key(service.id), backend.id));
            snapshot.quic.servers.extend(key);
            if weight > 0 && is_up(inputs.liveness, service, checked) {
                let member = Member { id: backend.id, address: *address, weight };
                if is_resolved(&entry) { &mut members } else { &mut unresolved }.push(member);
            }
        }
        // Without any way to a backend the packets are counted as that, not as a lack of backends.
        let members = if members.is_empty() { unresolved } else { members };
        snapshot.services.insert(service.id, input(service, members));
        snapshot.quic.layouts.extend(service.quic_id.map(|layout| (service.id, layout.into())));
    }
    snapshot.targets.insert(MAINT_TARGET, false);
    for (id, target) in inputs.assignments.targets() {
        let up = target.check.kind == CheckKind::None || inputs.liveness.get(&id) == Some(&true);
        snapshot.targets.insert(id, up);
    }
    let entries = snapshot.backends.values().chain(snapshot.hops.values());
    let egress = entries.filter(|entry| leaves(entry)).map(|entry| entry.ifindex);
    let egress: BTreeSet<u32> = egress.collect();
    let port_of = |ifindex| Some((inputs.assignments.tx_port(ifindex)?, ifindex));
    snapshot.tx_ports = egress.into_iter().filter_map(port_of).collect();
    snapshot
}

const fn is_resolved(entry: &Backend) -> bool {
    entry.flags & BACKEND_RESOLVED != 0
}

/// The weight that a backend has now.
pub fn weight(service: &Service, backend: &model::Backend, rising: &BTreeMap<u32, Duration>) -> u32 {
    match (backend.admin, rising.get(&backend.id)) {
        (Admin::Drain | Admin::Maint, _) => 0,
        (Admin::Ready, None) => backend.weight,
        (Admin::Ready, Some(elapsed)) => slow_start::weight(backend.weight, service.slow_start, *elapsed),
    }
}

/// Leading bits of the client's address that a source-hash service looks at; none for other algorithms.
pub fn source_prefix(service: &Service) -> Option<u8> {
    let default = if service.vip.address.is_ipv4() { SOURCE_PREFIX_V4 } else { SOURCE_PREFIX_V6 };
    (service.algorithm == Algorithm::SourceHash).then(|| service.source_prefix.unwrap_or(default))
}

/// `SERVICE_*` bits of a service.
fn flags(service: &Service) -> u16 {
    let algorithm = match service.algorithm {
        Algorithm::Maglev => 0,
        Algorithm::SourceHash => Wire::source_hash_flags(source_prefix(service).unwrap_or(0)),
        Algorithm::RoundRobin => SERVICE_ROUND_ROBIN,
        Algorithm::LeastConnections => SERVICE_LEAST_CONNECTIONS,
    };
    let bit = |is_set: bool, bit: u16| if is_set { bit } else { 0 };
    algorithm
        | bit(service.quic, SERVICE_QUIC)
        | bit(service.quic_id.is_some(), SERVICE_QUIC_ID)
        | bit(service.fragments == Fragments::ByAddress, SERVICE_BY_ADDRESS)
}

/// Whether a backend of the service with this target takes traffic.
pub fn is_up(liveness: &Liveness, service: &Service, target: u32) -> bool {
    service.check.kind == CheckKind::None || liveness.get(&target) == Some(&true)
}

fn input(service: &Service, members: Vec<Member>) -> ServiceInput {
    let class = slot::SIZES.iter().position(|size| *size == service.table_size as usize);
    ServiceInput {
        vip: service.vip,
        mode: match service.mode {
            Mode::L2 => mode::L2,
            Mode::Ipip => mode::IPIP,
            Mode::Gue => mode::GUE,
        },
        // Sizes were checked when the service entered the desired state.
        class: class.map_or(slot::CLASS_DEFAULT, |class| class as u8),
        flags: flags(service),
        quiet_period: None,
        members,
    }
}

/// UDP port of the backends that a service's packets are sent to; none for tunnels without one.
pub fn gue_port(service: &Service) -> Option<u16> {
    (service.mode == Mode::Gue).then(|| service.gue_port.unwrap_or(gue::PORT))
}

/// Port of a backend's entry.
fn port(service: &Service) -> [u8; 2] {
    gue_port(service).unwrap_or(0).to_be_bytes()
}

/// The entries of a backend, one per next hop: at least one.
fn entries(inputs: Inputs<'_>, service: &Service, address: IpAddr, (id, target): (u32, u32)) -> Vec<Backend> {
    let (address_raw, family) = raw(address);
    let absent = Backend {
        target,
        flags: BACKEND_PRESENT,
        family,
        address: address_raw,
        port: port(service),
        ..Backend::default()
    };
    match inputs.hops.get(&address) {
        Some(NextHop::Resolved(ways)) => {
            let entries = ways.iter().take(usize::from(MAX_HOPS));
            let mut entries: Vec<Backend> =
                entries.filter_map(|egress| through(inputs, service, absent, egress)).collect();
            if let (hops @ 2.., Some(first)) = (entries.len(), entries.first_mut()) {
                first.flags |= Backend::multipath_flags(hops as u8);
            }
            if entries.is_empty() { vec![absent] } else { entries }
        }
        Some(NextHop::Local) => vec![local(service, absent)],
        Some(NextHop::Unresolved(_)) => vec![absent],
        // After a restart: what the former agent found is better than nothing.
        None => {
            let held = inputs.held.get(&id).filter(|held| {
                (held.family, held.address) == (family, address_raw)
                    && (!leaves(held) || inputs.assignments.tx_port(held.ifindex).is_some())
            });
            vec![held.map_or(absent, |held| Backend { target, port: absent.port, ..*held })]
        }
    }
}

/// The entry of a backend that is this host: packets are handed to it as they are, so that the service address has to
/// be one of its own.
fn local(service: &Service, absent: Backend) -> Backend {
    match service.mode {
        Mode::L2 | Mode::Ipip | Mode::Gue => {
            Backend { flags: BACKEND_PRESENT | BACKEND_RESOLVED | BACKEND_LOCAL, mtu: u16::MAX, ..absent }
        }
    }
}

/// The entry of a backend by one of the ways to it; none if its egress interface has no place in the map.
fn through(inputs: Inputs<'_>, service: &Service, absent: Backend, egress: &Egress) -> Option<Backend> {
    let tx_port = u8::try_from(inputs.assignments.tx_port(egress.ifindex)?).ok()?;
    let (source, source_spread_bits) = match service.encap_source {
        Some(prefix) => (prefix.address, prefix.host_bits().min(SPREAD_BITS_MAX)),
        None => (egress.source, 0),
    };
    Some(Backend {
        next_hop_mac: egress.next_hop_mac,
        source_mac: egress.source_mac,
        ifindex: egress.ifindex,
        vlan: egress.vlan.unwrap_or(0),
        tx_port,
        flags: BACKEND_PRESENT | BACKEND_RESOLVED,
        source_spread_bits,
        mtu: egress.mtu,
        source: raw(source).0,
        ..absent
    })
}

/// Gives targets that are new what is known of the backend from before, so that a changed check takes nothing out.
/// `old` holds the indices of `before`, `assignments` those of `now`.
pub fn inherit(
    before: &Desired,
    now: &Desired,
    old: &Assignments,
    assignments: &Assignments,
    liveness: &mut Liveness,
) {
    for (name, service) in &now.services {
        let Some(former) = before.services.get(name) else { continue };
        for address in service.backends.keys().filter(|address| former.backends.contains_key(address)) {
            let target = target_of(service, *address);
            let Some(id) = assignments.target(&target) else { continue };
            let Some(former_id) = old.target(&target_of(former, *address)) else { continue };
            if old.target(&target).is_none() && is_up(liveness, former, former_id) {
                liveness.insert(id, true);
            }
        }
    }
    let known: BTreeSet<u32> = assignments.targets().map(|(id, _)| id).collect();
    liveness.retain(|id, _| known.contains(id));
}

#[cfg(test)]
#[path = "merge_tests.rs"]
mod tests;
