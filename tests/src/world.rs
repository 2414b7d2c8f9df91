//! A described world of services and backends, for the packet path to run in.

use std::{collections::BTreeMap, net::IpAddr};

use lb_common::{
    addr::{self, FAMILY_V4, FAMILY_V6, RawAddr},
    backend::{BACKEND_PRESENT, BACKEND_RESOLVED, Backend},
    nat::Pool,
    quic::{Layout, ServerKey},
    service::Service,
    slot::Slot,
    wide::PortRange,
};

/// The slots of a service.
#[derive(Clone, Debug)]
pub enum Slots {
    /// No table was published.
    Missing,
    /// Slot `n` and its former owner are element `n % length`.
    Cycle(Vec<(Slot, u32)>),
}

impl Slots {
    /// All slots at rest with one owner.
    pub fn steady(owner: u32) -> Self {
        Self::Cycle(vec![(Slot::steady(owner), owner)])
    }

    /// All slots on the way from one owner to another.
    pub fn moving(former: u32, owner: u32) -> Self {
        Self::Cycle(vec![(Slot(owner | Slot::MOVING), former)])
    }

    /// All slots with an owner and possible exceptions.
    pub fn settled(owner: u32) -> Self {
        Self::Cycle(vec![(Slot(owner | Slot::SETTLED), owner)])
    }

    /// Slots at rest, the owners taking turns.
    pub fn shared(owners: &[u32]) -> Self {
        Self::Cycle(owners.iter().map(|owner| (Slot::steady(*owner), *owner)).collect())
    }
}

/// A service of the world.
#[derive(Clone, Debug)]
pub struct WorldService {
    /// Address.
    pub address: IpAddr,
    /// Port; 0: any.
    pub port: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// Id, mode, class and flags.
    pub service: Service,
    /// Its table.
    pub slots: Slots,
    /// Length of the prefix that the address stands for; none: the address alone. [`SOURCE`]: as a source of replies.
    pub prefix: Option<u8>,
}

/// In [`WorldService::prefix`]: the address is one that replies come from.
pub const SOURCE: u8 = u8::MAX;

/// Everything that the balancer's maps hold.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// Seed of the flow hash.
    pub seed: u64,
    /// Level of the packet log.
    pub log_level: u8,
    /// Services.
    pub services: Vec<WorldService>,
    /// Port ranges of those that are lists.
    pub ranges: Vec<PortRange>,
    /// Backends by id.
    pub backends: BTreeMap<u32, Backend>,
    /// Further next hops of backends, by [`lb_common::backend::hop_key`].
    pub hops: BTreeMap<u32, Backend>,
    /// Targets that are down.
    pub down: Vec<u32>,
    /// Interfaces by index of the egress map.
    pub tx_ports: BTreeMap<u32, u32>,
    /// Where QUIC connection ids name their server, by service id.
    pub quic_layouts: BTreeMap<u32, Layout>,
    /// Backends by the server ids that name them.
    pub quic_ids: BTreeMap<ServerKey, u32>,
    /// Room of the flow table; none: the default.
    pub max_flows: Option<u32>,
    /// Room for translations; none: little.
    pub max_translations: Option<u32>,
    /// Pools of translated services, by service id.
    pub pools: BTreeMap<u32, Pool>,
    /// The time in seconds, if it is not to be the kernel's.
    pub now_s: Option<u32>,
    /// Cap of new flow entries per second and CPU.
    pub new_flows: Option<u32>,
    /// The same for clients nearby.
    pub new_flows_per_source: Option<u32>,
    /// Cap of answers to packets that are too big, per second and CPU.
    pub too_big: Option<u32>,
    /// Echo requests that are answered per second and CPU.
    pub echo_per_second: Option<u32>,
}

/// An address as maps hold it.
pub fn raw(address: IpAddr) -> RawAddr {
    match address {
        IpAddr::V4(address) => addr::from_v4(address.octets()),
        IpAddr::V6(address) => address.octets(),
    }
}

/// A backend that is resolved, reached through the interface that test packets come in on (the loopback's), whose MTU
/// is 1,500 and whose target has the number of its id.
pub fn backend(id: u32, address: IpAddr, source: IpAddr) -> Backend {
    Backend {
        next_hop_mac: [2, 0, 0, 1, 0, id as u8],
        source_mac: [2, 0, 0, 2, 0, id as u8],
        ifindex: 1,
        target: id,
        tx_port: 0,
        weight: 1,
        flags: BACKEND_PRESENT | BACKEND_RESOLVED,
        family: if address.is_ipv4() { FAMILY_V4 } else { FAMILY_V6 },
        mtu: 1500,
        address: raw(address),
        source: raw(source),
        ..Backend::default()
    }
}
