//! The networks themselves, without a balancer.

use std::{
    collections::BTreeMap,
    io::Read as _,
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use anyhow::{Result, ensure};
use lb_tests::{
    client,
    netns::Netns,
    ping::ping,
    server::Server,
    topology::{LB4, LB6, Topology, VIP4, VIP6, client_address},
    traffic::{Load, Streams, by_backend, failures},
    unique, wait,
};

fn everybody_is_reached(topology: &Topology) -> Result<()> {
    ping(&topology.client, LB4.into())?;
    ping(&topology.client, LB6.into())?;
    for backend in &topology.backends {
        for address in [IpAddr::from(backend.v4), backend.v6.into()] {
            ping(&topology.lb, address)?;
            ping(&topology.client, address)?;
        }
    }
    Ok(())
}

#[test]
fn one_arm_connects_everybody() -> Result<()> {
    everybody_is_reached(&Topology::one_arm(2)?)
}

#[test]
fn two_arm_connects_everybody() -> Result<()> {
    everybody_is_reached(&Topology::two_arm(2)?)
}

#[test]
fn sockets_made_inside_stay_inside() -> Result<()> {
    let netns = Netns::new(&unique::name())?;
    let listener = netns.enter(|| TcpListener::bind("127.0.0.1:0"))??;
    let address: SocketAddr = listener.local_addr()?;
    ensure!(TcpStream::connect(address).is_err(), "the host reached a port of the namespace");
    let mut stream = netns.enter(|| TcpStream::connect(address))??;
    drop(listener.accept()?);
    ensure!(stream.read(&mut [0])? == 0);
    Ok(())
}

#[test]
fn a_namespace_goes_with_its_guard() -> Result<()> {
    let netns = Netns::new(&unique::name())?;
    let path = netns.path();
    ensure!(path.exists());
    drop(netns);
    ensure!(!path.exists());
    Ok(())
}

#[test]
fn clients_reach_servers_without_a_balancer() -> Result<()> {
    let topology = Topology::two_arm(1)?;
    let backend = &topology.backends[0];
    let _http = Server::http(&backend.netns, "b1", 80)?;
    let _tcp = Server::tcp_echo(&backend.netns, "b1", 7)?;
    let _udp = Server::udp_echo(&backend.netns, "b1", 7)?;
    // On the way to a service address the balancer's host is only a router.
    topology.lb.ip(&[
        format!("route add {VIP4} via {}", backend.v4),
        format!("route add {VIP6} via {}", backend.v6),
    ])?;
    for vip in [IpAddr::from(VIP4), VIP6.into()] {
        let source = client_address(vip.is_ipv6(), 7);
        let page = topology.client.block_on(|| client::get(source, (vip, 80).into(), "/bytes/100000"))??;
        ensure!(page.status == 200 && page.backend == "b1" && page.body.len() == 100_000);
        let name =
            topology.client.block_on(|| client::tcp_exchange(source, (vip, 7).into(), &["one", "two"]))??;
        ensure!(name == "b1");
        let name = topology.client.block_on(|| client::udp_exchange(source, (vip, 7).into(), "three"))??;
        ensure!(name == "b1");
    }
    Ok(())
}

#[test]
fn load_and_streams_notice_a_killed_server() -> Result<()> {
    let topology = Topology::one_arm(1)?;
    let backend = &topology.backends[0];
    let server = Server::http(&backend.netns, "b1", 80)?;
    let target = (backend.v6, 80).into();
    let load = Load::start(&topology.client, target, 4, Duration::from_millis(5))?;
    let streams = Streams::open(&topology.client, target, 3)?;
    ensure!(streams.open_by_backend() == BTreeMap::from([("b1".to_owned(), 3)]));
    wait::until_true("requests", || Ok(load.count() >= 20))?;
    ensure!(failures(&load.requests()).is_empty(), "{:?}", failures(&load.requests()));
    server.stop();
    wait::until_true(
        "failures",
        || Ok(failures(&load.requests()).len() >= 4 && streams.broken().len() == 3),
    )?;
    ensure!(by_backend(&load.finish()?)["b1"] >= 20);
    ensure!(streams.finish()?.len() == 3);
    Ok(())
}
