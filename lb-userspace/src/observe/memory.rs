//! How much memory the pinned maps take.

use std::{
    collections::BTreeSet,
    fs,
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    path::Path,
};

use aya::maps::MapData;
use serde::{Deserialize, Serialize};

use crate::{error::Error, publish::pins::Pins};

/// Directories deeper than this are none of ours.
const MAX_DEPTH: usize = 3;

/// The memory of one map.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapMemory {
    /// Where it is pinned, relative to the pins of this version.
    pub name: String,
    /// What the kernel accounts for it, with all its entries and CPUs.
    pub bytes: u64,
}

/// The memory of each map pinned below `pin_dir`, by name; each map once, however often it is pinned. Empty if
/// nothing is pinned. Inner maps are counted by their own pins.
///
/// # Errors
/// The pins can't be listed, for want of rights for example.
pub fn map_memory(pin_dir: &Path) -> Result<Vec<MapMemory>, Error> {
    let pins = Pins::new(pin_dir);
    let root = pins.root();
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    walk(root, root, MAX_DEPTH, &mut |name, path| {
        // Links and programs are pinned here as well; aya opens them like maps, the kernel tells them apart.
        let Ok(pinned) = MapData::from_pin(path) else { return };
        if let Some((id, bytes)) = map_size(pinned.fd().as_fd())
            && seen.insert(id)
        {
            found.push(MapMemory { name: name.to_owned(), bytes });
        }
    })?;
    found.sort_by(|left, right| left.name.cmp(&right.name));
    Ok(found)
}

fn walk(root: &Path, dir: &Path, depth: usize, found: &mut impl FnMut(&str, &Path)) -> Result<(), Error> {
    let failed = |error: std::io::Error| super::unlistable(dir, &error);
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(failed)?,
    };
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let path = entry.path();
        if entry.file_type().map_err(failed)?.is_dir() {
            if depth > 0 {
                walk(root, &path, depth - 1, found)?;
            }
        } else if let Some(name) = path.strip_prefix(root).ok().and_then(Path::to_str) {
            found(name, &path);
        }
    }
    Ok(())
}

/// Id and memory of a map, from what the kernel shows of our file descriptor; None if it is of no map.
fn map_size(fd: BorrowedFd<'_>) -> Option<(u64, u64)> {
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd())).ok()?;
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    Some((field("map_id:")?, field("memlock:")?))
}
