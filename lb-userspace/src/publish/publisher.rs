//! Compares a snapshot with what the packet path holds and writes the difference, in an order that is safe for packets.

mod moves;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use lb_common::{backend::Backend, cuckoo};

use super::{
    Applied, Attached, Kernel, Liveness, Options, SlotStates, Timing,
    collector::{Found, InTransition, Walk},
    dataplane::DataPlane,
    plan::{self, Entries, missing, seconds},
    published::{Published, by_flow},
};
use crate::{
    desired::model::AttachMode,
    error::Error,
    table::{
        snapshot::{ServiceInput, Snapshot},
        transition::{self, Slots, StateCounts},
    },
};

/// Keeps the packet path as the last snapshot wants it. Lives on a thread of its own: a swap of a table blocks for
/// about 8 ms, until no packet sees the former one.
pub struct Publisher<P: DataPlane = Kernel> {
    plane: P,
    timing: Timing,
    seed: u64,
    /// What the maps hold.
    backends: BTreeMap<u32, Backend>,
    tx_ports: BTreeMap<u32, u32>,
    /// Targets of the last snapshot, and whatever else was found down.
    targets: BTreeSet<u32>,
    liveness: Liveness,
    services: BTreeMap<u32, Published>,
    /// What the service tables hold. None: not compared yet.
    service_entries: Option<Entries>,
    /// Whether each target was up when the data plane was taken over.
    known_liveness: BTreeMap<u32, bool>,
    found: Found,
    /// Second of the boot clock at which the flow table is walked next.
    next_walk_s: u32,
}

impl Publisher<Kernel> {
    /// Loads the packet path, over what an earlier agent left if there is anything.
    ///
    /// # Errors
    /// See [`Kernel::open`].
    pub fn open(options: &Options) -> Result<Self, Error> {
        Self::with(Kernel::open(options)?, options)
    }
}

