//! Networks to test in: a client, the balancer and its backends, each a namespace.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::OwnedFd,
    sync::Arc,
};

use anyhow::Result;

use crate::{link, netns::Netns, unique, xdp_pass};

/// Service address that the client reaches through the balancer.
pub const VIP4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
/// The same for IPv6.
pub const VIP6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x100, 0, 0, 0, 0, 1);
/// Address of the balancer's host on the client's side.
pub const LB4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
/// The same for IPv6.
pub const LB6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2);
/// The interface on which every namespace meets its network. On the balancer: the one to attach to.
pub const INTERFACE: &str = "eth0";

/// Client and backends agree on where clients are; a client may use any address of these.
const CLIENTS4: &str = "10.1.0.0/16";
const CLIENTS6: &str = "fd00:1::/64";

/// A backend: a namespace that holds the service addresses on its loopback interface.
#[derive(Debug)]
pub struct Backend {
    /// Its namespace.
    pub netns: Arc<Netns>,
    /// Its own address.
    pub v4: Ipv4Addr,
    /// Its own address.
    pub v6: Ipv6Addr,
}

/// A whole network. Dropping it removes everything.
#[derive(Debug)]
pub struct Topology {
    /// Where requests come from.
    pub client: Netns,
    /// Where `lb` runs.
    pub lb: Arc<Netns>,
    /// Where requests go.
    pub backends: Vec<Backend>,
    // Links before namespaces would do as well: the kernel drops a link with its interface.
    _programs: Vec<OwnedFd>,
    /// The segment of a network with one arm; its ports are called as who is plugged in.
    pub switch: Option<Netns>,
}

impl Topology {
    /// All on one segment: the balancer sends packets back out of the interface they came in on (XDP_TX), backends
    /// answer the client directly.
    pub fn one_arm(backends: usize) -> Result<Self> {
        let prefix = unique::name();
        let make = |role: &str| Netns::new(&format!("{prefix}-{role}"));
        let (client, lb, switch) = (make("client")?, make("lb")?, make("switch")?);
        switch.ip(&[
            format!("link add br0 mtu {} type bridge stp_state 0 mcast_snooping 0", link::MTU),
            "link set br0 up".into(),
        ])?;
        let plug = |netns: &Netns, port: &str| -> Result<()> {
            link::veth((netns, INTERFACE), (&switch, port))?;
            switch.ip(&[format!("link set {port} master br0")])
        };
        plug(&client, "client")?;
        plug(&lb, "lb")?;
        set_up_client(&client)?;
        lb.ip(&segment(LB4, LB6, "10.0.0.1", "fd00::1"))?;
        let backends = (0..backends)
            .map(|index| {
                let host = 11 + u8::try_from(index)?;
                let (v4, v6) =
                    (Ipv4Addr::new(10, 0, 0, host), Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, host.into()));
                let netns = make(&format!("b{}", index + 1))?;
                plug(&netns, &format!("b{}", index + 1))?;
                netns.ip(&segment(v4, v6, "10.0.0.1", "fd00::1"))?;
                hold_service_addresses(&netns)?;
                Ok(Backend { netns: Arc::new(netns), v4, v6 })
            })
            .collect::<Result<Vec<_>>>()?;
        let program = xdp_pass::attach((&switch, "lb"))?;
        Ok(Self { client, lb: Arc::new(lb), backends, _programs: vec![program], switch: Some(switch) })
    }

    /// The balancer between the client and the backends, each on a link of its own: packets leave on another interface
    /// (XDP_REDIRECT), and answers are routed back by the balancer's host.
    pub fn two_arm(backends: usize) -> Result<Self> {
        let prefix = unique::name();
        let make = |role: &str| Netns::new(&format!("{prefix}-{role}"));
        let (client, lb) = (make("client")?, make("lb")?);
        link::veth((&client, INTERFACE), (&lb, INTERFACE))?;
        set_up_client(&client)?;
        lb.ip(&segment(LB4, LB6, "10.0.0.1", "fd00::1"))?;
        lb.sysctl("net/ipv4/ip_forward", "1")?;
        lb.sysctl("net/ipv6/conf/all/forwarding", "1")?;
        let backends = (0..backends)
            .map(|index| {
                let net = u8::try_from(index)?;
                let name = format!("b{}", index + 1);
                let netns = make(&name)?;
                link::veth((&lb, &name), (&netns, INTERFACE))?;
                lb.ip(&[
                    format!("addr add 10.2.{net}.1/24 dev {name}"),
                    format!("addr add fd00:2:{net:x}::1/64 dev {name} nodad"),
                ])?;
                netns.ip(&[
                    format!("addr add 10.2.{net}.2/24 dev {INTERFACE}"),
                    format!("addr add fd00:2:{net:x}::2/64 dev {INTERFACE} nodad"),
                    format!("route add default via 10.2.{net}.1"),
                    format!("route add ::/0 via fd00:2:{net:x}::1"),
                ])?;
                hold_service_addresses(&netns)?;
                let v6 = Ipv6Addr::new(0xfd00, 2, net.into(), 0, 0, 0, 0, 2);
                Ok(Backend { netns: Arc::new(netns), v4: Ipv4Addr::new(10, 2, net, 2), v6 })
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(Self { client, lb: Arc::new(lb), backends, _programs: Vec::new(), switch: None })
    }
}

impl Topology {
    /// The client's and the backends' ends of their links, which see all that the balancer sends and gets.
    pub fn ends(&self) -> Vec<link::End<'_>> {
        let backends = self.backends.iter().map(|backend| &*backend.netns);
        [&self.client].into_iter().chain(backends).map(|netns| (netns, INTERFACE)).collect()
    }
}

