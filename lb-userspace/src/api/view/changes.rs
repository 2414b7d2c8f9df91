//! What the agent answers about changes: how drains stand, and what a command would touch.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// Answer of `lb backend drain --wait`: how drains stand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainList {
    /// [`super::SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Backends that are drained, and those that were removed at the end of a drain since the agent started.
    pub drains: Vec<DrainView>,
}

/// A drain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainView {
    /// Name of the service.
    pub service: String,
    /// Address of the backend.
    pub address: IpAddr,
    /// Id of the backend.
    pub id: u32,
    /// How it stands.
    pub state: DrainState,
    /// Tracked flows that are the backend's.
    pub flows_left: u64,
    /// Whether these are all of its connections: silent ones show themselves until the quiet period is over.
    pub all_known: bool,
    /// Seconds of the quiet period that are left.
    pub quiet_left_s: Option<u32>,
    /// When waiting ends, milliseconds since 1970.
    pub deadline_unix_ms: Option<u64>,
    /// Whether the backend is removed at the end.
    pub then_remove: bool,
    /// Whether it has been.
    pub removed: bool,
}

/// How a drain stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DrainState {
    /// There are connections, or there may be.
    Draining,
    /// There is no connection any more.
    Gone,
    /// The deadline has passed and there may be connections.
    DeadlinePassed,
}

/// Answer of `--dry-run`: what a command would touch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preview {
    /// [`super::SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Whether the desired state would be another.
    pub would_change: bool,
    /// Services whose tables would change. New backends are counted as if they were healthy already.
    pub services: Vec<PreviewService>,
}

/// What a command would touch of one service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviewService {
    /// Its name.
    pub name: String,
    /// Slots of its table.
    pub table_size: u32,
    /// Of them, those that would get another owner.
    pub slots_moving: u32,
    /// Tracked flows in these slots; they stay where they are if their backend does.
    pub tracked_flows: u64,
    /// Tracked flows of backends that would be out; they would break.
    pub flows_broken: u64,
}
