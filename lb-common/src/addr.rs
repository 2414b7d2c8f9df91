//! Addresses as the maps hold them.

/// An IPv4 or IPv6 address in network byte order. IPv4 occupies the first four bytes, the rest is zero; the family
/// is always known from elsewhere (the service table, [`crate::backend::Backend::family`]).
pub type RawAddr = [u8; 16];

/// Family byte of an IPv4 address.
pub const FAMILY_V4: u8 = 4;
/// Family byte of an IPv6 address.
pub const FAMILY_V6: u8 = 6;

/// The IPv4 address in a [`RawAddr`].
#[inline(always)]
pub const fn v4(addr: &RawAddr) -> [u8; 4] {
    [addr[0], addr[1], addr[2], addr[3]]
}

/// A [`RawAddr`] that holds an IPv4 address.
#[inline(always)]
pub const fn from_v4(addr: [u8; 4]) -> RawAddr {
    [addr[0], addr[1], addr[2], addr[3], 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
}
