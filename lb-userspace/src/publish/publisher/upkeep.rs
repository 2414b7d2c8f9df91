//! What time brings: flows that are over, quiet periods that end.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Instant,
};

use lb_common::{flow::FlowKey, hash::Keys};

use super::Publisher;
use crate::{
    error::Error,
    publish::{
        collector::{Found, Judge, Need},
        dataplane::DataPlane,
        plan::seconds,
        published::{AT_REST, Published},
    },
    table::transition,
};

/// A walk of the flow table takes at most this part of the time.
const WALK_SHARE: u32 = 20;

/// State of the upkeep.
#[derive(Default)]
pub(super) struct Upkeep {
    pub found: Found,
    /// Second of the boot clock at which the flow table is walked next; 0: it was not yet.
    next_walk_s: u32,
    /// How many flows the packet path had not recorded when it was last looked at. None: not looked at yet.
    unrecorded: Option<u64>,
    /// Second of the boot clock in which flows may have gone unrecorded last.
    pub capped_s: u32,
}

impl<P: DataPlane> Publisher<P> {
    /// Walks the flow table and ends the transitions that are due. Call it about once a second; most calls do nothing.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn tick(&mut self) -> Result<(), Error> {
        self.plane.write_log();
        let now_s = self.plane.now_s();
        self.note_unrecorded(now_s)?;
        if now_s < self.upkeep.next_walk_s {
            return Ok(());
        }
        let started = Instant::now();
        let busy = |published: &Published| published.is_in_transition() || published.is_tracked();
        let mut settled = false;
        if self.upkeep.next_walk_s == 0
            || self.services.values().any(busy)
            || !self.drained_by_id().is_empty()
            || !self.upkeep.found.by_service.is_empty()
        {
            let needs = self.walk_flows(now_s, self.backends.keys().copied().collect())?;
            settled = self.settle(now_s, needs)?;
        }
        let rest = (started.elapsed() * WALK_SHARE).max(self.timing.collect_interval);
        // What has settled may be at rest after another look.
        let rest_s = if settled { 1 } else { seconds(rest) };
        self.upkeep.next_walk_s = now_s.saturating_add(rest_s).max(1);
        Ok(())
    }

    /// Whoever spoke up while the packet path could not record it is not known yet: quiet periods begin anew.
    fn note_unrecorded(&mut self, now_s: u32) -> Result<(), Error> {
        if self.services.values().all(|published| published.counts.moving == 0) {
            return Ok(());
        }
        let unrecorded = self.plane.unrecorded()?;
        if self.upkeep.unrecorded.unwrap_or(0) != unrecorded {
            self.upkeep.capped_s = now_s;
        }
        self.upkeep.unrecorded = Some(unrecorded);
        Ok(())
    }

    /// Removes the flow entries that are not needed and counts the others. `backends`: those that remain. Returns how
    /// the entries were judged.
    ///
    /// An entry is judged twice, when it is found and when it is removed, where the kernel tells what it removes and it
    /// is put back if the flow spoke up in that moment.
    pub(super) fn walk_flows(
        &mut self,
        now_s: u32,
        backends: BTreeSet<u32>,
    ) -> Result<HashMap<u32, Need>, Error> {
        let timing = self.timing;
        let (down, services) = self.needs()?;
        let down = self
            .backends
            .iter()
            .filter(|(_, backend)| down.contains(&backend.target))
            .map(|(id, _)| *id)
            .collect();
        let drained_by_id = self.drained_by_id();
        let keys = Keys::of(self.seed);
        let judge = Judge { now_s, timing: &timing, keys, backends, down, drained_by_id, services };
        let (mut found, mut gone) = (Found::default(), Vec::<FlowKey>::new());
        self.plane.each_flow(&mut |key, entry| match judge.judge(key, entry) {
            Some(exception) => found.count(entry, exception),
            None => gone.push(*key),
        })?;
        let mut expired: BTreeMap<u32, u64> = BTreeMap::new();
        for key in gone {
            let removed = self.plane.remove_flow(&key, &|entry| judge.judge(&key, entry).is_none())?;
            if let Some(entry) = removed.filter(lb_common::flow::FlowEntry::is_live) {
                *expired.entry(entry.backend).or_default() += 1;
            }
        }
        for (backend, connections) in expired {
            self.plane.add_expired(backend, connections)?;
        }
        self.upkeep.found = found;
        Ok(judge.services)
    }

    /// Targets that are down, and which flow entries each service needs then.
    fn needs(&self) -> Result<(BTreeSet<u32>, HashMap<u32, Need>), Error> {
        let down = self.liveness.down();
        let is_down = |id: &u32| self.backends.get(id).is_some_and(|backend| down.contains(&backend.target));
        let mut needs = HashMap::new();
        for (id, published) in &self.services {
            let quiet_s = published.quiet_s;
            let need = match &published.source {
                None => Need::All,
                Some(source) if source.is_tracked() => Need::Tracked { quiet_s },
                Some(source) if published.is_in_transition() || published.named.iter().any(is_down) => {
                    match self.plane.read_slots(*id)? {
                        Some(slots) => Need::BySlot { slots, source: source.clone(), quiet_s },
                        None => Need::All,
                    }
                }
                Some(_) => Need::None,
            };
            needs.insert(*id, need);
        }
        Ok((down, needs))
    }

    /// Ends what is due: moving slots after their quiet period, settled ones without exceptions; and lets waiting ones
    /// take their turn. True if any slot stopped moving.
    fn settle(&mut self, now_s: u32, needs: HashMap<u32, Need>) -> Result<bool, Error> {
        let mut any_settled = false;
        for (id, need) in needs {
            let Some(published) = self.services.get_mut(&id) else { continue };
            let slots = match need {
                Need::BySlot { slots, .. } => slots,
                Need::Tracked { .. } if published.is_in_transition() => match self.plane.read_slots(id)? {
                    Some(slots) => slots,
                    None => continue,
                },
                _ => continue,
            };
            let (quiet_s, capped_s) = (published.quiet_s, self.upkeep.capped_s);
            let since_s = &published.moving_since_s;
            let due = |index: usize| {
                let since_s = since_s.get(index).copied().filter(|since_s| *since_s != AT_REST);
                since_s.is_some_and(|since_s| now_s.saturating_sub(since_s.max(capped_s)) > quiet_s)
            };
            let exception = |index| self.upkeep.found.is_exception(id, index);
            let mut next = transition::settle(&slots, due, exception);
            let settled = next.as_ref().unwrap_or(&slots);
            let turn = transition::whose_turn(settled, |index| published.waiting_since_s(index));
            if !turn.is_empty() {
                next = Some(transition::take_turn(settled, &turn));
                self.plane.set_moving_since_s(id, now_s.saturating_add(1))?;
            }
            let Some(next) = next else { continue };
            self.plane.publish_slots(id, published.class, &next)?;
            any_settled |= next.counts().moving < published.counts.moving;
            // The packet path records them from this second on, not from that of the walk.
            published.note_turn(&turn, next.size(), self.plane.now_s());
            published.note(&next);
        }
        Ok(any_settled)
    }
}
