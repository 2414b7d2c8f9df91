//! The desired state as values. This is also the format of the state file.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use serde::{Deserialize, Serialize};

use super::quic::{IdLayout, ServerId};

/// Version of the state file's format.
pub const SCHEMA_VERSION: u32 = 1;

/// All that the operator set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Desired {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Seed of the hashes, drawn at random once. Nodes that must agree on every slot share it.
    pub seed: u64,
    /// Interfaces to be attached to, by name.
    pub interfaces: BTreeMap<String, AttachMode>,
    /// Services by name.
    pub services: BTreeMap<String, Service>,
    /// The id last given to a service. Ids rotate, so that one is reused as late as possible.
    pub last_service_id: u32,
    /// The id last given to a backend.
    pub last_backend_id: u32,
}

/// How to attach the XDP program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum AttachMode {
    /// Native if the driver has it, else generic.
    #[default]
    Auto,
    /// In the driver.
    Native,
    /// In the stack, for any interface; slower.
    Generic,
}

/// A service: one address, protocol and port, and the backends behind it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// Id in the packet path, 1 to [`lb_common::service::MAX_SERVICES`] - 1.
    pub id: u32,
    /// What clients connect to.
    pub vip: Vip,
    /// How packets are handed to backends.
    pub mode: Mode,
    /// Slots of the table, one of [`lb_common::slot::SIZES`].
    pub table_size: u32,
    /// How backends are checked.
    pub check: Check,
    /// Outer source addresses of tunnels are taken from this prefix, varied by flow. None: the egress interface's own.
    pub encap_source: Option<Prefix>,
    /// UDP port of the backends that [`Mode::Gue`] sends to. None: [`lb_common::gue::PORT`].
    #[serde(default)]
    pub gue_port: Option<u16>,
    /// How a connection's backend is chosen.
    #[serde(default)]
    pub algorithm: Algorithm,
    /// Leading bits of the client's address that [`Algorithm::SourceHash`] looks at. None: 32 of IPv4, 64 of IPv6.
    #[serde(default)]
    pub source_prefix: Option<u8>,
    /// Whether the UDP of the service is QUIC, whose connections begin with an Initial packet.
    #[serde(default)]
    pub quic: bool,
    /// Where connection ids name their server. None: they don't.
    #[serde(default)]
    pub quic_id: Option<IdLayout>,
    /// Where fragments of its packets go.
    #[serde(default)]
    pub fragments: Fragments,
    /// Time in which a backend that becomes healthy rises to its weight. Zero: at once.
    #[serde(default, with = "millis", rename = "slow_start_ms")]
    pub slow_start: Duration,
    /// Backends by address.
    pub backends: BTreeMap<IpAddr, Backend>,
}

/// How a service chooses the backend of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    /// By a hash of both addresses and ports (default)
    #[default]
    Maglev,
    /// By a hash of the client's address: a client stays with one backend
    SourceHash,
    /// In turn, in proportion to the weights; each flow is tracked
    RoundRobin,
    /// The less loaded of two random backends, by live connections per weight; each flow is tracked
    LeastConnections,
}

/// Where the fragments of a service's packets go. Only the first has the ports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Fragments {
    /// Where the first goes; those that arrive before it are dropped (default)
    #[default]
    Follow,
    /// By a hash of both addresses, in any order: to another backend than the sender's whole packets
    ByAddress,
}

/// Service address. Written `192.0.2.1:80/tcp`, `[2001:db8::1]:53/udp`; port 0 means any port. A range of ports is
/// written `192.0.2.1:8000-8100/tcp`, all addresses of a prefix `192.0.2.0/24:443/tcp`, `[2001:db8::/64]:443/tcp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Vip {
    /// Address, or the first of a prefix.
    pub address: IpAddr,
    /// Length of the prefix; 32 or 128 for one address.
    pub length: u8,
    /// Port, or the first of a range; 0 for any.
    pub port: u16,
    /// The last port of a range, else the same.
    pub last_port: u16,
    /// Protocol.
    pub protocol: Protocol,
}

/// Protocol of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// Forwarding mode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Direct return by rewriting MAC addresses; backends share the layer-2 segment.
    #[default]
    L2,
    /// Direct return through an IP-in-IP tunnel; backends may be anywhere.
    Ipip,
    /// Direct return through a tunnel of UDP datagrams (GUE variant 1); backends may be anywhere.
    Gue,
}

/// An address with a prefix length, as in `10.9.0.0/16`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Prefix {
    /// Address; its bits beyond the length are zero.
    pub address: IpAddr,
    /// Length in bits.
    pub length: u8,
}

/// A backend of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backend {
    /// Id in the packet path, 1 to [`lb_common::maps::MAX_BACKENDS`] - 1. Belongs to this pair of service and address.
    pub id: u32,
    /// Share relative to the other backends, 0 to 65,535. 0: no new connections.
    pub weight: u32,
    /// What the operator said of it.
    pub admin: Admin,
    /// How its drain ends. None unless it is drained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<Drain>,
    /// What names it in connection ids, see [`Service::quic_id`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quic_server_id: Option<ServerId>,
}

/// How a drain ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drain {
    /// When waiting for connections ends, milliseconds since 1970. None: never.
    pub deadline_unix_ms: Option<u64>,
    /// Whether the backend is removed then, and before when its last connection has ended.
    pub remove: bool,
}

/// Administrative state of a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Admin {
    /// Takes connections while healthy.
    #[default]
    Ready,
    /// Keeps its connections, gets no new ones.
    Drain,
    /// Counts as down in this service, at once: keeps no connections either.
    Maint,
}

/// Health check of a service's backends.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// What is done.
    pub kind: CheckKind,
    /// Port on the backend.
    pub port: u16,
    /// Time between the starts of two checks.
    #[serde(with = "millis", rename = "interval_ms")]
    pub interval: Duration,
    /// A check that takes longer has failed. Not above the interval.
    #[serde(with = "millis", rename = "timeout_ms")]
    pub timeout: Duration,
    /// Successes in a row that bring a failed backend back.
    pub rise: u32,
    /// Failures in a row that take a backend out.
    pub fall: u32,
}

/// What a health check does.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum CheckKind {
    /// No check: backends count as up.
    None,
    /// A TCP connection is accepted.
    Tcp,
    /// An HTTP/1.1 GET is answered with an expected status.
    Http {
        /// Path, beginning with `/`.
        path: String,
        /// Lowest and highest status that counts as healthy.
        status: (u16, u16),
        /// Host header; the backend's address if none.
        host: Option<String>,
    },
}

/// Durations as whole milliseconds.
mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(value.as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}
