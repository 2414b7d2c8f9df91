//! The counters of the packet path, summed over the CPUs.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use aya::{
    Pod,
    maps::{Array, Map, MapData, MapError, PerCpuArray},
};
use lb_common::{
    abi::{ABI_VERSION, Meta},
    event::Event,
    maps::{EVENTS, FORWARDED, META, REASONS},
    stats::Counter,
    verdict::Reason,
};

use super::unreadable;
use crate::{error::Error, publish::pins::Pins};

/// The pinned counters.
pub struct Counters {
    forwarded: PerCpuArray<MapData, Counter>,
    reasons: PerCpuArray<MapData, Counter>,
    /// None while the packet path that is loaded counts none.
    events: Option<PerCpuArray<MapData, u64>>,
    meta: Meta,
    pin_dir: PathBuf,
}

impl fmt::Debug for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counters").field("meta", &self.meta).finish_non_exhaustive()
    }
}

impl Counters {
    /// Opens the counters pinned below `pin_dir`.
    ///
    /// # Errors
    /// [`crate::error::Kind::NotFound`] if nothing is pinned there, `Permission` without the right to look,
    /// `Conflict` if the pins are of another version of `lb`.
    pub fn open(pin_dir: &Path) -> Result<Self, Error> {
        let pins = Pins::new(pin_dir);
        let meta = read_meta(&pins.map(META))?;
        if meta.abi_version != ABI_VERSION {
            return Err(Error::conflict(format!(
                "the pins in {} are of version {}, this lb reads version {ABI_VERSION}; use the lb that made them",
                pins.root().display(),
                meta.abi_version
            )));
        }
        Ok(Self {
            forwarded: per_cpu(&pins.map(FORWARDED))?,
            reasons: per_cpu(&pins.map(REASONS))?,
            events: per_cpu(&pins.map(EVENTS)).ok(),
            meta,
            pin_dir: pin_dir.to_owned(),
        })
    }

    /// What the pins say of themselves: version and seed.
    pub const fn meta(&self) -> Meta {
        self.meta
    }

    /// Memory of all pinned maps together; None if they can't be listed any more.
    pub fn map_memory_bytes(&self) -> Option<u64> {
        let maps = super::map_memory(&self.pin_dir).ok()?;
        Some(maps.iter().map(|map| map.bytes).sum())
    }

    /// What was forwarded to a backend, since its id was first used. Zero for an id that no backend can have.
    pub fn forwarded(&self, backend_id: u32) -> Counter {
        sum(&self.forwarded, backend_id)
    }

    /// What was not forwarded, by reason, in the order of [`Reason::ALL`].
    pub fn reasons(&self) -> Vec<(Reason, Counter)> {
        Reason::ALL.into_iter().map(|reason| (reason, sum(&self.reasons, reason as u32))).collect()
    }

    /// What happened to packets on their way, in the order of [`Event::ALL`].
    pub fn events(&self) -> Vec<(Event, u64)> {
        let Some(events) = &self.events else { return Vec::new() };
        let count = |event: Event| events.get(&(event as u32), 0).map_or(0, |counts| counts.iter().sum());
        Event::ALL.into_iter().map(|event| (event, count(event))).collect()
    }
}

/// What the packets of an attachment of `lb decap` came to, by reason.
///
/// # Errors
/// Those of [`Counters::open`].
pub(crate) fn reasons(pins: &Pins) -> Result<Vec<(Reason, Counter)>, Error> {
    let map = per_cpu(&pins.map(REASONS))?;
    Ok(Reason::ALL.into_iter().map(|reason| (reason, sum(&map, reason as u32))).collect())
}

fn sum(map: &PerCpuArray<MapData, Counter>, index: u32) -> Counter {
    // The map is an array: a lookup fails for an index beyond its end only.
    map.get(&index, 0).map(|counters| counters.iter().copied().sum()).unwrap_or_default()
}

fn read_meta(path: &Path) -> Result<Meta, Error> {
    let read = || -> Result<Meta, MapError> {
        let map = Array::try_from(Map::from_map_data(MapData::from_pin(path)?)?)?;
        map.get(&0, 0)
    };
    read().map_err(|error| unreadable(path, &error))
}

fn per_cpu<V: Pod>(path: &Path) -> Result<PerCpuArray<MapData, V>, Error> {
    let open = || PerCpuArray::try_from(Map::from_map_data(MapData::from_pin(path)?)?);
    open().map_err(|error| unreadable(path, &error))
}
