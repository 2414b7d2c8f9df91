//! Connections against changes: a small reference model beside the real packet path and the real publisher.

mod ops;
mod frames;
mod world;
mod check;
