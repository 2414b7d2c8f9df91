//! Judges flow table entries: which are still needed, and which slots they are exceptions in.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use lb_common::{
    flow::{FLOW_FIN, FLOW_RST, FlowEntry, FlowKey},
    hash::Keys,
};

use super::{Timing, plan::seconds, published::Source};
use crate::table::transition::Slots;

/// What a walk of the flow table found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    /// Flows that stay, by service.
    pub by_service: BTreeMap<u32, u64>,
    /// Flows that stay, by backend.
    pub by_backend: BTreeMap<u32, Flows>,
    /// Slots by service where a flow belongs to another backend than the owner.
    exceptions: HashMap<u32, HashSet<usize>>,
    /// Services in which any slot may have one.
    everywhere: HashSet<u32>,
}

/// Entries of the flow table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flows {
    pub tracked: u64,
    /// Those of them whose client said neither FIN nor RST.
    pub live: u64,
}

impl Found {
    /// Whether a slot of a service has an exception.
    pub(crate) fn is_exception(&self, service: u32, slot: usize) -> bool {
        self.everywhere.contains(&service)
            || self.exceptions.get(&service).is_some_and(|slots| slots.contains(&slot))
    }

    /// Counts an entry that stays.
    pub(crate) fn count(&mut self, entry: &FlowEntry, exception: Exception) {
        *self.by_service.entry(entry.service).or_default() += 1;
        let flows = self.by_backend.entry(entry.backend).or_default();
        flows.tracked += 1;
        flows.live += u64::from(entry.flags & (FLOW_FIN | FLOW_RST) == 0);
        match exception {
            Exception::None => {}
            Exception::In(slot) => {
                self.exceptions.entry(entry.service).or_default().insert(slot);
            }
            Exception::Anywhere => {
                self.everywhere.insert(entry.service);
            }
        }
    }
}

/// Where a flow belongs to another backend than the slot's owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exception {
    None,
    In(usize),
    Anywhere,
}

/// Which entries of a service are needed.
pub(crate) enum Need {
    /// All, until more is known of the service.
    All,
    /// All that are not idle: it has a record of each flow.
    Tracked { quiet_s: u32 },
    /// Those that the slots call for.
    BySlot { slots: Slots, source: Source, quiet_s: u32 },
    /// None: its slots rest, and all of its backends are up.
    None,
}

/// How entries are judged during one walk.
pub(crate) struct Judge<'a> {
    /// Seconds of the kernel's boot clock.
    pub now_s: u32,
    pub timing: &'a Timing,
    /// Multipliers of the flow hash.
    pub keys: Keys,
    /// Backends that exist, and those of them that are down.
    pub backends: BTreeSet<u32>,
    pub down: BTreeSet<u32>,
    /// Backends whose flows are recorded for their drain, wherever their slots are, with the seconds after which such a
    /// flow is idle.
    pub drained_by_id: BTreeMap<u32, u32>,
    /// Services that exist.
    pub services: HashMap<u32, Need>,
}

