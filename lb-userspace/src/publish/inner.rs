//! The tables that are swapped whole: each is the value of an inner map's only element.
//!
//! A new table is filled and pinned as `<name>-next`, swapped in by one update of the outer map, and then renamed over
//! the former pin. So whatever the outer map holds has a pin at any moment, and [`InnerMaps::repair`] tells which.

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::{Path, PathBuf},
};

use aya::Pod;
use lb_common::{
    maps,
    service::{ServiceTableV4, ServiceTableV6},
    slot::SIZES,
};

use super::{
    dataplane::ServiceTables,
    kernel::{open_map, write},
    pins::{self, Pins},
    sys,
};
use crate::{error::Error, table::transition::Slots};

const SERVICES_V4_PIN: &str = "services_v4";
const SERVICES_V6_PIN: &str = "services_v6";
/// Ends the name of a table that is not in use yet.
const NEXT: &str = "-next";

/// The outer maps, and the directory of the inner ones.
pub(crate) struct InnerMaps {
    dir: PathBuf,
    slots: [Outer; 4],
    services_v4: Outer,
    services_v6: Outer,
}

struct Outer {
    map: OwnedFd,
    name: &'static str,
}

impl Outer {
    fn open(pins: &Pins, name: &'static str) -> Result<Self, Error> {
        Ok(Self { map: open_map(pins, name)?, name })
    }

    /// Id of the inner map at an index.
    fn inner_id(&self, index: u32) -> Result<Option<u32>, Error> {
        let mut id = [0u32];
        let found = sys::map_lookup(self.map.as_fd(), &index, &mut id)
            .map_err(|error| pins::failed(&format!("read the map {}", self.name), &error))?;
        Ok(found.then_some(id[0]))
    }
}

impl InnerMaps {
    pub(crate) fn open(pins: &Pins) -> Result<Self, Error> {
        let [tiny, small, default, large] = maps::SLOTS;
        Ok(Self {
            dir: pins.tables(),
            slots: [
                Outer::open(pins, tiny)?,
                Outer::open(pins, small)?,
                Outer::open(pins, default)?,
                Outer::open(pins, large)?,
            ],
            services_v4: Outer::open(pins, maps::SERVICES_V4)?,
            services_v6: Outer::open(pins, maps::SERVICES_V6)?,
        })
    }

    /// The services with a slot table and their classes, after [`InnerMaps::repair`].
    pub(crate) fn slot_tables(&self) -> Result<BTreeMap<u32, u8>, Error> {
        self.repair()?;
        let mut found = BTreeMap::new();
        for name in pins::names(&self.dir)? {
            let Ok(service) = name.parse() else { continue };
            if let Some((class, _)) = self.open_slots(service)? {
                found.insert(service, class);
            }
        }
        Ok(found)
    }

    /// Completes or undoes what a crash interrupted: afterwards a pin without `-next` is what its outer map holds.
    fn repair(&self) -> Result<(), Error> {
        for name in pins::names(&self.dir)? {
            let Some(current) = name.strip_suffix(NEXT) else { continue };
            let next = self.dir.join(&name);
            if self.is_in_use(current, &next)? {
                rename(&next, &self.dir.join(current))?;
            } else {
                pins::remove(&next)?;
            }
        }
        for name in pins::names(&self.dir)? {
            let path = self.dir.join(&name);
            if !self.is_in_use(&name, &path)? {
                pins::remove(&path)?;
            }
        }
        Ok(())
    }

    /// Whether the outer map holds what is pinned at a path for the table of this name.
    fn is_in_use(&self, name: &str, path: &Path) -> Result<bool, Error> {
        let Some(map) = get(path)? else { return Ok(false) };
        let Ok((id, shape)) = sys::map_info(map.as_fd()) else { return Ok(false) };
        let (outer, index) = match (name, name.parse()) {
            (SERVICES_V4_PIN, _) => (&self.services_v4, 0),
            (SERVICES_V6_PIN, _) => (&self.services_v6, 0),
            (_, Ok(service)) => match class_of(shape.value_size) {
                Some(class) => (&self.slots[usize::from(class)], service),
                None => return Ok(false),
            },
            _ => return Ok(false),
        };
        Ok(outer.inner_id(index)? == Some(id))
    }

    fn open_slots(&self, service: u32) -> Result<Option<(u8, OwnedFd)>, Error> {
        let path = self.dir.join(service.to_string());
        let Some(map) = get(&path)? else { return Ok(None) };
        let (_, shape) = sys::map_info(map.as_fd())
            .map_err(|error| pins::failed(&format!("look at {}", path.display()), &error))?;
        Ok(class_of(shape.value_size).map(|class| (class, map)))
    }

