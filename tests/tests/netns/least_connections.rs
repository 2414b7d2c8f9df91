//! Least connections with real ones: who holds many gets fewer, until they are closed.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use lb_tests::{
    cluster::{Cluster, ECHO_PORT},
    held::{self, Connection},
    topology::{Topology, VIP4, VIP6, client_address},
    wait,
};

/// Connections that are opened at a time.
const BATCH: u16 = 200;
/// Of a batch, the backend with fewer connections gets three in four. With chance alone it would be half, and more than
/// this once in 500 times; with three in four it is less once in a million.
const MOST: usize = 120;

struct Test {
    cluster: Cluster,
    target: SocketAddr,
    held: Vec<Connection>,
    opened: u16,
}

impl Test {
    fn start(target: SocketAddr) -> Result<Self> {
        // What is closed is in the flow table for a while; here for a short one.
        let options = ["--closed-idle", "1s", "--quiet-period", "5s"];
        let cluster = Cluster::start(Topology::one_arm(2)?, "native", &options)?;
        let algorithm = ["--algorithm", "least-connections"];
        cluster.add_service("live", &format!("{target}/tcp"), target.is_ipv6(), &algorithm)?;
        Ok(Self { cluster, target, held: Vec::new(), opened: 0 })
    }

    /// Opens a batch of connections and holds them. How many of them the backend of this name got.
    fn open(&mut self, name: &str) -> Result<usize> {
        let sources =
            (self.opened..self.opened + BATCH).map(|n| client_address(self.target.is_ipv6(), n + 1));
        self.opened += BATCH;
        let new = held::open::<Connection>(&self.cluster.topology.client, self.target, sources)?;
        let count = held::of(&new, name);
        self.held.extend(new);
        Ok(count)
    }

    /// All connections are still answered, and `lb` counts the same as we do.
    fn check(&mut self, after: &str) -> Result<()> {
        held::talk(&mut self.held).context(after.to_owned())?;
        let truth = ["b1", "b2"].map(|name| held::of(&self.held, name) as u64);
        wait::until(&format!("lb to count as we do after {after}"), || {
            let counted: Vec<u64> =
                self.cluster.backends("live")?.iter().map(|backend| backend.tracked_flows).collect();
            ensure!(counted == truth, "{counted:?}, they are {truth:?}");
            Ok(())
        })
    }

    /// Closes all connections of a backend, half of them with FIN and half with RST.
    fn close(&mut self, name: &str) -> Result<()> {
        let (closed, held) = std::mem::take(&mut self.held)
            .into_iter()
            .partition(|connection| held::Held::backend(connection) == name);
        self.held = held;
        for (number, connection) in Vec::into_iter(closed).enumerate() {
            if number % 2 == 0 { drop(connection) } else { connection.reset()? }
        }
        Ok(())
    }
}

fn long_connections(target: SocketAddr) -> Result<()> {
    let mut test = Test::start(target)?;
    let second = test.cluster.address(1, target.is_ipv6()).to_string();
    test.cluster.agent.lb(&["backend", "drain", "live", &second])?;
    test.cluster.wait_for_active("live", 1)?;
    ensure!(test.open("b1")? == usize::from(BATCH), "b2 is drained");
    test.check("b2 was drained")?;

    test.cluster.agent.lb(&["backend", "ready", "live", &second])?;
    test.cluster.wait_for_active("live", 2)?;
    let count = test.open("b2")?;
    ensure!(count >= MOST, "b1 holds {BATCH}, yet b2 gets only {count} of {BATCH}");
    test.check("b2 was ready")?;

    test.close("b1")?;
    test.check("all of b1 were closed")?;
    let count = test.open("b1")?;
    ensure!(count >= MOST, "b1 holds none, yet it gets only {count} of {BATCH}");
    test.check("b1 got new ones")?;

    test.cluster.agent.kill()?;
    held::talk(&mut test.held).context("the agent was killed")?;
    test.cluster.agent.restart()?;
    test.check("the agent was restarted")
}

#[test]
fn long_connections_push_new_ones_elsewhere_until_they_end_v4() -> Result<()> {
    long_connections((VIP4, ECHO_PORT).into())
}

#[test]
fn long_connections_push_new_ones_elsewhere_until_they_end_v6() -> Result<()> {
    long_connections((VIP6, ECHO_PORT).into())
}
