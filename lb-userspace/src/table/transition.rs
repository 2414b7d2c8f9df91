//! How a service's slots change their owners without a connection changing its backend: pure functions of tables.
//!
//! A slot is steady, moving or settled; see [`lb_common::slot::Slot`]. Connections that began while a slot was moving
//! are in the flow table, all older ones belong to the former owner. So the former owner stays right however often the
//! owner changes meanwhile, and it is given up only when it has died.
//!
//! Before a moving slot settles, the older connections must be recorded as well, since a settled slot's connections are
//! its owner's unless recorded. Where the former owner had the slot at rest and stays in the set that has time: such a
//! slot *waits*, and only its new connections are recorded, until its turn comes. So of a large change, as when a set
//! grows, no more connections are tracked at once than those that began since, the older ones of the slots whose turn it
//! is, and what is left of those before. Where the former owner leaves, as in a drain, all are recorded at once.
//!
//! While an owner is dead, the packet path sends its connections elsewhere and records where: its slot is settled next,
//! so that these records stay in force.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use lb_common::slot::Slot;

/// The slots of a service as values: owners with their states, then former owners, in the layout of the map.
#[derive(Clone, PartialEq, Eq)]
pub struct Slots {
    words: Vec<u32>,
}

impl fmt::Debug for Slots {
    /// The few of small tables, numbers of the others.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.size() {
            0..=16 => {
                f.debug_list().entries(self.curs().enumerate().map(|(n, cur)| (cur, self.prev(n)))).finish()
            }
            _ => write!(f, "{:?} of {:?}", self.counts(), self.owned()),
        }
    }
}

/// How many slots are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateCounts {
    /// At rest.
    pub steady: u32,
    /// Changing their owner.
    pub moving: u32,
    /// Those of them that wait for their turn.
    pub waiting: u32,
    /// With their owner, and exceptions in the flow table.
    pub settled: u32,
}

impl StateCounts {
    /// All slots.
    pub const fn sum(&self) -> u32 {
        self.steady + self.moving + self.settled
    }
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
        let owned = count(self.curs().map(Slot::backend));
        owned.filter(|(backend, _)| *backend != 0).collect()
    }

    /// All backends that packets may go to by the table: owners, and former owners of moving slots.
    pub fn named(&self) -> BTreeSet<u32> {
        let moving = self.curs().enumerate().filter(|(_, cur)| cur.is_moving());
        // A map that someone else wrote to may hold anything.
        let former = moving.map(|(index, _)| self.prev(index)).filter(|former| *former <= Slot::ID_MASK);
        let former = count(former);
        former.map(|(backend, _)| backend).chain(self.owned().into_keys()).collect()
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
            counts.waiting += u32::from(cur.is_waiting());
        }
        counts
    }
}

/// How often each number is there. Counted by index first: a map entry per slot would cost more than building a table.
fn count(backends: impl Iterator<Item = u32>) -> impl Iterator<Item = (u32, u32)> {
    let mut counts: Vec<u32> = Vec::new();
    for backend in backends.map(|backend| backend as usize) {
        if backend >= counts.len() {
            counts.resize(backend + 1, 0);
        }
        counts[backend] += 1;
    }
    (0..).zip(counts).filter(|(_, count)| *count > 0)
}

/// What became of the backends that a table names.
pub struct Backends<A, R, W> {
    /// Which ones still serve the connections they have.
    pub alive: A,
    /// Which ones were dead until now: connections that they had are elsewhere or lost.
    pub returned: R,
    /// Which ones can do without having their connections recorded at once: they keep a share of the slots, and
    /// packets tell which connections begin.
    pub can_wait: W,
}

