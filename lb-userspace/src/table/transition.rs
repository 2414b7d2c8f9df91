//! How a service's slots change their owners without a connection changing its backend: pure functions of tables.
//!
//! A slot is steady, moving or settled; see [`lb_common::slot::Slot`]. Connections that began while a slot was moving
//! are in the flow table, all older ones belong to the former owner. So the former owner stays right however often the
//! owner changes meanwhile, and it is given up only when it is dead.

use std::collections::BTreeMap;

use lb_common::slot::Slot;

/// The slots of a service as values: owners with their states, then former owners, in the layout of the map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slots {
    words: Vec<u32>,
}

/// How many slots are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateCounts {
    /// At rest.
    pub steady: u32,
    /// Changing their owner.
    pub moving: u32,
    /// With their owner, and exceptions in the flow table.
    pub settled: u32,
}

impl Slots {
    /// All slots at rest with these owners.
    pub fn steady(owners: &[u32]) -> Self {
        Self::build(owners.len(), |index| (Slot::steady(owners[index]), owners[index]))
    }

    /// The value of a slot map. None if it can't be one.
    pub fn from_words(words: Vec<u32>) -> Option<Self> {
        words.len().is_multiple_of(2).then_some(Self { words })
    }

    fn build(size: usize, slot: impl Fn(usize) -> (Slot, u32)) -> Self {
        let mut words = vec![0; 2 * size];
        let (curs, prevs) = words.split_at_mut(size);
        for (index, (cur, prev)) in curs.iter_mut().zip(prevs).enumerate() {
            (Slot(*cur), *prev) = slot(index);
        }
        Self { words }
    }

    /// The value of the slot map.
    pub fn words(&self) -> &[u32] {
        &self.words
    }

    /// Number of slots.
    pub fn size(&self) -> usize {
        self.words.len() / 2
    }

    /// Owner and state of a slot.
    pub fn cur(&self, index: usize) -> Slot {
        Slot(self.words[index])
    }

    /// Former owner of a slot.
    pub fn prev(&self, index: usize) -> u32 {
        self.words[self.size() + index]
    }

    /// Owners and states in the order of the slots.
    pub fn curs(&self) -> impl Iterator<Item = Slot> {
        self.words[..self.size()].iter().map(|word| Slot(*word))
    }

    /// How many slots each backend owns.
    pub fn owned(&self) -> BTreeMap<u32, u32> {
        // Counted by index first: a map entry per slot would cost more than building the table.
        let mut counts: Vec<u32> = Vec::new();
        for owner in self.curs().map(|cur| cur.backend() as usize).filter(|owner| *owner != 0) {
            if owner >= counts.len() {
                counts.resize(owner + 1, 0);
            }
            counts[owner] += 1;
        }
        (0..).zip(counts).filter(|(_, count)| *count > 0).collect()
    }

    /// Whether these are the owners, in whatever states.
    pub fn have_owners(&self, owners: &[u32]) -> bool {
        self.size() == owners.len() && self.curs().zip(owners).all(|(cur, owner)| cur.backend() == *owner)
    }

    /// Slots by state.
    pub fn counts(&self) -> StateCounts {
        let mut counts = StateCounts::default();
        for cur in self.curs() {
            *match (cur.is_moving(), cur.is_settled()) {
                (true, _) => &mut counts.moving,
                (false, true) => &mut counts.settled,
                (false, false) => &mut counts.steady,
            } += 1;
        }
        counts
    }
}

/// The table that gives every slot its new owner. `alive` says which backends still serve the connections they have.
///
/// Both tables have the same size; without a current one the result is at rest.
pub fn change(current: &Slots, owners: &[u32], alive: impl Fn(u32) -> bool) -> Slots {
    let serves = |backend: u32| backend != 0 && alive(backend);
    Slots::build(owners.len(), |index| {
        let (cur, owner) = (current.cur(index), owners[index]);
        if cur.is_moving() {
            let prev = current.prev(index);
            // Recorded connections may name any owner of the meantime, so without a former owner it is settled.
            if serves(prev) && prev != owner { moving(owner, prev) } else { settled(owner) }
        } else if cur.backend() == owner {
            (cur, owner)
        } else if serves(cur.backend()) {
            moving(owner, cur.backend())
        } else if cur.is_settled() {
            settled(owner)
        } else {
            (Slot::steady(owner), owner)
        }
    })
}

/// The table after the end of quiet periods: a moving slot that is `due` settles, and one whose flow table entries all
/// name the owner (no `exception`) is at rest. None if nothing changes.
pub fn settle(
    current: &Slots,
    due: impl Fn(usize) -> bool,
    exception: impl Fn(usize) -> bool,
) -> Option<Slots> {
    let next = Slots::build(current.size(), |index| {
        let cur = current.cur(index);
        if cur.is_steady() || (cur.is_moving() && !due(index)) {
            (cur, current.prev(index))
        } else if exception(index) {
            settled(cur.backend())
        } else {
            (Slot::steady(cur.backend()), cur.backend())
        }
    });
    (next != *current).then_some(next)
}

fn moving(owner: u32, former: u32) -> (Slot, u32) {
    (Slot(Slot::steady(owner).0 | Slot::MOVING), former)
}

