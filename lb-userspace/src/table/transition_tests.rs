//! Transitions of single slots, and a model of the connections in one.

use std::collections::BTreeMap;

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
    let (dead, back) = (9, 8);
    let (patient, backends) =
        (7, Backends { alive: |b| b != dead, returned: |b| b == back, can_wait: |b| b == 7 });
    for (what, before, owner, after) in [
        ("same owner", rest(1), 1, rest(1)),
        ("another owner", rest(1), 2, moving(2, 1)),
        ("the owner died", rest(dead), 2, settled(2)),
        ("the owner died and is back before another was found", rest(back), back, settled(back)),
        ("the owner died and is back, but another was found", rest(back), 2, settled(2)),
        ("the first owner", rest(0), 2, rest(2)),
        ("no owner is left, but the former lives", rest(1), 0, moving(0, 1)),
        ("no owner is left", rest(dead), 0, settled(0)),
        ("an owner after there was none", settled(0), 2, settled(2)),
        ("moving on", moving(2, 1), 2, moving(2, 1)),
        ("a second change", moving(2, 1), 3, moving(3, 1)),
        ("back to the former", moving(2, 1), 1, settled(1)),
        ("the former died", moving(2, dead), 2, settled(2)),
        ("the former died, a second change", moving(2, dead), 3, moving(3, 2)),
        ("the former and the owner died", moving(dead, dead), 3, settled(3)),
        ("the former died and is back", moving(2, back), 2, settled(2)),
        ("the owner died while moving", moving(dead, 1), 3, moving(3, 1)),
        ("the owner died while moving and is back", moving(back, 1), back, moving(back, 1)),
        ("settled with the same owner", settled(1), 1, settled(1)),
        ("settled, another owner", settled(1), 2, moving(2, 1)),
        ("settled, the owner died", settled(dead), 2, settled(2)),
        ("an owner that can wait", rest(patient), 2, waiting(2, patient)),
        ("settled, an owner that can wait but has few", settled(patient), 2, moving(2, patient)),
        ("a second change while waiting", waiting(2, patient), 3, waiting(3, patient)),
        ("a second change after its turn", moving(2, patient), 3, moving(3, patient)),
        ("back to the one that waits", waiting(2, patient), patient, settled(patient)),
        ("the one that waited leaves", waiting(2, 1), 2, moving(2, 1)),
        ("the one that waited died", waiting(2, dead), 2, settled(2)),
        ("the one that waited died, a second change", waiting(patient, dead), 3, moving(3, patient)),
    ] {
        assert_eq!(change(&one(before), &[owner], &backends), one(after), "{what}");
    }
}

