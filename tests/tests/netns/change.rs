//! Backends come, drain and die under traffic.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Result, ensure};
use lb_tests::{
    cluster::{Cluster, HTTP_PORT},
    topology::{Topology, VIP4, VIP6},
    traffic::{Load, Streams, by_backend, failures},
    wait,
};

const PAUSE: Duration = Duration::from_millis(5);
/// Quick to notice, yet patient enough for a loaded machine.
const CHECK: [&str; 8] =
    ["--check-interval", "200ms", "--check-timeout", "130ms", "--check-fall", "3", "--check-rise", "2"];

/// Waits until the last `count` requests, of those begun from now on, satisfy a condition.
fn until_requests(
    what: &str,
    load: &Load,
    count: usize,
    fine: impl Fn(&Result<String, String>) -> bool,
) -> Result<()> {
    let from = load.count();
    wait::until_true(what, || {
        let requests = load.requests();
        let new = &requests[from..];
        Ok(new.len() >= count && new[new.len() - count..].iter().all(|request| fine(&request.outcome)))
    })
}

fn drain(target: SocketAddr) -> Result<()> {
    let cluster = Cluster::start(Topology::one_arm(3)?, "native", &[])?;
    cluster.add_service("web", &format!("{target}/tcp"), target.is_ipv6(), &CHECK)?;
    let streams = Streams::open(&cluster.topology.client, target, 30)?;
    let opened = streams.open_by_backend();
    ensure!(opened.contains_key("b1"), "no stream went to b1: {opened:?}");
    let load = Load::start(&cluster.topology.client, target, 8, PAUSE)?;
    until_requests("b1 to be used", &load, 1, |outcome| outcome.as_deref() == Ok("b1"))?;

    let address = cluster.address(0, target.is_ipv6()).to_string();
    cluster.agent.lb(&["backend", "drain", "web", &address])?;
    until_requests("b1 to be left alone", &load, 300, |outcome| {
        outcome.as_deref().is_ok_and(|name| name != "b1")
    })?;
    ensure!(streams.broken().is_empty(), "{:?}", streams.broken());
    ensure!(streams.open_by_backend() == opened, "streams moved");

    cluster.agent.lb(&["backend", "ready", "web", &address])?;
    until_requests("b1 to be used again", &load, 1, |outcome| outcome.as_deref() == Ok("b1"))?;
    let requests = load.finish()?;
    ensure!(failures(&requests).is_empty(), "{:?}", failures(&requests));
    ensure!(streams.finish()?.is_empty());
    Ok(())
}

#[test]
fn a_drained_backend_keeps_its_connections_v4() -> Result<()> {
    drain((VIP4, HTTP_PORT).into())
}

#[test]
fn a_drained_backend_keeps_its_connections_v6() -> Result<()> {
    drain((VIP6, HTTP_PORT).into())
}

#[test]
fn connections_stay_while_a_backend_is_added_and_removed() -> Result<()> {
    let target = SocketAddr::from((VIP4, HTTP_PORT));
    let cluster = Cluster::start(Topology::two_arm(4)?, "native", &[])?;
    cluster.add_service("web", &format!("{target}/tcp"), false, &CHECK)?;
    let fourth = cluster.address(3, false).to_string();
    cluster.agent.lb(&["backend", "del", "web", &fourth])?;
    cluster.wait_for_active("web", 3)?;
    let streams = Streams::open(&cluster.topology.client, target, 30)?;
    let opened = streams.open_by_backend();
    ensure!(!opened.contains_key("b4"), "b4 was removed: {opened:?}");
    let load = Load::start(&cluster.topology.client, target, 8, PAUSE)?;

    cluster.agent.lb(&["backend", "add", "web", &fourth])?;
    until_requests("b4 to be used", &load, 1, |outcome| outcome.as_deref() == Ok("b4"))?;
    until_requests("some time", &load, 300, |_| true)?;
    ensure!(streams.open_by_backend() == opened, "streams moved");
    let requests = load.finish()?;
    ensure!(failures(&requests).is_empty(), "{:?}", failures(&requests));
    ensure!(by_backend(&requests).len() == 4, "{:?}", by_backend(&requests));
    ensure!(streams.finish()?.is_empty());
    Ok(())
}

fn killed_backend(target: SocketAddr) -> Result<()> {
    let mut cluster = Cluster::start(Topology::one_arm(3)?, "native", &[])?;
    cluster.add_service("web", &format!("{target}/tcp"), target.is_ipv6(), &CHECK)?;
    let load = Load::start(&cluster.topology.client, target, 8, PAUSE)?;
    until_requests("b2 to be used", &load, 1, |outcome| outcome.as_deref() == Ok("b2"))?;

    cluster.stop_servers(1);
    until_requests("failures to end", &load, 300, Result::is_ok)?;
    ensure!(!failures(&load.requests()).is_empty(), "a killed server went unnoticed");
    cluster.wait_for_active("web", 2)?;

    cluster.start_servers(1)?;
    until_requests("b2 to be back", &load, 1, |outcome| outcome.as_deref() == Ok("b2"))?;
    until_requests("failures to stay away", &load, 100, Result::is_ok)
}

#[test]
fn a_killed_backend_is_left_out_until_it_is_back_v4() -> Result<()> {
    killed_backend((VIP4, HTTP_PORT).into())
}

#[test]
fn a_killed_backend_is_left_out_until_it_is_back_v6() -> Result<()> {
    killed_backend((VIP6, HTTP_PORT).into())
}

#[test]
fn a_service_without_backends_counts_its_packets() -> Result<()> {
    let target = SocketAddr::from((VIP4, HTTP_PORT));
    let mut cluster = Cluster::start(Topology::one_arm(1)?, "native", &[])?;
    cluster.add_service("web", &format!("{target}/tcp"), false, &CHECK)?;
    cluster.stop_servers(0);
    cluster.wait_for_active("web", 0)?;
    let load = Load::start(&cluster.topology.client, target, 1, PAUSE)?;
    wait::until_true("the reason to be counted", || {
        let stats = cluster.agent.json(&["stats"])?;
        let reasons = stats["reasons"].as_array().cloned().unwrap_or_default();
        Ok(reasons
            .iter()
            .any(|reason| reason["reason"] == "no_backend" && reason["packets"].as_u64() > Some(0)))
    })?;
    drop(load);
    Ok(())
}
