//! What an operator can ask for: the one list of changes, shared by the command line, the API and the tests.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    model::{Admin, Algorithm, AttachMode, Drain, Fragments, Mode, Prefix, Vip},
    quic::{IdLayout, ServerId},
};

/// A change of the desired state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "command", deny_unknown_fields)]
pub enum Command {
    /// Attach to interfaces.
    Attach {
        /// Their names.
        interfaces: BTreeSet<String>,
        /// How.
        mode: AttachMode,
    },
    /// Detach from interfaces.
    Detach {
        /// Their names; none: from all.
        interfaces: Option<BTreeSet<String>>,
    },
    /// Create a service.
    ServiceAdd {
        /// Its name.
        name: String,
        /// Its settings; the address is needed.
        settings: Box<Settings>,
    },
    /// Change settings of a service.
    ServiceSet {
        /// Its name.
        name: String,
        /// What changes.
        settings: Box<Settings>,
    },
    /// Remove a service and its backends.
    ServiceDel {
        /// Its name.
        name: String,
    },
    /// Add backends to a service.
    BackendAdd {
        /// Name of the service.
        service: String,
        /// Their addresses.
        addresses: BTreeSet<IpAddr>,
        /// Weight of each.
        weight: u32,
        /// What names it in QUIC connection ids; for one address.
        #[serde(default)]
        quic_server_id: Option<ServerId>,
    },
    /// Change settings of backends.
    BackendSet {
        /// Name of the service.
        service: String,
        /// Their addresses.
        addresses: BTreeSet<IpAddr>,
        /// New weight of each.
        #[serde(default)]
        weight: Option<u32>,
        /// What names it in QUIC connection ids; for one address.
        #[serde(default)]
        quic_server_id: Option<Change<ServerId>>,
    },
    /// Drain backends, take them out, or make them ready.
    BackendAdmin {
        /// Name of the service.
        service: String,
        /// Their addresses.
        addresses: BTreeSet<IpAddr>,
        /// New state of each.
        admin: Admin,
        /// How a drain ends; none: when somebody says so.
        #[serde(default)]
        drain: Option<Drain>,
    },
    /// Remove backends from a service.
    BackendDel {
        /// Name of the service.
        service: String,
        /// Their addresses.
        addresses: BTreeSet<IpAddr>,
    },
}

/// Settings of a service. What is absent keeps its value, or its default in a new service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// What clients connect to.
    pub vip: Option<Vip>,
    /// Forwarding mode.
    pub mode: Option<Mode>,
    /// Slots of the table.
    pub table_size: Option<u32>,
    /// Outer source addresses.
    pub encap_source: Option<EncapSource>,
    /// UDP port of the backends that GUE sends to.
    pub gue_port: Option<u16>,
    /// How a connection's backend is chosen.
    pub algorithm: Option<Algorithm>,
    /// Leading bits of an IPv4 client's address that source-hash looks at.
    pub source_prefix4: Option<u8>,
    /// The same of an IPv6 client's.
    pub source_prefix6: Option<u8>,
    /// Whether the service's UDP is QUIC.
    pub quic: Option<bool>,
    /// Where QUIC connection ids name their server.
    pub quic_id: Option<Change<IdLayout>>,
    /// Where fragments go.
    pub fragments: Option<Fragments>,
    /// Time in which a backend that becomes healthy rises to its weight, milliseconds. 0: at once.
    pub slow_start_ms: Option<u64>,
    /// Health check.
    pub check: CheckSettings,
}

/// A new value of what may also be absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change<T> {
    /// It is absent from now on.
    None,
    /// It has this value from now on.
    To(T),
}

impl<T> Change<T> {
    /// The value after the change.
    pub fn value(self) -> Option<T> {
        match self {
            Self::None => None,
            Self::To(value) => Some(value),
        }
    }
}

/// Where outer source addresses come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EncapSource {
    /// The egress interface's own address.
    Interface,
    /// Addresses of a prefix, varied by flow.
    Prefix(Prefix),
}

/// Settings of a health check.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CheckSettings {
    /// What is done.
    pub kind: Option<CheckName>,
    /// Port on the backend.
    pub port: Option<u16>,
    /// Path of an HTTP check.
    pub path: Option<String>,
    /// Lowest and highest status of an HTTP check that counts as healthy.
    pub status: Option<(u16, u16)>,
    /// Host header of an HTTP check.
    pub host: Option<String>,
    /// Time between the starts of two checks, milliseconds.
    pub interval_ms: Option<u64>,
    /// A check that takes longer has failed, milliseconds.
    pub timeout_ms: Option<u64>,
    /// Successes in a row that bring a backend back.
    pub rise: Option<u32>,
    /// Failures in a row that take a backend out.
    pub fall: Option<u32>,
}

/// Name of a kind of health check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum CheckName {
    /// A TCP connection is accepted.
    Tcp,
    /// An HTTP GET is answered with an expected status.
    Http,
    /// No check: backends count as up.
    None,
}

/// Default time between two checks.
pub const DEFAULT_INTERVAL: Duration = Duration::from_secs(2);
/// Default time that a check may take.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1);
/// Default successes until a backend is back.
pub const DEFAULT_RISE: u32 = 2;
/// Default failures until a backend is out.
pub const DEFAULT_FALL: u32 = 3;
/// Default weight of a backend.
pub const DEFAULT_WEIGHT: u32 = 100;
