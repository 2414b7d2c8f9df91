//! The maps of a lab as the data plane of a publisher.

use std::{collections::BTreeMap, os::fd::AsFd as _, rc::Rc, sync::Arc};

use anyhow::Result;
use aya::Pod;
use aya_obj::generated::bpf_map_type::BPF_MAP_TYPE_ARRAY;
use lb_common::{
    backend::{Backend, TARGET_DOWN, TARGET_UP},
    flow::{FlowEntry, FlowKey},
    maps,
    quic::{Layout, ServerKey},
    service::{ServiceTableV4, ServiceTableV6},
};
use lb_userspace::{
    desired::model::AttachMode,
    error::Error,
    publish::{
        Attached, Liveness, XdpMode,
        dataplane::{DataPlane, ServiceTables},
    },
    table::{snapshot::QuicIds, transition::Slots},
};

use super::{Design, Lab, lock, sys};

/// A handle to a [`Lab`]; what one publisher wrote, the next one finds.
#[derive(Clone)]
pub struct Plane {
    lab: Rc<Lab>,
}

fn failed(what: &str) -> impl FnOnce(std::io::Error) -> Error {
    move |error| Error::failed(format!("{what}: {error}"))
}

impl Plane {
    pub(super) const fn new(lab: Rc<Lab>) -> Self {
        Self { lab }
    }

    /// Fills the map at an index of an outer one.
    fn publish<V: Pod>(&self, outer: &'static str, index: u32, value: &[V]) -> std::io::Result<()> {
        let mut state = self.lab.state.borrow_mut();
        if let Some(inner) = state.inner.get(&(outer, index)) {
            return sys::update(inner.as_fd(), &0u32, value);
        }
        let inner = sys::create_map(BPF_MAP_TYPE_ARRAY as u32, 4, size_of_val(value), 1)?;
        sys::update(inner.as_fd(), &0u32, value)?;
        let fd = std::os::fd::AsRawFd::as_raw_fd(&inner);
        sys::update(self.lab.outer[outer].as_fd(), &index, &[fd])?;
        state.inner.insert((outer, index), inner);
        Ok(())
    }
}

impl DataPlane for Plane {
    fn now_s(&self) -> u32 {
        self.lab.now_s()
    }

    fn backends(&self) -> Result<BTreeMap<u32, Backend>, Error> {
        Ok(self.lab.state.borrow().backends.clone())
    }

    fn set_backend(&mut self, id: u32, backend: &Backend) -> Result<(), Error> {
        sys::update(self.lab.backends.as_fd(), &id, std::slice::from_ref(backend))
            .map_err(failed("write BACKENDS"))?;
        let mut state = self.lab.state.borrow_mut();
        let _ = match *backend == Backend::default() {
            true => state.backends.remove(&id),
            false => state.backends.insert(id, *backend),
        };
        Ok(())
    }

    /// Only noted: the backends of a lab are one hop away.
    fn hops(&self) -> Result<BTreeMap<u32, Backend>, Error> {
        Ok(self.lab.state.borrow().hops.clone())
    }

    fn set_hop(&mut self, key: u32, entry: Option<&Backend>) -> Result<(), Error> {
        let hops = &mut self.lab.state.borrow_mut().hops;
        let _ = match entry {
            Some(entry) => hops.insert(key, *entry),
            None => hops.remove(&key),
        };
        Ok(())
    }

    fn clear_counters(&mut self, id: u32) -> Result<(), Error> {
        self.lab.clear_connections(id).map_err(failed("write CONNECTIONS"))
    }

    fn targets_down(&self) -> Result<Vec<u32>, Error> {
        Ok(lock(&self.lab.down).iter().copied().collect())
    }

    fn liveness(&self) -> Result<Liveness, Error> {
        let (map, down) = (Arc::clone(&self.lab.liveness), Arc::clone(&self.lab.down));
        let store = move |target, up| {
            let state = if up { TARGET_UP } else { TARGET_DOWN };
            let _ = if up { lock(&down).remove(&target) } else { lock(&down).insert(target) };
            sys::update(map.as_fd(), &target, &[state]).map_err(failed("write LIVENESS"))
        };
        Ok(Liveness::new(store, self.targets_down()?))
    }

    fn tx_ports(&self) -> Result<BTreeMap<u32, u32>, Error> {
        Ok(self.lab.state.borrow().tx_ports.clone())
    }

    /// Only noted: the packets of a lab leave by the interface that they came in on.
    fn set_tx_port(&mut self, port: u32, ifindex: Option<u32>) -> Result<(), Error> {
        let ports = &mut self.lab.state.borrow_mut().tx_ports;
        let _ = match ifindex {
            Some(ifindex) => ports.insert(port, ifindex),
            None => ports.remove(&port),
        };
        Ok(())
    }

    /// Only noted: no service of a lab has such ids.
    fn quic_ids(&self) -> Result<QuicIds, Error> {
        Ok(self.lab.state.borrow().quic.clone())
    }

