//! The quick way out of rotation: one store per target, past the queue of everything else.
//!
//! Down is stored at once. Up waits for the publisher, which first publishes the slot tables: while a target is down, its
//! connections are recorded with other backends in slots that are at rest, and those records hold only once the slots
//! say so.
//!
//! Checks and snapshots both write here, from different threads and out of step. Each decision has a [`Moment`], and a
//! snapshot says up to which one it knows them: what was decided later stands.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::error::Error;

type Store = dyn Fn(u32, bool) -> Result<(), Error> + Send + Sync;

/// The order of decisions. The default is before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

/// Sets targets up or down. Clones reach the same map, from any thread.
#[derive(Clone)]
pub struct Liveness {
    store: Arc<Store>,
    known: Arc<Mutex<Known>>,
}

/// What the map holds. Locked while it is written, so that it is written in the order of decisions.
#[derive(Default)]
struct Known {
    /// Targets that are not in it are up.
    targets: BTreeMap<u32, Mark>,
    last: Moment,
}

#[derive(Clone, Copy)]
struct Mark {
    /// What was decided.
    up: bool,
    decided: Moment,
    /// What the map holds.
    held_up: bool,
}

impl Mark {
    const UNKNOWN: Self = Self { up: true, decided: Moment(0), held_up: true };

    /// Whether it was decided after a snapshot that the target is down.
    fn fell_after(self, known_until: Moment) -> bool {
        !self.up && self.decided > known_until
    }
}

impl Known {
    fn mark(&self, target: u32) -> Mark {
        self.targets.get(&target).copied().unwrap_or(Mark::UNKNOWN)
    }
}

impl Liveness {
    /// The owner of a map that is written through this function; these targets are down in it.
    pub fn new(
        store: impl Fn(u32, bool) -> Result<(), Error> + Send + Sync + 'static,
        down: impl IntoIterator<Item = u32>,
    ) -> Self {
        let mark = Mark { up: false, held_up: false, ..Mark::UNKNOWN };
        let targets = down.into_iter().map(|target| (target, mark)).collect();
        Self {
            store: Arc::new(store),
            known: Arc::new(Mutex::new(Known { targets, last: Moment::default() })),
        }
    }

    /// Marks a target as was just decided. The packet path follows with its next packet if it is down, and with the
    /// next snapshot that says so if it is up.
    ///
    /// # Errors
    /// If the target's number is beyond the map, or the kernel refuses.
    pub fn set(&self, target: u32, up: bool) -> Result<Moment, Error> {
        let mut known = self.lock();
        if !up {
            (self.store)(target, false)?;
        }
        known.last.0 += 1;
        let decided = known.last;
        let held_up = up && known.mark(target).held_up;
        known.targets.insert(target, Mark { up, decided, held_up });
        Ok(decided)
    }

    /// The last decision.
    pub(crate) fn last(&self) -> Moment {
        self.lock().last
    }

    /// The targets that the map holds as down.
    pub(crate) fn down(&self) -> BTreeSet<u32> {
        let known = self.lock();
        known.targets.iter().filter(|(_, mark)| !mark.held_up).map(|(target, _)| *target).collect()
    }

    /// Takes over which targets were found down, except where a decision fell since this one.
    pub(crate) fn found(&self, down: &BTreeSet<u32>, since: Moment) {
        let mut known = self.lock();
        for target in down {
            known.targets.entry(*target).or_insert(Mark::UNKNOWN);
        }
        for (target, mark) in &mut known.targets {
            if mark.decided <= since {
                mark.held_up = !down.contains(target);
            }
        }
    }

    /// Those targets of a snapshot that are up, going by what was decided later too.
    pub(crate) fn up(&self, targets: &BTreeMap<u32, bool>, known_until: Moment) -> BTreeSet<u32> {
        let known = self.lock();
        let up = targets.iter().filter(|(_, up)| **up).map(|(target, _)| *target);
        up.filter(|target| !known.mark(*target).fell_after(known_until)).collect()
    }

    /// Marks a target as down for a snapshot. True if it was written: it was marked otherwise, and not by a later
    /// decision.
    pub(crate) fn lower(&self, target: u32, known_until: Moment) -> Result<bool, Error> {
        let mut known = self.lock();
        let mark = known.mark(target);
        if !mark.held_up || mark.decided > known_until {
            return Ok(false);
        }
        (self.store)(target, false)?;
        known.targets.insert(target, Mark { up: false, decided: known_until, held_up: false });
        Ok(true)
    }