fn settled(owner: u32) -> (Slot, u32) {
    (Slot(Slot::steady(owner).0 | Slot::SETTLED), owner)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// One slot: its word and its former owner.
    fn one(slot: (Slot, u32)) -> Slots {
        Slots::build(1, |_| slot)
    }

    fn rest(owner: u32) -> (Slot, u32) {
        (Slot::steady(owner), owner)
    }

    #[test]
    fn each_change_of_one_slot() {
        let dead = 9;
        for (what, before, owner, after) in [
            ("same owner", rest(1), 1, rest(1)),
            ("another owner", rest(1), 2, moving(2, 1)),
            ("the owner died", rest(dead), 2, rest(2)),
            ("the first owner", rest(0), 2, rest(2)),
            ("no owner is left, but the former lives", rest(1), 0, moving(0, 1)),
            ("no owner is left", rest(dead), 0, rest(0)),
            ("moving on", moving(2, 1), 2, moving(2, 1)),
            ("a second change", moving(2, 1), 3, moving(3, 1)),
            ("back to the former", moving(2, 1), 1, settled(1)),
            ("the former died", moving(2, dead), 2, settled(2)),
            ("the former died, a second change", moving(2, dead), 3, settled(3)),
            ("the owner died while moving", moving(dead, 1), 3, moving(3, 1)),
            ("settled with the same owner", settled(1), 1, settled(1)),
            ("settled, another owner", settled(1), 2, moving(2, 1)),
            ("settled, the owner died", settled(dead), 2, settled(2)),
        ] {
            assert_eq!(change(&one(before), &[owner], |b| b != dead), one(after), "{what}");
        }
    }

    #[test]
    fn each_end_of_a_quiet_period() {
        for (what, before, due, exception, after) in [
            ("not yet", moving(2, 1), false, false, None),
            ("due", moving(2, 1), true, false, Some(rest(2))),
            ("due, with exceptions", moving(2, 1), true, true, Some(settled(2))),
            ("exceptions stay", settled(2), false, true, None),
            ("the last exception is gone", settled(2), false, false, Some(rest(2))),
            ("at rest", rest(2), true, true, None),
        ] {
            assert_eq!(settle(&one(before), |_| due, |_| exception), after.map(one), "{what}");
        }
    }

    #[test]
    fn slots_are_counted_by_state() {
        let slots = Slots::build(6, |index| [rest(1), moving(2, 1), settled(1)][index % 3]);
        assert_eq!(slots.counts(), StateCounts { steady: 2, moving: 2, settled: 2 });
    }

    /// A model of one slot: where each connection went when it began, against what the slot says about it.
    #[derive(Default)]
    struct Model {
        /// Connections that the flow table names: their backends.
        recorded: Vec<u32>,
        /// Backends of the connections that are in no table.
        unrecorded: Vec<u32>,
    }

    impl Model {
        /// A connection begins: it goes to the owner, and is recorded while the slot moves.
        fn begin(&mut self, slot: Slot) {
            match (slot.backend(), slot.is_moving()) {
                (0, _) => {}
                (owner, true) => self.recorded.push(owner),
                (owner, false) => self.unrecorded.push(owner),
            }
        }

        /// Each connection sends a packet. Those of live backends must meet them again.
        fn send_all(&mut self, slots: &Slots, dead: &[u32]) -> Result<(), TestCaseError> {
            let slot = slots.cur(0);
            let miss = if slot.is_moving() { slots.prev(0) } else { slot.backend() };
            for backend in std::mem::take(&mut self.unrecorded) {
                if dead.contains(&backend) {
                    continue;
                }
                prop_assert_eq!(backend, miss, "an unrecorded connection in slot {:?}", slot);
                if slot.is_moving() { &mut self.recorded } else { &mut self.unrecorded }.push(backend);
            }
            self.recorded.retain(|backend| !dead.contains(backend));
            let other = self.recorded.iter().any(|backend| *backend != slot.backend());
            prop_assert!(!other || !slot.is_steady(), "a recorded connection is not looked up");
            Ok(())
        }
    }

    proptest! {
        /// Whatever the order of changes, deaths and quiet periods, no connection of a live backend changes it.
        #[test]
        fn connections_keep_their_backend(steps in prop::collection::vec((0u8..5, 0u32..5), 1..60)) {
            let mut slots = Slots::steady(&[1]);
            let (mut model, mut dead) = (Model::default(), Vec::new());
            for (step, backend) in steps {
                match step {
                    0 if !dead.contains(&backend) => {
                        slots = change(&slots, &[backend], |b| !dead.contains(&b));
                    }
                    1 if backend != 0 => {
                        dead.push(backend);
                        let owner = (1..5).find(|b| !dead.contains(b)).unwrap_or(0);
                        slots = change(&slots, &[owner], |b| !dead.contains(&b));
                    }
                    2 => model.begin(slots.cur(0)),
                    3 => model.send_all(&slots, &dead)?,
                    _ => {
                        // Every live connection has sent something by the end of a quiet period.
                        model.send_all(&slots, &dead)?;
                        let owner = slots.cur(0).backend();
                        let exception = model.recorded.iter().any(|b| *b != owner);
                        slots = settle(&slots, |_| true, |_| exception).unwrap_or(slots);
                        if slots.cur(0).is_steady() {
                            model.unrecorded.append(&mut model.recorded);
                        }
                    }
                }
            }
            model.send_all(&slots, &dead)?;
        }
    }
}
