//! What the agent answers, and what `-o json` prints. Fields are only ever added.

mod changes;

use std::net::IpAddr;

use lb_common::{stats::Counter, verdict::Reason};
use serde::{Deserialize, Serialize};

pub use changes::{DrainList, DrainState, DrainView, Preview, PreviewService};

use crate::desired::{
    model::{Admin, Algorithm, AttachMode, Check, Fragments, Mode, Vip},
    quic::{IdLayout, ServerId},
};

/// Version of these shapes.
pub const SCHEMA_VERSION: u32 = 1;

/// Answer to a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Whether the desired state is another than before. It is stored when this is answered.
    pub changed: bool,
    /// Whether the packet path has the change already.
    pub published: bool,
    /// Interfaces that the command attached, with the mode that was possible.
    pub attached: Vec<AttachedView>,
    /// What stands in the way of the desired state, if anything does.
    pub problems: Vec<String>,
    /// What is good to know of the change.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// An interface that packets are taken from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachedView {
    /// Its name.
    pub name: String,
    /// Its index.
    pub ifindex: u32,
    /// `native` or `generic`.
    pub mode: String,
    /// Why it is not native although that was tried.
    pub note: Option<String>,
}

/// Answer of `lb status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The agent.
    pub agent: AgentView,
    /// Interfaces, wanted or attached.
    pub interfaces: Vec<InterfaceView>,
    /// Services.
    pub services: Vec<ServiceView>,
    /// Kernel memory of all maps; none while nothing is pinned.
    pub map_memory_bytes: Option<u64>,
    /// What stands in the way of the desired state.
    pub problems: Vec<String>,
}

/// The agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentView {
    /// Whether it answers.
    pub running: bool,
    /// Its process id.
    pub pid: Option<u32>,
    /// Version of lb: the agent's, or this command's if it doesn't run.
    pub version: String,
    /// Version of the map layouts.
    pub abi_version: u32,
    /// Seconds since it started.
    pub uptime_s: Option<u64>,
}

/// An interface, wanted or attached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceView {
    /// Its name.
    pub name: String,
    /// Its index, while attached.
    pub ifindex: Option<u32>,
    /// Mode that was asked for; none if it should not be attached.
    pub wanted: Option<AttachMode>,
    /// `native` or `generic`, while attached.
    pub mode: Option<String>,
}

/// A service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceView {
    /// Its name.
    pub name: String,
    /// Its id in the packet path.
    pub id: u32,
    /// What clients connect to.
    pub vip: Vip,
    /// Forwarding mode.
    pub mode: Mode,
    /// Slots of its table.
    pub table_size: u32,
    /// Prefix of outer source addresses; none: the egress interface's own.
    pub encap_source: Option<String>,
    /// UDP port of the backends that packets are sent to; none for modes other than `gue`.
    #[serde(default)]
    pub gue_port: Option<u16>,
    /// How a connection's backend is chosen.
    pub algorithm: Algorithm,
    /// Leading bits of the client's address that `source_hash` looks at; none for other algorithms.
    pub source_prefix: Option<u8>,
    /// Whether its UDP is QUIC.
    pub quic: bool,
    /// Where its connection ids name their server; none: they don't.
    #[serde(default)]
    pub quic_id: Option<IdLayout>,
    /// Where fragments of its packets go.
    pub fragments: Fragments,
    /// Time in which a backend rises to its weight, milliseconds; 0: at once.
    pub slow_start_ms: u64,
    /// Health check.
    pub check: Check,
    /// A backend that fails is out within this time; none: not checked.
    #[serde(default)]
    pub down_within_ms: Option<u64>,
    /// Number of backends.
    pub backends_total: u32,
    /// Of them, those that own a share of the table; none with the agent down.
    pub backends_active: Option<u32>,
    /// State of the slots; none with the agent down, or before the table is published.
    pub slots: Option<SlotsView>,
    /// Packets forwarded.
    pub packets: u64,
    /// Bytes forwarded.
    pub bytes: u64,
}

/// How many slots are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotsView {
    /// At rest: no state per flow.
    pub steady: u32,
    /// Changing their owner.
    pub moving: u32,
    /// Those of them whose older connections await their turn to be recorded.
    pub waiting: u32,
    /// Quiet periods after the current one until none waits.
    pub turns_left: u32,
    /// With a new owner, and exceptions in the flow table.
    pub settled: u32,
    /// Flows in the flow table.
    pub tracked_flows: u64,
    /// Seconds until the last moving slot that does not wait may come to rest; none if there is none.
    pub quiet_left_s: Option<u32>,
}

/// Answer of `lb service list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceList {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Services by name.
    pub services: Vec<ServiceView>,
}

