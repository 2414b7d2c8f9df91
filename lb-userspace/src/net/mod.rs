//! Next hops: routes and neighbours, followed over netlink.
//!
//! What the kernel says is parsed to [`facts`], kept in a [`view`], and judged by [`decide`], all pure;
//! [`kernel`] asks, [`follow`](follow()) is the loop.

mod facts;
mod decide;
mod view;
mod poke;
mod kernel;
mod follow;
#[cfg(test)]
mod vlan_tests;

use std::{collections::BTreeMap, net::IpAddr};

pub use follow::follow;

/// How to reach each backend address.
pub type NextHops = BTreeMap<IpAddr, NextHop>;

/// Names of this host's interfaces, by index.
pub type Links = BTreeMap<u32, String>;

/// The way to one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NextHop {
    /// Everything a rewrite needs is known. One way, or several that are as good: at least one.
    Resolved(Vec<Egress>),
    /// The address is one of this host.
    Local,
    /// Not reachable yet; the text says why and what would help.
    Unresolved(String),
}

impl NextHop {
    /// The ways to the address, none if it can't be reached or is this host's own.
    pub fn ways(&self) -> &[Egress] {
        match self {
            Self::Resolved(ways) => ways,
            Self::Local | Self::Unresolved(_) => &[],
        }
    }
}

/// Where and how packets to an address leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Egress {
    /// Interface that frames leave by. Of a route through a VLAN device, the one below it.
    pub ifindex: u32,
    /// Id in the tag of the frames, if the route is through a VLAN device; untagged otherwise.
    pub vlan: Option<u16>,
    /// Name of the route's interface.
    pub ifname: String,
    /// MAC address of the route's interface.
    pub source_mac: [u8; 6],
    /// MAC address of the gateway, or of the address itself if it is on link.
    pub next_hop_mac: [u8; 6],
    /// The gateway, if the address is not on link. It may be of the other family.
    pub gateway: Option<IpAddr>,
    /// The interface's own address towards the backend (the route's preferred source).
    pub source: IpAddr,
    /// Largest IP packet, bytes (the route's MTU if it has one, else the interface's).
    pub mtu: u16,
}
