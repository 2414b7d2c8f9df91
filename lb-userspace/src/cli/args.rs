//! The command line, as clap reads it.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::parse::{encap_source, milliseconds, status_range, weight};
use crate::{
    config,
    desired::{
        command::{CheckName, DEFAULT_WEIGHT, EncapSource},
        model::{Algorithm, AttachMode, Mode, Vip},
    },
};

/// Layer-4 load balancer in the kernel's XDP hook.
#[derive(Debug, Parser)]
#[command(name = "lb", version, disable_help_subcommand = true, max_term_width = 100)]
pub struct Arguments {
    /// What applies to every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Verb,
}

/// Options of every command.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// How results and errors are written
    #[arg(short, long, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: Output,
    /// Socket of the agent
    #[arg(long, global = true, default_value = config::SOCKET, value_name = "PATH")]
    pub socket: PathBuf,
    /// Where the agent keeps the desired state
    #[arg(long, global = true, default_value = config::STATE_DIR, value_name = "DIR")]
    pub state_dir: PathBuf,
    /// Where programs, links and maps are pinned
    #[arg(long, global = true, default_value = config::PIN_DIR, value_name = "DIR")]
    pub pin_dir: PathBuf,
    /// Say nothing but results and errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// The agent logs more, twice for everything: with `agent`, or `attach` where it starts one
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// How long to wait for the agent (15s if not given); with `backend drain`, for the connections to go
    #[arg(long, global = true, value_parser = humantime::parse_duration, value_name = "TIME")]
    pub timeout: Option<Duration>,
}

/// How long to wait for the agent's answer if nothing else is said.
const ANSWER: Duration = Duration::from_secs(15);

impl Arguments {
    /// How long to wait for the agent's answer. A drain's time is not the agent's.
    pub fn answer_within(&self) -> Duration {
        match &self.command {
            Verb::Backend(BackendVerb::Drain { .. }) => ANSWER,
            _ => self.global.answer_within(),
        }
    }
}

impl Global {
    /// How long to wait for the agent's answer, where that is what `--timeout` means.
    pub fn answer_within(&self) -> Duration {
        self.timeout.unwrap_or(ANSWER)
    }
}

/// How results are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Table,
    /// For programs: stable, raw integers, the unit in the name.
    Json,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Attach to interfaces; starts the agent if none runs
    Attach {
        /// Names of interfaces
        #[arg(required = true, value_name = "IFACE")]
        interfaces: Vec<String>,
        /// In the driver, in the stack, or the best that works
        #[arg(long, value_enum, default_value_t)]
        mode: AttachMode,
    },
    /// Detach from interfaces
    Detach {
        /// Names of interfaces
        #[arg(required_unless_present = "all", conflicts_with = "all", value_name = "IFACE")]
        interfaces: Vec<String>,
        /// Detach from every interface
        #[arg(long)]
        all: bool,
    },
    /// Run the agent in the foreground
    ///
    /// SIGTERM ends it, also one that `lb attach` has started (`lb status` shows its pid; with systemd: systemctl stop
    /// lb). Packets are forwarded without it; `lb detach --all` ends that, and works without it, too.
    Agent(AgentArguments),
    /// Show interfaces, services and problems; works with the agent down
    Status,
    /// Services: one address, port and protocol each
    #[command(subcommand)]
    Service(ServiceVerb),
    /// Backends of a service
    ///
    /// A change is stored when the command answers, and in the packet path as well unless the answer says otherwise
    /// (it waits for that up to 3 seconds). A new backend takes connections after its first successful check.
    #[command(subcommand)]
    Backend(BackendVerb),
    /// Health checks
    #[command(subcommand)]
    Health(HealthVerb),
    /// Unpack ipip packets on a backend whose kernel has no tunnel device
    #[command(subcommand)]
    Decap(DecapVerb),
    /// Show what was forwarded and what was not; works with the agent down
    ///
    /// The numbers of a service are the sums of the backends it has now: they fall when one is removed.
    Stats {
        /// Name of a service; all if none
        service: Option<String>,
    },
    /// Show the version
    Version,
}

