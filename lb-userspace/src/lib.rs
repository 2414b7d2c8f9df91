//! The agent of lb as a library: the `lb` binary and the tests are its users.
//!
//! Modules stand in the order in which a change passes them.

pub mod error;
pub mod cli;
pub mod config;
pub mod desired;
pub mod health;
pub mod net;
pub mod table;
pub mod objects;
pub mod publish;
pub mod api;
pub mod observe;
pub mod agent;
