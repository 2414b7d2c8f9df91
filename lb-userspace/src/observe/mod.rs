//! Reads what the packet path counts, from its pinned maps: works with the agent down, changes nothing.

mod counters;
mod memory;

use std::{io, path::Path};

use aya::maps::MapError;
pub use counters::Counters;
pub(crate) use counters::reasons;
pub use memory::{MapMemory, map_memory};

use crate::error::{Error, Kind};

/// A map that can't be opened or read, as an error for the user.
fn unreadable(path: &Path, error: &MapError) -> Error {
    match errno_kind(error) {
        Some(io::ErrorKind::NotFound) => Error::not_found(format!(
            "not attached: nothing is pinned at {}; run `lb attach INTERFACE`",
            path.display()
        )),
        Some(io::ErrorKind::PermissionDenied) => Error::new(
            Kind::Permission,
            format!("can't read {}: run as root (or with CAP_BPF)", path.display()),
        ),
        _ => Error::failed(format!("can't read the map {}: {}", path.display(), chain(error))),
    }
}

/// A directory of pins that can't be listed, as an error for the user.
fn unlistable(dir: &Path, error: &io::Error) -> Error {
    let kind = if error.kind() == io::ErrorKind::PermissionDenied { Kind::Permission } else { Kind::Failed };
    Error::new(kind, format!("can't list the pins in {}: {error}", dir.display()))
}

/// The system's own error behind a map error.
fn errno_kind(error: &MapError) -> Option<io::ErrorKind> {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        if let Some(io_error) = error.downcast_ref::<io::Error>() {
            return Some(io_error.kind());
        }
        cause = error.source();
    }
    None
}

/// An error with its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