/// Answer of `lb service show`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceDetail {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The service.
    pub service: ServiceView,
    /// Its backends by address.
    pub backends: Vec<BackendView>,
}

/// Answer of `lb backend list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendList {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Backends by service and address.
    pub backends: Vec<BackendView>,
}

/// A backend of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendView {
    /// Name of the service.
    pub service: String,
    /// Address.
    pub address: IpAddr,
    /// Id in the packet path.
    pub id: u32,
    /// Weight.
    pub weight: u32,
    /// Weight that it has now: 0 while it is drained or out, less than its own in a slow start.
    pub effective_weight: u32,
    /// What the operator said of it.
    pub admin: Admin,
    /// What the health check said.
    pub health: HealthState,
    /// The way to it.
    pub next_hop: NextHopView,
    /// Slots of the service's table that it owns.
    pub slots: u32,
    /// The same as parts per million of the table.
    pub share_ppm: u32,
    /// Flows in the flow table that are its own. Of a service at rest they are few: only exceptions are tracked.
    pub tracked_flows: u64,
    /// What names it in QUIC connection ids.
    #[serde(default)]
    pub quic_server_id: Option<ServerId>,
    /// Packets forwarded.
    pub packets: u64,
    /// Bytes forwarded.
    pub bytes: u64,
}

/// What is known of a backend's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthState {
    /// The check succeeds.
    Up,
    /// The check fails.
    Down,
    /// Not known yet: no check has ended. Takes no traffic.
    Waiting,
    /// There is no check; takes traffic.
    Unchecked,
}

/// The way to a backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum NextHopView {
    /// Known.
    Resolved {
        /// Egress interface.
        interface: String,
        /// Id in the VLAN tag that frames leave with; none if they have none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        vlan: Option<u16>,
        /// MAC address that packets go to.
        mac: String,
        /// Gateway; none if the backend is on link.
        gateway: Option<IpAddr>,
        /// Largest IP packet.
        mtu_bytes: u16,
        /// Further ways that are as good, of which each flow takes one.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        others: Vec<WayView>,
    },
    /// It is this host; packets are handed to it.
    Local,
    /// Not known; packets for the backend are dropped.
    Unresolved {
        /// Why, and what would help.
        reason: String,
    },
}

/// One of several ways to a backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WayView {
    /// Egress interface.
    pub interface: String,
    /// Id in the VLAN tag that frames leave with; none if they have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<u16>,
    /// MAC address that packets go to.
    pub mac: String,
    /// Gateway; none if the backend is on link.
    pub gateway: Option<IpAddr>,
}

/// Answer of `lb health list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthList {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Backends by service and address.
    pub checks: Vec<HealthView>,
}

/// The health of a backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthView {
    /// Name of the service.
    pub service: String,
    /// Address of the backend.
    pub address: IpAddr,
    /// The check.
    pub check: Check,
    /// What it says.
    pub state: HealthState,
    /// Successes in a row until now.
    pub successes: u32,
    /// Failures in a row until now.
    pub failures: u32,
    /// Since when it has had this state, milliseconds since 1970.
    pub since_unix_ms: Option<u64>,
    /// How the last check ended.
    pub last_result: Option<String>,
    /// How long the last successful check took, microseconds.
    pub latency_us: Option<u64>,
}

/// Answer of `lb stats`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// What was forwarded, by service and backend.
    pub services: Vec<ServiceStats>,
    /// What was not forwarded, by reason; only without a service.
    pub reasons: Vec<ReasonStats>,
    /// What happened to packets on their way, by event; only without a service.
    pub events: Vec<EventStats>,
}

/// Counters of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceStats {
    /// Its name.
    pub name: String,
    /// Packets forwarded.
    pub packets: u64,
    /// Bytes forwarded.
    pub bytes: u64,
    /// By backend.
    pub backends: Vec<BackendStats>,
}

/// Counters of a backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendStats {
    /// Its address.
    pub address: IpAddr,
    /// Packets forwarded.
    pub packets: u64,
    /// Bytes forwarded.
    pub bytes: u64,
}

/// Counter of a reason for which packets were not forwarded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReasonStats {
    /// Stable name.
    pub reason: String,
    /// `drop`, `pass` (the host got them) or `answer`.
    pub action: String,
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

impl From<(Reason, Counter)> for ReasonStats {
    fn from((reason, Counter { packets, bytes }): (Reason, Counter)) -> Self {
        let action = match reason {
            _ if reason.is_drop() => "drop",
            _ if reason.is_answer() => "answer",
            _ => "pass",
        };
        Self { reason: reason.name().to_owned(), action: action.to_owned(), packets, bytes }
    }
}

/// Counter of something that happened to packets that were forwarded nevertheless.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventStats {
    /// Stable name.
    pub event: String,
    /// How often.
    pub count: u64,
}
