//! A range of ports and a whole prefix as services, with real connections.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::{Result, ensure};
use lb_tests::{
    capture::Capture,
    client,
    cluster::Cluster,
    server::Server,
    topology::{Topology, VIP4, client_address},
};

/// The ports on which servers listen, and the prefix that every backend holds.
const PORTS: [u16; 4] = [8000, 8050, 8100, 8101];
const PREFIX: &str = "203.0.113.0/24";

fn in_prefix(host: u8) -> IpAddr {
    Ipv4Addr::new(203, 0, 113, host).into()
}

/// The backend that answers a client, or why none did.
fn ask(cluster: &Cluster, number: u16, target: SocketAddr) -> Result<String> {
    let source = client_address(false, number);
    cluster.topology.client.block_on(|| client::tcp_exchange(source, target, &["one", "two"]))?
}

#[test]
fn a_range_and_a_prefix_spread_connections() -> Result<()> {
    let cluster = Cluster::start(Topology::one_arm(2)?, "native", &[])?;
    let mut servers = Vec::new();
    for (backend, name) in cluster.topology.backends.iter().zip(["b1", "b2"]) {
        backend.netns.ip(&[format!("route add local {PREFIX} dev lo")])?;
        for port in PORTS {
            servers.push(Server::tcp_echo(&backend.netns, name, port)?);
        }
    }
    let capture = Capture::start("a_range_and_a_prefix", &cluster.topology.ends())?;
    cluster.add_service(
        "range",
        &format!("{VIP4}:8000-8100/tcp"),
        false,
        &["--check", "tcp", "--check-port", "8000"],
    )?;
    cluster.add_service("prefix", &format!("{PREFIX}:8101/tcp"), false, &[])?;
    for (what, targets) in [
        ("range", PORTS[..3].iter().map(|port| SocketAddr::from((VIP4, *port))).collect::<Vec<_>>()),
        ("prefix", [0, 1, 77, 255].map(|host| SocketAddr::new(in_prefix(host), 8101)).to_vec()),
    ] {
        for target in targets {
            let mut met = std::collections::BTreeSet::new();
            for number in 1..100 {
                met.insert(ask(&cluster, number, target)?);
                if met.len() == 2 {
                    break;
                }
            }
            ensure!(met.len() == 2, "{what}, {target}: only {met:?} answered");
        }
    }
    // One address of the prefix with a service of its own, that has one backend: it goes before.
    cluster.agent.lb(&["service", "add", "own", "--vip", "203.0.113.77:8101/tcp"])?;
    cluster.agent.lb(&["backend", "add", "own", &cluster.address(1, false).to_string()])?;
    cluster.wait_for_active("own", 1)?;
    for number in 1..20 {
        let answered = ask(&cluster, number, SocketAddr::new(in_prefix(77), 8101))?;
        ensure!(answered == "b2", "{answered} answered for the address with a service of its own");
    }
    let packets = cluster.packets("range")?;
    let refused = ask(&cluster, 1, SocketAddr::from((VIP4, 8101)));
    ensure!(refused.is_err() && cluster.packets("range")? == packets, "a port after the range was balanced");
    capture.discard();
    Ok(())
}
