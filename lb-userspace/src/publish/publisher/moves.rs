//! What a snapshot would move, without publishing it.

use std::collections::{BTreeMap, BTreeSet};

use lb_common::hash::slot_index;

use super::{
    super::{dataplane::DataPlane, plan},
    Publisher,
};
use crate::{
    error::Error,
    table::{snapshot::Snapshot, transition::Slots},
};

/// What would move of a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moves {
    /// Slots that would get another owner.
    pub slots: u32,
    /// Tracked flows in them.
    pub tracked_flows: u64,
}

impl<P: DataPlane> Publisher<P> {
    /// What a snapshot would move, by service id. Nothing is written.
    ///
    /// # Errors
    /// If the snapshot does not fit the maps, or the tables can't be read.
    pub fn moves(&mut self, snapshot: &Snapshot) -> Result<BTreeMap<u32, Moves>, Error> {
        plan::check(snapshot)?;
        let held: Vec<u32> = self.services.keys().copied().collect();
        let (mut moves, mut changed) = (BTreeMap::new(), BTreeMap::new());
        for id in held {
            let Some(current) = self.plane.read_slots(id)? else { continue };
            let slots = self.moving_slots(id, &current, snapshot)?;
            let count = u32::try_from(slots.len()).unwrap_or(u32::MAX);
            if count > 0 {
                moves.insert(id, Moves { slots: count, tracked_flows: 0 });
                changed.insert(id, (slots, current.size()));
            }
        }
        let seed = self.seed;
        self.plane.retain_flows(&mut |key, entry| {
            if let Some((slots, size)) = changed.get(&entry.service)
                && slots.contains(&slot_index(key.hash(seed), *size))
                && let Some(moves) = moves.get_mut(&entry.service)
            {
                moves.tracked_flows += 1;
            }
            true
        })?;
        Ok(moves)
    }

    /// Slots of a published service that a snapshot gives another owner; all that have one if it drops the service.
    fn moving_slots(&self, id: u32, current: &Slots, snapshot: &Snapshot) -> Result<BTreeSet<usize>, Error> {
        // A table of another class is a new one: nothing moves in it.
        let same_class = |class| self.services.get(&id).is_some_and(|published| published.class == class);
        let input = snapshot.services.get(&id).filter(|input| same_class(input.class));
        let next =
            input.map(|input| plan::next_slots(self.seed, Some(current), input, snapshot)).transpose()?;
        let owner = |index| next.as_ref().map_or(0, |next| next.cur(index).backend());
        Ok((0..current.size()).filter(|index| current.cur(*index).backend() != owner(*index)).collect())
    }
}
