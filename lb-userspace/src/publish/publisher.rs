//! Compares a snapshot with what the packet path holds and writes the difference, in an order that is safe for packets.

mod entries;
mod preview;
mod quic;
mod tables;
mod upkeep;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use lb_common::backend::Backend;

pub use self::preview::{Preview, ServicePreview};
use self::upkeep::Upkeep;
use super::{
    Applied, Attached, Kernel, Liveness, Options, SlotStates, Timing,
    dataplane::DataPlane,
    plan::{self, Entries, Fate},
    published::{Published, digest},
};
use crate::{
    desired::model::AttachMode,
    error::Error,
    table::{
        snapshot::{QuicIds, Snapshot},
        transition::{self, StateCounts},
    },
};

/// Slot tables that one resync reads and compares; the next one goes on from there.
const TABLES_PER_RESYNC: usize = 32;

/// Keeps the packet path as the last snapshot wants it. Lives on a thread of its own: a swap of a table blocks for
/// about 8 ms, until no packet sees the former one.
pub struct Publisher<P: DataPlane = Kernel> {
    plane: P,
    timing: Timing,
    seed: u64,
    /// What the maps hold.
    backends: BTreeMap<u32, Backend>,
    hops: BTreeMap<u32, Backend>,
    tx_ports: BTreeMap<u32, u32>,
    quic: QuicIds,
    /// Targets of the last snapshot, and whatever else was found down.
    targets: BTreeSet<u32>,
    liveness: Liveness,
    services: BTreeMap<u32, Published>,
    /// What the service tables hold. None: not compared yet.
    service_entries: Option<Entries>,
    /// Whether each target was up when the data plane was taken over.
    known_liveness: BTreeMap<u32, bool>,
    upkeep: Upkeep,
    /// The service whose slot table the next resync begins with.
    resync_from: u32,
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
            hops: plane.hops()?,
            tx_ports: plane.tx_ports()?,
            quic: plane.quic_ids()?,
            targets: known_down,
            liveness: plane.liveness()?,
            service_entries: None,
            timing: options.timing,
            seed: options.seed,
            upkeep: Upkeep::default(),
            resync_from: 0,
            services,
            plane,
        })
    }

    /// What it publishes to.
    pub const fn plane(&self) -> &P {
        &self.plane
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
        self.lower_targets(snapshot, &mut applied)?;
        let fate = self.fate(snapshot);
        self.write_hops(snapshot, &mut applied)?;
        self.write_backends(&fate, &mut applied)?;
        self.write_quic_ids(snapshot, &mut applied)?;
        let former_classes = self.publish_slot_tables(&fate, &mut applied)?;
        self.raise_targets(&fate, &mut applied)?;
        self.return_backends(&fate, &mut applied)?;
        self.publish_service_tables(snapshot, &mut applied)?;
        self.remove_slot_tables(snapshot, &former_classes, &mut applied)?;
        self.remove_quic_ids(snapshot, &mut applied)?;
        self.vacate(snapshot, &mut applied)?;
        Ok(applied)
    }

    /// Reads again what the packet path holds, so that the next [`Self::apply`] repairs whatever someone else changed.
    /// Of the slot tables, each call reads some in turn.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn resync(&mut self) -> Result<(), Error> {
        let decided = self.liveness.last();
        let down: BTreeSet<u32> = self.plane.targets_down()?.into_iter().collect();
        self.liveness.found(&down, decided);
        self.targets.extend(down);
        self.backends = self.plane.backends()?;
        self.hops = self.plane.hops()?;
        self.tx_ports = self.plane.tx_ports()?;
        self.quic = self.plane.quic_ids()?;
        self.service_entries = None;
        let held = self.plane.slot_tables()?;
        self.services.retain(|id, published| held.get(id) == Some(&published.class));
        for (id, class) in held {
            self.services.entry(id).or_insert_with(|| Published::found(class));
        }
        self.compare_slot_tables()
    }

    /// Compares some slot tables with what was published.
    fn compare_slot_tables(&mut self) -> Result<(), Error> {
        let from = self.resync_from;
        let turn: Vec<u32> = self.services.range(from..).map(|(id, _)| *id).take(TABLES_PER_RESYNC).collect();
        self.resync_from = turn.last().filter(|_| turn.len() == TABLES_PER_RESYNC).map_or(0, |id| id + 1);
        for id in turn {
            let held = self.plane.read_slots(id)?.map(|slots| digest(&slots));
            if let Some(published) = self.services.get_mut(&id)
                && held != Some(published.digest)
            {
                published.source = None;
            }
        }
        Ok(())
    }

    /// What becomes of backends with a snapshot.
    fn fate<'a>(&self, snapshot: &'a Snapshot) -> Fate<'a> {
        let up = self.liveness.up(&snapshot.targets, snapshot.liveness_known_until);
        let down = self.liveness.down();
        let rising = down.intersection(&up).copied().collect();
        let is_returning = |id: &u32, target: u32| {
            let held = self.backends.get(id).map(|held| held.target);
            up.contains(&target) && held.is_some_and(|held| held != target && down.contains(&held))
        };
        let returning = snapshot.backends.iter().filter(|(id, backend)| is_returning(id, backend.target));
        let returning = returning.map(|(id, _)| *id).collect();
        Fate::new(snapshot, &up, rising, returning)
    }

    /// A handle that marks targets down at once, and up with the next snapshot that says so.
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
        let counts = self.services.get(&service_id)?.counts;
        let StateCounts { steady, moving, waiting, settled } = counts;
        let turns_left = transition::turns_left(counts);
        let tracked_flows = self.upkeep.found.by_service.get(&service_id).copied().unwrap_or(0);
        Some(SlotStates { steady, moving, waiting, turns_left, settled, tracked_flows })
    }

    /// How many slots of a service each backend owns, by backend id. Empty if it has no table.
    pub fn owned_slots(&self, service_id: u32) -> BTreeMap<u32, u32> {
        self.services.get(&service_id).map(|published| published.owned.clone()).unwrap_or_default()
    }

    /// Backends that a service's table names: owners, and former owners of moving slots, whose connections may not all
    /// be in the flow table. Empty if it has no table.
    pub fn named_backends(&self, service_id: u32) -> BTreeSet<u32> {
        self.services.get(&service_id).map(|published| published.named.clone()).unwrap_or_default()
    }

    /// Flows of a backend in the flow table, as of the last walk.
    pub fn tracked_flows(&self, backend_id: u32) -> u64 {
        self.upkeep.found.by_backend.get(&backend_id).map_or(0, |flows| flows.tracked)
    }

    /// Those of them that the client has not closed. In a service that tracks every flow, all live connections of the
    /// backend; in others, those that keep it although their slot moves or has moved to another.
    pub fn live_flows(&self, backend_id: u32) -> u64 {
        self.upkeep.found.by_backend.get(&backend_id).map_or(0, |flows| flows.live)
    }

    /// For how long the slots of a service whose turn it is still move, if nothing else happens. None: none does.
    pub fn quiet_left(&self, service_id: u32) -> Option<Duration> {
        let end_s = self.services.get(&service_id)?.quiet_end_s(self.upkeep.capped_s)?;
        Some(Duration::from_secs(end_s.saturating_sub(self.plane.now_s()).into()))
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
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod upkeep_tests;
