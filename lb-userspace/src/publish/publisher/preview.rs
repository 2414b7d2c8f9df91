//! What a snapshot would do, without doing it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use lb_common::{
    flow::{FLOW_FIN, FLOW_RST, FlowKey},
    hash::Keys,
};

use super::Publisher;
use crate::{
    error::Error,
    publish::{
        dataplane::DataPlane,
        plan::{self, Fate},
        published::Source,
    },
    table::{
        snapshot::Snapshot,
        transition::{Slots, StateCounts},
    },
};

/// What a snapshot would do to the services that it changes, by their ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preview {
    /// Services whose slots or flows are touched, new ones included.
    pub services: BTreeMap<u32, ServicePreview>,
}

/// What a snapshot would do to a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServicePreview {
    /// Its slots, before or after.
    pub slots: u32,
    /// Slots that get another owner.
    pub moved: u32,
    /// Slots by state afterwards. All zero: the service is removed.
    pub after: StateCounts,
    /// Live flows of the flow table that are touched: their slot or their backend goes.
    pub flows: u64,
    /// Those of them that lose their backend.
    pub flows_lost: u64,
}

/// What a service's flows are compared with.
struct Compared {
    source: Source,
    /// Its slots before and after. None: nothing moves, or all of it goes.
    slots: Option<(Slots, Slots)>,
    is_removed: bool,
}

impl<P: DataPlane> Publisher<P> {
    /// What [`Self::apply`] would do now. Changes nothing.
    ///
    /// # Errors
    /// As [`Self::apply`] if the snapshot does not fit, or if the maps can't be read.
    pub fn preview(&self, snapshot: &Snapshot) -> Result<Preview, Error> {
        plan::check(snapshot)?;
        let fate = self.fate(snapshot);
        let mut preview = Preview::default();
        let mut compared = HashMap::new();
        for (id, input) in &snapshot.services {
            let mut slots = None;
            if !self.is_published(*id, input, &fate) {
                let (current, next) = self.next_slots(*id, input, &fate)?;
                preview.services.insert(*id, of_slots(current.as_ref(), &next));
                slots = current.map(|current| (current, next));
            }
            compared.insert(*id, Compared { source: Source::of(input), slots, is_removed: false });
        }
        for (id, published) in &self.services {
            if let (Some(source), false) = (&published.source, snapshot.services.contains_key(id)) {
                let moved = published.owned.values().sum();
                let slots = moved;
                preview.services.insert(*id, ServicePreview { slots, moved, ..ServicePreview::default() });
                let source = source.clone();
                compared.insert(*id, Compared { source, slots: None, is_removed: true });
            }
        }
        self.compare_flows(&compared, &fate, &mut preview)?;
        Ok(preview)
    }

    fn compare_flows(
        &self,
        compared: &HashMap<u32, Compared>,
        fate: &Fate<'_>,
        preview: &mut Preview,
    ) -> Result<(), Error> {
        let alive: BTreeSet<u32> =
            fate.snapshot.backends.keys().copied().filter(|id| fate.is_alive(*id)).collect();
        let keys = Keys::of(self.seed);
        self.plane.each_flow(&mut |key, entry| {
            let Some(service) = compared.get(&entry.service) else { return };
            if entry.flags & (FLOW_FIN | FLOW_RST) != 0 || !self.backends.contains_key(&entry.backend) {
                return;
            }
            let lost = service.is_removed || !alive.contains(&entry.backend);
            if lost || service.moves(&keys, key) {
                let touched = preview.services.entry(entry.service).or_insert_with(|| ServicePreview {
                    slots: self.services.get(&entry.service).map_or(0, |held| held.counts.sum()),
                    after: self.services.get(&entry.service).map_or_else(StateCounts::default, |h| h.counts),
                    ..ServicePreview::default()
                });
                touched.flows += 1;
                touched.flows_lost += u64::from(lost);
            }
        })
    }
}

impl Compared {
    /// Whether the slot of a flow gets another owner.
    fn moves(&self, keys: &Keys, key: &FlowKey) -> bool {
        let Some((current, next)) = &self.slots else { return false };
        if self.source.is_tracked() {
            return false;
        }
        let index = self.source.slot_of(key, keys, next.size());
        current.cur(index).backend() != next.cur(index).backend()
    }
}

fn of_slots(current: Option<&Slots>, next: &Slots) -> ServicePreview {
    let owner_changes = |current: &Slots| {
        current.curs().zip(next.curs()).filter(|(was, is)| was.backend() != is.backend()).count() as u32
    };
    ServicePreview {
        slots: next.size() as u32,
        moved: current.map_or(0, owner_changes),
        after: next.counts(),
        ..ServicePreview::default()
    }
}
