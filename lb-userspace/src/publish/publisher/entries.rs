//! The entries of the egress, backend and liveness maps.

use std::collections::BTreeSet;

use lb_common::backend::Backend;

use super::Publisher;
use crate::{
    error::Error,
    publish::{
        Applied,
        dataplane::DataPlane,
        plan::{Fate, missing},
    },
    table::snapshot::Snapshot,
};

impl<P: DataPlane> Publisher<P> {
    pub(super) fn write_tx_ports(&mut self, snapshot: &Snapshot, applied: &mut Applied) -> Result<(), Error> {
        for (port, ifindex) in &snapshot.tx_ports {
            if self.tx_ports.get(port) != Some(ifindex) {
                self.plane.set_tx_port(*port, Some(*ifindex))?;
                self.tx_ports.insert(*port, *ifindex);
                applied.tx_ports += 1;
            }
        }
        Ok(())
    }

    /// Writes further next hops, before any backend's entry says that there are some.
    pub(super) fn write_hops(&mut self, snapshot: &Snapshot, applied: &mut Applied) -> Result<(), Error> {
        for (key, entry) in &snapshot.hops {
            if self.hops.get(key) != Some(entry) {
                self.plane.set_hop(*key, Some(entry))?;
                self.hops.insert(*key, *entry);
                applied.backends += 1;
            }
        }
        Ok(())
    }

    /// Writes the entries of backends. Those that return keep their former target for now.
    pub(super) fn write_backends(&mut self, fate: &Fate<'_>, applied: &mut Applied) -> Result<(), Error> {
        for (id, backend) in &fate.snapshot.backends {
            let held = self.backends.get(id).filter(|_| fate.returning.contains(id));
            let target = held.map_or(backend.target, |held| held.target);
            self.write_backend(*id, Backend { target, ..*backend }, applied)?;
        }
        Ok(())
    }

    /// Gives backends that return their target, after the slot tables took note that they were down.
    pub(super) fn return_backends(&mut self, fate: &Fate<'_>, applied: &mut Applied) -> Result<(), Error> {
        for id in &fate.returning {
            if let Some(backend) = fate.snapshot.backends.get(id) {
                self.write_backend(*id, *backend, applied)?;
            }
        }
        Ok(())
    }

    fn write_backend(&mut self, id: u32, backend: Backend, applied: &mut Applied) -> Result<(), Error> {
        if self.backends.get(&id) != Some(&backend) {
            self.plane.set_backend(id, &backend)?;
            self.backends.insert(id, backend);
            applied.backends += 1;
        }
        Ok(())
    }

    /// Marks targets as down, before any backend refers to them.
    pub(super) fn lower_targets(&mut self, snapshot: &Snapshot, applied: &mut Applied) -> Result<(), Error> {
        for (target, up) in &snapshot.targets {
            self.targets.insert(*target);
            if !up {
                let written = self.liveness.lower(*target, snapshot.liveness_known_until)?;
                applied.targets += u32::from(written);
            }
        }
        Ok(())
    }

    /// Marks targets as up, after the slot tables took note that their backends were down.
    pub(super) fn raise_targets(&mut self, fate: &Fate<'_>, applied: &mut Applied) -> Result<(), Error> {
        for target in &fate.rising {
            let written = self.liveness.raise(*target, fate.snapshot.liveness_known_until)?;
            applied.targets += u32::from(written);
        }
        Ok(())
    }

    /// Empties the entries that nothing refers to any more: flows first, then backends, then egress interfaces.
    pub(super) fn vacate(&mut self, snapshot: &Snapshot, applied: &mut Applied) -> Result<(), Error> {
        let gone = missing(&self.backends, &snapshot.backends);
        if !gone.is_empty() {
            let remaining: BTreeSet<u32> = snapshot.backends.keys().copied().collect();
            self.walk_flows(self.plane.now_s(), remaining)?;
        }
        for id in gone {
            // Whoever gets the id next counts from zero, also if this is interrupted: a vacant entry comes last.
            self.plane.clear_counters(id)?;
            self.plane.set_backend(id, &Backend::default())?;
            self.backends.remove(&id);
            applied.backends += 1;
        }
        for key in missing(&self.hops, &snapshot.hops) {
            self.plane.set_hop(key, None)?;
            self.hops.remove(&key);
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
}