    fn set_quic_layout(&mut self, service: u32, layout: Layout) -> Result<(), Error> {
        self.lab.state.borrow_mut().quic.layouts.insert(service, layout);
        Ok(())
    }

    fn set_quic_server(&mut self, key: ServerKey, backend: Option<u32>) -> Result<(), Error> {
        let servers = &mut self.lab.state.borrow_mut().quic.servers;
        let _ = match backend {
            Some(backend) => servers.insert(key, backend),
            None => servers.remove(&key),
        };
        Ok(())
    }

    fn slot_tables(&mut self) -> Result<BTreeMap<u32, u8>, Error> {
        Ok(self.lab.state.borrow().slots.keys().copied().collect())
    }

    fn read_slots(&self, service: u32) -> Result<Option<Slots>, Error> {
        let state = self.lab.state.borrow();
        Ok(state.slots.range((service, 0)..=(service, u8::MAX)).map(|(_, slots)| slots.clone()).next())
    }

    fn publish_slots(&mut self, service: u32, class: u8, slots: &Slots) -> Result<(), Error> {
        self.publish(maps::SLOTS[usize::from(class)], service, &self.lab.words(slots))
            .map_err(failed("publish slots"))?;
        self.lab.state.borrow_mut().slots.insert((service, class), slots.clone());
        Ok(())
    }

    fn remove_slots(&mut self, service: u32, class: u8) -> Result<(), Error> {
        self.lab.state.borrow_mut().slots.remove(&(service, class));
        Ok(())
    }

    fn services(&self) -> Result<ServiceTables, Error> {
        let state = self.lab.state.borrow();
        Ok(ServiceTables { v4: state.services.v4.clone(), v6: state.services.v6.clone() })
    }

    fn publish_services_v4(&mut self, table: Box<ServiceTableV4>) -> Result<(), Error> {
        self.publish(maps::SERVICES_V4, 0, std::slice::from_ref(&*table))
            .map_err(failed("publish services"))?;
        self.lab.state.borrow_mut().services.v4 = Some(table);
        Ok(())
    }

    fn publish_services_v6(&mut self, table: Box<ServiceTableV6>) -> Result<(), Error> {
        self.publish(maps::SERVICES_V6, 0, std::slice::from_ref(&*table))
            .map_err(failed("publish services"))?;
        self.lab.state.borrow_mut().services.v6 = Some(table);
        Ok(())
    }

    /// The usual designs have no collector: their tables look after themselves.
    fn each_flow(&self, visit: &mut dyn FnMut(&FlowKey, &FlowEntry)) -> Result<(), Error> {
        if self.lab.settings().design == Design::Transitions {
            let flows = sys::walk(self.lab.flows.as_fd()).map_err(failed("read FLOWS"))?;
            flows.iter().for_each(|(key, entry)| visit(key, entry));
        }
        Ok(())
    }

    fn remove_flow(
        &mut self,
        key: &FlowKey,
        gone: &dyn Fn(&FlowEntry) -> bool,
    ) -> Result<Option<FlowEntry>, Error> {
        let mut found = [FlowEntry::default()];
        let there = sys::lookup(self.lab.flows.as_fd(), key, &mut found).map_err(failed("read FLOWS"))?;
        let [entry] = found;
        if !there || !gone(&entry) {
            return Ok(None);
        }
        sys::delete(self.lab.flows.as_fd(), key).map_err(failed("write FLOWS"))?;
        Ok(Some(entry))
    }

    fn add_expired(&mut self, backend: u32, connections: u64) -> Result<(), Error> {
        let mut sum = [0u64];
        sys::lookup(self.lab.expired.as_fd(), &backend, &mut sum).map_err(failed("read EXPIRED"))?;
        sys::update(self.lab.expired.as_fd(), &backend, &[sum[0] + connections])
            .map_err(failed("write EXPIRED"))
    }

    fn unrecorded(&self) -> Result<u64, Error> {
        self.lab.unrecorded().map_err(|error| Error::failed(format!("read EVENTS: {error:#}")))
    }

    fn moving_since_s(&self, service: u32) -> Result<Option<u32>, Error> {
        Ok(self.lab.state.borrow().moving_since_s.get(&service).copied())
    }

    fn set_moving_since_s(&mut self, service: u32, since_s: u32) -> Result<(), Error> {
        self.lab.state.borrow_mut().moving_since_s.insert(service, since_s);
        Ok(())
    }

    fn attach(&mut self, ifname: &str, _mode: AttachMode) -> Result<Attached, Error> {
        let attached = Attached { ifname: ifname.to_owned(), ifindex: 1, mode: XdpMode::Generic, note: None };
        self.lab.state.borrow_mut().attached.insert(ifname.to_owned(), attached.clone());
        Ok(attached)
    }

    fn detach(&mut self, ifname: &str) -> Result<(), Error> {
        self.lab.state.borrow_mut().attached.remove(ifname);
        Ok(())
    }

    fn attached(&self) -> Vec<Attached> {
        self.lab.state.borrow().attached.values().cloned().collect()
    }
}
