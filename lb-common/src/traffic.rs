//! What the traffic generator, its counter and their user share.

/// Bytes of a frame of the traffic generator, all of which it writes anew for each packet: the frames that it sends are
/// used again with whatever a balancer left in them.
pub const TRAFFIC_FRAME_LEN: usize = 64;
/// Client addresses that the generator's flows have; a flow's number beyond them goes into its source port.
pub const TRAFFIC_SOURCES: u32 = 2_000;
/// Source port of the generator's first flows.
pub const TRAFFIC_FIRST_PORT: u16 = 1_024;
/// Flows that addresses and ports have room for.
pub const TRAFFIC_FLOWS_MAX: u32 = TRAFFIC_SOURCES * 60_000;
/// Destination port of the generator's packets, by which they are counted: TCP's `discard`.
pub const TRAFFIC_PORT: u16 = 9;

/// What the generator sends: TCP segments over IPv4, whose flows take turns.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traffic {
    /// The frame of flow 0, but for its checksums: the last two bytes of the source address are 1, the source port is
    /// [`TRAFFIC_FIRST_PORT`].
    pub frame: [u64; TRAFFIC_FRAME_LEN / 8],
    /// Sum of the IP header's big-endian words without checksum and the varying half of the source address.
    pub ip_sum: u32,
    /// The same of the segment and its pseudo header, without the source port as well.
    pub tcp_sum: u32,
    /// Number of the flow that is next.
    pub next: u32,
    /// Number of the first flow.
    pub first: u32,
    /// Number after the last flow.
    pub end: u32,
    /// Interface that the frames leave by.
    pub ifindex: u32,
}

const _: () = assert!(size_of::<Traffic>() == TRAFFIC_FRAME_LEN + 24);

/// What the counter expects, and what it counts.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arrived {
    /// Packets of the generator that are for this host.
    pub packets: u64,
    /// Packets of the generator with another host's MAC address.
    pub strays: u64,
}

const _: () = assert!(size_of::<Arrived>() == 16);

/// Backends of the stateless hash that `lb` is compared with.
pub const BASELINE_BACKENDS: usize = 4;

/// A backend of the stateless hash.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// Destination and source MAC address, as they stand in a frame.
    pub macs: [u32; 3],
    /// Index of the egress interface in the map of interfaces.
    pub tx_port: u32,
}

const _: () = assert!(size_of::<NextHop>() == 16);
