//! Ways to backends other than one hop out of the interface that packets came in on.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use anyhow::{Result, ensure};
use lb_tests::{
    client,
    cluster::{self, Cluster, HTTP_PORT},
    netns::Netns,
    server::Server,
    topology::{INTERFACE, LB4, Topology, VIP4, client_address},
};

/// A service address that only some backends hold.
const OTHER_VIP: Ipv4Addr = Ipv4Addr::new(10, 9, 9, 9);
/// An address behind two routers.
const BEHIND: Ipv4Addr = Ipv4Addr::new(10, 8, 0, 9);

/// Who answers requests from so many clients.
fn answers(
    client: &Netns,
    source: impl Fn(u16) -> IpAddr,
    target: SocketAddr,
) -> Result<BTreeMap<String, u32>> {
    let mut answers = BTreeMap::new();
    for number in 1..=60 {
        let source = source(number);
        let page = client.block_on(|| client::get(source, target, "/bytes/10"))??;
        ensure!(page.status == 200, "{}", page.status);
        *answers.entry(page.backend).or_insert(0) += 1;
    }
    Ok(answers)
}

fn names(answers: &BTreeMap<String, u32>) -> BTreeSet<&str> {
    answers.keys().map(String::as_str).collect()
}

#[test]
fn the_balancer_is_one_of_the_backends() -> Result<()> {
    for mode in ["l2", "ipip"] {
        let topology = Topology::one_arm(1)?;
        topology.lb.ip(&[format!("addr add {VIP4}/32 dev lo")])?;
        let _server = Server::http(&topology.lb, "self", HTTP_PORT)?;
        let mut cluster = Cluster::start(topology, "native", &[])?;
        cluster.attach_decap(&["--mode", "native"])?;
        cluster.add_service("web", &format!("{VIP4}:{HTTP_PORT}/tcp"), false, &["--mode", mode])?;
        cluster.agent.lb(&["backend", "add", "web", &LB4.to_string()])?;
        cluster.wait_for_active("web", 2)?;
        let target = (VIP4, HTTP_PORT).into();
        let answers = answers(&cluster.topology.client, |number| client_address(false, number), target)?;
        ensure!(names(&answers) == BTreeSet::from(["b1", "self"]), "{mode}: {answers:?}");
        let shown = cluster.agent.lb(&["backend", "list", "web"])?;
        ensure!(shown.contains("this host"), "{shown}");
    }
    Ok(())
}

#[test]
fn a_backend_is_a_client_of_another_service_and_comes_in_on_another_interface() -> Result<()> {
    let topology = Topology::two_arm(3)?;
    for backend in &topology.backends[1..] {
        backend.netns.ip(&[format!("addr add {OTHER_VIP}/32 dev lo")])?;
    }
    let cluster = Cluster::start(topology, "native", &[])?;
    cluster.agent.lb(&["attach", "b1", "b2", "--mode", "native"])?;
    cluster.add_service("front", &format!("{VIP4}:{HTTP_PORT}/tcp"), false, &[])?;
    cluster.agent.lb(&["service", "add", "inner", "--vip", &format!("{OTHER_VIP}:{HTTP_PORT}/tcp")])?;
    let inner = [1, 2].map(|index| cluster.address(index, false).to_string());
    cluster.agent.lb(&["backend", "add", "inner", &inner[0], &inner[1]])?;
    cluster::wait_for_active(&cluster.agent, "inner", 2)?;

    let front = (VIP4, HTTP_PORT).into();
    let from_outside = answers(&cluster.topology.client, |number| client_address(false, number), front)?;
    ensure!(names(&from_outside) == BTreeSet::from(["b1", "b2", "b3"]), "{from_outside:?}");
    let before = cluster.packets("inner")?;
    let (backend, own) = (&cluster.topology.backends[0].netns, cluster.address(0, false));
    let from_backend = answers(backend, |_| own, (OTHER_VIP, HTTP_PORT).into())?;
    ensure!(names(&from_backend) == BTreeSet::from(["b2", "b3"]), "{from_backend:?}");
    ensure!(cluster.packets("inner")? > before, "the packets did not pass the balancer");
    Ok(())
}

#[test]
fn a_backend_is_a_client_on_the_segment_of_the_balancer() -> Result<()> {
    let topology = Topology::one_arm(2)?;
    topology.backends[1].netns.ip(&[format!("addr add {OTHER_VIP}/32 dev lo")])?;
    topology.backends[0].netns.ip(&[format!("route add {OTHER_VIP} via {LB4}")])?;
    let cluster = Cluster::start(topology, "native", &[])?;
    cluster.agent.lb(&["service", "add", "inner", "--vip", &format!("{OTHER_VIP}:{HTTP_PORT}/tcp")])?;
    cluster.agent.lb(&["backend", "add", "inner", &cluster.address(1, false).to_string()])?;
    cluster::wait_for_active(&cluster.agent, "inner", 1)?;
    let (backend, own) = (&cluster.topology.backends[0].netns, cluster.address(0, false));
    let answers = answers(backend, |_| own, (OTHER_VIP, HTTP_PORT).into())?;
    ensure!(names(&answers) == BTreeSet::from(["b2"]), "{answers:?}");
    ensure!(cluster.packets("inner")? > 0, "the packets did not pass the balancer");
    Ok(())
}

/// Both routers hold the backend's address, so that the name in an answer tells which way the flow took.
#[test]
fn flows_spread_over_equal_ways_to_one_backend() -> Result<()> {
    let topology = Topology::one_arm(2)?;
    for router in &topology.backends {
        router.netns.ip(&[format!("addr add {BEHIND}/32 dev lo")])?;
    }
    let routers = [&topology.backends[0], &topology.backends[1]].map(|router| router.v4);
    topology.lb.ip(&[format!("route add {BEHIND} nexthop via {} nexthop via {}", routers[0], routers[1])])?;
    let cluster = Cluster::start(topology, "native", &[])?;
    cluster.agent.lb(&["service", "add", "web", "--vip", &format!("{VIP4}:{HTTP_PORT}/tcp")])?;
    cluster.agent.lb(&["backend", "add", "web", &BEHIND.to_string()])?;
    cluster::wait_for_active(&cluster.agent, "web", 1)?;
    let target = (VIP4, HTTP_PORT).into();
    let clients = |number| client_address(false, number);
    // Whole answers: had packets of a connection taken both ways, the other router would have reset it.
    let spread = answers(&cluster.topology.client, clients, target)?;
    ensure!(names(&spread) == BTreeSet::from(["b1", "b2"]), "{spread:?}");

    cluster.topology.lb.ip(&[format!("route replace {BEHIND} via {} dev {INTERFACE}", routers[1])])?;
    lb_tests::wait::until_true("the other way to be left", || {
        let [backend] = &cluster.backends("web")?[..] else { return Ok(false) };
        let shown = serde_json::to_value(&backend.next_hop)?;
        Ok(shown.get("others").is_none() && shown["gateway"] == routers[1].to_string().as_str())
    })?;
    lb_tests::wait::until_true("all flows to take the way that is left", || {
        Ok(names(&answers(&cluster.topology.client, clients, target)?) == BTreeSet::from(["b2"]))
    })
}