impl<P: DataPlane> Publisher<P> {
    /// Takes over what a data plane holds.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn with(mut plane: P, options: &Options) -> Result<Self, Error> {
        let services = plane.slot_tables()?.into_iter().map(|(id, class)| (id, Published::found(class)));
        let services = services.collect();
        let known_down: BTreeSet<u32> = plane.targets_down()?.into_iter().collect();
        let backends = plane.backends()?;
        let targets = backends.values().map(|backend| backend.target);
        Ok(Self {
            known_liveness: targets.map(|target| (target, !known_down.contains(&target))).collect(),
            backends,
            tx_ports: plane.tx_ports()?,
            targets: known_down,
            liveness: plane.liveness()?,
            service_entries: None,
            timing: options.timing,
            seed: options.seed,
            found: Found::default(),
            next_walk_s: 0,
            services,
            plane,
        })
    }

    /// Makes the packet path hold a snapshot. Only what differs is written; where it fails, what was written stays and
    /// the next call goes on from there.
    ///
    /// # Errors
    /// If the snapshot does not fit the maps, in which case nothing is written, or if the kernel refuses.
    pub fn apply(&mut self, snapshot: &Snapshot) -> Result<Applied, Error> {
        plan::check(snapshot)?;
        let mut applied = Applied::default();
        self.write_tx_ports(snapshot, &mut applied)?;
        self.write_targets(snapshot, &mut applied)?;
        self.write_backends(snapshot, &mut applied)?;
        let former_classes = self.publish_slot_tables(snapshot, &mut applied)?;
        self.publish_service_tables(snapshot, &mut applied)?;
        self.remove_slot_tables(snapshot, &former_classes, &mut applied)?;
        self.vacate(snapshot, &mut applied)?;
        Ok(applied)
    }

    /// Reads again what the packet path holds, so that the next [`Self::apply`] repairs whatever someone else changed.
    /// Liveness is left out: what it holds is newer than any snapshot.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn resync(&mut self) -> Result<(), Error> {
        self.backends = self.plane.backends()?;
        self.tx_ports = self.plane.tx_ports()?;
        self.service_entries = None;
        let held = self.plane.slot_tables()?;
        self.services.retain(|id, published| held.get(id) == Some(&published.class));
        for (id, class) in held {
            self.services.entry(id).or_insert_with(|| Published::found(class)).members = None;
        }
        Ok(())
    }

    /// Walks the flow table and ends the transitions that are due. Call it about once a second; most calls do nothing.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn tick(&mut self) -> Result<(), Error> {
        self.plane.write_log();
        let now_s = self.plane.now_s();
        if now_s < self.next_walk_s {
            return Ok(());
        }
        let is_first = self.next_walk_s == 0;
        self.next_walk_s = now_s.saturating_add(seconds(self.timing.collect_interval));
        if is_first
            || self.services.values().any(Published::is_in_transition)
            || !self.found.by_service.is_empty()
        {
            let slots = self.walk_flows(now_s, self.backends.keys().copied().collect())?;
            self.settle(now_s, slots)?;
        }
        Ok(())
    }

    /// A handle that marks targets up or down at once.
    pub fn liveness(&self) -> Liveness {
        self.liveness.clone()
    }

    /// Whether each target that a backend had was up when the data plane was taken over. Empty if there was none.
    pub fn known_liveness(&self) -> BTreeMap<u32, bool> {
        self.known_liveness.clone()
    }

    /// The entries of the backend map, by backend id.
    pub const fn backends(&self) -> &BTreeMap<u32, Backend> {
        &self.backends
    }

    /// The slots of a service by state. None if it has no table.
    pub fn slot_states(&self, service_id: u32) -> Option<SlotStates> {
        let StateCounts { steady, moving, settled } = self.services.get(&service_id)?.counts;
        let tracked_flows = self.found.by_service.get(&service_id).copied().unwrap_or(0);
        Some(SlotStates { steady, moving, settled, tracked_flows })
    }

    /// How many slots of a service each backend owns, by backend id. Empty if it has no table.
    pub fn owned_slots(&self, service_id: u32) -> BTreeMap<u32, u32> {
        self.services.get(&service_id).map(|published| published.owned.clone()).unwrap_or_default()
    }

    /// Flows of a backend in the flow table, as of the last walk.
    pub fn tracked_flows(&self, backend_id: u32) -> u64 {
        self.found.by_backend.get(&backend_id).copied().unwrap_or(0)
    }

    /// Attaches to an interface.
    ///
    /// # Errors
    /// `NotFound` without such an interface, `Conflict` with a foreign program, `InvalidConfiguration` where the driver
    /// or the MTU refuses native mode.
    pub fn attach(&mut self, ifname: &str, mode: AttachMode) -> Result<Attached, Error> {
        self.plane.attach(ifname, mode)
    }

    /// Detaches from an interface.
    ///
    /// # Errors
    /// `NotFound` if it is not attached there.
    pub fn detach(&mut self, ifname: &str) -> Result<(), Error> {
        self.plane.detach(ifname)
    }

    /// Where it is attached.
    pub fn attached(&self) -> Vec<Attached> {
        self.plane.attached()
    }

    fn write_tx_ports(&mut self, snapshot: &Snapshot, applied: &mut Applied) -> Result<(), Error> {
        for (port, ifindex) in &snapshot.tx_ports {
            if self.tx_ports.get(port) != Some(ifindex) {
                self.plane.set_tx_port(*port, Some(*ifindex))?;
                self.tx_ports.insert(*port, *ifindex);
                applied.tx_ports += 1;
            }
        }
        Ok(())
    }

    fn write_backends(&mut self, snapshot: &Snapshot, applied: &mut Applied) -> Result<(), Error> {
        for (id, backend) in &snapshot.backends {
            if self.backends.get(id) != Some(backend) {
                self.plane.set_backend(*id, backend)?;
                self.backends.insert(*id, *backend);
                applied.backends += 1;
            }
        }
        Ok(())
    }

    /// Marks targets, before any backend refers to them.
    fn write_targets(&mut self, snapshot: &Snapshot, applied: &mut Applied) -> Result<(), Error> {
        for (target, up) in &snapshot.targets {
            let written = self.liveness.set_unless_newer(*target, *up, snapshot.liveness_known_until)?;
            applied.targets += u32::from(written);
            self.targets.insert(*target);
        }
        Ok(())
    }

    /// Publishes the slot tables that differ; tables of other classes that stay behind are returned.
    fn publish_slot_tables(
        &mut self,
        snapshot: &Snapshot,
        applied: &mut Applied,
    ) -> Result<Vec<(u32, u8)>, Error> {
        let mut former_classes = Vec::new();
        for (id, input) in &snapshot.services {
            let former = self.services.get(id);
            if former.is_some_and(|former| former.is_from(input)) {
                continue;
            }
            let former_class = former.map(|former| former.class);
            let current = match former_class == Some(input.class) {
                true => self.plane.read_slots(*id)?,
                false => None,
            };
            let slots = plan::next_slots(self.seed, current.as_ref(), input, snapshot)?;
            if current.as_ref() != Some(&slots) {
                self.plane.publish_slots(*id, input.class, &slots)?;
                applied.slot_tables += 1;
            }
            self.note_published(*id, input, current.as_ref(), &slots);
            former_classes
                .extend(former_class.filter(|class| *class != input.class).map(|class| (*id, class)));
        }
        Ok(former_classes)
    }

    fn note_published(&mut self, id: u32, input: &ServiceInput, current: Option<&Slots>, slots: &Slots) {
        let now_s = self.plane.now_s();
        let former = self.services.remove(&id);
        let since = |index: usize| {
            let was_moving = current.is_some_and(|current| current.cur(index).is_moving());
            let since_s = former.as_ref().and_then(|former| former.moving_since_s.get(index));
            // A slot that was found moving begins its quiet period anew: since when it moves is not known.
            since_s.copied().filter(|_| was_moving).unwrap_or(now_s)
        };
        let counts = slots.counts();
        let moving_since_s = match counts.moving {
            0 => Vec::new(),
            _ => (0..slots.size()).map(since).collect(),
        };
        let published = Published {
            class: input.class,
            members: Some(input.members.clone()),
            by_flow: by_flow(input),
            counts,
            owned: slots.owned(),
            moving_since_s,
        };
        self.services.insert(id, published);
    }

    fn publish_service_tables(&mut self, snapshot: &Snapshot, applied: &mut Applied) -> Result<(), Error> {
        let wanted = plan::service_entries(snapshot);
        if self.service_entries.as_ref() == Some(&wanted) {
            return Ok(());
        }
        let (v4, v6) = plan::keys(&wanted);
        let held = self.plane.services()?;
        let same_v4 = held.v4.as_deref().map_or(v4.is_empty(), |held| {
            held.head.services as usize == v4.len()
                && v4.iter().all(|(key, service)| cuckoo::find_v4(held, *key) == Some(*service))
        });
        let same_v6 = held.v6.as_deref().map_or(v6.is_empty(), |held| {
            held.head.services as usize == v6.len()
                && v6.iter().all(|(key, service)| cuckoo::find_v6(held, *key) == Some(*service))
        });
        if !same_v4 {
            self.plane.publish_services_v4(
                cuckoo::build_v4(self.seed, &v4).map_err(|error| Error::invalid(error.to_string()))?,
            )?;
            applied.service_tables += 1;
        }
        if !same_v6 {
            self.plane.publish_services_v6(
                cuckoo::build_v6(self.seed, &v6).map_err(|error| Error::invalid(error.to_string()))?,
            )?;
            applied.service_tables += 1;
        }
        self.service_entries = Some(wanted);
        Ok(())
    }

    /// Removes what no service table names any more.
    fn remove_slot_tables(
        &mut self,
        snapshot: &Snapshot,
        former_classes: &[(u32, u8)],
        applied: &mut Applied,
    ) -> Result<(), Error> {
        let gone = self.services.iter().filter(|(id, _)| !snapshot.services.contains_key(id));
        let gone: Vec<(u32, u8)> = gone.map(|(id, published)| (*id, published.class)).collect();
        for (id, class) in former_classes.iter().chain(&gone) {
            self.plane.remove_slots(*id, *class)?;
            applied.slot_tables_removed += 1;
        }
        for (id, _) in gone {
            self.services.remove(&id);
        }
        Ok(())
    }

    /// Empties the entries that nothing refers to any more: flows first, then backends, then egress interfaces.
    fn vacate(&mut self, snapshot: &Snapshot, applied: &mut Applied) -> Result<(), Error> {
        let gone = missing(&self.backends, &snapshot.backends);
        if !gone.is_empty() {
            self.walk_flows(self.plane.now_s(), snapshot.backends.keys().copied().collect())?;
        }
        for id in gone {
            self.plane.set_backend(id, &Backend::default())?;
            self.plane.clear_counter(id)?;
            self.backends.remove(&id);
            applied.backends += 1;
        }
        for port in missing(&self.tx_ports, &snapshot.tx_ports) {
            self.plane.set_tx_port(port, None)?;
            self.tx_ports.remove(&port);
            applied.tx_ports += 1;
        }
        let gone = self.targets.iter().filter(|target| !snapshot.targets.contains_key(*target));
        for target in gone.copied().collect::<Vec<u32>>() {
            self.liveness.forget(target)?;
            self.targets.remove(&target);
        }
        Ok(())
    }

    /// Removes the flow entries that are not needed and counts the others. Returns the tables in transition.
    fn walk_flows(
        &mut self,
        now_s: u32,
        backends: BTreeSet<u32>,
    ) -> Result<HashMap<u32, InTransition>, Error> {
        let mut services = HashMap::new();
        for (id, published) in self.services.iter().filter(|(_, published)| published.is_in_transition()) {
            if let Some(slots) = self.plane.read_slots(*id)? {
                services.insert(*id, InTransition { slots, by_flow: published.by_flow });
            }
        }
        let mut walk = Walk {
            now_s,
            timing: &self.timing,
            seed: self.seed,
            backends,
            services,
            found: Found::default(),
        };
        self.plane.retain_flows(&mut |key, entry| walk.keep(key, entry))?;
        self.found = walk.found;
        Ok(walk.services)
    }

    /// Ends what is due: moving slots after their quiet period, settled ones without exceptions.
    fn settle(&mut self, now_s: u32, services: HashMap<u32, InTransition>) -> Result<(), Error> {
        let quiet_s = seconds(self.timing.quiet_period);
        for (id, InTransition { slots, .. }) in services {
            let Some(published) = self.services.get_mut(&id) else { continue };
            let since_s = &published.moving_since_s;
            let due = |index: usize| {
                since_s.get(index).is_some_and(|since_s| now_s.saturating_sub(*since_s) >= quiet_s)
            };
            let Some(next) = transition::settle(&slots, due, |index| self.found.is_exception(id, index))
            else {
                continue;
            };
            self.plane.publish_slots(id, published.class, &next)?;
            published.counts = next.counts();
            if published.counts.moving == 0 {
                published.moving_since_s = Vec::new();
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
