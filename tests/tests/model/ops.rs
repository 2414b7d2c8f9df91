//! What can happen, and random sequences of it.

use proptest::prelude::*;

/// Addresses of backends; each service may have one backend at each.
pub const ADDRESSES: u8 = 5;
/// Services: TCP, plain UDP, QUIC.
pub const SERVICES: u8 = 3;

/// What happens to one backend of one service.
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
    /// The desired state changes; it is published some time later.
    Change { service: u8, address: u8, change: Change },
    /// What has changed is published.
    Publish,
    /// Everything at an address dies. Packets notice at once, the tables when they are published.
    Down { address: u8 },
    /// It is back.
    Up { address: u8 },
    /// The agent is replaced by another.
    Restart,
    /// Time passes.
    Wait { seconds: u32 },
    /// New connections begin, one packet each.
    Open { service: u8, count: u8 },
    /// Some of the connections send a packet: those whose number modulo `of` is `nth`.
    Send { nth: u8, of: u8 },
    /// The same with connections that are closed by their clients.
    Close { nth: u8, of: u8 },
    /// Packets from many sources that belong to no connection: openings or any other.
    Flood { service: u8, opening: bool, count: u16 },
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

/// Around the times that matter, and in between.
fn seconds() -> impl Strategy<Value = u32> {
    prop_oneof![Just(1u32), 2u32..30, 30u32..70, Just(60), Just(61), 100u32..130, Just(299), Just(301)]
}

pub fn op(floods: bool) -> impl Strategy<Value = Op> {
    let (service, address) = (0..SERVICES, 0..ADDRESSES);
    let some = || (0u8..4, 1u8..5).prop_map(|(nth, of)| (nth % of, of));
    prop_oneof![
        6 => (service.clone(), address.clone(), change())
            .prop_map(|(service, address, change)| Op::Change { service, address, change }),
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
