//! The tables that are swapped whole: slots of each service, and the services of each family.

use lb_common::cuckoo;

use super::Publisher;
use crate::{
    error::Error,
    publish::{
        Applied,
        dataplane::DataPlane,
        plan::{self, Fate},
        published::{AT_REST, Published, Source, quiet_s},
        wide,
    },
    table::{
        snapshot::{ServiceInput, Snapshot},
        transition::Slots,
    },
};

impl<P: DataPlane> Publisher<P> {
    /// Publishes the slot tables that differ; tables of other classes that stay behind are returned.
    pub(super) fn publish_slot_tables(
        &mut self,
        fate: &Fate<'_>,
        applied: &mut Applied,
    ) -> Result<Vec<(u32, u8)>, Error> {
        let mut former_classes = Vec::new();
        for (id, input) in &fate.snapshot.services {
            let former_class = self.services.get(id).map(|former| former.class);
            if !self.is_published(*id, input, fate) {
                self.publish_slot_table(*id, input, fate, applied)?;
            }
            if let Some(published) = self.services.get_mut(id) {
                published.quiet_s = quiet_s(&self.timing, input);
            }
            former_classes
                .extend(former_class.filter(|class| *class != input.class).map(|class| (*id, class)));
        }
        Ok(former_classes)
    }

    /// Whether a service's slot table is as it should be.
    pub(super) fn is_published(&self, id: u32, input: &ServiceInput, fate: &Fate<'_>) -> bool {
        self.services.get(&id).is_some_and(|published| {
            published.is_from(input) && !published.named.iter().any(|backend| fate.is_returned(*backend))
        })
    }

    /// The slot table that a service has, as far as its next one follows from it, and the next one.
    pub(super) fn next_slots(
        &self,
        id: u32,
        input: &ServiceInput,
        fate: &Fate<'_>,
    ) -> Result<(Option<Slots>, Slots), Error> {
        let current = match self.services.get(&id) {
            Some(former) if former.class == input.class => self.plane.read_slots(id)?,
            _ => None,
        };
        let next = plan::next_slots(self.seed, current.as_ref(), input, fate)?;
        Ok((current, next))
    }

    fn publish_slot_table(
        &mut self,
        id: u32,
        input: &ServiceInput,
        fate: &Fate<'_>,
        applied: &mut Applied,
    ) -> Result<(), Error> {
        let (current, slots) = self.next_slots(id, input, fate)?;
        let found_since_s = match self.services.get(&id) {
            Some(former) if former.moving_since_s.is_empty() => self.plane.moving_since_s(id)?,
            _ => None,
        };
        if current.as_ref() != Some(&slots) {
            if begins_to_move(current.as_ref(), &slots) {
                // Before the slots do, and for the second that is about to end: never too early.
                self.plane.set_moving_since_s(id, self.plane.now_s().saturating_add(1))?;
            }
            self.plane.publish_slots(id, input.class, &slots)?;
            applied.slot_tables += 1;
        }
        self.note_published(id, input, (current.as_ref(), &slots), found_since_s);
        Ok(())
    }

    fn note_published(
        &mut self,
        id: u32,
        input: &ServiceInput,
        (current, slots): (Option<&Slots>, &Slots),
        found_since_s: Option<u32>,
    ) {
        let now_s = self.plane.now_s();
        let former = self.services.remove(&id).unwrap_or_default();
        let since = |index: usize, noted: &[u32]| {
            if !current.is_some_and(|current| goes_on_moving(current, slots, index)) {
                return now_s;
            }
            let known_s = noted.get(index).copied().filter(|since_s| *since_s != AT_REST);
            // Where no agent noted since when a slot moves, its quiet period begins anew.
            known_s.or(found_since_s).unwrap_or(now_s)
        };
        let moving_since = |index: usize| match slots.cur(index) {
            cur if cur.is_moving() && !cur.is_waiting() => since(index, &former.moving_since_s),
            _ => AT_REST,
        };
        let waiting_since = |index: usize| match slots.cur(index) {
            cur if cur.is_waiting() => since(index, &former.waiting_since_s),
            _ => AT_REST,
        };
        let mut published = Published {
            class: input.class,
            source: Some(Source::of(input)),
            moving_since_s: (0..slots.size()).map(moving_since).collect(),
            waiting_since_s: (0..slots.size()).map(waiting_since).collect(),
            ..Published::default()
        };
        published.note(slots);
        self.services.insert(id, published);
    }

    pub(super) fn publish_service_tables(
        &mut self,
        snapshot: &Snapshot,
        applied: &mut Applied,
    ) -> Result<(), Error> {
        let wanted = plan::service_entries(snapshot);
        if self.service_entries.as_ref() == Some(&wanted) {
            return Ok(());
        }
        let (v4, v6) = wide::contents(&wanted);
        let held = self.plane.services()?;
        let same_v4 = held.v4.as_deref().map_or(v4.keys.is_empty(), |held| {
            held.head.services as usize == v4.keys.len()
                && held.ranges.get(..held.head.range_count as usize) == Some(&v4.ranges)
                && v4.keys.iter().all(|(key, service)| cuckoo::find_v4(held, *key) == Some(*service))
        });
        let same_v6 = held.v6.as_deref().map_or(v6.keys.is_empty(), |held| {
            held.head.services as usize == v6.keys.len()
                && held.ranges.get(..held.head.range_count as usize) == Some(&v6.ranges)
                && v6.keys.iter().all(|(key, service)| cuckoo::find_v6(held, *key) == Some(*service))
        });
        if !same_v4 {
            self.plane.publish_services_v4(
                cuckoo::build_v4(self.seed, &v4.keys, &v4.ranges)
                    .map_err(|error| Error::invalid(error.to_string()))?,
            )?;
            applied.service_tables += 1;
        }
        if !same_v6 {
            self.plane.publish_services_v6(
                cuckoo::build_v6(self.seed, &v6.keys, &v6.ranges)
                    .map_err(|error| Error::invalid(error.to_string()))?,
            )?;
            applied.service_tables += 1;
        }
        self.service_entries = Some(wanted);
        Ok(())
    }

    /// Removes what no service table names any more.
    pub(super) fn remove_slot_tables(
        &mut self,
        snapshot: &Snapshot,
        former_classes: &[(u32, u8)],
        applied: &mut Applied,
    ) -> Result<(), Error> {
        let gone = self.services.iter().filter(|(id, _)| !snapshot.services.contains_key(id));
        let gone: Vec<(u32, u8)> = gone.map(|(id, published)| (*id, published.class)).collect();
        for (id, class) in former_classes.iter().chain(&gone) {
            self.plane.remove_slots(*id, *class)?;
            applied.slot_tables_removed += 1;
        }
        for (id, _) in gone {
            self.services.remove(&id);
        }
        Ok(())
    }
}

/// Whether a slot has been moving from the same former owner, or waiting for its turn to.
fn goes_on_moving(current: &Slots, next: &Slots, index: usize) -> bool {
    let (cur, next_cur) = (current.cur(index), next.cur(index));
    cur.is_moving() && cur.is_waiting() == next_cur.is_waiting() && current.prev(index) == next.prev(index)
}

/// Whether a quiet period begins for any slot.
fn begins_to_move(current: Option<&Slots>, next: &Slots) -> bool {
    (0..next.size()).any(|index| {
        let cur = next.cur(index);
        cur.is_moving()
            && !cur.is_waiting()
            && !current.is_some_and(|current| goes_on_moving(current, next, index))
    })
}
