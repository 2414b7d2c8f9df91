//! What is desired of the backends, what is alive, and what the publisher is told of both.

use std::net::Ipv4Addr;

use lb_common::{backend::Backend as Entry, mode, slot::CLASS_TINY};
use lb_tests::lab;
use lb_userspace::{
    desired::model::Admin,
    publish::Moment,
    table::{
        assignments::MAINT_TARGET,
        snapshot::{Member, ServiceInput, Snapshot},
    },
};

use crate::{
    ops::{ADDRESSES, Change},
    services::{SERVICES, Service},
};

/// What is desired of one backend.
#[derive(Clone, Copy, Debug)]
struct Backend {
    id: u32,
    weight: u32,
    admin: Admin,
}

/// All services and backends.
#[derive(Debug)]
pub struct Desired {
    pub services: [Service; SERVICES],
    backends: [[Option<Backend>; ADDRESSES]; SERVICES],
    pub up: [bool; ADDRESSES],
    last_id: u32,
}

impl Desired {
    /// Two backends behind each service.
    pub fn new(services: [Service; SERVICES]) -> Self {
        let mut this = Self { services, backends: Default::default(), up: [true; ADDRESSES], last_id: 0 };
        for service in 0..SERVICES {
            for address in 0..2 {
                this.change(service, address, Change::Add);
            }
        }
        this
    }

    /// Changes one backend. Returns its id if it is out at once.
    pub fn change(&mut self, service: usize, address: usize, change: Change) -> Option<u32> {
        let place = &mut self.backends[service][address];
        match (change, place.as_mut()) {
            (Change::Add, None) => {
                self.last_id += 1;
                *place = Some(Backend { id: self.last_id, weight: 1, admin: Admin::Ready });
            }
            (Change::Remove, Some(_)) => return place.take().map(|backend| backend.id),
            (Change::Weight(weight), Some(backend)) => backend.weight = weight,
            (Change::Drain, Some(backend)) => backend.admin = Admin::Drain,
            (Change::Ready, Some(backend)) => backend.admin = Admin::Ready,
            (Change::Maint, Some(backend)) => {
                backend.admin = Admin::Maint;
                return Some(backend.id);
            }
            (Change::Add, Some(_)) | (_, None) => {}
        }
        None
    }

    /// Ids of the backends at an address.
    pub fn at(&self, address: usize) -> Vec<u32> {
        self.backends.iter().filter_map(|of| of[address]).map(|backend| backend.id).collect()
    }

    /// Ids of the backends of tracked services.
    pub fn tracked(&self) -> Vec<u32> {
        let tracked = self.services.iter().zip(&self.backends).filter(|(service, _)| service.is_tracked());
        tracked.flat_map(|(_, backends)| backends).flatten().map(|backend| backend.id).collect()
    }

    /// Whether a backend is not on its way out: removed or in maintenance, but not published yet.
    pub fn is_wanted(&self, id: u32) -> bool {
        let mut backends = self.backends.iter().flatten().flatten();
        backends.any(|backend| backend.id == id && backend.admin != Admin::Maint)
    }

    /// Index of the target of an address in the maps.
    pub const fn target(address: usize) -> u32 {
        // One target per address: the services share it.
        address as u32 + 1
    }

    /// What the publisher is told. `decided`: the last decision on liveness.
    pub fn snapshot(&self, decided: Moment) -> Snapshot {
        let mut snapshot = Snapshot { liveness_known_until: decided, ..Snapshot::default() };
        snapshot.targets.insert(MAINT_TARGET, false);
        for (number, service) in self.services.into_iter().enumerate() {
            let members = self.members(number, &mut snapshot);
            let input = ServiceInput {
                vip: service.vip(),
                mode: mode::L2,
                class: CLASS_TINY,
                flags: service.flags(),
                quiet_period: None,
                members,
            };
            snapshot.services.insert(id(number), input);
        }
        snapshot
    }

    /// The backends of a service that own slots. Entries and targets of all of them go into the snapshot.
    fn members(&self, service: usize, snapshot: &mut Snapshot) -> Vec<Member> {
        let mut members = Vec::new();
        for (address, backend) in self.backends[service].iter().enumerate() {
            let Some(backend) = backend else { continue };
            snapshot.targets.insert(Self::target(address), self.up[address]);
            let target = if backend.admin == Admin::Maint { MAINT_TARGET } else { Self::target(address) };
            let is_member = self.up[address] && backend.admin == Admin::Ready && backend.weight > 0;
            let weight = if backend.admin == Admin::Ready { backend.weight } else { 0 };
            let entry = Entry { weight: weight as u16, ..lab::backend(backend.id, target) };
            snapshot.backends.insert(backend.id, entry);
            if is_member {
                let address = Ipv4Addr::new(10, 1, 0, address as u8 + 1).into();
                members.push(Member { id: backend.id, address, weight });
            }
        }
        members
    }
}

/// Id of a service in the maps, by its number.
pub const fn id(service: usize) -> u32 {
    service as u32 + 1
}
