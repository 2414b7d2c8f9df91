//! Real traffic through network namespaces.

mod harness;
mod forward;
mod host;
mod change;
mod agent;
mod rolling;
