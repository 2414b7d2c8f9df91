//! Next hops over netlink, in namespaces with real links.

mod setup;
mod hops;
mod changes;
