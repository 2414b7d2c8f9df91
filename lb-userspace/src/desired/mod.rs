//! The desired state: what the operator asked for. Stored before it is acknowledged.

pub mod model;
mod text;
pub mod quic;
pub mod command;
mod check;
mod validate;
mod vips;
pub mod ops;
pub mod store;
