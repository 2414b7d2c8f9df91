//! The command line, as clap reads it.

mod backend;
mod service;

use std::{ffi::OsString, net::IpAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use lb_common::rate;

pub use self::{
    backend::{BackendArguments, BackendVerb, Then},
    service::{ServiceVerb, SettingArguments},
};
use crate::{config, desired::model::AttachMode, publish::decap::Hook};

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
    /// Unpack ipip and gue packets on a backend whose kernel has no tunnel device
    #[command(subcommand)]
    Decap(DecapVerb),
    /// Show what was forwarded and what was not; works with the agent down
    ///
    /// The numbers of a service are the sums of the backends it has now: they fall when one is removed.
    Stats {
        /// Name of a service; all if none
        service: Option<String>,
    },
    /// Measure this machine beside other balancers (`lb bench --help`); needs root
    ///
    /// Runs lb-bench, which gets all words after `bench` as they are; options of lb before it mean nothing to lb-bench.
    #[command(disable_help_flag = true)]
    Bench {
        /// What to measure and how
        #[arg(value_name = "ARGS", trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
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
    /// Pings of service addresses that are answered per second, others are dropped; 0: pings are left to the host
    #[arg(long, default_value_t = rate::ECHO_PER_SECOND, value_name = "COUNT")]
    pub ping_rate: u32,
    /// How much the packet path logs, for debugging; 0 is off and costs nothing
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=5), value_name = "LEVEL")]
    pub packet_log: u8,
}

/// Whether a change is made or only shown.
#[derive(Clone, Copy, Debug, Args)]
pub struct DryRun {
    /// Change nothing; show how many slots would move and which tracked flows that touches
    #[arg(long)]
    pub dry_run: bool,
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
        /// UDP port of gue
        #[arg(long, value_name = "PORT", default_value_t = lb_common::gue::PORT, value_parser = clap::value_parser!(u16).range(1..), allow_negative_numbers = true)]
        gue_port: u16,
        /// XDP, traffic control, or the best that works
        #[arg(long, value_enum, default_value_t)]
        hook: Hook,
        /// XDP in the driver, in the stack, or the best that works
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
