//! Benches: what is measured, as values. The program `lb-bench` runs them and prints; `lb bench` and `cargo xtask bench`
//! start it.

pub mod datapath;
pub mod machine;
pub mod samples;
pub mod tables;
pub mod veth;
