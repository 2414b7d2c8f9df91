//! Arguments of `lb backend`.

use std::net::IpAddr;

use clap::{Args, Subcommand, ValueEnum};

use super::DryRun;
use crate::{
    cli::parse::{or_none, weight},
    desired::{
        command::{Change, DEFAULT_WEIGHT},
        quic::ServerId,
    },
};

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
        /// What names it in QUIC connection ids, as hexadecimal digits; as long as the service's --quic-id says
        #[arg(long, value_name = "HEX")]
        quic_server_id: Option<ServerId>,
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
    /// Change the weight or the QUIC server id of backends
    Set {
        /// Service and backends
        #[command(flatten)]
        target: BackendArguments,
        /// Share relative to the other backends, 0 to 65535
        #[arg(long, value_parser = weight(), allow_negative_numbers = true, required_unless_present = "quic_server_id")]
        weight: Option<u32>,
        /// What names it in QUIC connection ids, as hexadecimal digits; `none`: nothing does
        #[arg(long, value_parser = or_none::<ServerId>, value_name = "HEX")]
        quic_server_id: Option<Change<ServerId>>,
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
