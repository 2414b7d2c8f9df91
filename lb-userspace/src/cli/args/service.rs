//! Arguments of `lb service`.

use clap::{Args, Subcommand};

use super::DryRun;
use crate::{
    cli::parse::{encap_source, milliseconds, or_none, status_range},
    desired::{
        command::{Change, CheckName, EncapSource},
        model::{Algorithm, Fragments, Mode, Vip},
        quic::IdLayout,
    },
};

/// What can be done with services.
#[derive(Debug, Subcommand)]
pub enum ServiceVerb {
    /// Create a service
    Add {
        /// Name
        name: String,
        /// What clients connect to: ADDR:PORT/tcp, /udp or /sctp, IPv6 in brackets; port 0 is any port, 8000-8100 a range; ADDR/LENGTH a prefix
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

/// Settings of a service.
#[derive(Debug, Args)]
pub struct SettingArguments {
    /// l2: backends share the segment (default); ipip, gue: they may be anywhere
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
    /// Its connection ids hold a server id in plain text: bytes before it and its length, such as 1:4; `none`: they don't
    #[arg(long, value_parser = or_none::<IdLayout>, value_name = "OFFSET:LENGTH", allow_hyphen_values = true)]
    pub quic_id: Option<Change<IdLayout>>,
    /// Where fragments go: where the first went (default), or by address, for UDP whose fragments are reordered
    #[arg(long, value_enum)]
    pub fragments: Option<Fragments>,
    /// Time in which a backend that becomes healthy or ready rises to its weight, in ten steps; 0s: at once (default)
    #[arg(long, value_parser = milliseconds, value_name = "TIME")]
    pub slow_start: Option<u64>,
    /// Vary the outer source address of ipip and gue over a prefix; `interface` for the interface's own
    #[arg(long, value_parser = encap_source, value_name = "PREFIX")]
    pub encap_source: Option<EncapSource>,
    /// UDP port of the backends that gue sends to (default 6080)
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..), allow_negative_numbers = true)]
    pub gue_port: Option<u16>,
    /// Health check (default: tcp on the service's port; none for UDP, SCTP and more than one port)
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
