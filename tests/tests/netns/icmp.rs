//! ICMP for service addresses: path MTU discovery of connections by direct return, and pings.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use anyhow::{Result, ensure};
use lb_tests::{
    capture::Capture,
    client,
    cluster::{Cluster, HTTP_PORT},
    link,
    netns::Netns,
    ping::ping,
    topology::{Topology, VIP4, VIP6},
    unique, wait,
};

/// What the link behind the router takes: less than everything else on the way.
const NARROW_MTU: u32 = 1300;
/// Addresses of clients behind the router.
const FIRST_CLIENT: u16 = 2;
const CLIENTS: u16 = 30;

/// A client behind a router whose link to it is narrow on the way there only, so that neither end knows of it: the client
/// announces segments that don't fit, and what is too big for the router comes back as an error to the service address.
fn client_behind(router: &Netns, backends: &[lb_tests::topology::Backend]) -> Result<Netns> {
    let far = Netns::new(&format!("{}-far", unique::name()))?;
    link::veth((&far, "eth0"), (router, "far"))?;
    router.sysctl("net/ipv4/ip_forward", "1")?;
    router.sysctl("net/ipv6/conf/all/forwarding", "1")?;
    router.ip(&[
        "addr add 10.3.0.1/24 dev far".to_owned(),
        "addr add fd00:3::1/64 dev far nodad".to_owned(),
        format!("link set far mtu {NARROW_MTU}"),
    ])?;
    let mut lines = vec!["link set eth0 mtu 1500".to_owned()];
    for host in FIRST_CLIENT..FIRST_CLIENT + CLIENTS {
        lines.push(format!("addr add {}/24 dev eth0", address(false, host)));
        lines.push(format!("addr add {}/64 dev eth0 nodad", address(true, host)));
    }
    lines.push("route add default via 10.3.0.1".to_owned());
    lines.push("route add ::/0 via fd00:3::1".to_owned());
    far.ip(&lines)?;
    for backend in backends {
        backend.netns.ip(&["route add 10.3.0.0/24 via 10.0.0.1", "route add fd00:3::/64 via fd00::1"])?;
    }
    Ok(far)
}

fn address(v6: bool, host: u16) -> IpAddr {
    if v6 { [0xfd00, 3, 0, 0, 0, 0, 0, host].into() } else { [10, 3, 0, host as u8].into() }
}

/// Large answers from each of several backends reach the client, and none would if an error went to another than the
/// one that it is about.
fn large_answers_arrive(name: &str, vip: IpAddr, mode: &str) -> Result<()> {
    let mut cluster = Cluster::start(Topology::one_arm(3)?, "native", &[])?;
    if mode == "ipip" {
        cluster.attach_decap(&["--mode", "native"])?;
    }
    let target = SocketAddr::new(vip, HTTP_PORT);
    cluster.add_service("web", &format!("{target}/tcp"), vip.is_ipv6(), &["--mode", mode])?;
    let far = client_behind(&cluster.topology.client, &cluster.topology.backends)?;
    let mut ends = cluster.topology.ends();
    ends.push((&far, "eth0"));
    let capture = Capture::start(name, &ends)?;
    let mut met = BTreeSet::new();
    for host in FIRST_CLIENT..FIRST_CLIENT + CLIENTS {
        let source = address(vip.is_ipv6(), host);
        let page = far.block_on(|| client::get(source, target, "/bytes/300000"))??;
        ensure!(page.status == 200 && page.body.len() == 300_000, "{} bytes", page.body.len());
        met.insert(page.backend);
    }
    ensure!(met.len() == 3, "only {met:?} answered");
    capture.discard();
    Ok(())
}

#[test]
fn path_mtu_discovery_v4() -> Result<()> {
    large_answers_arrive("path_mtu_discovery_v4", VIP4.into(), "l2")
}

#[test]
fn path_mtu_discovery_v6() -> Result<()> {
    large_answers_arrive("path_mtu_discovery_v6", VIP6.into(), "l2")
}

#[test]
fn path_mtu_discovery_ipip_4in4() -> Result<()> {
    large_answers_arrive("path_mtu_discovery_ipip_4in4", VIP4.into(), "ipip")
}

#[test]
fn path_mtu_discovery_ipip_6in6() -> Result<()> {
    large_answers_arrive("path_mtu_discovery_ipip_6in6", VIP6.into(), "ipip")
}

/// Nobody but the balancer holds the address on the segment, and the backends do not see the request.
#[test]
fn service_addresses_answer_pings() -> Result<()> {
    let mut cluster = Cluster::start(Topology::one_arm(1)?, "native", &[])?;
    for (name, vip) in [("v4", IpAddr::from(VIP4)), ("v6", VIP6.into())] {
        let target = SocketAddr::new(vip, HTTP_PORT);
        cluster.add_service(name, &format!("{target}/tcp"), vip.is_ipv6(), &[])?;
        let before = cluster.ended("echo_answered")?;
        ping(&cluster.topology.client, vip)?;
        wait::until_true("the answer to be counted", || Ok(cluster.ended("echo_answered")? == before + 1))?;
        ensure!(cluster.packets(name)? == 0, "it went to a backend");
    }
    cluster.stop_servers(0);
    cluster.wait_for_active("v4", 0)?;
    ping(&cluster.topology.client, VIP4.into())
}
