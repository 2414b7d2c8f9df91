//! The networks themselves, without a balancer.

use std::{
    io::Read as _,
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
};

use anyhow::{Result, ensure};
use lb_tests::{
    netns::Netns,
    ping::ping,
    topology::{LB4, LB6, Topology},
    unique,
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