#[test]
fn each_end_of_a_quiet_period() {
    for (what, before, due, exception, after) in [
        ("not yet", moving(2, 1), false, false, None),
        ("due", moving(2, 1), true, false, Some(settled(2))),
        ("waiting", waiting(2, 1), true, false, None),
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
    let slots = Slots::build(8, |index| [rest(1), moving(2, 1), settled(1), waiting(2, 1)][index % 4]);
    assert_eq!(slots.counts(), StateCounts { steady: 2, moving: 4, waiting: 2, settled: 2 });
}

#[test]
fn waiting_slots_take_turns_until_none_waits() {
    // Of 200 slots 80 wait: a quarter of those that do has its turn at once, then at least a twentieth of all.
    let mut slots = Slots::build(200, |index| if index < 80 { waiting(2, 1) } else { rest(1) });
    let mut sizes = Vec::new();
    while slots.counts().waiting > 0 {
        assert_eq!(turns_left(slots.counts()) as usize, 7 - sizes.len());
        let turn = whose_turn(&slots, |index| if index == 79 { 0 } else { 1 });
        assert_eq!(turn.contains(&79), sizes.is_empty(), "who has waited longest is first");
        slots = take_turn(&slots, &turn);
        assert!(whose_turn(&slots, |_| 0).is_empty(), "one turn at a time");
        slots = settle(&slots, |_| true, |_| true).unwrap();
        sizes.push(turn.len());
    }
    assert_eq!((turns_left(slots.counts()), sizes), (0, vec![20, 15, 12, 10, 10, 10, 3]));
    assert_eq!(slots.counts(), StateCounts { steady: 120, settled: 80, ..StateCounts::default() });
}

/// Backends of the model are 1 to this.
const LAST: u32 = 5;

/// One slot, its connections and its flow records, treated as the packet path treats them.
struct Model {
    slots: Slots,
    down: BTreeMap<u32, ()>,
    /// Live connections by their client's port: the backend that each began on.
    connections: BTreeMap<usize, u32>,
    records: BTreeMap<usize, u32>,
    clients: usize,
    /// Where probing leads to: any live backend will do.
    probe: u32,
}

impl Model {
    fn new() -> Self {
        let (down, connections, records) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { slots: Slots::steady(&[1]), down, connections, records, clients: 0, probe: 1 }
    }

    fn up(&self, backend: u32) -> bool {
        backend != 0 && !self.down.contains_key(&backend)
    }

    /// Where a packet goes (0: nowhere), and whether its later packets are sure to follow.
    fn packet(&mut self, client: usize, opens: bool, capped: bool) -> (u32, bool) {
        let cur = self.slots.cur(0);
        let (owner, former) = (cur.backend(), self.slots.prev(0));
        if owner == 0 && !cur.is_moving() && !cur.is_settled() || cur.is_steady() && self.up(owner) {
            return (owner, true);
        }
        let recorded = self.records.get(&client).copied();
        if let Some(backend) = recorded.filter(|backend| self.up(*backend)) {
            return (backend, true);
        }
        if recorded.is_none() && cur.is_settled() && self.up(owner) {
            return (owner, true);
        }
        let stays = cur.is_moving() && recorded.is_none() && self.up(former);
        if stays && !opens && cur.is_waiting() {
            return (former, true);
        }
        let choice = if stays && (!opens || capped) {
            former
        } else if cur.is_moving() && recorded.is_none() && self.up(owner) {
            owner
        } else {
            (0..LAST).map(|n| (self.probe + n) % LAST + 1).find(|b| self.up(*b)).unwrap_or(0)
        };
        if !capped && choice != 0 {
            self.records.insert(client, choice);
        }
        let found = cur.is_moving() && recorded.is_none() && [owner, former].contains(&choice);
        (choice, choice != 0 && (!capped || found))
    }

    fn begin(&mut self, capped: bool) {
        self.clients += 1;
        if let (backend @ 1.., true) = self.packet(self.clients, true, capped) {
            self.connections.insert(self.clients, backend);
        }
    }

    /// Each connection, or one in `every`, sends a packet. It must go where the first one went.
    fn send(&mut self, every: usize, capped: bool) -> Result<(), TestCaseError> {
        for (client, backend) in self.connections.clone() {
            if client % every == 0 {
                let (to, _) = self.packet(client, false, capped);
                prop_assert_eq!(to, backend, "connection {} in slot {:?}", client, self.slots.cur(0));
            }
        }
        Ok(())
    }

    fn publish(&mut self, owner: u32, returned: u32) {
        let backends = Backends {
            alive: |b| b == returned || !self.down.contains_key(&b),
            returned: |b| returned != 0 && b == returned,
            // Some of them stay in the set, which is more than one slot.
            can_wait: |b| b <= 3 && !self.down.contains_key(&b),
        };
        self.slots = change(&self.slots, &[owner], &backends);
    }

    fn fall(&mut self, backend: u32) {
        self.down.insert(backend, ());
        self.connections.retain(|_, of| *of != backend);
    }

    /// The table follows before the backend is up, whoever owns the slot then.
    fn rise(&mut self, backend: u32, owner: u32) {
        if self.down.contains_key(&backend) {
            let owner = if self.up(owner) { owner } else { backend };
            self.publish(owner, backend);
            self.down.remove(&backend);
        }
    }

    /// The collector's walk, and what it ends.
    fn settle(&mut self, due: bool) {
        let cur = self.slots.cur(0);
        let owner = cur.backend();
        let exception = self.records.values().any(|backend| *backend != owner);
        if cur.is_settled() || cur.is_steady() && self.up(owner) {
            self.records.retain(|_, backend| cur.is_settled() && *backend != owner);
        }
        self.slots = settle(&self.slots, |_| due, |_| exception).unwrap_or_else(|| self.slots.clone());
        self.slots = take_turn(&self.slots, &whose_turn(&self.slots, |_| 0));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// Whatever the order of changes, deaths, returns and quiet periods, no connection of a live backend changes it.
    #[test]
    fn connections_keep_their_backend(
        steps in prop::collection::vec((0u8..9, 1..=LAST, 1..=LAST, prop::bool::weighted(0.2)), 1..60)
    ) {
        let mut model = Model::new();
        for (step, backend, other, capped) in steps {
            model.probe = other;
            match step {
                0 if model.up(backend) => model.publish(backend, 0),
                1 => model.fall(backend),
                2 => model.rise(backend, other),
                3 | 4 => model.begin(capped),
                5 => model.send(backend as usize, capped)?,
                6 => {
                    // Whoever is not silent for a quiet period has sent something by its end, when nothing was capped.
                    model.send(1, false)?;
                    model.settle(true);
                }
                7 if (1..=LAST).all(|b| !model.up(b)) => model.publish(0, 0),
                _ => model.settle(false),
            }
        }
        model.send(1, false)?;
    }
}

#[test]
fn owners_and_former_owners_of_moving_slots_are_named() {
    let moving = |owner: u32| owner | Slot::MOVING;
    let words =
        vec![4, moving(5), moving(5), moving(7), 9 | Slot::SETTLED, /* former */ 4, 6, 2, u32::MAX, 8];
    let slots = Slots::from_words(words).unwrap();
    assert_eq!(
        slots.named(),
        [2, 4, 5, 6, 7, 9].into(),
        "8 gave its slot up, and the last number is no backend's"
    );
    assert_eq!(slots.owned(), [(4, 1), (5, 2), (7, 1), (9, 1)].into());
}
