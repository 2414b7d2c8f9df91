//! The maps that the packet path writes and the agent keeps in order: flows, counters; and one of the agent's own.

use std::os::fd::{AsFd, OwnedFd};

use lb_common::{
    connections::Connections,
    event::Event,
    flow::{FlowEntry, FlowKey},
    maps,
    service::MAX_SERVICES,
    stats::Counter,
};

use super::{
    kernel::{open_map, write},
    pins::{self, Pins},
    sys,
    walk::walk,
};
use crate::error::Error;

/// `Array<u32, MAX_SERVICES>`: since which second of the boot clock slots of a service have been moving, for the agent
/// that comes after. The packet path does not know it. 0: not noted.
const MOVING_SINCE: &str = "MOVING_SINCE";

/// The maps.
pub(crate) struct Tracking {
    flows: OwnedFd,
    forwarded: OwnedFd,
    connections: OwnedFd,
    expired: OwnedFd,
    events: OwnedFd,
    moving_since: OwnedFd,
    cpus: usize,
}

impl Tracking {
    /// Opens what is pinned; the agent's own map is made if there is none of its shape.
    pub(crate) fn open(pins: &Pins) -> Result<Self, Error> {
        Ok(Self {
            flows: open_map(pins, maps::FLOWS)?,
            forwarded: open_map(pins, maps::FORWARDED)?,
            connections: open_map(pins, maps::CONNECTIONS)?,
            expired: open_map(pins, maps::EXPIRED)?,
            events: open_map(pins, maps::EVENTS)?,
            moving_since: open_moving_since(pins)?,
            cpus: aya::util::nr_cpus()
                .map_err(|(path, error)| pins::failed(&format!("read {path}"), &error))?,
        })
    }

    /// Removes the pin of the agent's own map.
    pub(crate) fn wipe(pins: &Pins) -> Result<(), Error> {
        pins::remove(&pins.map(MOVING_SINCE))
    }

    pub(crate) fn clear_counters(&self, id: u32) -> Result<(), Error> {
        write(&self.forwarded, maps::FORWARDED, &id, &vec![Counter::default(); self.cpus])?;
        write(&self.connections, maps::CONNECTIONS, &id, &[Connections::default()])?;
        write(&self.expired, maps::EXPIRED, &id, &[0u64])
    }

    pub(crate) fn each_flow(&self, visit: &mut dyn FnMut(&FlowKey, &FlowEntry)) -> Result<(), Error> {
        walk(self.flows.as_fd(), maps::FLOWS, visit)
    }

    /// Removes an entry that is `gone`. The kernel gives what it removed, so that an entry which a packet refreshed in
    /// the last moment is put back, unless the packet path recorded the flow again meanwhile.
    pub(crate) fn remove_flow(
        &self,
        key: &FlowKey,
        gone: &dyn Fn(&FlowEntry) -> bool,
    ) -> Result<Option<FlowEntry>, Error> {
        let failed = |error| pins::failed("write the map FLOWS", &error);
        let mut entry = [FlowEntry::default()];
        if !sys::map_lookup(self.flows.as_fd(), key, &mut entry).map_err(failed)? || !gone(&entry[0]) {
            return Ok(None);
        }
        if !sys::map_lookup_and_delete(self.flows.as_fd(), key, &mut entry).map_err(failed)? {
            return Ok(None);
        }
        if gone(&entry[0]) {
            return Ok(Some(entry[0]));
        }
        sys::map_insert(self.flows.as_fd(), key, &entry).map_err(failed)?;
        Ok(None)
    }

    pub(crate) fn add_expired(&self, backend: u32, connections: u64) -> Result<(), Error> {
        let mut sum = [0u64];
        sys::map_lookup(self.expired.as_fd(), &backend, &mut sum)
            .map_err(|error| pins::failed("read the map EXPIRED", &error))?;
        write(&self.expired, maps::EXPIRED, &backend, &[sum[0].wrapping_add(connections)])
    }

    pub(crate) fn unrecorded(&self) -> Result<u64, Error> {
        let mut sum = 0u64;
        for event in Event::ALL.into_iter().filter(|event| event.is_unrecorded()) {
            let mut counts = vec![0u64; self.cpus];
            sys::map_lookup(self.events.as_fd(), &(event as u32), &mut counts)
                .map_err(|error| pins::failed("read the map EVENTS", &error))?;
            sum = counts.iter().fold(sum, |sum, count| sum.wrapping_add(*count));
        }
        Ok(sum)
    }

    pub(crate) fn moving_since_s(&self, service: u32) -> Result<Option<u32>, Error> {
        let mut since_s = [0u32];
        sys::map_lookup(self.moving_since.as_fd(), &service, &mut since_s)
            .map_err(|error| pins::failed("read the map MOVING_SINCE", &error))?;
        Ok(Some(since_s[0]).filter(|since_s| *since_s != 0))
    }

    pub(crate) fn set_moving_since_s(&self, service: u32, since_s: u32) -> Result<(), Error> {
        write(&self.moving_since, MOVING_SINCE, &service, &[since_s])
    }
}

fn open_moving_since(pins: &Pins) -> Result<OwnedFd, Error> {
    let path = pins.map(MOVING_SINCE);
    if let Ok(map) = sys::object_get(&path)
        && sys::map_info(map.as_fd())
            .is_ok_and(|(_, shape)| (shape.value_size, shape.max_entries) == (4, MAX_SERVICES))
    {
        return Ok(map);
    }
    pins::remove(&path)?;
    let map = sys::create_array(MOVING_SINCE, size_of::<u32>(), MAX_SERVICES)
        .map_err(|error| pins::failed("make the map MOVING_SINCE", &error))?;
    sys::object_pin(map.as_fd(), &path)
        .map_err(|error| pins::failed(&format!("pin {}", path.display()), &error))?;
    Ok(map)
}
