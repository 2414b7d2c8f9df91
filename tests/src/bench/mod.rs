//! Benches: what is measured, as values. The program `lb-bench` runs them and prints; `cargo xtask bench` starts it.

pub mod machine;
pub mod samples;
pub mod target;
pub mod run;
pub mod datapath;
pub mod tables;
pub mod veth;
pub mod figures;
pub mod report;
