//! What can happen, and random sequences of it.

use proptest::prelude::*;

use crate::services::{Algorithm, SERVICES, Shape};

/// Addresses of backends; each service may have one backend at each.
pub const ADDRESSES: usize = 5;

/// What happens to backends of one service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Add,
    Remove,
    Weight(u32),
    Drain,
    /// Out at once, in this service only.
    Maint,
    /// Ends a drain or maintenance.
    Ready,
}

/// One step of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// The desired state changes, for each backend of the service whose address is a bit of the set; it is published some
    /// time later.
    Change { service: usize, set: u8, change: Change },
    /// What has changed is published.
    Publish,
    /// Everything at an address dies. Packets notice at once, the tables when they are published.
    Down { address: usize },
    /// It is back.
    Up { address: usize },
    /// The agent is replaced by another.
    Restart,
    /// Time passes.
    Wait { seconds: u32 },
    /// New connections begin, one packet each.
    Open { service: usize, count: u8 },
    /// Some of the connections send a packet: those whose number modulo `of` is `nth`.
    Send { nth: u8, of: u8 },
    /// The same with connections that are closed by their clients.
    Close { nth: u8, of: u8 },
    /// Packets from many sources that belong to no connection: openings or any other.
    Flood { service: usize, opening: bool, count: u16 },
}

/// Families and algorithms of the services.
pub fn shapes() -> impl Strategy<Value = [Shape; SERVICES]> {
    let algorithm = prop_oneof![
        2 => Just(Algorithm::Maglev),
        2 => any::<bool>().prop_map(|whole| Algorithm::SourceHash { whole }),
        2 => Just(Algorithm::RoundRobin),
        2 => Just(Algorithm::LeastConnections),
    ];
    let shape = (algorithm, any::<bool>()).prop_map(|(algorithm, v6)| Shape { algorithm, v6 });
    proptest::array::uniform3(shape)
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => Just(Change::Add),
        2 => Just(Change::Remove),
        2 => (0u32..4).prop_map(Change::Weight),
        4 => Just(Change::Drain),
        1 => Just(Change::Maint),
        4 => Just(Change::Ready),
    ]
}

/// One address, or any set of them.
fn set() -> impl Strategy<Value = u8> {
    prop_oneof![
        2 => (0..ADDRESSES).prop_map(|address| 1 << address),
        1 => 1u8..(1 << ADDRESSES),
    ]
}

/// Around the times that matter, and in between.
fn seconds() -> impl Strategy<Value = u32> {
    prop_oneof![
        4 => prop_oneof![Just(1u32), 2u32..30, 30u32..70, Just(60), Just(61), 100u32..130, Just(299), Just(301)],
        1 => prop_oneof![Just(899u32), Just(902)],
    ]
}

pub fn op(floods: bool) -> impl Strategy<Value = Op> {
    let (service, address) = (0..SERVICES, 0..ADDRESSES);
    let some = || (0u8..4, 1u8..5).prop_map(|(nth, of)| (nth % of, of));
    prop_oneof![
        6 => (service.clone(), set(), change())
            .prop_map(|(service, set, change)| Op::Change { service, set, change }),
        3 => Just(Op::Publish),
        1 => address.clone().prop_map(|address| Op::Down { address }),
        2 => address.prop_map(|address| Op::Up { address }),
        1 => Just(Op::Restart),
        4 => seconds().prop_map(|seconds| Op::Wait { seconds }),
        4 => (service.clone(), 1u8..12).prop_map(|(service, count)| Op::Open { service, count }),
        6 => some().prop_map(|(nth, of)| Op::Send { nth, of }),
        1 => some().prop_map(|(nth, of)| Op::Close { nth, of }),
        u32::from(floods) * 4 => (service, any::<bool>(), 1u16..120)
            .prop_map(|(service, opening, count)| Op::Flood { service, opening, count }),
    ]
}
