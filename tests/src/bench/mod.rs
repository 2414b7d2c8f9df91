//! Benches: what is measured, as values. The program `lb-bench` runs them and prints; `cargo xtask bench` starts it.

pub mod datapath;
pub mod machine;
pub mod samples;
pub mod tables;
pub mod veth;