impl Judge<'_> {
    /// What an entry is needed for; none: it can go.
    pub(crate) fn judge(&self, key: &FlowKey, entry: &FlowEntry) -> Option<Exception> {
        let need = self.services.get(&entry.service).filter(|_| self.backends.contains(&entry.backend))?;
        let judged = match need {
            Need::All => Some(Exception::Anywhere),
            Need::Tracked { quiet_s } => {
                let idle_s = seconds(self.timing.tracked_idle);
                (!self.is_idle(key, entry, idle_s, *quiet_s)).then_some(Exception::None)
            }
            Need::BySlot { slots, source, quiet_s } => {
                let idle_s = seconds(self.timing.tcp_idle);
                if self.is_idle(key, entry, idle_s, *quiet_s) {
                    return None;
                }
                self.judge_by_slot(slots, source.slot_of(key, &self.keys, slots.size()), entry)
            }
            Need::None => self.is_fresh(entry).then_some(Exception::None),
        };
        judged.or_else(|| self.is_waited_for(key, entry).then_some(Exception::None))
    }

    /// Whether a drain waits for a flow that comes by its connection id, which needs no exception in a slot.
    fn is_waited_for(&self, key: &FlowKey, entry: &FlowEntry) -> bool {
        let quiet_s = self.drained_by_id.get(&entry.backend);
        quiet_s.is_some_and(|quiet_s| !self.is_idle(key, entry, *quiet_s, *quiet_s))
    }

    fn judge_by_slot(&self, slots: &Slots, index: usize, entry: &FlowEntry) -> Option<Exception> {
        let slot = slots.cur(index);
        if slot.is_moving() {
            // The owner's own flows too: the former owner's are told apart by them.
            Some(Exception::None)
        } else if slot.is_settled() {
            (slot.backend() != entry.backend).then_some(Exception::In(index))
        } else {
            // While the owner is down, the packet path records where its packets go meanwhile.
            (self.down.contains(&slot.backend()) || self.is_fresh(entry)).then_some(Exception::None)
        }
    }

    /// Whether an entry may have been recorded since the slots were read.
    const fn is_fresh(&self, entry: &FlowEntry) -> bool {
        entry.last_seen_s.saturating_add(FRESH_S) >= self.now_s
    }

    /// Whether a flow has been silent for too long. Nobody who is silent for less than a quiet period is idle.
    fn is_idle(&self, key: &FlowKey, entry: &FlowEntry, tcp_idle_s: u32, quiet_s: u32) -> bool {
        let limit_s = match (key.protocol, entry.flags & (FLOW_FIN | FLOW_RST)) {
            (UDP, _) => quiet_s,
            (_, 0) => tcp_idle_s.max(quiet_s),
            _ => seconds(self.timing.closed_idle),
        };
        // An entry may be from the second that began after the clock was read.
        self.now_s.saturating_sub(entry.last_seen_s) > limit_s
    }
}

/// Seconds for which no entry goes because of the state that its slot was seen in.
const FRESH_S: u32 = 2;
/// IP protocol number of UDP.
const UDP: u8 = 17;

#[cfg(test)]
mod tests {
    use lb_common::{
        addr::{FAMILY_V4, from_v4},
        flow::{FLOW_CLOSED, FLOW_OPENED},
        service::Service,
    };

    use super::*;
    use crate::table::transition::{self, Backends, Slots};

    const SERVICE: u32 = 3;
    const DOWN: u32 = 4;
    /// Drains, and its connections come by their ids.
    const BY_ID: u32 = 6;

    fn key(protocol: u8) -> FlowKey {
        FlowKey {
            source: from_v4([192, 0, 2, 1]),
            destination: from_v4([203, 0, 113, 9]),
            protocol,
            family: FAMILY_V4,
            ..FlowKey::default()
        }
    }

    /// Judges one entry, seen at second 1000, at the time `now_s`.
    fn judge(now_s: u32, need: Need, key: FlowKey, entry: FlowEntry) -> Option<bool> {
        let timing = &Timing::default();
        let (backends, down) = (BTreeSet::from([1, 2, DOWN, BY_ID]), BTreeSet::from([DOWN]));
        let services = HashMap::from([(SERVICE, need)]);
        let drained_by_id = BTreeMap::from([(BY_ID, 60)]);
        let judge = Judge { now_s, timing, keys: Keys::of(7), backends, down, drained_by_id, services };
        let mut found = Found::default();
        found.count(&entry, judge.judge(&key, &entry)?);
        Some((0..1021).any(|slot| found.is_exception(SERVICE, slot)))
    }

    fn entry(backend: u32) -> FlowEntry {
        FlowEntry { backend, service: SERVICE, last_seen_s: 1000, flags: 0 }
    }

    /// On the way from backend 1 to 2.
    fn moving() -> Slots {
        let backends = Backends { alive: |_| true, returned: |_| false, can_wait: |_| false };
        transition::change(&Slots::steady(&[1; 1021]), &[2; 1021], &backends)
    }

