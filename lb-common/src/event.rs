//! What happens to packets on their way without ending it: counted beside the verdict.

/// Something worth counting. The discriminant is the index of the `EVENTS` map.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Event {
    /// A flow was not recorded: too many new ones in this second.
    CappedGlobal = 0,
    /// A flow was not recorded: too many new ones from clients nearby in this second.
    CappedSource = 1,
    /// A flow was not recorded: the flow table is full.
    TableFull = 2,
    /// The backend of the packet is down, and another was found by probing the table.
    Probed = 3,
    /// A QUIC packet's connection id names no server that is registered: it went by the table.
    UnknownServerId = 4,
}

impl Event {
    /// All events, at the index of their discriminant.
    pub const ALL: [Self; 5] =
        [Self::CappedGlobal, Self::CappedSource, Self::TableFull, Self::Probed, Self::UnknownServerId];

    /// Stable name, as the CLI and its JSON show it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CappedGlobal => "capped_global",
            Self::CappedSource => "capped_source",
            Self::TableFull => "table_full",
            Self::Probed => "probed",
            Self::UnknownServerId => "unknown_server_id",
        }
    }

    /// Whether a flow that should have been recorded was not: slots must keep moving while this happens.
    pub const fn is_unrecorded(self) -> bool {
        matches!(self, Self::CappedGlobal | Self::CappedSource | Self::TableFull)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_lists_each_event_at_its_discriminant() {
        for (index, event) in Event::ALL.into_iter().enumerate() {
            assert_eq!(event as usize, index, "{}", event.name());
        }
    }
}
