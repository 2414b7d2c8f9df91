//! What the publisher knows of a slot table that the packet path holds.

use std::collections::BTreeMap;

use lb_common::service::SERVICE_SOURCE_HASH;

use crate::table::{
    snapshot::{Member, ServiceInput},
    transition::StateCounts,
};

/// A slot table that the packet path holds.
pub(crate) struct Published {
    pub class: u8,
    /// What it was built from. None: it was found, and nothing is known yet.
    pub members: Option<Vec<Member>>,
    /// Whether flows choose their slot by all of their addresses and ports.
    pub by_flow: bool,
    pub counts: StateCounts,
    /// Slots owned, by backend id.
    pub owned: BTreeMap<u32, u32>,
    /// Since which second of the boot clock each slot moves. Empty unless one does.
    pub moving_since_s: Vec<u32>,
}

impl Published {
    /// A table that an earlier agent left. Until a snapshot tells more, it may be in any state.
    pub(crate) fn found(class: u8) -> Self {
        let counts = StateCounts { steady: 0, moving: 0, settled: 0 };
        let owned = BTreeMap::new();
        Self { class, members: None, by_flow: true, counts, owned, moving_since_s: Vec::new() }
    }

    /// Whether the table was built from this input.
    pub(crate) fn is_from(&self, input: &ServiceInput) -> bool {
        self.class == input.class
            && self.by_flow == by_flow(input)
            && self.members.as_ref() == Some(&input.members)
    }

    pub(crate) const fn is_in_transition(&self) -> bool {
        self.counts.moving > 0 || self.counts.settled > 0 || self.members.is_none()
    }
}

pub(crate) const fn by_flow(input: &ServiceInput) -> bool {
    input.flags & SERVICE_SOURCE_HASH == 0
}
