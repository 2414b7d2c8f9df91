//! A data plane in memory, for tests of everything above it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use lb_common::{
    backend::Backend,
    flow::{FlowEntry, FlowKey},
    quic::{Layout, ServerKey},
    service::{ServiceTableV4, ServiceTableV6},
};

use super::{
    Attached, Liveness, XdpMode,
    dataplane::{DataPlane, ServiceTables},
};
use crate::{
    desired::model::AttachMode,
    error::Error,
    table::{snapshot::QuicIds, transition::Slots},
};

/// A data plane in memory. Clones share it, so that a test can look on.
#[derive(Clone, Default)]
pub struct Fake {
    state: Arc<Mutex<State>>,
}

/// What a [`Fake`] holds.
#[derive(Default)]
pub struct State {
    /// The clock.
    pub now_s: u32,
    /// The backend map.
    pub backends: BTreeMap<u32, Backend>,
    /// The map of further next hops.
    pub hops: BTreeMap<u32, Backend>,
    /// Targets that are down.
    pub down: BTreeSet<u32>,
    /// Egress interfaces by port.
    pub tx_ports: BTreeMap<u32, u32>,
    /// The maps of QUIC server ids.
    pub quic: QuicIds,
    /// Slot tables by service and class.
    pub slots: BTreeMap<(u32, u8), Slots>,
    /// The IPv4 service table.
    pub services_v4: Option<Box<ServiceTableV4>>,
    /// The IPv6 service table.
    pub services_v6: Option<Box<ServiceTableV6>>,
    /// The flow table.
    pub flows: HashMap<FlowKey, FlowEntry>,
    /// Connections given up by backend.
    pub expired: BTreeMap<u32, u64>,
    /// Flows that could not be recorded.
    pub unrecorded: u64,
    /// Since when slots move, by service.
    pub moving_since_s: BTreeMap<u32, u32>,
    /// Attached interfaces.
    pub attached: BTreeMap<String, Attached>,
    /// Every write so far, in order.
    pub writes: Vec<String>,
    /// Writes that still succeed; the one after fails. None: all do.
    pub writes_left: Option<u32>,
}

impl State {
    fn write(&mut self, what: String) -> Result<(), Error> {
        match &mut self.writes_left {
            Some(0) => return Err(Error::failed(format!("the fake refuses: {what}"))),
            Some(left) => *left -= 1,
            None => {}
        }
        self.writes.push(what);
        Ok(())
    }
}

impl Fake {
    /// What it holds, to look at or to change.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DataPlane for Fake {
    fn now_s(&self) -> u32 {
        self.state().now_s
    }

    fn backends(&self) -> Result<BTreeMap<u32, Backend>, Error> {
        Ok(self.state().backends.clone())
    }

    fn set_backend(&mut self, id: u32, backend: &Backend) -> Result<(), Error> {
        let mut state = self.state();
        if *backend == Backend::default() {
            state.write(format!("vacate backend {id}"))?;
            state.backends.remove(&id);
        } else {
            state.write(format!("backend {id}"))?;
            state.backends.insert(id, *backend);
        }
        Ok(())
    }

    fn hops(&self) -> Result<BTreeMap<u32, Backend>, Error> {
        Ok(self.state().hops.clone())
    }

    fn set_hop(&mut self, key: u32, entry: Option<&Backend>) -> Result<(), Error> {
        let mut state = self.state();
        let word = if entry.is_some() { "hop" } else { "remove hop" };
        state.write(format!("{word} {key:#x}"))?;
        let _ = match entry {
            Some(entry) => state.hops.insert(key, *entry),
            None => state.hops.remove(&key),
        };
        Ok(())
    }

    fn clear_counters(&mut self, id: u32) -> Result<(), Error> {
        self.state().expired.remove(&id);
        Ok(())
    }

    fn targets_down(&self) -> Result<Vec<u32>, Error> {
        Ok(self.state().down.iter().copied().collect())
    }

    fn liveness(&self) -> Result<Liveness, Error> {
        let fake = self.clone();
        let store = move |target, up| {
            let mut state = fake.state();
            state.write(format!("target {target} {}", if up { "up" } else { "down" }))?;
            let _ = if up { state.down.remove(&target) } else { state.down.insert(target) };
            Ok(())
        };
        Ok(Liveness::new(store, self.targets_down()?))
    }

    fn tx_ports(&self) -> Result<BTreeMap<u32, u32>, Error> {
        Ok(self.state().tx_ports.clone())
    }

    fn set_tx_port(&mut self, port: u32, ifindex: Option<u32>) -> Result<(), Error> {
        let mut state = self.state();
        state.write(format!("tx port {port}"))?;
        let _ = match ifindex {
            Some(ifindex) => state.tx_ports.insert(port, ifindex),
            None => state.tx_ports.remove(&port),
        };
        Ok(())
    }

