//! The flow table: exceptions to the slot tables, kept only while a slot is in transition.

use crate::{
    addr::{FAMILY_V4, RawAddr, v4},
    hash::{self, Keys},
};

/// Identifies a flow of either family. Ports are in network byte order.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FlowKey {
    /// Client address.
    pub source: RawAddr,
    /// Service address.
    pub destination: RawAddr,
    /// Client port.
    pub source_port: [u8; 2],
    /// Service port.
    pub destination_port: [u8; 2],
    /// IP protocol number (6, 17 or 132).
    pub protocol: u8,
    /// Family of both addresses, [`crate::addr::FAMILY_V4`] or [`crate::addr::FAMILY_V6`].
    pub family: u8,
    /// Zero.
    pub reserved: [u8; 2],
}

/// The backend that owns a flow.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowEntry {
    /// Id of the backend, an index of the `BACKENDS` map.
    pub backend: u32,
    /// Id of the service the flow belongs to.
    pub service: u32,
    /// When a packet of the flow was last seen: seconds of the kernel's boot clock, refreshed at most once a second.
    pub last_seen_s: u32,
    /// `FLOW_*` bits.
    pub flags: u32,
}

/// The client closed the connection (FIN seen).
pub const FLOW_FIN: u32 = 1 << 0;
/// The connection was reset.
pub const FLOW_RST: u32 = 1 << 1;

/// The connection was counted in [`crate::connections::Connections::opened`] of its backend.
pub const FLOW_OPENED: u32 = 1 << 2;
/// The connection was counted in [`crate::connections::Connections::closed`] as well.
pub const FLOW_CLOSED: u32 = 1 << 3;

impl FlowEntry {
    /// Whether the entry stands for a connection that its backend's counters count as live. Who removes such an entry
    /// adds one to `EXPIRED` of its backend.
    pub const fn is_live(&self) -> bool {
        self.flags & (FLOW_OPENED | FLOW_CLOSED) == FLOW_OPENED
    }
}

const _: () = assert!(size_of::<FlowKey>() == 40);
const _: () = assert!(size_of::<FlowEntry>() == 16);

impl FlowKey {
    /// Hash of the flow, the same that the packet path chooses its slot with.
    pub fn hash(&self, keys: &Keys) -> u64 {
        let ([s0, s1], [d0, d1]) = (self.source_port, self.destination_port);
        let ports = u32::from_le_bytes([s0, s1, d0, d1]);
        if self.family == FAMILY_V4 {
            let source = u32::from_le_bytes(v4(&self.source)) as u64;
            let destination = u32::from_le_bytes(v4(&self.destination)) as u64;
            return hash::flow_v4(keys, source | destination << 32, ports, self.protocol);
        }
        hash::flow_v6(keys, words(&self.source), words(&self.destination), ports, self.protocol)
    }

    /// Hash of the first bits of the client's address, the same that the packet path chooses the slot of a source-hash
    /// service with.
    pub fn source_hash(&self, keys: &Keys, prefix: u32) -> u64 {
        if self.family == FAMILY_V4 {
            return hash::source_v4(keys, u32::from_le_bytes(v4(&self.source)), prefix);
        }
        hash::source_v6(keys, words(&self.source), prefix)
    }
}

/// The words of an IPv6 address as loaded little-endian.
const fn words(address: &RawAddr) -> [u64; 2] {
    let both = u128::from_le_bytes(*address);
    [both as u64, (both >> 64) as u64]
}
