//! The packet path outlives the agent.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Result, ensure};
use lb_tests::{
    cluster::{Cluster, HTTP_PORT},
    topology::{Topology, VIP4, VIP6},
    traffic::{Load, Streams, failures},
    wait,
};

const PAUSE: Duration = Duration::from_millis(5);

fn more_requests(load: &Load, count: usize) -> Result<()> {
    let before = load.count();
    wait::until_true("requests", || Ok(load.count() >= before + count))
}

fn kill_and_restart(target: SocketAddr) -> Result<()> {
    let mut cluster = Cluster::start(Topology::two_arm(2)?, "native", &[])?;
    cluster.add_service("web", &format!("{target}/tcp"), target.is_ipv6(), &[])?;
    let slots = |cluster: &Cluster| -> Result<Vec<_>> {
        Ok(cluster
            .backends("web")?
            .into_iter()
            .map(|backend| (backend.address, backend.id, backend.slots))
            .collect())
    };
    let before = slots(&cluster)?;
    let streams = Streams::open(&cluster.topology.client, target, 8)?;
    let load = Load::start(&cluster.topology.client, target, 8, PAUSE)?;
    more_requests(&load, 100)?;

    cluster.agent.kill()?;
    let status = cluster.agent.json(&["status"])?;
    ensure!(status["agent"]["running"] == false, "{status}");
    more_requests(&load, 300)?;

    cluster.agent.restart()?;
    cluster.wait_for_active("web", 2)?;
    more_requests(&load, 300)?;
    ensure!(slots(&cluster)? == before, "the new agent made another table");
    let requests = load.finish()?;
    ensure!(failures(&requests).is_empty(), "{:?}", failures(&requests));
    ensure!(streams.broken().is_empty(), "{:?}", streams.broken());
    Ok(())
}

#[test]
fn killed_under_traffic_and_restarted_v4() -> Result<()> {
    kill_and_restart((VIP4, HTTP_PORT).into())
}

#[test]
fn killed_under_traffic_and_restarted_v6() -> Result<()> {
    kill_and_restart((VIP6, HTTP_PORT).into())
}