impl Backend {
    /// Its own address in the family of another address.
    pub fn address_like(&self, other: IpAddr) -> IpAddr {
        if other.is_ipv4() { self.v4.into() } else { self.v6.into() }
    }
}

/// A source address for the nth client, one of 65,000.
pub fn client_address(v6: bool, n: u16) -> IpAddr {
    let [high, low] = n.to_be_bytes();
    if v6 {
        Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, n).into()
    } else {
        Ipv4Addr::new(10, 1, high, low).into()
    }
}

/// Addresses on the shared segment, and the way to the clients behind `client`.
fn segment(v4: Ipv4Addr, v6: Ipv6Addr, client4: &str, client6: &str) -> Vec<String> {
    vec![
        format!("addr add {v4}/24 dev {INTERFACE}"),
        format!("addr add {v6}/64 dev {INTERFACE} nodad"),
        format!("route add {CLIENTS4} via {client4}"),
        format!("route add {CLIENTS6} via {client6}"),
    ]
}

fn set_up_client(client: &Netns) -> Result<()> {
    // A route makes the addresses of a prefix local; IPv6 wants this as well before one can be bound to.
    client.sysctl("net/ipv6/ip_nonlocal_bind", "1")?;
    client.ip(&[
        // What the client sends must fit into a tunnel.
        format!("link set {INTERFACE} mtu 1500"),
        format!("addr add 10.0.0.1/24 dev {INTERFACE}"),
        format!("addr add fd00::1/64 dev {INTERFACE} nodad"),
        format!("route add local {CLIENTS4} dev lo"),
        format!("route add local {CLIENTS6} dev lo"),
        format!("route add default via {LB4}"),
        format!("route add ::/0 via {LB6}"),
    ])
}

/// A backend answers for the service addresses but does not announce them.
fn hold_service_addresses(backend: &Netns) -> Result<()> {
    backend.sysctl("net/ipv4/conf/all/arp_ignore", "1")?;
    backend.sysctl("net/ipv4/conf/all/arp_announce", "2")?;
    backend.ip(&[format!("addr add {VIP4}/32 dev lo"), format!("addr add {VIP6}/128 dev lo nodad")])
}
