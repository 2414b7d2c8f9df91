//! Which index of the `LIVENESS` and `TX_PORTS` maps belongs to what.
//!
//! A restarted agent reads them from the pinned maps, the only place where they can't differ from what packets see.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use lb_common::{
    addr::{FAMILY_V4, FAMILY_V6, RawAddr, from_v4},
    backend::{self, BACKEND_LOCAL, BACKEND_RESOLVED},
    maps::{MAX_BACKENDS, MAX_TX_PORTS},
};

use crate::{
    desired::{
        model::{Backend, Check, CheckKind, Desired, Service},
        ops::next_id,
    },
    health::{Target, Targets},
    net::NextHops,
};

/// The target of backends that are in maintenance: always down. Health checks have other ones, so that a backend can be
/// out of one service and in another.
pub const MAINT_TARGET: u32 = 0;

/// Of an entry's flags, what tells whether packets leave for the backend: resolved, and not local.
const WAY_OUT: u8 = BACKEND_RESOLVED | BACKEND_LOCAL;

/// Whether packets leave this host for a backend that has this entry.
pub(crate) const fn leaves(entry: &backend::Backend) -> bool {
    entry.flags & WAY_OUT == BACKEND_RESOLVED
}

/// The indices in use. They rotate, so that one is reused as late as possible.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assignments {
    targets: BTreeMap<Target, u32>,
    tx_ports: BTreeMap<u32, u32>,
    last_target: u32,
    last_tx_port: u32,
}

/// What is checked for a backend. Backends without a check share one target per address.
pub fn target_of(service: &Service, address: IpAddr) -> Target {
    let check = match service.check.kind {
        CheckKind::None => Check {
            kind: CheckKind::None,
            port: 0,
            interval: Duration::ZERO,
            timeout: Duration::ZERO,
            rise: 1,
            fall: 1,
        },
        CheckKind::Tcp | CheckKind::Http { .. } => service.check.clone(),
    };
    Target { address, check }
}

/// Each backend with its service and target.
pub(crate) fn each_backend(desired: &Desired) -> impl Iterator<Item = (&String, &Service, &Backend, Target)> {
    desired.services.iter().flat_map(|(name, service)| {
        service
            .backends
            .iter()
            .map(move |(address, backend)| (name, service, backend, target_of(service, *address)))
    })
}

/// Each backend that has an entry in the packet path, with that entry and its target.
pub(crate) fn each_held<'a>(
    desired: &'a Desired,
    held: &'a BTreeMap<u32, backend::Backend>,
) -> impl Iterator<Item = (&'a backend::Backend, Target)> {
    each_backend(desired).filter_map(|(.., backend, target)| {
        let entry = held.get(&backend.id)?;
        // The id may have been given to another address that was not published any more.
        ((entry.address, entry.family) == raw(target.address)).then_some((entry, target))
    })
}

impl Assignments {
    /// The indices that entries of the packet path refer to.
    pub fn found(desired: &Desired, held: &BTreeMap<u32, backend::Backend>) -> Self {
        let mut found = Self::default();
        let (mut used, mut used_ports) = (BTreeSet::new(), BTreeSet::new());
        for (entry, target) in each_held(desired, held) {
            let is_own = entry.target != MAINT_TARGET && !found.targets.contains_key(&target);
            if is_own && used.insert(entry.target) {
                found.targets.insert(target, entry.target);
            }
            let port = u32::from(entry.tx_port);
            if leaves(entry) && !found.tx_ports.contains_key(&entry.ifindex) && used_ports.insert(port) {
                found.tx_ports.insert(entry.ifindex, port);
            }
        }
        found.last_target = used.last().copied().unwrap_or_default();
        found.last_tx_port = used_ports.last().copied().unwrap_or_default();
        found
    }

    /// Gives indices to what is new and frees those of targets that are gone. True if anything changed.
    pub fn update(&mut self, desired: &Desired, hops: &NextHops) -> bool {
        let wanted: BTreeSet<Target> = each_backend(desired).map(|(.., target)| target).collect();
        let before = self.targets.len();
        self.targets.retain(|target, _| wanted.contains(target));
        let mut changed = before != self.targets.len();
        let mut used: BTreeSet<u32> = self.targets.values().copied().collect();
        for target in wanted {
            if self.targets.contains_key(&target) {
                continue;
            }
            // There are no more targets than backends, whose number is limited alike.
            let Some(id) = next_id(self.last_target, MAX_BACKENDS, &used) else { continue };
            self.last_target = id;
            used.insert(id);
            self.targets.insert(target, id);
            changed = true;
        }
        self.update_tx_ports(hops) || changed
    }

    /// Ports stay with their interface until the map is full: an interface that comes back finds its own.
    fn update_tx_ports(&mut self, hops: &NextHops) -> bool {
        let wanted: BTreeSet<u32> = egress_interfaces(hops).collect();
        let mut changed = false;
        for ifindex in &wanted {
            if self.tx_ports.contains_key(ifindex) {
                continue;
            }
            if self.tx_ports.len() >= MAX_TX_PORTS as usize - 1 {
                self.tx_ports.retain(|ifindex, _| wanted.contains(ifindex));
            }
            let used: BTreeSet<u32> = self.tx_ports.values().copied().collect();
            let Some(port) = next_id(self.last_tx_port, MAX_TX_PORTS, &used) else { break };
            self.last_tx_port = port;
            self.tx_ports.insert(*ifindex, port);
            changed = true;
        }
        changed
    }

    /// Index of a target.
    pub fn target(&self, target: &Target) -> Option<u32> {
        self.targets.get(target).copied()
    }

    /// Index of an egress interface.
    pub fn tx_port(&self, ifindex: u32) -> Option<u32> {
        self.tx_ports.get(&ifindex).copied()
    }

    /// All targets by index.
    pub fn targets(&self) -> impl Iterator<Item = (u32, &Target)> {
        self.targets.iter().map(|(target, id)| (*id, target))
    }

    /// The targets that are to be checked.
    pub fn checked(&self) -> Targets {
        self.targets()
            .filter(|(_, target)| target.check.kind != CheckKind::None)
            .map(|(id, target)| (id, target.clone()))
            .collect()
    }
}

/// An address as the packet path's maps hold it, with its family.
pub(crate) fn raw(address: IpAddr) -> (RawAddr, u8) {
    match address {
        IpAddr::V4(v4) => (from_v4(v4.octets()), FAMILY_V4),
        IpAddr::V6(v6) => (v6.octets(), FAMILY_V6),
    }
}

/// Interfaces that packets leave by.
fn egress_interfaces(hops: &NextHops) -> impl Iterator<Item = u32> {
    hops.values().flat_map(|hop| hop.ways().iter().map(|way| way.ifindex))
}
