//! What the packet path and the agent share: the ABI of the BPF maps, the hashes, and how tables are built.
//!
//! The layouts are `no_std` and compile for the BPF target. Table construction needs the `host` feature.
#![cfg_attr(not(any(test, feature = "host")), no_std)]

pub mod abi;
pub mod addr;
pub mod hash;
pub mod service;
pub mod wide;
pub mod slot;
pub mod flow;
pub mod fragment;
pub mod connections;
pub mod rate;
pub mod mode;
pub mod nat;
pub mod gue;
pub mod quic;
pub mod backend;
pub mod csum;
pub mod verdict;
pub mod stats;
pub mod event;
pub mod maps;
pub mod bench;
pub mod traffic;
pub mod wire;
#[cfg(any(test, feature = "host"))]
pub mod maglev;
#[cfg(any(test, feature = "host"))]
pub mod round_robin;
#[cfg(any(test, feature = "host"))]
pub mod cuckoo;