/// Options of the agent.
#[derive(Clone, Debug, Args)]
pub struct AgentArguments {
    /// How long a moving share of a table keeps its older connections apart
    #[arg(long, default_value = "300s", value_parser = humantime::parse_duration, value_name = "TIME")]
    pub quiet_period: Duration,
    /// How long a UDP flow without packets is remembered while its share of a table moves
    #[arg(long, default_value = "60s", value_parser = humantime::parse_duration, value_name = "TIME")]
    pub udp_idle: Duration,
    /// How long a TCP connection without packets is remembered after one side has closed it
    #[arg(long, default_value = "30s", value_parser = humantime::parse_duration, value_name = "TIME")]
    pub closed_idle: Duration,
    /// How much the packet path logs, for debugging; 0 is off and costs nothing
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=5), value_name = "LEVEL")]
    pub packet_log: u8,
}

/// What can be done with services.
#[derive(Debug, Subcommand)]
pub enum ServiceVerb {
    /// Create a service
    Add {
        /// Name
        name: String,
        /// What clients connect to: ADDR:PORT/tcp or /udp, IPv6 in brackets; port 0 is any port
        #[arg(long, value_name = "ADDR:PORT/PROTO")]
        vip: Vip,
        /// Everything else
        #[command(flatten)]
        settings: Box<SettingArguments>,
        /// Whether to do it
        #[command(flatten)]
        dry: DryRun,
    },
    /// Change settings of a service
    Set {
        /// Name
        name: String,
        /// Move the service to another address
        #[arg(long, value_name = "ADDR:PORT/PROTO")]
        vip: Option<Vip>,
        /// Everything else
        #[command(flatten)]
        settings: Box<SettingArguments>,
        /// Whether to do it
        #[command(flatten)]
        dry: DryRun,
    },
    /// Remove a service and its backends
    Del {
        /// Name
        name: String,
        /// Whether to do it
        #[command(flatten)]
        dry: DryRun,
    },
    /// List services
    List,
    /// Show a service with its backends
    Show {
        /// Name
        name: String,
    },
}

/// Whether a change is made or only shown.
#[derive(Clone, Copy, Debug, Args)]
pub struct DryRun {
    /// Change nothing; show how many slots would move and which tracked flows that touches
    #[arg(long)]
    pub dry_run: bool,
}

/// Settings of a service.
#[derive(Debug, Args)]
pub struct SettingArguments {
    /// l2: backends share the segment (default); ipip: they may be anywhere
    #[arg(long, value_enum)]
    pub mode: Option<Mode>,
    /// Slots: 1021, 8191, 65537 (default) or 524287
    #[arg(long, value_name = "SLOTS")]
    pub table_size: Option<u32>,
    /// How a connection's backend is chosen; can't change while there are backends
    #[arg(long, value_enum)]
    pub algorithm: Option<Algorithm>,
    /// Bits of an IPv4 client's address that source-hash looks at (default 32)
    #[arg(long, value_name = "BITS", value_parser = clap::value_parser!(u8).range(0..=32), allow_negative_numbers = true)]
    pub source_prefix4: Option<u8>,
    /// Bits of an IPv6 client's address that source-hash looks at (default 64)
    #[arg(long, value_name = "BITS", value_parser = clap::value_parser!(u8).range(0..=128), allow_negative_numbers = true)]
    pub source_prefix6: Option<u8>,
    /// The UDP of this service is QUIC: new connections follow the table at once while it changes
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub quic: Option<bool>,
    /// Time in which a backend that becomes healthy or ready rises to its weight, in ten steps; 0s: at once (default)
    #[arg(long, value_parser = milliseconds, value_name = "TIME")]
    pub slow_start: Option<u64>,
    /// Vary the outer source address of ipip over a prefix; `interface` for the interface's own
    #[arg(long, value_parser = encap_source, value_name = "PREFIX")]
    pub encap_source: Option<EncapSource>,
    /// Health check (default: tcp on the service's port; none for UDP and any port)
    #[arg(long, value_enum)]
    pub check: Option<CheckName>,
    /// Port on the backend that is checked
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..), allow_negative_numbers = true)]
    pub check_port: Option<u16>,
    /// Path of an HTTP check
    #[arg(long, value_name = "PATH")]
    pub check_path: Option<String>,
    /// Healthy status of an HTTP check, as 200 or 200-399
    #[arg(long, value_parser = status_range, value_name = "RANGE")]
    pub check_status: Option<(u16, u16)>,
    /// Host header of an HTTP check (default: the backend's address; '' restores that)
    #[arg(long, value_name = "HOST")]
    pub check_host: Option<String>,
    /// Time between checks (default 2s)
    #[arg(long, value_parser = milliseconds, value_name = "TIME")]
    pub check_interval: Option<u64>,
    /// Time a check may take (default 1s)
    #[arg(long, value_parser = milliseconds, value_name = "TIME")]
    pub check_timeout: Option<u64>,
    /// Successes until a backend is back (default 2)
    #[arg(long, value_name = "COUNT", allow_negative_numbers = true)]
    pub check_rise: Option<u32>,
    /// Failures until a backend is out (default 3)
    #[arg(long, value_name = "COUNT", allow_negative_numbers = true)]
    pub check_fall: Option<u32>,
}

