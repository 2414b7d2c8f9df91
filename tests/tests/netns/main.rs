//! Real traffic through network namespaces.

mod harness;
mod forward;
mod ways;
mod vlan;
mod sctp;
mod path_mtu;
mod wide;
mod host;
mod icmp;
mod change;
mod agent;
mod rolling;
mod proxies;
mod round_robin;
mod least_connections;
mod source_hash;
mod quic;