    #[test]
    fn entries_are_kept_while_a_packet_could_need_them() {
        let steady = |owner| Slots::steady(&[owner; 1021]);
        let settled = || transition::settle(&moving(), |_| true, |_| true).unwrap();
        let slots = |slots, quiet_s| Need::BySlot { slots, source: Source::default(), quiet_s };
        let by_address = Source { flags: Service::source_hash_flags(24), ..Source::default() };
        let hash = |slots| Need::BySlot { slots, source: by_address.clone(), quiet_s: 300 };
        let tracked = || Need::Tracked { quiet_s: 60 };
        let closed = FlowEntry { flags: FLOW_FIN, ..entry(1) };
        let counted = FlowEntry { flags: FLOW_OPENED | FLOW_FIN | FLOW_CLOSED, ..entry(1) };
        let foreign = FlowEntry { service: 9, ..entry(1) };
        for (what, now_s, need, protocol, entry, expected) in [
            ("moving, of the former owner", 1000, slots(moving(), 300), 6, entry(1), Some(false)),
            ("moving, of the owner", 1000, slots(moving(), 300), 6, entry(2), Some(false)),
            ("settled, of the former owner", 1000, slots(settled(), 300), 6, entry(1), Some(true)),
            ("settled, of the owner", 1000, slots(settled(), 300), 6, entry(2), None),
            ("steady", 1003, slots(steady(2), 300), 6, entry(1), None),
            ("steady, just recorded", 1002, slots(steady(2), 300), 6, entry(1), Some(false)),
            ("steady, its owner is down", 1100, slots(steady(DOWN), 300), 6, entry(1), Some(false)),
            ("TCP before its time", 1300, slots(moving(), 60), 6, entry(1), Some(false)),
            ("TCP after its time", 1301, slots(moving(), 60), 6, entry(1), None),
            ("TCP with a long quiet period", 1900, slots(moving(), 900), 6, entry(1), Some(false)),
            ("UDP before its time", 1060, slots(moving(), 60), 17, entry(1), Some(false)),
            ("UDP after its time", 1061, slots(moving(), 60), 17, entry(1), None),
            ("closed", 1031, slots(moving(), 300), 6, closed, None),
            ("of a backend that is gone", 1000, slots(moving(), 300), 6, entry(5), None),
            ("of a service that is gone", 1000, slots(moving(), 300), 6, foreign, None),
            ("seen a second after the clock was read", 999, slots(moving(), 300), 6, entry(1), Some(false)),
            ("by the client's address", 1000, hash(settled()), 6, entry(1), Some(true)),
            ("at rest", 1003, Need::None, 6, entry(1), None),
            ("at rest, just recorded", 1002, Need::None, 6, entry(1), Some(false)),
            ("waited for by a drain, at rest", 1060, Need::None, 17, entry(BY_ID), Some(false)),
            ("waited for, steady", 1060, slots(steady(2), 60), 17, entry(BY_ID), Some(false)),
            ("waited for, settled", 1060, slots(settled(), 60), 17, entry(BY_ID), Some(true)),
            ("waited for by a drain until it is idle", 1061, Need::None, 17, entry(BY_ID), None),
            ("not known yet", 9000, Need::All, 6, entry(1), Some(true)),
            ("tracked TCP before its time", 1900, tracked(), 6, entry(1), Some(false)),
            ("tracked TCP after its time", 1901, tracked(), 6, entry(1), None),
            ("tracked UDP after its time", 1061, tracked(), 17, entry(1), None),
            ("tracked, closed", 1031, tracked(), 6, counted, None),
        ] {
            assert_eq!(judge(now_s, need, key(protocol), entry), expected, "{what}");
        }
    }

    #[test]
    fn closed_flows_are_not_live() {
        let mut found = Found::default();
        found.count(&entry(1), Exception::None);
        found.count(&FlowEntry { flags: FLOW_RST, ..entry(1) }, Exception::None);
        assert_eq!(found.by_backend, BTreeMap::from([(1, Flows { tracked: 2, live: 1 })]));
    }
}
