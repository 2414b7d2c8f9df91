//! Slow start: a backend that begins to take traffic rises to its weight in steps.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use super::{
    assignments::{Assignments, each_backend},
    merge::{Liveness, is_up},
};
use crate::desired::model::{Admin, Desired, Service};

/// Steps from nothing to the whole weight. Each of them is a small change of the table.
pub const STEPS: u32 = 10;

/// The weight of a backend that began `elapsed` ago, at least 1 of a weight above 0.
pub fn weight(weight: u32, slow_start: Duration, elapsed: Duration) -> u32 {
    let step = step(slow_start, elapsed);
    let share = u64::from(weight) * u64::from(step) / u64::from(STEPS);
    // Not above `weight`, since the step is not above STEPS.
    u32::try_from(share).unwrap_or(weight).max(weight.min(1))
}

/// When the next step begins, counted like `elapsed`. None at the whole weight.
pub fn next_step(slow_start: Duration, elapsed: Duration) -> Option<Duration> {
    let step = step(slow_start, elapsed);
    (step < STEPS).then(|| slow_start * step / STEPS)
}

/// The current step, 1 to [`STEPS`].
fn step(slow_start: Duration, elapsed: Duration) -> u32 {
    if elapsed >= slow_start {
        return STEPS;
    }
    // Below STEPS, since `elapsed` is below `slow_start`.
    let done = elapsed.as_nanos() * u128::from(STEPS) / slow_start.as_nanos();
    u32::try_from(done).map_or(STEPS, |done| done + 1)
}

/// Which backends take traffic, and since when those do that are in a slow start.
#[derive(Clone, Debug, Default)]
pub struct Rising {
    taking: BTreeSet<u32>,
    since: BTreeMap<u32, Instant>,
    /// Backends that an agent's start found and that were not down since: they go on, they don't begin.
    found: BTreeSet<u32>,
}

impl Rising {
    /// At the start of an agent.
    pub fn at_start(desired: &Desired) -> Self {
        let found = each_backend(desired).map(|(_, _, backend, _)| backend.id).collect();
        Self { found, ..Self::default() }
    }

    /// Takes in who takes traffic now.
    pub fn update(
        &mut self,
        desired: &Desired,
        assignments: &Assignments,
        liveness: &Liveness,
        now: Instant,
    ) {
        let former = std::mem::take(&mut self.taking);
        for (_, service, backend, target) in each_backend(desired) {
            let target = assignments.target(&target);
            let ready = backend.admin == Admin::Ready;
            if ready && target.is_some_and(|target| is_up(liveness, service, target)) {
                self.taking.insert(backend.id);
                let begins = !former.contains(&backend.id) && !self.found.remove(&backend.id);
                if begins && !service.slow_start.is_zero() {
                    self.since.insert(backend.id, now);
                }
            } else if !ready || target.is_some_and(|target| liveness.get(&target) == Some(&false)) {
                self.found.remove(&backend.id);
            }
        }
        self.since.retain(|id, _| self.taking.contains(id));
    }

    /// How long each backend has been in its slow start.
    pub fn elapsed(&self, now: Instant) -> BTreeMap<u32, Duration> {
        self.since.iter().map(|(id, since)| (*id, now.saturating_duration_since(*since))).collect()
    }

    /// When the next step of any backend begins. Those that have their whole weight are forgotten.
    pub fn next_step(&mut self, desired: &Desired, now: Instant) -> Option<Instant> {
        let slow_starts: BTreeMap<u32, &Service> =
            each_backend(desired).map(|(_, service, backend, _)| (backend.id, service)).collect();
        let step_of = |id: u32, since: Instant| {
            let slow_start = slow_starts.get(&id)?.slow_start;
            Some(since + next_step(slow_start, now.saturating_duration_since(since))?)
        };
        self.since.retain(|id, since| step_of(*id, *since).is_some());
        self.since.iter().filter_map(|(id, since)| step_of(*id, *since)).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN: Duration = Duration::from_secs(10);

    #[test]
    fn a_weight_rises_in_ten_steps() {
        let at = |seconds: f64| weight(100, TEN, Duration::from_secs_f64(seconds));
        let rise: Vec<u32> = [0.0, 0.99, 1.0, 5.5, 8.99, 9.0, 10.0, 1e6].map(at).to_vec();
        assert_eq!(rise, [10, 10, 20, 60, 90, 100, 100, 100]);
        assert_eq!(weight(1, TEN, Duration::ZERO), 1, "never nothing");
        assert_eq!(weight(0, TEN, Duration::ZERO), 0, "unless that is its weight");
        assert_eq!(weight(65_535, Duration::ZERO, Duration::ZERO), 65_535, "no slow start");
    }

    #[test]
    fn each_step_begins_after_the_one_before() {
        let mut elapsed = Duration::ZERO;
        for step in 1..STEPS {
            let next = next_step(TEN, elapsed).unwrap();
            assert_eq!(next, Duration::from_secs(step.into()));
            assert!(weight(100, TEN, next) > weight(100, TEN, elapsed));
            elapsed = next;
        }
        assert_eq!(next_step(TEN, elapsed), None);
        assert_eq!(next_step(Duration::ZERO, Duration::ZERO), None);
    }
}
