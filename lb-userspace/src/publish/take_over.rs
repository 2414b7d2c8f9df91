//! The pins that an earlier agent left: whether they can be taken over, and removing them.

use std::{io, os::fd::AsFd};

use lb_common::{
    abi::{ABI_VERSION, Meta},
    maps,
};

use super::{
    attach,
    kernel::OBJECT,
    pins::{self, Pins},
    sys,
    tracking::Tracking,
};
use crate::error::Error;

/// Whether there is a complete set of pins, all of them as this agent would make them. False: there is none, and
/// nothing is attached that could be using a part of one.
pub(super) fn check_pins(pins: &Pins, seed: u64) -> Result<bool, Error> {
    let fix = format!(
        "detach (`lb detach --all`), stop the agent, then remove it: rm -r {}",
        pins.root().display()
    );
    let mut missing = OBJECT.check(pins, &fix)?;
    let meta = read_meta(pins, &fix)?;
    missing.extend(meta.is_none().then_some(maps::META));
    let Some(meta) = meta.filter(|_| missing.is_empty()) else {
        // What a crash left half-made is made anew, unless packets may be passing through it.
        if attach::list(&pins.links())?.is_empty() {
            return Ok(false);
        }
        return Err(Error::invalid(format!(
            "the pins in {} are not complete ({} missing) although interfaces are attached; {fix}",
            pins.root().display(),
            missing.join(", ")
        )));
    };
    if meta.abi_version != ABI_VERSION || meta.seed != seed {
        return Err(Error::invalid(format!(
            "the pins in {} were made with another seed or ABI (that of another --state-dir?); use that again, or {fix}",
            pins.root().display()
        )));
    }
    Ok(true)
}

/// Who made the pins. None: they were never complete.
fn read_meta(pins: &Pins, fix: &str) -> Result<Option<Meta>, Error> {
    let path = pins.map(maps::META);
    let map = match sys::object_get(&path) {
        Ok(map) => map,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(pins::failed(&format!("open {}", path.display()), &error)),
    };
    let shape = sys::map_info(map.as_fd()).ok().map(|(_, shape)| (shape.key_size, shape.value_size));
    if shape != Some((size_of::<u32>() as u32, size_of::<Meta>() as u32)) {
        return Err(Error::invalid(format!("{} is not a map of this lb; {fix}", path.display())));
    }
    let mut meta = [Meta::default()];
    sys::map_lookup(map.as_fd(), &0u32, &mut meta).map_err(|error| pins::failed("read META", &error))?;
    Ok(Some(meta[0]))
}

/// Removes all pins except those of `lb decap`.
pub(super) fn wipe(pins: &Pins) -> Result<(), Error> {
    // The mark of a complete set goes first.
    for name in [maps::META].iter().chain(OBJECT.maps) {
        pins::remove(&pins.map(name))?;
    }
    Tracking::wipe(pins)?;
    for dir in [pins.tables(), pins.links()] {
        for name in pins::names(&dir)? {
            pins::remove(&dir.join(name))?;
        }
    }
    Ok(())
}