    pub(crate) fn read_slots(&self, service: u32) -> Result<Option<Slots>, Error> {
        let Some((class, map)) = self.open_slots(service)? else { return Ok(None) };
        let mut words = vec![0u32; 2 * SIZES[usize::from(class)]];
        sys::map_lookup(map.as_fd(), &0u32, &mut words)
            .map_err(|error| pins::failed(&format!("read the slots of service {service}"), &error))?;
        Ok(Slots::from_words(words))
    }

    pub(crate) fn publish_slots(&self, service: u32, class: u8, slots: &Slots) -> Result<(), Error> {
        self.publish(&self.slots[usize::from(class)], service, &service.to_string(), slots.words())
    }

    /// Removes a table from its class; its pin too, unless that is of another class by now.
    pub(crate) fn remove_slots(&self, service: u32, class: u8) -> Result<(), Error> {
        self.clear(class, service)?;
        match self.open_slots(service)? {
            Some((current, _)) if current != class => Ok(()),
            _ => pins::remove(&self.dir.join(service.to_string())),
        }
    }

    fn clear(&self, class: u8, service: u32) -> Result<(), Error> {
        let outer = &self.slots[usize::from(class)];
        sys::map_delete(outer.map.as_fd(), &service)
            .map_err(|error| pins::failed(&format!("write the map {}", outer.name), &error))
    }

    pub(crate) fn services(&self) -> Result<ServiceTables, Error> {
        Ok(ServiceTables {
            v4: self.read_services(SERVICES_V4_PIN)?,
            v6: self.read_services(SERVICES_V6_PIN)?,
        })
    }

    fn read_services<T: Pod>(&self, name: &str) -> Result<Option<Box<T>>, Error> {
        let path = self.dir.join(name);
        let Some(map) = get(&path)? else { return Ok(None) };
        let failed = |error| pins::failed(&format!("read {}", path.display()), &error);
        let (_, shape) = sys::map_info(map.as_fd()).map_err(failed)?;
        if shape.value_size as usize != size_of::<T>() {
            return Ok(None);
        }
        // SAFETY: plain old data, for which zero is a value. Boxed from the start: it is a megabyte or two.
        let mut table: Box<T> = unsafe { Box::new_zeroed().assume_init() };
        sys::map_lookup(map.as_fd(), &0u32, std::slice::from_mut(&mut *table)).map_err(failed)?;
        Ok(Some(table))
    }

    pub(crate) fn publish_services_v4(&self, table: &ServiceTableV4) -> Result<(), Error> {
        self.publish(&self.services_v4, 0, SERVICES_V4_PIN, std::slice::from_ref(table))
    }

    pub(crate) fn publish_services_v6(&self, table: &ServiceTableV6) -> Result<(), Error> {
        self.publish(&self.services_v6, 0, SERVICES_V6_PIN, std::slice::from_ref(table))
    }

    /// One fill, one swap. The outer update returns when no packet sees the former table any more.
    fn publish<V: Pod>(&self, outer: &Outer, index: u32, name: &str, value: &[V]) -> Result<(), Error> {
        let inner = sys::create_array(name, size_of_val(value), 1)
            .map_err(|error| pins::failed(&format!("make a table for {name}"), &error))?;
        write(&inner, name, &0u32, value)?;
        let next = self.dir.join(format!("{name}{NEXT}"));
        pins::remove(&next)?;
        sys::object_pin(inner.as_fd(), &next)
            .map_err(|error| pins::failed(&format!("pin {}", next.display()), &error))?;
        write(&outer.map, outer.name, &index, &[inner.as_raw_fd()])?;
        rename(&next, &self.dir.join(name))
    }
}

/// Opens a pin. None if there is none.
fn get(path: &Path) -> Result<Option<OwnedFd>, Error> {
    match sys::object_get(path) {
        Ok(map) => Ok(Some(map)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(pins::failed(&format!("open {}", path.display()), &error)),
    }
}

fn rename(from: &Path, to: &Path) -> Result<(), Error> {
    std::fs::rename(from, to)
        .map_err(|error| pins::failed(&format!("rename {} to {}", from.display(), to.display()), &error))
}

/// Class of a slot map, by the size of its value.
fn class_of(value_size: u32) -> Option<u8> {
    SIZES.iter().position(|size| 8 * size == value_size as usize).map(|class| class as u8)
}
