//! QUIC connection ids that name their server: where the server id stands in them, and whose it is.
//!
//! The server id stands in plain text, as in the plaintext algorithm of QUIC-LB (draft-ietf-quic-load-balancers): the
//! connection id's first octet has configuration bits and a length, then comes the server id.

/// Longest connection id of QUIC versions 1 and 2 in bytes (RFC 9000, section 17.2).
pub const CONNECTION_ID_MAX: u8 = 20;
/// Longest server id in bytes.
pub const SERVER_ID_MAX: usize = 8;

/// Where the server id stands in the connection ids of a service: the value of the `QUIC_LAYOUTS` map. All zero: the
/// service has none.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// Bytes of the connection id before it.
    pub offset: u8,
    /// Its length in bytes, 1 to [`SERVER_ID_MAX`].
    pub length: u8,
    /// Zero.
    pub reserved: [u8; 2],
}

/// A server id of a service: the key of the `QUIC_IDS` map, whose value is the backend's id.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerKey {
    /// Id of the service.
    pub service: u32,
    /// Length of the server id in bytes, so that the ids of two layouts are never mistaken for each other.
    pub length: u32,
    /// The server id as it stands in the packet, then zeros.
    pub id: [u8; SERVER_ID_MAX],
}

const _: () = assert!(size_of::<Layout>() == 4);
const _: () = assert!(size_of::<ServerKey>() == 16);
