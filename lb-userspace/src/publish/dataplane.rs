//! What the publisher needs of the kernel, as a trait, so that its logic is tested without one.

use std::collections::BTreeMap;

use lb_common::{
    backend::Backend,
    flow::{FlowEntry, FlowKey},
    quic::{Layout, ServerKey},
    service::{ServiceTableV4, ServiceTableV6},
};

use super::{Attached, Liveness};
use crate::{
    desired::model::AttachMode,
    error::Error,
    table::{snapshot::QuicIds, transition::Slots},
};

/// The maps and links of the packet path. Every method is one small step that is complete when it returns.
pub trait DataPlane {
    /// Seconds of the clock that [`FlowEntry::last_seen_s`] counts in.
    fn now_s(&self) -> u32;

    /// Hands on what the packet path logged.
    fn write_log(&mut self) {}

    /// Entries of the backend map that are not vacant.
    fn backends(&self) -> Result<BTreeMap<u32, Backend>, Error>;
    /// Writes an entry of the backend map. The default value makes it vacant.
    fn set_backend(&mut self, id: u32, backend: &Backend) -> Result<(), Error>;
    /// Entries of the map of further next hops, by [`lb_common::backend::hop_key`].
    fn hops(&self) -> Result<BTreeMap<u32, Backend>, Error>;
    /// Writes a further next hop; none removes it.
    fn set_hop(&mut self, key: u32, entry: Option<&Backend>) -> Result<(), Error>;
    /// Sets all counters of a backend to zero, before its id is given to another.
    fn clear_counters(&mut self, id: u32) -> Result<(), Error>;

    /// Targets that are down.
    fn targets_down(&self) -> Result<Vec<u32>, Error>;
    /// A handle that sets targets up or down without waiting for anything else. All who write use clones of one.
    fn liveness(&self) -> Result<Liveness, Error>;

    /// Egress interfaces by port.
    fn tx_ports(&self) -> Result<BTreeMap<u32, u32>, Error>;
    /// Writes an egress interface; none removes it.
    fn set_tx_port(&mut self, port: u32, ifindex: Option<u32>) -> Result<(), Error>;

    /// What is registered of QUIC connection ids.
    fn quic_ids(&self) -> Result<QuicIds, Error>;
    /// Says where the connection ids of a service name their server. The default value: they don't.
    fn set_quic_layout(&mut self, service: u32, layout: Layout) -> Result<(), Error>;
    /// Registers the backend of a server id; none removes it.
    fn set_quic_server(&mut self, key: ServerKey, backend: Option<u32>) -> Result<(), Error>;

    /// The services that have a slot table: their table classes. Half-published ones are completed or undone first.
    fn slot_tables(&mut self) -> Result<BTreeMap<u32, u8>, Error>;
    /// Reads a slot table.
    fn read_slots(&self, service: u32) -> Result<Option<Slots>, Error>;
    /// Fills a new slot map and puts it in the place of the service's of this class.
    fn publish_slots(&mut self, service: u32, class: u8, slots: &Slots) -> Result<(), Error>;
    /// Removes a service's slot map of this class.
    fn remove_slots(&mut self, service: u32, class: u8) -> Result<(), Error>;

    /// The service tables in use. None: there is none yet.
    fn services(&self) -> Result<ServiceTables, Error>;
    /// Replaces the table of IPv4 services.
    fn publish_services_v4(&mut self, table: Box<ServiceTableV4>) -> Result<(), Error>;
    /// Replaces the table of IPv6 services.
    fn publish_services_v6(&mut self, table: Box<ServiceTableV6>) -> Result<(), Error>;

    /// Shows every entry of the flow table. One may be seen twice or be missed if the packet path writes meanwhile.
    fn each_flow(&self, visit: &mut dyn FnMut(&FlowKey, &FlowEntry)) -> Result<(), Error>;
    /// Removes a flow if `gone` says so of what its entry holds at this moment, and returns that.
    fn remove_flow(
        &mut self,
        key: &FlowKey,
        gone: &dyn Fn(&FlowEntry) -> bool,
    ) -> Result<Option<FlowEntry>, Error>;
    /// Notes that so many live connections of a backend were given up.
    fn add_expired(&mut self, backend: u32, connections: u64) -> Result<(), Error>;
    /// How many flows the packet path could not record so far.
    fn unrecorded(&self) -> Result<u64, Error>;

    /// Since which second slots of a service have been moving, as an earlier agent noted. None: it did not.
    fn moving_since_s(&self, service: u32) -> Result<Option<u32>, Error>;
    /// Notes since when slots of a service have been moving, for the agent that comes after.
    fn set_moving_since_s(&mut self, service: u32, since_s: u32) -> Result<(), Error>;

    /// Attaches to an interface, or makes sure that it is attached in this mode.
    fn attach(&mut self, ifname: &str, mode: AttachMode) -> Result<Attached, Error>;
    /// Detaches from an interface.
    fn detach(&mut self, ifname: &str) -> Result<(), Error>;
    /// Where it is attached.
    fn attached(&self) -> Vec<Attached>;
}

/// The service tables of both families.
#[derive(Default)]
pub struct ServiceTables {
    /// IPv4.
    pub v4: Option<Box<ServiceTableV4>>,
    /// IPv6.
    pub v6: Option<Box<ServiceTableV6>>,
}
