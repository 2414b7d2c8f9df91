//! The harness: networks, traffic, the agent and the packet path under test.

pub mod agent;
pub mod batch;
pub mod bench;
pub mod bpffs;
pub mod capture;
pub mod churn;
pub mod client;
pub mod cluster;
pub mod cpu;
pub mod demo;
pub mod lab;
pub mod link;
pub mod netns;
pub mod packet;
pub mod ping;
pub mod runner;
pub mod sctp;
pub mod server;
pub mod signals;
pub mod topology;
pub mod sessions;
pub mod held;
pub mod traffic;
pub mod unique;
pub mod wait;
pub mod world;
mod xdp_pass;
