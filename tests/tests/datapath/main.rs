//! The packet path, packet by packet: description, packet in, verdict, exact bytes out, exact counter delta.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as the tests themselves do")]

mod world;
mod forward;
mod gue;
mod headers;
mod fragments;
mod host;
mod sctp;
mod icmp_errors;
mod echo;
mod wide;
mod reasons;
mod too_big;
mod choice;
mod hops;
mod vlan;
mod transition;
mod nat;
mod algorithms;
mod caps;
mod quic;
mod truncation;
mod random;
mod differential;
mod decap;
mod budget;
mod bench;