    fn quic_ids(&self) -> Result<QuicIds, Error> {
        Ok(self.state().quic.clone())
    }

    fn set_quic_layout(&mut self, service: u32, layout: Layout) -> Result<(), Error> {
        let mut state = self.state();
        let word = if layout == Layout::default() { "remove QUIC layout" } else { "QUIC layout" };
        state.write(format!("{word} {service}"))?;
        let _ = match layout == Layout::default() {
            true => state.quic.layouts.remove(&service),
            false => state.quic.layouts.insert(service, layout),
        };
        Ok(())
    }

    fn set_quic_server(&mut self, key: ServerKey, backend: Option<u32>) -> Result<(), Error> {
        let mut state = self.state();
        let word = if backend.is_some() { "QUIC id" } else { "remove QUIC id" };
        state.write(format!("{word} {}", key.id[0]))?;
        let _ = match backend {
            Some(backend) => state.quic.servers.insert(key, backend),
            None => state.quic.servers.remove(&key),
        };
        Ok(())
    }

    fn slot_tables(&mut self) -> Result<BTreeMap<u32, u8>, Error> {
        Ok(self.state().slots.keys().copied().collect())
    }

    fn read_slots(&self, service: u32) -> Result<Option<Slots>, Error> {
        Ok(self.state().slots.range((service, 0)..=(service, u8::MAX)).map(|(_, slots)| slots.clone()).next())
    }

    fn publish_slots(&mut self, service: u32, class: u8, slots: &Slots) -> Result<(), Error> {
        let mut state = self.state();
        state.write(format!("slots {service}"))?;
        state.slots.insert((service, class), slots.clone());
        Ok(())
    }

    fn remove_slots(&mut self, service: u32, class: u8) -> Result<(), Error> {
        let mut state = self.state();
        state.write(format!("remove slots {service} of class {class}"))?;
        state.slots.remove(&(service, class));
        Ok(())
    }

    fn services(&self) -> Result<ServiceTables, Error> {
        let state = self.state();
        Ok(ServiceTables { v4: state.services_v4.clone(), v6: state.services_v6.clone() })
    }

    fn publish_services_v4(&mut self, table: Box<ServiceTableV4>) -> Result<(), Error> {
        let mut state = self.state();
        state.write("services v4".to_owned())?;
        state.services_v4 = Some(table);
        Ok(())
    }

    fn publish_services_v6(&mut self, table: Box<ServiceTableV6>) -> Result<(), Error> {
        let mut state = self.state();
        state.write("services v6".to_owned())?;
        state.services_v6 = Some(table);
        Ok(())
    }

    fn each_flow(&self, visit: &mut dyn FnMut(&FlowKey, &FlowEntry)) -> Result<(), Error> {
        self.state().flows.iter().for_each(|(key, entry)| visit(key, entry));
        Ok(())
    }

    fn remove_flow(
        &mut self,
        key: &FlowKey,
        gone: &dyn Fn(&FlowEntry) -> bool,
    ) -> Result<Option<FlowEntry>, Error> {
        let mut state = self.state();
        let is_gone = state.flows.get(key).is_some_and(gone);
        Ok(is_gone.then(|| state.flows.remove(key)).flatten())
    }

    fn add_expired(&mut self, backend: u32, connections: u64) -> Result<(), Error> {
        *self.state().expired.entry(backend).or_default() += connections;
        Ok(())
    }

    fn unrecorded(&self) -> Result<u64, Error> {
        Ok(self.state().unrecorded)
    }

    fn moving_since_s(&self, service: u32) -> Result<Option<u32>, Error> {
        Ok(self.state().moving_since_s.get(&service).copied())
    }

    fn set_moving_since_s(&mut self, service: u32, since_s: u32) -> Result<(), Error> {
        self.state().moving_since_s.insert(service, since_s);
        Ok(())
    }

    fn attach(&mut self, ifname: &str, mode: AttachMode) -> Result<Attached, Error> {
        let mode = if mode == AttachMode::Generic { XdpMode::Generic } else { XdpMode::Native };
        let attached = Attached { ifname: ifname.to_owned(), ifindex: 1, mode, note: None };
        self.state().attached.insert(ifname.to_owned(), attached.clone());
        Ok(attached)
    }

    fn detach(&mut self, ifname: &str) -> Result<(), Error> {
        let former = self.state().attached.remove(ifname);
        former.map(drop).ok_or_else(|| Error::not_found(format!("lb is not attached to {ifname}")))
    }

    fn attached(&self) -> Vec<Attached> {
        self.state().attached.values().cloned().collect()
    }
}