/// The table that gives every slot its new owner.
///
/// Both tables have the same size; without a current one the result is at rest.
pub fn change(
    current: &Slots,
    owners: &[u32],
    backends: &Backends<impl Fn(u32) -> bool, impl Fn(u32) -> bool, impl Fn(u32) -> bool>,
) -> Slots {
    let serves = |backend: u32| backend != 0 && (backends.alive)(backend) && !(backends.returned)(backend);
    Slots::build(owners.len(), |index| {
        let (cur, owner) = (current.cur(index), owners[index]);
        // Whom connections without a record belong to. Those of a former owner that died are lost.
        let keeper = match current.prev(index) {
            former if cur.is_moving() && serves(former) => former,
            _ => cur.backend(),
        };
        if cur == Slot::steady(0) {
            (Slot::steady(owner), owner)
        } else if cur.is_steady() && keeper == owner && !(backends.returned)(owner) {
            (cur, owner)
        } else if keeper != owner && serves(keeper) {
            let waits = cur.is_steady() || cur.is_waiting() && current.prev(index) == keeper;
            if waits && (backends.can_wait)(keeper) { waiting(owner, keeper) } else { moving(owner, keeper) }
        } else {
            // Records may name any owner of the meantime.
            settled(owner)
        }
    })
}

/// The table after a walk of the flow table: a moving slot that is `due` settles, unless it waits. A settled one is at
/// rest, unless the flow table held an `exception`, a flow of another backend than the owner.
///
/// It takes both steps, each with a walk before it: while a slot moves, a flow may be recorded behind the walk's back. A
/// settled slot gets no new exceptions as long as its owner lives. None if nothing changes.
pub fn settle(
    current: &Slots,
    due: impl Fn(usize) -> bool,
    exception: impl Fn(usize) -> bool,
) -> Option<Slots> {
    let next = Slots::build(current.size(), |index| {
        let cur = current.cur(index);
        if cur.is_moving() && !cur.is_waiting() && due(index) {
            settled(cur.backend())
        } else if cur.is_settled() && !exception(index) {
            (Slot::steady(cur.backend()), cur.backend())
        } else {
            (cur, current.prev(index))
        }
    });
    (next != *current).then_some(next)
}

/// Of all slots of a table, one in this many may have its turn at once.
const TURN_SHARE: u32 = 20;
/// Of the slots that wait, one in this many may have its turn at once, where that is more: a quarter of what moves is
/// tracked in full while new connections gather in the rest.
const TURN_SHARE_OF_WAITING: u32 = 4;

/// How many slots may have their turn at once, of `all` slots and of those that wait.
fn turn_size(all: u32, waiting: u32) -> u32 {
    (all / TURN_SHARE).max(waiting.div_ceil(TURN_SHARE_OF_WAITING))
}

/// Quiet periods that follow the current one until no slot waits, if nothing else happens.
pub fn turns_left(counts: StateCounts) -> u32 {
    let (mut waiting, mut turns) = (counts.waiting, 0);
    while waiting > 0 {
        waiting = waiting.saturating_sub(turn_size(counts.sum(), waiting));
        turns += 1;
    }
    turns
}

/// The waiting slots whose turn it is, those that have waited longest first. `since_s`: when each began to wait.
pub fn whose_turn(current: &Slots, since_s: impl Fn(usize) -> u32) -> Vec<usize> {
    let counts = current.counts();
    let in_turn = counts.moving - counts.waiting;
    let room = turn_size(counts.sum(), counts.waiting).saturating_sub(in_turn) as usize;
    let mut waiting: Vec<usize> =
        (0..current.size()).filter(|index| current.cur(*index).is_waiting()).collect();
    // Stable: slots of one moment go in the order of the table.
    waiting.sort_by_key(|index| since_s(*index));
    waiting.truncate(room);
    waiting
}

/// The table in which the connections of some waiting slots are recorded.
pub fn take_turn(current: &Slots, indices: &[usize]) -> Slots {
    let mut next = current.clone();
    for index in indices {
        next.words[*index] &= !Slot::WAITING;
    }
    next
}

fn waiting(owner: u32, former: u32) -> (Slot, u32) {
    (Slot(Slot::steady(owner).0 | Slot::MOVING | Slot::WAITING), former)
}

fn moving(owner: u32, former: u32) -> (Slot, u32) {
    (Slot(Slot::steady(owner).0 | Slot::MOVING), former)
}

fn settled(owner: u32) -> (Slot, u32) {
    (Slot(Slot::steady(owner).0 | Slot::SETTLED), owner)
}

#[cfg(test)]
#[path = "transition_tests.rs"]
mod tests;
