//! Everything that the packet path should hold, as values: what [`crate::publish`] makes true.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use lb_common::{
    backend::Backend,
    quic::{Layout, ServerKey},
};

use crate::{desired::model::Vip, publish::Moment};

/// The whole of the packet path's configuration at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Services by id.
    pub services: BTreeMap<u32, ServiceInput>,
    /// Entries of the `BACKENDS` map by backend id.
    pub backends: BTreeMap<u32, Backend>,
    /// Entries of the `HOPS` map by its key: backends with their next hops beyond the first.
    pub hops: BTreeMap<u32, Backend>,
    /// Entries of the `LIVENESS` map by target: whether it is up.
    pub targets: BTreeMap<u32, bool>,
    /// The last decision that [`Self::targets`] takes into account.
    pub liveness_known_until: Moment,
    /// Entries of the `TX_PORTS` map: interface index by port.
    pub tx_ports: BTreeMap<u32, u32>,
    /// Servers that QUIC connection ids name.
    pub quic: QuicIds,
}

/// What QUIC connection ids say of their servers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QuicIds {
    /// Entries of the `QUIC_LAYOUTS` map by service id.
    pub layouts: BTreeMap<u32, Layout>,
    /// Entries of the `QUIC_IDS` map: ids of backends.
    pub servers: BTreeMap<ServerKey, u32>,
}

/// One service: its place in the service table, and what its slot table is built from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceInput {
    /// What clients connect to.
    pub vip: Vip,
    /// One of [`lb_common::mode`].
    pub mode: u8,
    /// Index in [`lb_common::slot::SIZES`].
    pub class: u8,
    /// `SERVICE_*` bits of [`lb_common::service`].
    pub flags: u16,
    /// For how long its slots move. None: the default of its protocol.
    pub quiet_period: Option<Duration>,
    /// The backends that own slots now: healthy, not drained, weight above zero. May be empty.
    pub members: Vec<Member>,
}

/// A backend that owns slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Id of the backend, what the slots hold.
    pub id: u32,
    /// Address: what the table's hash sees, so that nodes with other ids build the same table.
    pub address: IpAddr,
    /// Weight, above zero.
    pub weight: u32,
}
