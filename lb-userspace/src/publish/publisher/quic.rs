//! QUIC server ids: registered before their backends can be reached, and taken out after them.

use std::collections::BTreeMap;

use lb_common::quic::{Layout, ServerKey};

use super::Publisher;
use crate::{
    error::Error,
    publish::{Applied, dataplane::DataPlane},
    table::snapshot::Snapshot,
};

impl<P: DataPlane> Publisher<P> {
    /// Registers server ids, after the entries of their backends and before any table names these.
    pub(super) fn write_quic_ids(&mut self, snapshot: &Snapshot, applied: &mut Applied) -> Result<(), Error> {
        for (key, backend) in &snapshot.quic.servers {
            if self.quic.servers.get(key) != Some(backend) {
                self.plane.set_quic_server(*key, Some(*backend))?;
                self.quic.servers.insert(*key, *backend);
                applied.quic_ids += 1;
            }
        }
        for (service, layout) in &snapshot.quic.layouts {
            if self.quic.layouts.get(service) != Some(layout) {
                self.plane.set_quic_layout(*service, *layout)?;
                self.quic.layouts.insert(*service, *layout);
                applied.quic_ids += 1;
            }
        }
        Ok(())
    }

    /// Takes out what is not registered any more, after the tables and before the entries of backends.
    pub(super) fn remove_quic_ids(
        &mut self,
        snapshot: &Snapshot,
        applied: &mut Applied,
    ) -> Result<(), Error> {
        let services = self.quic.layouts.keys().filter(|id| !snapshot.quic.layouts.contains_key(id));
        for service in services.copied().collect::<Vec<u32>>() {
            self.plane.set_quic_layout(service, Layout::default())?;
            self.quic.layouts.remove(&service);
            applied.quic_ids += 1;
        }
        let servers = self.quic.servers.keys().filter(|key| !snapshot.quic.servers.contains_key(key));
        for key in servers.copied().collect::<Vec<ServerKey>>() {
            self.plane.set_quic_server(key, None)?;
            self.quic.servers.remove(&key);
            applied.quic_ids += 1;
        }
        Ok(())
    }

    /// Backends that get no new connections and keep those whose ids name them, with the quiet period of their service
    /// in seconds. The packet path records their flows, for drains to wait for.
    pub(super) fn drained_by_id(&self) -> BTreeMap<u32, u32> {
        let is_drained = |id: &u32| self.backends.get(id).is_some_and(|backend| backend.weight == 0);
        let drained = self.quic.servers.iter().filter(|(_, id)| is_drained(id));
        let quiet_s = |service: u32| self.services.get(&service).map_or(0, |published| published.quiet_s);
        drained.map(|(key, id)| (*id, quiet_s(key.service))).collect()
    }
}
