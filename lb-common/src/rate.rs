//! How many flows the packet path may record per second, so that a flood does not fill the flow table.

/// Default cap of new flow entries per second on all CPUs together. What is over it stays with the former owner of its
/// slot, unrecorded.
pub const NEW_FLOWS_PER_SECOND: u32 = 20_000;
/// Default cap of new flow entries per second and group of clients.
pub const NEW_FLOWS_PER_SOURCE_PER_SECOND: u32 = 1_000;
/// Default cap of answers per second, on all CPUs together, that tell a sender which size fits. What is over it is dropped.
pub const TOO_BIG_PER_SECOND: u32 = 1_000;
/// Default of how many echo requests are answered per second on all CPUs together. Those over it are dropped.
pub const ECHO_PER_SECOND: u32 = 1_000;
/// Leading bits of an IPv4 address that make a group of clients.
pub const SOURCE_PREFIX_V4: u32 = 24;
/// Leading bits of an IPv6 address that make a group of clients.
pub const SOURCE_PREFIX_V6: u32 = 48;

/// How much of something happened in a second.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// Which second.
    pub second: u32,
    /// How much in it.
    pub count: u32,
}

const _: () = assert!(size_of::<Window>() == 8);
