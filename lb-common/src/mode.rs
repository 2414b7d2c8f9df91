//! How a packet is handed to its backend.

/// Direct return: the MAC addresses are rewritten, the packet is otherwise untouched.
pub const L2: u8 = 1;
/// IP-in-IP: an outer IPv4 or IPv6 header towards the backend, which decapsulates and replies directly.
pub const IPIP: u8 = 2;
