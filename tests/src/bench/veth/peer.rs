//! What is compared: the balancers, and what stands in for none.

use serde::Serialize;

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Peer {
    /// No balancer: the client's link ends at the one backend.
    #[serde(rename = "wire")]
    Wire,
    /// The balancer's host routes the service's address to one backend.
    #[serde(rename = "routing")]
    Routing,
    /// The least that spreads: a stateless hash in XDP.
    #[serde(rename = "xdp-hash")]
    XdpHash,
    /// lb in mode `l2`.
    #[serde(rename = "lb")]
    Lb,
    /// lb while tables of the measured service are published 50 times a second.
    #[serde(rename = "lb+publish")]
    LbPublish,
    /// lb while a backend fails.
    #[serde(rename = "lb+failure")]
    LbFailure,
    /// Destination NAT by nftables, with connection tracking.
    #[serde(rename = "nftables")]
    Nftables,
    /// HAProxy in TCP mode.
    #[serde(rename = "haproxy")]
    Haproxy,
    /// nginx as a stream proxy.
    #[serde(rename = "nginx")]
    Nginx,
}

impl Peer {
    /// All, in the order of the table.
    pub const ALL: [Self; 9] = [
        Self::Wire,
        Self::Routing,
        Self::XdpHash,
        Self::Lb,
        Self::LbPublish,
        Self::LbFailure,
        Self::Nftables,
        Self::Haproxy,
        Self::Nginx,
    ];

    /// Its name in tables and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Wire => "wire",
            Self::Routing => "routing",
            Self::XdpHash => "xdp-hash",
            Self::Lb => "lb",
            Self::LbPublish => "lb+publish",
            Self::LbFailure => "lb+failure",
            Self::Nftables => "nftables",
            Self::Haproxy => "haproxy",
            Self::Nginx => "nginx",
        }
    }

    /// Whether it spreads over all backends.
    pub const fn spreads(self) -> bool {
        !matches!(self, Self::Wire | Self::Routing)
    }

    /// Whether it forwards packets. A proxy ends connections, so packets per second say nothing about it.
    pub const fn forwards_packets(self) -> bool {
        !matches!(self, Self::Haproxy | Self::Nginx)
    }

    /// Whether it is lb, in whatever weather.
    pub const fn is_lb(self) -> bool {
        matches!(self, Self::Lb | Self::LbPublish | Self::LbFailure)
    }
}
