//! Makes the packet path hold a [`crate::table::snapshot::Snapshot`], without a packet seeing a half of it.
//!
//! [`Publisher`] decides what has to be written, in which order; [`dataplane::DataPlane`] is the kernel as it sees it,
//! [`Kernel`] the real one and [`fake::Fake`] one in memory. Everything outlives the agent by pins, see [`pins`].

mod publisher;
mod plan;
mod wide;
mod published;
mod collector;
pub mod liveness;
pub mod dataplane;
pub mod fake;
mod kernel;
mod take_over;
mod inner;
pub mod attach;
mod attach_tc;
pub mod decap;
mod object;
pub mod pins;
mod sys;
mod walk;
mod tracking;
mod quic;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

use lb_common::rate;

pub use attach::{Attached, XdpMode};
pub use kernel::Kernel;
pub use liveness::{Liveness, Moment};
pub use publisher::{Preview, Publisher, ServicePreview};

use crate::{error::Error, observe::Counters};

/// Where to publish, and for how long transitions take.
#[derive(Clone, Debug)]
pub struct Options {
    /// Directory of all pins; made, and a BPF file system mounted, if need be.
    pub pin_dir: PathBuf,
    /// Seed of the hashes, the same as long as the pins live.
    pub seed: u64,
    /// Log of the packet path; 0 is off and costs nothing.
    pub log_level: u8,
    /// Echo requests to service addresses that are answered per second; 0: they are left to the host.
    pub echo_per_second: u32,
    /// Times of transitions.
    pub timing: Timing,
}

impl Options {
    /// Options with the default times and no log.
    pub fn new(pin_dir: impl Into<PathBuf>, seed: u64) -> Self {
        Self {
            pin_dir: pin_dir.into(),
            seed,
            log_level: 0,
            echo_per_second: rate::ECHO_PER_SECOND,
            timing: Timing::default(),
        }
    }
}

/// How long things are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// For how long a slot of a TCP, SCTP or QUIC service moves: connections that send nothing for so long may change their
    /// backend.
    pub quiet_period: Duration,
    /// The same for other UDP services. Their tracked flows are forgotten after this time too.
    pub udp_idle: Duration,
    /// Tracked TCP connections that send nothing for so long, or for a quiet period if that is longer, are forgotten.
    pub tcp_idle: Duration,
    /// The same in services that track every flow, where a forgotten connection can change its backend.
    pub tracked_idle: Duration,
    /// The same for TCP connections that one side has closed.
    pub closed_idle: Duration,
    /// Time between two walks of the flow table, while there is anything in transition.
    pub collect_interval: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            quiet_period: Duration::from_secs(300),
            udp_idle: Duration::from_secs(60),
            tcp_idle: Duration::from_secs(300),
            tracked_idle: Duration::from_secs(900),
            closed_idle: Duration::from_secs(30),
            collect_interval: Duration::from_secs(5),
        }
    }
}

/// What a call of [`Publisher::apply`] wrote. All zero: everything was as it should be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Entries of the egress map, vacated ones included.
    pub tx_ports: u32,
    /// Entries of the backend map, vacated ones included.
    pub backends: u32,
    /// Targets marked up or down.
    pub targets: u32,
    /// Slot tables published.
    pub slot_tables: u32,
    /// Slot tables removed.
    pub slot_tables_removed: u32,
    /// Service tables published, of both families.
    pub service_tables: u32,
    /// Entries about QUIC server ids, removed ones included.
    pub quic_ids: u32,
}

/// The slots of a service by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotStates {
    /// At rest.
    pub steady: u32,
    /// Changing their owner.
    pub moving: u32,
    /// Those of them that wait for their turn, see [`crate::table::transition`].
    pub waiting: u32,
    /// Quiet periods after the current one until none waits.
    pub turns_left: u32,
    /// With their owner, and exceptions in the flow table.
    pub settled: u32,
    /// Flows of the service in the flow table, as of the last walk.
    pub tracked_flows: u64,
}

/// Where the packet path is attached, read from the pins; the agent may be down.
///
/// # Errors
/// If a pin can't be read or is not ours.
pub fn attached(pin_dir: &Path) -> Result<Vec<Attached>, Error> {
    attach::list(&pins::Pins::new(pin_dir).links())
}

/// Detaches by the pins alone. No agent may be running on them.
///
/// # Errors
/// `Conflict` if one is; `NotFound` for an interface that is not attached.
pub fn detach(pin_dir: &Path, ifnames: &BTreeSet<String>) -> Result<(), Error> {
    if ifnames.is_empty() {
        return Ok(()); // Perhaps there are no pins at all.
    }
    let _lock = pins::lock(pin_dir)?;
    let links = pins::Pins::new(pin_dir).links();
    ifnames.iter().try_for_each(|ifname| attach::detach(&links, ifname))
}

/// Whether a packet path is pinned.
pub fn is_pinned(pin_dir: &Path) -> bool {
    pins::Pins::new(pin_dir).map(lb_common::maps::META).exists()
}

/// Removes all pins but those of `lb decap`. No agent may be running on them, and nothing may be attached.
///
/// # Errors
/// `Conflict` otherwise; the file system refused.
pub fn discard(pin_dir: &Path) -> Result<(), Error> {
    let _lock = pins::lock(pin_dir)?;
    if let Some(attached) = attached(pin_dir)?.first() {
        return Err(Error::conflict(format!("attached to {}", attached.ifname)));
    }
    pins::Pins::new(pin_dir).discard()
}

/// The seed of the pins, for an agent without a stored state. None if nothing is pinned.
///
/// # Errors
/// `Conflict` while interfaces are attached: an empty state would take all services out of a working packet path.
pub fn seed_to_inherit(pin_dir: &Path) -> Result<Option<u64>, Error> {
    if let Some(attached) = attached(pin_dir)?.first() {
        return Err(Error::conflict(format!(
            "no state is stored, but {} forwards by what an earlier agent was told; put its desired.json back (or give \
             its --state-dir), or `lb detach --all` to begin with an empty state",
            attached.ifname
        )));
    }
    // What is pinned but can't be read, opening the packet path tells.
    Ok(Counters::open(pin_dir).ok().map(|counters| counters.meta().seed))
}
