//! Connections against changes: a small reference model beside the real packet path and the real publisher.

mod ops;
mod services;
mod frames;
mod desired;
mod connection;
mod live;
mod world;
mod check;
mod regressions;
