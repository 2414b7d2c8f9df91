//! What the publisher knows of a slot table that the packet path holds.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
};

use lb_common::{
    flow::FlowKey,
    hash::{Keys, slot_index},
    service::{SERVICE_QUIC, SERVICE_SOURCE_HASH, SERVICE_TRACKED, Service},
};

use super::{Timing, plan::seconds};
use crate::{
    desired::model::Protocol,
    table::{
        snapshot::{Member, ServiceInput},
        transition::{Slots, StateCounts},
    },
};

/// A slot table that the packet path holds.
#[derive(Default)]
pub(crate) struct Published {
    pub class: u8,
    /// What it was built from. None: it was found, and nothing is known yet.
    pub source: Option<Source>,
    pub counts: StateCounts,
    /// Slots owned, by backend id.
    pub owned: BTreeMap<u32, u32>,
    /// Backends that the table names as owners or former owners.
    pub named: BTreeSet<u32>,
    /// Since which second of the boot clock each slot moves, those that wait for their turn apart. Empty unless one moves.
    pub moving_since_s: Vec<u32>,
    /// Since which second of the boot clock each slot waits. Empty unless one does.
    pub waiting_since_s: Vec<u32>,
    /// Seconds without a capped flow until a moving slot settles.
    pub quiet_s: u32,
    /// Of the value in the map.
    pub digest: u64,
}

/// What a slot table was built from.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Source {
    pub members: Vec<Member>,
    /// `SERVICE_*` bits.
    pub flags: u16,
}

impl Source {
    pub(crate) fn of(input: &ServiceInput) -> Self {
        Self { members: input.members.clone(), flags: input.flags }
    }

    /// Whether every flow of the service is in the flow table.
    pub(crate) const fn is_tracked(&self) -> bool {
        self.flags & SERVICE_TRACKED != 0
    }

    /// The slot of a flow in a table of this size.
    pub(crate) fn slot_of(&self, key: &FlowKey, keys: &Keys, size: usize) -> usize {
        let service = Service { flags: self.flags, ..Service::default() };
        let hash = match self.flags & SERVICE_SOURCE_HASH {
            0 => key.hash(keys),
            _ => key.source_hash(keys, service.source_prefix()),
        };
        slot_index(hash, size)
    }
}

impl Published {
    /// A table that an earlier agent left. Until a snapshot tells more, it may be in any state.
    pub(crate) fn found(class: u8) -> Self {
        Self { class, ..Self::default() }
    }

    /// Whether the table was built from this input.
    pub(crate) fn is_from(&self, input: &ServiceInput) -> bool {
        self.class == input.class && self.source.as_ref().is_some_and(|source| *source == Source::of(input))
    }

    pub(crate) const fn is_in_transition(&self) -> bool {
        self.counts.moving > 0 || self.counts.settled > 0
    }

    pub(crate) fn is_tracked(&self) -> bool {
        self.source.as_ref().is_some_and(Source::is_tracked)
    }

    /// Takes over what the map holds now.
    pub(crate) fn note(&mut self, slots: &Slots) {
        self.counts = slots.counts();
        self.owned = slots.owned();
        self.named = slots.named();
        self.digest = digest(slots);
        if self.counts.moving == 0 {
            self.moving_since_s = Vec::new();
        }
        if self.counts.waiting == 0 {
            self.waiting_since_s = Vec::new();
        }
    }

    /// Since when a slot waits; 0 where that is not known.
    pub(crate) fn waiting_since_s(&self, index: usize) -> u32 {
        self.waiting_since_s.get(index).copied().unwrap_or(0)
    }

    /// Notes that it is the turn of some waiting slots from now on.
    pub(crate) fn note_turn(&mut self, indices: &[usize], size: usize, now_s: u32) {
        self.moving_since_s.resize(size, AT_REST);
        self.waiting_since_s.resize(size, AT_REST);
        for index in indices {
            (self.moving_since_s[*index], self.waiting_since_s[*index]) = (now_s, AT_REST);
        }
    }

    /// Second of the boot clock after which the last moving slot settles, those that wait for their turn apart, if no
    /// flow was capped after `capped_s`.
    pub(crate) fn quiet_end_s(&self, capped_s: u32) -> Option<u32> {
        let since_s = self.moving_since_s.iter().copied().filter(|since_s| *since_s != AT_REST).max()?;
        Some(since_s.max(capped_s).saturating_add(self.quiet_s))
    }
}

/// In [`Published::moving_since_s`] and [`Published::waiting_since_s`]: the slot does not.
pub(crate) const AT_REST: u32 = u32::MAX;

/// Tells a table's value from others.
pub(crate) fn digest(slots: &Slots) -> u64 {
    let mut hasher = DefaultHasher::new();
    slots.words().hash(&mut hasher);
    hasher.finish()
}

/// For how long a service's slots move.
pub(crate) fn quiet_s(timing: &Timing, input: &ServiceInput) -> u32 {
    let default = match input.vip.protocol {
        Protocol::Udp if input.flags & SERVICE_QUIC == 0 => timing.udp_idle,
        _ => timing.quiet_period,
    };
    seconds(input.quiet_period.unwrap_or(default))
}
