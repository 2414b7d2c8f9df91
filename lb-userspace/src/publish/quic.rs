//! The maps of QUIC server ids in the kernel.

use std::os::fd::{AsFd, OwnedFd};

use lb_common::{
    maps,
    quic::{Layout, ServerKey},
};

use super::{
    kernel::{open_map, write},
    pins::{self, Pins},
    sys,
    walk::walk,
};
use crate::{error::Error, table::snapshot::QuicIds};

/// The maps.
pub(crate) struct QuicMaps {
    layouts: OwnedFd,
    servers: OwnedFd,
}

impl QuicMaps {
    /// Opens what is pinned.
    pub(crate) fn open(pins: &Pins) -> Result<Self, Error> {
        Ok(Self { layouts: open_map(pins, maps::QUIC_LAYOUTS)?, servers: open_map(pins, maps::QUIC_IDS)? })
    }

    pub(crate) fn read(&self) -> Result<QuicIds, Error> {
        let mut found = QuicIds::default();
        walk(self.layouts.as_fd(), maps::QUIC_LAYOUTS, |service: &u32, layout: &Layout| {
            if *layout != Layout::default() {
                found.layouts.insert(*service, *layout);
            }
        })?;
        walk(self.servers.as_fd(), maps::QUIC_IDS, |key: &ServerKey, backend: &u32| {
            found.servers.insert(*key, *backend);
        })?;
        Ok(found)
    }

    pub(crate) fn set_layout(&self, service: u32, layout: Layout) -> Result<(), Error> {
        write(&self.layouts, maps::QUIC_LAYOUTS, &service, &[layout])
    }

    pub(crate) fn set_server(&self, key: ServerKey, backend: Option<u32>) -> Result<(), Error> {
        match backend {
            Some(backend) => write(&self.servers, maps::QUIC_IDS, &key, &[backend]),
            None => sys::map_delete(self.servers.as_fd(), &key)
                .map_err(|error| pins::failed("write the map QUIC_IDS", &error)),
        }
    }
}
