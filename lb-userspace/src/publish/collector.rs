//! Judges flow table entries: which are still needed, and which slots they are exceptions in.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use lb_common::{
    flow::{FLOW_FIN, FLOW_RST, FlowEntry, FlowKey},
    hash::slot_index,
};

use super::Timing;
use crate::table::transition::Slots;

/// What a walk of the flow table found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    /// Flows that stay, by service.
    pub by_service: BTreeMap<u32, u64>,
    /// Flows that stay, by backend.
    pub by_backend: BTreeMap<u32, u64>,
    /// Slots by service where a flow belongs to another backend than the owner.
    exceptions: HashMap<u32, HashSet<usize>>,
    /// Services in which any slot may have one.
    everywhere: HashSet<u32>,
}

impl Found {
    /// Whether a slot of a service has an exception.
    pub(crate) fn is_exception(&self, service: u32, slot: usize) -> bool {
        self.everywhere.contains(&service)
            || self.exceptions.get(&service).is_some_and(|slots| slots.contains(&slot))
    }
}

/// A service with slots in transition.
pub(crate) struct InTransition {
    pub slots: Slots,
    /// Whether the slot follows from the flow alone, as [`FlowKey::hash`] has it.
    pub by_flow: bool,
}

/// One walk.
pub(crate) struct Walk<'a> {
    /// Seconds of the kernel's boot clock.
    pub now_s: u32,
    pub timing: &'a Timing,
    pub seed: u64,
    /// Backends that exist.
    pub backends: BTreeSet<u32>,
    /// Services with slots in transition. Flows of others need no entry.
    pub services: HashMap<u32, InTransition>,
    pub found: Found,
}

impl Walk<'_> {
    /// Whether an entry is still needed. Those that are get counted.
    pub(crate) fn keep(&mut self, key: &FlowKey, entry: &FlowEntry) -> bool {
        if !self.backends.contains(&entry.backend) || self.is_idle(key, entry) {
            return false;
        }
        let Some(service) = self.services.get(&entry.service) else { return false };
        if service.by_flow {
            let index = slot_index(key.hash(self.seed), service.slots.size());
            let slot = service.slots.cur(index);
            let exception = slot.backend() != entry.backend;
            // Only a moving slot needs to know the owner's own flows: the former owner's are told apart by them.
            if slot.is_steady() || (slot.is_settled() && !exception) {
                return false;
            }
            if exception {
                self.found.exceptions.entry(entry.service).or_default().insert(index);
            }
        } else {
            self.found.everywhere.insert(entry.service);
        }
        *self.found.by_service.entry(entry.service).or_default() += 1;
        *self.found.by_backend.entry(entry.backend).or_default() += 1;
        true
    }

    fn is_idle(&self, key: &FlowKey, entry: &FlowEntry) -> bool {
        let limit = match (key.protocol, entry.flags & (FLOW_FIN | FLOW_RST)) {
            (UDP, _) => self.timing.udp_idle,
            (_, 0) => self.timing.tcp_idle,
            _ => self.timing.closed_idle,
        };
        // An entry may be from the second that began after the clock was read.
        u64::from(self.now_s.saturating_sub(entry.last_seen_s)) > limit.as_secs()
    }
}

/// IP protocol number of UDP.
const UDP: u8 = 17;

#[cfg(test)]
mod tests {
    use lb_common::addr::{FAMILY_V4, from_v4};

    use super::*;
    use crate::table::transition::{self, Slots};

    const SERVICE: u32 = 3;

    fn key(protocol: u8) -> FlowKey {
        FlowKey {
            source: from_v4([192, 0, 2, 1]),
            destination: from_v4([203, 0, 113, 9]),
            protocol,
            family: FAMILY_V4,
            ..FlowKey::default()
        }
    }

    /// Judges one entry, seen at second 1000, at the time `now_s`, in a table that moves from backend 1 to 2.
    fn judge(now_s: u32, slots: Slots, key: FlowKey, entry: FlowEntry) -> (bool, bool) {
        let backends = BTreeSet::from([1, 2]);
        let services = HashMap::from([(SERVICE, InTransition { slots, by_flow: true })]);
        let timing = &Timing::default();
        let mut walk = Walk { now_s, timing, seed: 7, backends, services, found: Found::default() };
        let keep = walk.keep(&key, &entry);
        let exception = (0..1021).any(|slot| walk.found.is_exception(SERVICE, slot));
        (keep, exception)
    }

    fn entry(backend: u32) -> FlowEntry {
        FlowEntry { backend, service: SERVICE, last_seen_s: 1000, flags: 0 }
    }

    fn moving() -> Slots {
        transition::change(&Slots::steady(&[1; 1021]), &[2; 1021], |_| true)
    }

    #[test]
    fn entries_are_kept_while_a_packet_could_need_them() {
        let steady = Slots::steady(&[2; 1021]);
        let settled = transition::settle(&moving(), |_| true, |_| true).unwrap();
        let closed = FlowEntry { flags: FLOW_FIN, ..entry(1) };
        let foreign = FlowEntry { service: 9, ..entry(1) };
        for (what, now_s, slots, protocol, entry, keep, exception) in [
            ("moving, of the former owner", 1000, moving(), 6, entry(1), true, true),
            ("moving, of the owner", 1000, moving(), 6, entry(2), true, false),
            ("settled, of the former owner", 1000, settled.clone(), 6, entry(1), true, true),
            ("settled, of the owner", 1000, settled, 6, entry(2), false, false),
            ("steady", 1000, steady, 6, entry(1), false, false),
            ("TCP before its time", 1300, moving(), 6, entry(1), true, true),
            ("TCP after its time", 1301, moving(), 6, entry(1), false, false),
            ("UDP before its time", 1060, moving(), 17, entry(1), true, true),
            ("UDP after its time", 1061, moving(), 17, entry(1), false, false),
            ("closed", 1031, moving(), 6, closed, false, false),
            ("of a backend that is gone", 1000, moving(), 6, entry(5), false, false),
            ("of a service that is gone", 1000, moving(), 6, foreign, false, false),
            ("seen a second after the clock was read", 999, moving(), 6, entry(1), true, true),
        ] {
            assert_eq!(judge(now_s, slots, key(protocol), entry), (keep, exception), "{what}");
        }
    }
}
