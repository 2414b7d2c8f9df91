//! Clients whose packets are too big for the tunnel are told so by the balancer, and send smaller ones.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Result, ensure};
use lb_tests::{
    capture::Capture,
    client,
    cluster::{Cluster, ECHO_PORT},
    link,
    topology::{INTERFACE, Topology, VIP4, VIP6, client_address},
};

/// A client whose packets fill the links, so that nothing fits around them.
fn shrink(name: &str, vip: IpAddr, mode: &str) -> Result<()> {
    let mut cluster = Cluster::start(Topology::one_arm(1)?, "native", &[])?;
    cluster.topology.client.ip(&[format!("link set {INTERFACE} mtu {}", link::MTU)])?;
    cluster.attach_decap(&["--hook", "auto"])?;
    let capture = Capture::start(name, &cluster.topology.ends())?;
    let echo = SocketAddr::new(vip, ECHO_PORT);
    cluster.add_service("echo", &format!("{echo}/tcp"), vip.is_ipv6(), &["--mode", mode])?;
    ensure!(cluster.ended("too_big_answered")? == 0, "answers before there was anything to answer");
    let long = "x".repeat(100_000);
    let source = client_address(vip.is_ipv6(), 1);
    let exchange = async || client::tcp_exchange(source, echo, &["short", &long, "the end"]).await;
    cluster.topology.client.block_on(exchange)??;
    let told = cluster.ended("too_big_answered")?;
    ensure!(told > 0, "the client never sent anything that is too big");
    // The client knows now, for its further connections as well.
    cluster.topology.client.block_on(exchange)??;
    ensure!(cluster.ended("too_big_answered")? == told, "the client has forgotten what it was told");
    capture.discard();
    Ok(())
}

#[test]
fn a_v4_client_shrinks_for_ipip() -> Result<()> {
    shrink("path_mtu_v4_ipip", VIP4.into(), "ipip")
}

#[test]
fn a_v4_client_shrinks_for_gue() -> Result<()> {
    shrink("path_mtu_v4_gue", VIP4.into(), "gue")
}

#[test]
fn a_v6_client_shrinks_for_ipip() -> Result<()> {
    shrink("path_mtu_v6_ipip", VIP6.into(), "ipip")
}

#[test]
fn a_v6_client_shrinks_for_gue() -> Result<()> {
    shrink("path_mtu_v6_gue", VIP6.into(), "gue")
}
