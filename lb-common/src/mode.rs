//! How a packet is handed to its backend.

/// Direct return: the MAC addresses are rewritten, the packet is otherwise untouched.
pub const L2: u8 = 1;
/// IP-in-IP: an outer IPv4 or IPv6 header towards the backend, which decapsulates and replies directly.
pub const IPIP: u8 = 2;
/// An IP packet in UDP, see [`crate::gue`]; the rest is as in [`IPIP`].
pub const GUE: u8 = 3;

/// Source and destination are rewritten, see [`crate::nat`]: replies come back through the balancer.
pub const NAT: u8 = 4;
/// The destination is rewritten: backends see the client's address, and their way to it leads through the balancer.
pub const DNAT: u8 = 5;

/// From here on: no service but an address that the packet path has to know.
pub const MARKER: u8 = 0x80;
/// An address of services, of protocol ICMP or ICMPv6: echo requests to it are answered.
pub const ECHO: u8 = MARKER;
/// Where replies of translated flows come to or from: an address of a pool, or as a source that of a backend.
pub const REPLIES: u8 = MARKER + 1;
/// A list of port ranges, see [`crate::wide`]: the lookup puts one of its services in the place of it.
pub const RANGES: u8 = MARKER + 0x10;