    /// Marks a target as up for a snapshot whose slot tables are published. True if it was written: it was marked
    /// otherwise, and not by a later decision.
    pub(crate) fn raise(&self, target: u32, known_until: Moment) -> Result<bool, Error> {
        let mut known = self.lock();
        let mark = known.mark(target);
        if mark.held_up || mark.fell_after(known_until) {
            return Ok(false);
        }
        (self.store)(target, true)?;
        known.targets.insert(target, Mark { up: true, held_up: true, ..mark });
        Ok(true)
    }

    /// Forgets a target that nothing refers to any more; the next one of its number begins up.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn forget(&self, target: u32) -> Result<(), Error> {
        let mut known = self.lock();
        (self.store)(target, true)?;
        known.targets.remove(&target);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        // Nothing is half done when a store panics: marks follow it.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Liveness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Liveness")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A map in memory, in which target 9 is down.
    fn liveness() -> (Liveness, Arc<Mutex<BTreeMap<u32, bool>>>) {
        let map = Arc::new(Mutex::new(BTreeMap::from([(9, false)])));
        let written = Arc::clone(&map);
        let store = move |target, up| {
            if target > 9 {
                return Err(Error::failed("beyond the map"));
            }
            written.lock().unwrap().insert(target, up);
            Ok(())
        };
        (Liveness::new(store, [9]), map)
    }

    #[test]
    fn what_was_decided_after_a_snapshot_stands() {
        let (liveness, map) = liveness();
        let up = liveness.set(1, true).unwrap();
        let down = liveness.set(1, false).unwrap();
        assert!(!liveness.raise(1, up).unwrap());
        assert!(!map.lock().unwrap()[&1]);
        assert!(liveness.up(&[(1, true)].into(), up).is_empty());
        assert!(liveness.raise(1, down).unwrap(), "it knew, and something else is to hold");
        assert!(map.lock().unwrap()[&1]);
        let up = liveness.set(1, true).unwrap();
        assert!(!liveness.lower(1, down).unwrap());
        assert!(liveness.lower(1, up).unwrap());
    }

    #[test]
    fn up_waits_for_the_tables() {
        let (liveness, map) = liveness();
        liveness.set(1, false).unwrap();
        let up = liveness.set(1, true).unwrap();
        assert!(!map.lock().unwrap()[&1]);
        assert_eq!(liveness.down(), [1, 9].into());
        assert_eq!(liveness.up(&[(1, true)].into(), up), [1].into());
        assert!(liveness.raise(1, up).unwrap());
        assert_eq!(liveness.down(), [9].into());
    }

    #[test]
    fn only_what_differs_is_written() {
        let (liveness, map) = liveness();
        assert!(!liveness.raise(1, Moment::default()).unwrap());
        assert!(!liveness.lower(9, Moment::default()).unwrap());
        assert!(liveness.raise(9, Moment::default()).unwrap(), "found down, is up");
        assert_eq!(*map.lock().unwrap(), [(9, true)].into());
    }

    #[test]
    fn a_foreign_change_is_found() {
        let (liveness, _map) = liveness();
        let before = liveness.last();
        let decided = liveness.set(2, false).unwrap();
        liveness.found(&[1].into(), before);
        assert_eq!(liveness.down(), [1, 2].into(), "the decision is newer than what was found");
        assert!(liveness.raise(1, decided).unwrap());
        assert!(liveness.lower(9, decided).unwrap(), "someone raised it");
    }

    #[test]
    fn a_failed_store_leaves_the_mark() {
        let (liveness, _map) = liveness();
        assert!(liveness.set(10, false).is_err());
        assert!(liveness.lower(10, Moment::default()).is_err(), "tried again");
    }

    #[test]
    fn a_forgotten_target_begins_anew() {
        let (liveness, map) = liveness();
        liveness.set(2, false).unwrap();
        liveness.forget(2).unwrap();
        assert!(map.lock().unwrap()[&2]);
        assert!(liveness.lower(2, Moment::default()).unwrap());
    }
}
