//! The version of the layouts that the packet path and the agent agree on.

/// Number of the map layouts. Any change to a shared type, a map's shape or the meaning of a field raises it; pins of
/// another number are never reused.
pub const ABI_VERSION: u32 = 5;

/// What the `META` map holds, written by the agent that created the pins and read by every later one.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// [`ABI_VERSION`] of the agent that created the maps.
    pub abi_version: u32,
    /// Reserved, zero.
    pub reserved: u32,
    /// Seed of the flow hash; nodes of one cluster share it.
    pub seed: u64,
}

const _: () = assert!(size_of::<Meta>() == 16);

/// Marks shared types as plain old data for aya.
#[cfg(feature = "host")]
mod pod {
    use crate::{
        abi, backend, bench, connections, flow, fragment, hash, nat, quic, rate, service, slot, stats,
        traffic,
    };

    macro_rules! pod {
        ($($shared:ty),+ $(,)?) => {
            $(
                // SAFETY: repr(C), Copy, without padding (sizes are asserted beside each type), any bit pattern valid.
                unsafe impl aya::Pod for $shared {}
            )+
        };
    }

    pod!(
        abi::Meta,
        backend::Backend,
        traffic::Arrived,
        traffic::NextHop,
        bench::Template,
        traffic::Traffic,
        connections::Connections,
        flow::FlowKey,
        flow::FlowEntry,
        fragment::FragmentKey,
        fragment::FragmentEntry,
        hash::Keys,
        quic::Layout,
        quic::ServerKey,
        nat::Translation,
        nat::Pool,
        nat::Handed,
        rate::Window,
        service::ServiceTableV4,
        service::ServiceTableV6,
        slot::SlotTable<{ slot::SIZE_TINY }>,
        slot::SlotTable<{ slot::SIZE_SMALL }>,
        slot::SlotTable<{ slot::SIZE_DEFAULT }>,
        slot::SlotTable<{ slot::SIZE_LARGE }>,
        stats::Counter,
    );
}
