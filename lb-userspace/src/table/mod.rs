//! From desired state, health and next hops to what the packet path should hold.

pub mod snapshot;
pub mod assignments;
pub mod merge;
pub mod slow_start;
pub mod transition;
