//! QUIC from end to end: clients that change their address keep their connection, by the server id in its connection ids.

mod endpoints;

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use lb_tests::{
    cluster::Cluster,
    topology::{Topology, VIP4, VIP6, client_address},
    wait,
};
use quinn::Endpoint;

use self::endpoints::{Client, PORT, Pki, server_id};

/// That one of three backends gets none of them happens once in 6,000 times.
const CLIENTS: u16 = 24;
/// How often each client moves while nothing else happens: without ids, one of three would stay each time.
const MOVES: u16 = 5;
/// Longer than any step.
const PATIENCE: Duration = Duration::from_secs(60);

/// A cluster with QUIC servers, a service with all but the last of them, and connected clients.
struct Scene {
    cluster: Cluster,
    vip: IpAddr,
    clients: Vec<Client>,
    /// Addresses that were used so far.
    addresses: u16,
    _servers: Vec<Endpoint>,
}

impl Scene {
    async fn start(vip: IpAddr, backends: u8) -> Result<Self> {
        let cluster =
            Cluster::start(Topology::one_arm(backends.into())?, "native", &["--quiet-period", "5s"])?;
        let pki = Pki::new(PATIENCE)?;
        let servers = (1..=backends).zip(&cluster.topology.backends);
        let servers = servers.map(|(number, backend)| pki.serve(&backend.netns, vip, number));
        let _servers = servers.collect::<Result<_>>()?;
        let target = SocketAddr::new(vip, PORT);
        cluster.agent.lb(&["service", "add", "web3", "--vip", &format!("{target}/udp"), "--quic"])?;
        cluster.agent.lb(&["service", "set", "web3", "--quic-id", "1:4"])?;
        let mut this = Self { cluster, vip, clients: Vec::new(), addresses: 0, _servers };
        for number in 1..backends {
            this.add(number)?;
        }
        this.cluster.wait_for_active("web3", usize::from(backends) - 1)?;
        for _ in 0..CLIENTS {
            let from = this.next_address();
            let client = Client::connect(&pki, &this.cluster.topology.client, from, target).await?;
            this.clients.push(client);
        }
        let met: BTreeSet<u8> = this.clients.iter().map(|client| client.server).collect();
        ensure!(met == (1..backends).collect(), "not all backends are used: {met:?}");
        Ok(this)
    }

    fn add(&self, number: u8) -> Result<()> {
        let (address, id) = (self.address(number), server_id(number));
        self.cluster.agent.lb(&["backend", "add", "web3", &address, "--quic-server-id", &id])?;
        Ok(())
    }

    fn address(&self, number: u8) -> String {
        self.cluster.address(usize::from(number) - 1, self.vip.is_ipv6()).to_string()
    }

    fn next_address(&mut self) -> IpAddr {
        self.addresses += 1;
        client_address(self.vip.is_ipv6(), self.addresses)
    }

    /// Every client changes its address and is answered by the same server as ever.
    async fn all_move(&mut self) -> Result<()> {
        for index in 0..self.clients.len() {
            let from = self.next_address();
            let client = &self.clients[index];
            let server = client.move_to(&self.cluster.topology.client, from).await;
            let server = server.with_context(|| format!("client {index} of server {}", client.server))?;
            ensure!(server == client.server, "client {index} moved from {} to {server}", client.server);
        }
        Ok(())
    }

    /// Clients move until a condition holds.
    async fn move_until(&mut self, what: &str, holds: impl Fn(&Cluster) -> Result<bool>) -> Result<()> {
        let began = std::time::Instant::now();
        while !holds(&self.cluster)? {
            ensure!(began.elapsed() < wait::DEADLINE, "waited for {what}");
            self.all_move().await.with_context(|| format!("while waiting for {what}"))?;
        }
        Ok(())
    }
}

fn block_on(work: impl Future<Output = Result<()>>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async { tokio::time::timeout(PATIENCE * 2, work).await.context("this took too long")? })
}

/// Slots of the service that move, and tracked flows of a backend; none if it is gone.
fn facts(cluster: &Cluster, address: &str) -> Result<(u64, Option<u64>)> {
    let service = cluster.agent.json(&["service", "show", "web3"])?;
    let moving = service["service"]["slots"]["moving"].as_u64().context("no slots")?;
    let backends = cluster.backends("web3")?;
    let backend = backends.iter().find(|backend| backend.address.to_string() == address);
    Ok((moving, backend.map(|backend| backend.tracked_flows)))
}

async fn drive(vip: IpAddr) -> Result<()> {
    let mut scene = Scene::start(vip, 4).await?;
    for _ in 0..MOVES {
        scene.all_move().await.context("at rest")?;
    }

    scene.add(4)?;
    scene.all_move().await.context("while a backend is added")?;
    scene.cluster.wait_for_active("web3", 4)?;
    scene.all_move().await.context("after a backend was added")?;

    // The drain lasts as long as clients of its backend talk, from wherever they do, beyond the quiet period.
    let first = scene.address(1);
    scene.cluster.agent.lb(&["backend", "drain", "web3", &first, "--then", "remove"])?;
    scene.move_until("slots at rest", |cluster| Ok(facts(cluster, &first)?.0 == 0)).await?;
    scene.move_until("a walk of the flow table", |cluster| Ok(facts(cluster, &first)?.1 != Some(0))).await?;
    scene.all_move().await.context("after the quiet period")?;
    let (moving, flows) = facts(&scene.cluster, &first)?;
    ensure!(moving == 0 && flows > Some(0), "the drained backend has {flows:?} flows, {moving} slots move");
    let (of_first, others): (Vec<_>, Vec<_>) =
        std::mem::take(&mut scene.clients).into_iter().partition(|client| client.server == 1);
    of_first.iter().for_each(Client::close);
    scene.clients = others;
    scene.move_until("the end of the drain", |cluster| Ok(facts(cluster, &first)?.1.is_none())).await?;
    scene.all_move().await.context("after a backend was removed")?;
    let unknown = scene.cluster.agent.json(&["stats"])?;
    let events = unknown["events"].as_array().context("no events")?;
    let unknown =
        events.iter().find(|event| event["event"] == "unknown_server_id").context("no such event")?;
    // Clients that close say so a few times, to a backend that may be gone by then.
    ensure!(unknown["count"].as_u64() <= Some(3 * u64::from(CLIENTS)), "{unknown}");
    Ok(())
}

#[test]
fn clients_that_move_keep_their_connections_v4() -> Result<()> {
    block_on(drive(VIP4.into()))
}

#[test]
fn clients_that_move_keep_their_connections_v6() -> Result<()> {
    block_on(drive(VIP6.into()))
}
