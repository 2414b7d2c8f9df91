//! Live connections of a backend in a tracked service.

/// What the packet path counted, over all CPUs. Only tracked services have connections; the numbers of others stay 0.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connections {
    /// Connections that began.
    pub opened: u64,
    /// Connections whose client said FIN or RST.
    pub closed: u64,
}

const _: () = assert!(size_of::<Connections>() == 16);

impl Connections {
    /// Connections that are live, given how many the agent gave up because they were silent for too long. CPUs count at
    /// the same time, so that the sum may be off for a moment; it is never below 0.
    #[inline(always)]
    pub const fn live(&self, expired: u64) -> u64 {
        self.opened.saturating_sub(self.closed).saturating_sub(expired)
    }
}
