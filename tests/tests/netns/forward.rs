//! TCP, UDP and HTTP from end to end, for each mode, pair of families and way out of the balancer.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use anyhow::{Result, ensure};
use lb_tests::{
    capture::Capture,
    client,
    cluster::{Cluster, ECHO_PORT, HTTP_PORT},
    topology::{Topology, VIP4, VIP6, client_address},
    wait,
};

/// What a packet looks like on its way to the backend. The number is the family of the backends' addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hop {
    L2,
    TunnelOver4,
    TunnelOver6,
    DatagramOver4,
    DatagramOver6,
}

/// Adds services on a service address and drives each of them until every backend has answered.
fn drive(name: &str, topology: Topology, xdp_mode: &str, vip: IpAddr, hop: Hop) -> Result<()> {
    drive_by(name, topology, xdp_mode, vip, hop, &["--mode", xdp_mode])
}

/// The same with options of `lb decap`.
fn drive_by(
    name: &str,
    topology: Topology,
    xdp_mode: &str,
    vip: IpAddr,
    hop: Hop,
    decap: &[&str],
) -> Result<()> {
    let mut cluster = Cluster::start(topology, xdp_mode, &[])?;
    let (mode, backends_v6) = match hop {
        Hop::L2 => ("l2", vip.is_ipv6()),
        Hop::TunnelOver4 => ("ipip", false),
        Hop::TunnelOver6 => ("ipip", true),
        Hop::DatagramOver4 => ("gue", false),
        Hop::DatagramOver6 => ("gue", true),
    };
    if hop != Hop::L2 {
        cluster.attach_decap(decap)?;
    }
    let capture = Capture::start(name, &cluster.topology.ends())?;
    let (http, echo) = (SocketAddr::new(vip, HTTP_PORT), SocketAddr::new(vip, ECHO_PORT));
    for (service, vip) in
        [("http", format!("{http}/tcp")), ("tcp", format!("{echo}/tcp")), ("udp", format!("{echo}/udp"))]
    {
        cluster.add_service(service, &vip, backends_v6, &["--mode", mode])?;
    }
    every_backend_answers(&cluster, "http", async |source| {
        let page = client::get(source, http, "/bytes/50000").await?;
        ensure!(page.status == 200 && page.body.len() == 50_000, "{} bytes", page.body.len());
        Ok(page.backend)
    })?;
    let long = "x".repeat(4_000);
    every_backend_answers(&cluster, "tcp", async |source| {
        client::tcp_exchange(source, echo, &["one", &long, "three"]).await
    })?;
    every_backend_answers(&cluster, "udp", async |source| {
        client::udp_exchange(source, echo, &long[..1_000]).await
    })?;
    capture.discard();
    Ok(())
}

/// One request after another, each from another client, until each backend has been met; none may fail.
fn every_backend_answers(
    cluster: &Cluster,
    service: &str,
    exchange: impl AsyncFn(IpAddr) -> Result<String> + Sync,
) -> Result<()> {
    let v6 = cluster.agent.json(&["service", "show", service])?["service"]["vip"].to_string().contains('[');
    let before = cluster.packets(service)?;
    let mut met = BTreeSet::new();
    for number in 1..200 {
        met.insert(cluster.topology.client.block_on(|| exchange(client_address(v6, number)))??);
        if met.len() == cluster.topology.backends.len() {
            break;
        }
    }
    ensure!(met.len() == cluster.topology.backends.len(), "{service}: only {met:?} answered");
    wait::until_true("the packets to be counted", || Ok(cluster.packets(service)? > before))
}

#[test]
fn l2_v4_one_arm() -> Result<()> {
    drive("l2_v4_one_arm", Topology::one_arm(2)?, "native", VIP4.into(), Hop::L2)
}

#[test]
fn l2_v6_one_arm() -> Result<()> {
    drive("l2_v6_one_arm", Topology::one_arm(2)?, "native", VIP6.into(), Hop::L2)
}

#[test]
fn l2_v4_two_arm() -> Result<()> {
    drive("l2_v4_two_arm", Topology::two_arm(2)?, "native", VIP4.into(), Hop::L2)
}

#[test]
fn l2_v6_two_arm() -> Result<()> {
    drive("l2_v6_two_arm", Topology::two_arm(2)?, "native", VIP6.into(), Hop::L2)
}

#[test]
fn ipip_4in4_one_arm() -> Result<()> {
    drive("ipip_4in4_one_arm", Topology::one_arm(2)?, "native", VIP4.into(), Hop::TunnelOver4)
}

#[test]
fn ipip_4in4_two_arm() -> Result<()> {
    drive("ipip_4in4_two_arm", Topology::two_arm(2)?, "native", VIP4.into(), Hop::TunnelOver4)
}

#[test]
fn ipip_6in6_two_arm() -> Result<()> {
    drive("ipip_6in6_two_arm", Topology::two_arm(2)?, "native", VIP6.into(), Hop::TunnelOver6)
}

#[test]
fn ipip_4in6_two_arm() -> Result<()> {
    drive("ipip_4in6_two_arm", Topology::two_arm(2)?, "native", VIP4.into(), Hop::TunnelOver6)
}

#[test]
fn ipip_6in4_two_arm() -> Result<()> {
    drive("ipip_6in4_two_arm", Topology::two_arm(2)?, "native", VIP6.into(), Hop::TunnelOver4)
}

#[test]
fn gue_4_over_4_one_arm() -> Result<()> {
    drive("gue_4_over_4_one_arm", Topology::one_arm(2)?, "native", VIP4.into(), Hop::DatagramOver4)
}

#[test]
fn gue_6_over_6_two_arm() -> Result<()> {
    drive("gue_6_over_6_two_arm", Topology::two_arm(2)?, "native", VIP6.into(), Hop::DatagramOver6)
}

#[test]
fn gue_4_over_6_two_arm_by_traffic_control() -> Result<()> {
    let topology = Topology::two_arm(2)?;
    drive_by("gue_4_over_6_tc", topology, "native", VIP4.into(), Hop::DatagramOver6, &["--hook", "tc"])
}

#[test]
fn gue_6_over_4_two_arm_by_traffic_control() -> Result<()> {
    let topology = Topology::two_arm(2)?;
    drive_by("gue_6_over_4_tc", topology, "native", VIP6.into(), Hop::DatagramOver4, &["--hook", "tc"])
}

#[test]
fn ipip_4in4_one_arm_by_traffic_control() -> Result<()> {
    let topology = Topology::one_arm(2)?;
    drive_by("ipip_4in4_tc", topology, "native", VIP4.into(), Hop::TunnelOver4, &["--hook", "tc"])
}

#[test]
fn generic_mode_l2_v4_one_arm() -> Result<()> {
    drive("generic_l2_v4_one_arm", Topology::one_arm(2)?, "generic", VIP4.into(), Hop::L2)
}

#[test]
fn generic_mode_ipip_6in6_two_arm() -> Result<()> {
    drive("generic_ipip_6in6_two_arm", Topology::two_arm(2)?, "generic", VIP6.into(), Hop::TunnelOver6)
}
