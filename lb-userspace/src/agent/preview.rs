//! What a command would touch, without doing it.

use std::collections::{BTreeMap, BTreeSet};

use super::{State, core::Core};
use crate::{
    api::view::{Preview, PreviewService, SCHEMA_VERSION},
    desired::{
        command::Command,
        model::{Admin, Backend, Desired, Service},
        ops,
    },
    error::Error,
    net::{Egress, NextHop},
    table::{
        assignments::each_backend,
        merge::{self, Inputs},
        snapshot::Snapshot,
    },
};

impl Core {
    /// What a command would touch. Fails as the command would; commands about interfaces touch nothing.
    pub(super) async fn preview(&self, command: &Command) -> Result<Preview, Error> {
        let before = &self.state.desired;
        let after = ops::apply(before, command)?;
        let slots = self.outbox.plane.preview(self.state.snapshot_of(&after)).await?;
        let names = |desired: &Desired| desired.services.clone().into_iter();
        let services: BTreeMap<String, Service> = names(before).chain(names(&after)).collect();
        let services = services.iter().filter_map(|(name, service)| {
            let (slots_moving, tracked_flows) = slots.get(&service.id).copied().unwrap_or_default();
            let flows_broken = self.state.flows_broken(name, before, &after);
            let view = PreviewService {
                name: name.clone(),
                table_size: service.table_size,
                slots_moving,
                tracked_flows,
                flows_broken,
            };
            (slots_moving > 0 || flows_broken > 0).then_some(view)
        });
        Ok(Preview {
            schema_version: SCHEMA_VERSION,
            would_change: after != *before,
            services: services.collect(),
        })
    }
}

impl State {
    /// The snapshot that a desired state would lead to, once its new backends are healthy and at their weight.
    fn snapshot_of(&self, after: &Desired) -> Snapshot {
        let known: BTreeSet<u32> = each_backend(&self.desired).map(|(_, _, backend, _)| backend.id).collect();
        let (mut assignments, mut liveness) = (self.assignments.clone(), self.liveness.clone());
        let mut hops = self.hops.clone();
        let new = || each_backend(after).filter(|(_, _, backend, _)| !known.contains(&backend.id));
        for (.., target) in new() {
            hops.entry(target.address).or_insert_with(|| NextHop::Resolved(vec![anywhere()]));
        }
        assignments.update(after, &hops);
        merge::inherit(&self.desired, after, &self.assignments, &assignments, &mut liveness);
        for (.., target) in new() {
            if let Some(id) = assignments.target(&target) {
                liveness.entry(id).or_insert(true);
            }
        }
        merge::merge(Inputs {
            desired: after,
            assignments: &assignments,
            liveness: &liveness,
            known_until: self.known_until,
            hops: &hops,
            held: &self.held,
            rising: &BTreeMap::new(),
        })
    }

    /// Tracked flows of the service's backends that take traffic or are drained, and would be out.
    fn flows_broken(&self, name: &str, before: &Desired, after: &Desired) -> u64 {
        let Some(service) = before.services.get(name) else { return 0 };
        let kept = |backend: &Backend| backend.admin != Admin::Maint;
        let stays = |address| {
            let service = after.services.get(name).filter(|after| after.vip == service.vip);
            service.and_then(|service| service.backends.get(address)).is_some_and(kept)
        };
        let leaving = service.backends.iter().filter(|(address, backend)| kept(backend) && !stays(address));
        leaving.map(|(_, backend)| self.flows(backend.id)).sum()
    }
}

/// A way that stands for the one that a new backend will have.
fn anywhere() -> Egress {
    Egress {
        ifindex: 1,
        vlan: None,
        ifname: String::new(),
        source_mac: [0; 6],
        next_hop_mac: [0; 6],
        gateway: None,
        source: std::net::Ipv4Addr::UNSPECIFIED.into(),
        mtu: 0,
    }
}
