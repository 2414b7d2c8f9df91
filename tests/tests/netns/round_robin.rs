//! Round robin with real connections: turns in proportion to weights, and each connection stays where it began.

use std::{collections::BTreeMap, net::SocketAddr};

use anyhow::{Context as _, Result, ensure};
use lb_tests::{
    cluster::{Cluster, ECHO_PORT},
    held::{self, Connection, Flow, Held},
    sessions::Sessions,
    topology::{Topology, VIP4, client_address},
};

const WEIGHTS: [u32; 3] = [100, 200, 300];
const SESSIONS: u16 = 120;
const FLOWS: u16 = 60;
/// Answers that each session has between two steps.
const ANSWERS: u64 = 2;

/// Turns are taken per CPU: on each, the number of a backend's turns is within one of its share.
fn in_proportion(counts: &BTreeMap<String, usize>) -> Result<()> {
    let cpus = aya::util::nr_cpus().map_err(|(path, error)| anyhow::anyhow!("{path}: {error}"))?;
    let total: usize = counts.values().sum();
    for (number, weight) in (1..).zip(WEIGHTS) {
        let turns = counts.get(&format!("b{number}")).copied().unwrap_or(0) as f64;
        let share = total as f64 * f64::from(weight) / f64::from(WEIGHTS.iter().sum::<u32>());
        ensure!(
            (turns - share).abs() <= cpus as f64,
            "b{number} has {turns}, its share is {share}: {counts:?}"
        );
    }
    Ok(())
}

fn add_service(cluster: &Cluster, name: &str, vip: &str) -> Result<()> {
    let options = ["--vip", vip, "--algorithm", "round-robin"];
    cluster.agent.lb(&[&["service", "add", name], &options[..]].concat())?;
    for (index, weight) in WEIGHTS.iter().enumerate() {
        let address = cluster.address(index, false).to_string();
        cluster.agent.lb(&["backend", "add", name, &address, "--weight", &weight.to_string()])?;
    }
    cluster.wait_for_active(name, WEIGHTS.len())
}

/// All the connections of the test.
struct Running {
    sessions: Sessions,
    flows: Vec<Flow>,
}

impl Running {
    fn open(cluster: &Cluster, target: SocketAddr) -> Result<Self> {
        let client = &cluster.topology.client;
        let sessions = Sessions::open(client, target, SESSIONS)?;
        in_proportion(&sessions.state().opened).context("sessions")?;
        let flows: Vec<Flow> = held::open(client, target, (1..=FLOWS).map(|n| client_address(false, n)))?;
        let names = ["b1", "b2", "b3"].map(|name| (name.to_owned(), held::of(&flows, name)));
        in_proportion(&names.into()).context("flows")?;
        Ok(Self { sessions, flows })
    }

    /// None of them has noticed anything.
    fn check(&mut self, after: &str) -> Result<()> {
        self.sessions.go_on(ANSWERS).context(after.to_owned())?;
        held::talk(&mut self.flows).context(after.to_owned())?;
        let broken = self.sessions.state().broken;
        ensure!(broken.is_empty(), "{after}: {broken:?}");
        Ok(())
    }
}

/// Backends of this many new connections.
fn newcomers(cluster: &Cluster, target: SocketAddr, count: u16) -> Result<Vec<String>> {
    let sources = (1..=count).map(|n| client_address(false, 1_000 + n));
    let connections: Vec<Connection> = held::open(&cluster.topology.client, target, sources)?;
    Ok(connections.iter().map(|connection| connection.backend().to_owned()).collect())
}

#[test]
fn turns_are_shared_by_weight_and_connections_stay() -> Result<()> {
    let target = SocketAddr::from((VIP4, ECHO_PORT));
    let mut cluster = Cluster::start(Topology::one_arm(4)?, "native", &["--quiet-period", "5s"])?;
    let services = ["turns", "datagrams"];
    add_service(&cluster, services[0], &format!("{target}/tcp"))?;
    add_service(&cluster, services[1], &format!("{target}/udp"))?;
    let mut running = Running::open(&cluster, target)?;
    let [first, second, fourth] = [0, 1, 3].map(|index| cluster.address(index, false).to_string());
    let change = |cluster: &Cluster, words: [&str; 2], options: &[&str], active| -> Result<()> {
        for service in services {
            let [verb, address] = words;
            cluster.agent.lb(&[&["backend", verb, service, address], options].concat())?;
            cluster.wait_for_active(service, active)?;
        }
        Ok(())
    };

    change(&cluster, ["add", &fourth], &["--weight", "600"], 4)?;
    running.check("a backend was added")?;
    // Half of all turns, on each CPU.
    let new = newcomers(&cluster, target, 20)?;
    ensure!(new.contains(&"b4".to_owned()), "b4 has a turn in two: {new:?}");

    change(&cluster, ["set", &first], &["--weight", "900"], 4)?;
    running.check("a weight was changed")?;

    change(&cluster, ["drain", &second], &[], 3)?;
    running.check("a backend was drained")?;
    let new = newcomers(&cluster, target, 20)?;
    ensure!(!new.contains(&"b2".to_owned()), "b2 is drained: {new:?}");

    cluster.agent.kill()?;
    running.check("the agent was killed")?;
    cluster.agent.restart()?;
    cluster.wait_for_active(services[0], 3)?;
    running.check("the agent is back")?;

    change(&cluster, ["ready", &second], &[], 4)?;
    running.check("a backend is ready again")?;
    let seen = running.sessions.finish()?;
    ensure!(seen.broken.is_empty(), "{:?}", seen.broken);
    Ok(())
}
