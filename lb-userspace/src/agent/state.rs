//! All that the agent knows: what was asked for, and what is.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::IpAddr,
    time::Instant,
};

use lb_common::backend::Backend;

use super::{Options, plane::Seen};
use crate::{
    api::view::DrainView,
    desired::model::Desired,
    health::Reports,
    net::NextHops,
    observe::Counters,
    publish::{Moment, Publisher, dataplane::DataPlane},
    table::{
        assignments::{Assignments, MAINT_TARGET, each_held},
        merge::Liveness,
        slow_start::Rising,
    },
};

/// What the agent knows. Without an agent, the part that can be read from files and pins.
#[derive(Debug)]
pub struct State {
    /// What the operator asked for.
    pub desired: Desired,
    /// Indices of targets and egress interfaces.
    pub assignments: Assignments,
    /// Which targets are up.
    pub liveness: Liveness,
    /// The last decision of the checks that is in it.
    pub known_until: Moment,
    /// What the checks found.
    pub reports: Reports,
    /// The way to each backend.
    pub hops: NextHops,
    /// Entries of the packet path as last published, or as the former agent left them, by backend id.
    pub held: BTreeMap<u32, Backend>,
    /// What was last seen of the packet path.
    pub seen: Seen,
    /// Backends that begin to take traffic.
    pub rising: Rising,
    /// Drains that ended with a removal, the latest last.
    pub drains_ended: VecDeque<DrainView>,
    /// Interfaces that could not be attached to, and why.
    pub interface_problems: BTreeMap<String, String>,
    /// Why the last publication failed.
    pub publish_problem: Option<String>,
    /// Counters, if the pins are there.
    pub counters: Option<Counters>,
    /// When the agent started; none: no agent runs.
    pub started: Option<Instant>,
}

impl State {
    /// What a starting agent knows: stored state, and what the pinned maps say of indices, health and next hops.
    pub(super) fn resume<P: DataPlane>(
        options: &Options,
        desired: Desired,
        publisher: &Publisher<P>,
    ) -> Self {
        let (held, known) = (publisher.backends(), publisher.known_liveness());
        let mut assignments = Assignments::found(&desired, held);
        assignments.update(&desired, &NextHops::new());
        let mut liveness = Liveness::new();
        let in_use = each_held(&desired, held).filter(|(entry, _)| entry.target != MAINT_TARGET);
        for (entry, target) in in_use {
            if let (Some(id), Some(up)) = (assignments.target(&target), known.get(&entry.target)) {
                *liveness.entry(id).or_default() |= *up;
            }
        }
        Self {
            assignments,
            liveness,
            held: held.clone(),
            rising: Rising::at_start(&desired),
            counters: Counters::open(&options.pin_dir)
                .inspect_err(|error| log::warn!("counters: {error}"))
                .ok(),
            started: Some(Instant::now()),
            ..Self::idle(desired)
        }
    }

    /// What can be known of a desired state by itself.
    pub fn idle(desired: Desired) -> Self {
        Self {
            desired,
            assignments: Assignments::default(),
            liveness: Liveness::new(),
            known_until: Moment::default(),
            reports: Reports::new(),
            hops: NextHops::new(),
            held: BTreeMap::new(),
            seen: Seen::default(),
            rising: Rising::default(),
            drains_ended: VecDeque::new(),
            interface_problems: BTreeMap::new(),
            publish_problem: None,
            counters: None,
            started: None,
        }
    }

    /// Addresses of all backends.
    pub(super) fn addresses(&self) -> BTreeSet<IpAddr> {
        self.desired.services.values().flat_map(|service| service.backends.keys().copied()).collect()
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
