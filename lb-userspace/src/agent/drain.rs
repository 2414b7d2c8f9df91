//! Drains: who still has connections, and what follows when there are none or the time is over.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::SystemTime,
};

use super::{State, core::Core};
use crate::{
    api::view::{DrainList, DrainState, DrainView, SCHEMA_VERSION, SlotsView},
    desired::{
        command::Command,
        model::{Admin, Backend, Service},
        ops,
    },
    error::Error,
    health::unix_ms,
};

/// Drains that ended with a removal and are still told of.
pub(super) const ENDED_MAX: usize = 1024;

/// What a drain is judged by.
#[derive(Clone, Copy, Debug)]
struct Facts {
    /// Slots of the service's table; none before it is published.
    slots: Option<SlotsView>,
    table_size: u32,
    /// Whether the table names the backend: it owns a slot, or owned one that moves.
    named: bool,
    /// Tracked flows that are its own.
    flows: u64,
    /// Whether the flow table has been walked since the agent's start.
    walked: bool,
    deadline_unix_ms: Option<u64>,
    now_unix_ms: u64,
}

impl Facts {
    /// Whether every connection that the backend may have is tracked: the table is published without it, and no slot
    /// moves away from it, in which a silent one could still be.
    fn all_known(&self) -> bool {
        let read = self.slots.is_some_and(|SlotsView { steady, moving, settled, .. }| {
            steady + moving + settled == self.table_size
        });
        self.walked && read && !self.named
    }

    fn judge(&self) -> DrainState {
        if self.all_known() && self.flows == 0 {
            return DrainState::Gone;
        }
        match self.deadline_unix_ms {
            Some(deadline) if deadline <= self.now_unix_ms => DrainState::DeadlinePassed,
            _ => DrainState::Draining,
        }
    }
}

impl State {
    /// For `lb backend drain --wait`: of one service, or all.
    pub fn drains(&self, service: Option<&str>) -> DrainList {
        let now = unix_ms(SystemTime::now());
        let wanted = |name: &str| service.is_none_or(|only| only == name);
        let ended = self.drains_ended.iter().filter(|drain| wanted(&drain.service)).cloned();
        let services = self.desired.services.iter().filter(|(name, _)| wanted(name));
        let drains = services.flat_map(|(name, service)| {
            let drained = service.backends.iter().filter(|(_, backend)| backend.admin == Admin::Drain);
            drained.map(move |(address, backend)| self.drain(name, service, *address, backend, now))
        });
        DrainList { schema_version: SCHEMA_VERSION, drains: ended.chain(drains).collect() }
    }

    fn drain(
        &self,
        name: &str,
        service: &Service,
        address: IpAddr,
        backend: &Backend,
        now_unix_ms: u64,
    ) -> DrainView {
        let end = backend.drain.unwrap_or_default();
        let facts = Facts {
            slots: self.seen.slots.get(&service.id).copied(),
            table_size: service.table_size,
            named: self.seen.named.contains(&backend.id),
            flows: self.flows(backend.id),
            walked: self.seen.walked,
            deadline_unix_ms: end.deadline_unix_ms,
            now_unix_ms,
        };
        DrainView {
            service: name.to_owned(),
            address,
            id: backend.id,
            state: facts.judge(),
            flows_left: facts.flows,
            all_known: facts.all_known(),
            quiet_left_s: facts.slots.and_then(|slots| slots.quiet_left_s),
            deadline_unix_ms: end.deadline_unix_ms,
            then_remove: end.remove,
            removed: false,
        }
    }

    /// Tracked flows of a backend.
    pub(super) fn flows(&self, backend: u32) -> u64 {
        self.seen.flows.get(&backend).copied().unwrap_or(0)
    }
}

impl Core {
    /// Ends the drains that are due: what is to be removed is removed, also when nobody waits for it.
    pub(super) fn supervise_drains(&mut self) {
        let over: Vec<DrainView> = self
            .state
            .drains(None)
            .drains
            .into_iter()
            .filter(|drain| !drain.removed && drain.state != DrainState::Draining)
            .collect();
        let known: BTreeSet<u32> = over.iter().map(|drain| drain.id).collect();
        for drain in over.iter().filter(|drain| !self.told.contains(&drain.id)) {
            let DrainView { service, address, flows_left, .. } = drain;
            match drain.state {
                DrainState::Gone => log::info!("{address} of {service} has no connection left"),
                _ => log::warn!("{address} of {service}: the time is over, {flows_left} flows left"),
            }
        }
        self.told = known;
        let mut leaving: BTreeMap<String, Vec<DrainView>> = BTreeMap::new();
        for drain in over.into_iter().filter(|drain| drain.then_remove) {
            leaving.entry(drain.service.clone()).or_default().push(drain);
        }
        for (service, drains) in leaving {
            if let Err(error) = self.remove_drained(service, drains) {
                // It is tried again at the next look.
                log::error!("remove drained backends: {error}");
            }
        }
    }

    fn remove_drained(&mut self, service: String, drains: Vec<DrainView>) -> Result<(), Error> {
        let addresses = drains.iter().map(|drain| drain.address).collect();
        let command = Command::BackendDel { service, addresses };
        let desired = ops::apply(&self.state.desired, &command)?;
        self.store.save(&desired)?;
        self.adopt(desired);
        for drain in drains {
            log::info!("removed {} from {} after its drain", drain.address, drain.service);
            if self.state.drains_ended.len() >= ENDED_MAX {
                self.state.drains_ended.pop_front();
            }
            self.state.drains_ended.push_back(DrainView { removed: true, ..drain });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT_REST: SlotsView = SlotsView {
        steady: 1000,
        moving: 0,
        waiting: 0,
        turns_left: 0,
        settled: 21,
        tracked_flows: 0,
        quiet_left_s: None,
    };
    /// A drain with nothing left.
    const OVER: Facts = Facts {
        slots: Some(AT_REST),
        table_size: 1021,
        named: false,
        flows: 0,
        walked: true,
        deadline_unix_ms: Some(1000),
        now_unix_ms: 999,
    };

    #[test]
    fn a_drain_is_over_when_nothing_can_be_left() {
        let moving = SlotsView { moving: 1, settled: 20, ..AT_REST };
        let unread = SlotsView::default();
        for (what, facts, state) in [
            ("nothing left", OVER, DrainState::Gone),
            ("a flow is left", Facts { flows: 1, ..OVER }, DrainState::Draining),
            ("slots of others move", Facts { slots: Some(moving), ..OVER }, DrainState::Gone),
            ("a silent one may be left", Facts { named: true, ..OVER }, DrainState::Draining),
            ("no table", Facts { slots: None, ..OVER }, DrainState::Draining),
            ("a table that was not read yet", Facts { slots: Some(unread), ..OVER }, DrainState::Draining),
            ("flows not counted yet", Facts { walked: false, ..OVER }, DrainState::Draining),
        ] {
            assert_eq!(facts.judge(), state, "{what}");
            let late = Facts { now_unix_ms: 1000, ..facts };
            let at_deadline = if state == DrainState::Gone { state } else { DrainState::DeadlinePassed };
            assert_eq!(late.judge(), at_deadline, "{what}, at the deadline");
            let patient = Facts { deadline_unix_ms: None, now_unix_ms: u64::MAX, ..facts };
            assert_eq!(patient.judge(), state, "{what}, without a deadline");
        }
    }
}