/// What can be done with backends.
#[derive(Debug, Subcommand)]
pub enum BackendVerb {
    /// Add backends to a service
    Add {
        /// Service and backends
        #[command(flatten)]
        target: BackendArguments,
        /// Share relative to the other backends, 0 to 65535
        #[arg(long, default_value_t = DEFAULT_WEIGHT, value_parser = weight(), allow_negative_numbers = true)]
        weight: u32,
        /// Whether to do it
        #[command(flatten)]
        dry: DryRun,
    },
    /// Remove backends at once; drain them first to keep their connections
    Del {
        /// Service and backends
        #[command(flatten)]
        target: BackendArguments,
        /// Whether to do it
        #[command(flatten)]
        dry: DryRun,
    },
    /// Change the weight of backends
    Set {
        /// Service and backends
        #[command(flatten)]
        target: BackendArguments,
        /// Share relative to the other backends, 0 to 65535
        #[arg(long, value_parser = weight(), allow_negative_numbers = true)]
        weight: u32,
        /// Whether to do it
        #[command(flatten)]
        dry: DryRun,
    },
    /// List backends with weight, health, next hop and share
    List {
        /// Name of a service; all if none
        service: Option<String>,
    },
    /// Give backends no new connections; those they have stay
    ///
    /// How many they have is known when the service's quiet period is over: a connection that is silent shows itself
    /// with its next packet. The agent finishes the drain, with or without this command and through restarts.
    Drain {
        /// Service and backends
        #[command(flatten)]
        target: BackendArguments,
        /// Show what is left until all connections are gone; ends with 8 if the time of `--timeout` is over before
        #[arg(long)]
        wait: bool,
        /// What follows when the connections are gone, or the time is over
        #[arg(long, value_enum)]
        then: Option<Then>,
        /// Whether to do it
        #[command(flatten)]
        dry: DryRun,
    },
    /// Take backends out of this service at once, like a failed check; their connections break
    Maint {
        /// Service and backends
        #[command(flatten)]
        target: BackendArguments,
        /// Whether to do it
        #[command(flatten)]
        dry: DryRun,
    },
    /// End drain and maint: backends get connections again
    Ready {
        /// Service and backends
        #[command(flatten)]
        target: BackendArguments,
        /// Whether to do it
        #[command(flatten)]
        dry: DryRun,
    },
}

/// What follows a drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Then {
    /// The backends are removed from the service
    Remove,
}

/// Backends of a service.
#[derive(Debug, Args)]
pub struct BackendArguments {
    /// Name of the service
    pub service: String,
    /// Addresses of backends
    #[arg(required = true, value_name = "ADDR")]
    pub addresses: Vec<IpAddr>,
}

/// What can be done with health checks.
#[derive(Debug, Subcommand)]
pub enum HealthVerb {
    /// List what is checked, and with what result
    List {
        /// Name of a service; all if none
        service: Option<String>,
    },
}

/// What can be done on a backend.
#[derive(Debug, Subcommand)]
pub enum DecapVerb {
    /// Unpack tunnel packets for service addresses
    Attach {
        /// Interface that the packets come in on
        #[arg(value_name = "IFACE")]
        interface: String,
        /// Service address; several are allowed
        #[arg(long = "vip", required = true, num_args = 1.., value_name = "ADDR")]
        vips: Vec<IpAddr>,
        /// In the driver, in the stack, or the best that works
        #[arg(long, value_enum, default_value_t)]
        mode: AttachMode,
    },
    /// Stop unpacking
    Detach {
        /// Interface; all if none
        #[arg(value_name = "IFACE")]
        interface: Option<String>,
    },
    /// List where packets are unpacked
    List,
}
