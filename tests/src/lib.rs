//! The harness: networks, traffic, the agent and the packet path under test.

pub mod bpffs;
pub mod link;
pub mod netns;
pub mod ping;
pub mod topology;
pub mod unique;
pub mod wait;
mod xdp_pass;
