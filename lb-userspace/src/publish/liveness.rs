//! The quick way out of rotation: one store per target, past the queue of everything else.
//!
//! Checks and snapshots both write here, from different threads and out of step. Each decision has a [`Moment`], and a
//! snapshot says up to which one it knows them: what was decided later stands.

use std::{
    collections::BTreeMap,
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
    up: bool,
    decided: Moment,
}

impl Liveness {
    /// The owner of a map that is written through this function; these targets are down in it.
    pub fn new(
        store: impl Fn(u32, bool) -> Result<(), Error> + Send + Sync + 'static,
        down: impl IntoIterator<Item = u32>,
    ) -> Self {
        let mark = Mark { up: false, decided: Moment::default() };
        let targets = down.into_iter().map(|target| (target, mark)).collect();
        Self {
            store: Arc::new(store),
            known: Arc::new(Mutex::new(Known { targets, last: Moment::default() })),
        }
    }

    /// Marks a target as was just decided; the packet path follows with its next packet.
    ///
    /// # Errors
    /// If the target's number is beyond the map, or the kernel refuses.
    pub fn set(&self, target: u32, up: bool) -> Result<Moment, Error> {
        let mut known = self.lock();
        (self.store)(target, up)?;
        known.last.0 += 1;
        let decided = known.last;
        known.targets.insert(target, Mark { up, decided });
        Ok(decided)
    }

    /// Marks a target as a snapshot has it that knows what was decided until `known_until`. True if it was written:
    /// it was marked otherwise, and not by a later decision.
    ///
    /// # Errors
    /// If the target's number is beyond the map, or the kernel refuses.
    pub fn set_unless_newer(&self, target: u32, up: bool, known_until: Moment) -> Result<bool, Error> {
        let mut known = self.lock();
        let mark = known.targets.get(&target).copied();
        if mark.map_or(up, |mark| mark.up == up || mark.decided > known_until) {
            return Ok(false);
        }
        (self.store)(target, up)?;
        known.targets.insert(target, Mark { up, decided: known_until });
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
        assert!(!liveness.set_unless_newer(1, true, up).unwrap());
        assert!(!map.lock().unwrap()[&1]);
        assert!(liveness.set_unless_newer(1, true, down).unwrap(), "it knew, and something else is to hold");
        assert!(map.lock().unwrap()[&1]);
    }

    #[test]
    fn only_what_differs_is_written() {
        let (liveness, map) = liveness();
        assert!(!liveness.set_unless_newer(1, true, Moment::default()).unwrap());
        assert!(!liveness.set_unless_newer(9, false, Moment::default()).unwrap());
        assert!(liveness.set_unless_newer(9, true, Moment::default()).unwrap(), "found down, is up");
        assert_eq!(*map.lock().unwrap(), [(9, true)].into());
    }

    #[test]
    fn a_failed_store_leaves_the_mark() {
        let (liveness, _map) = liveness();
        assert!(liveness.set(10, false).is_err());
        assert!(liveness.set_unless_newer(10, false, Moment::default()).is_err(), "tried again");
    }

    #[test]
    fn a_forgotten_target_begins_anew() {
        let (liveness, map) = liveness();
        liveness.set(2, false).unwrap();
        liveness.forget(2).unwrap();
        assert!(map.lock().unwrap()[&2]);
        assert!(liveness.set_unless_newer(2, false, Moment::default()).unwrap());
    }
}
