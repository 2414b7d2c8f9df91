//! Traffic of the balancer's own host goes on as if nothing were attached.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Result, ensure};
use lb_tests::{
    client,
    cluster::Cluster,
    ping::ping,
    server::Server,
    topology::{LB4, LB6, Topology, VIP4, VIP6, client_address},
};

#[test]
fn host_traffic_is_not_harmed() -> Result<()> {
    let cluster = Cluster::start(Topology::one_arm(1)?, "native", &[])?;
    for (name, vip) in [("v4", IpAddr::from(VIP4)), ("v6", VIP6.into())] {
        cluster.add_service(name, &format!("{}/tcp", SocketAddr::new(vip, 80)), vip.is_ipv6(), &[])?;
    }
    let topology = &cluster.topology;
    let _ssh = Server::tcp_echo(&topology.lb, "host", 22)?;
    // The same port as the service's, on the host's own address.
    let _http = Server::http(&topology.lb, "host", 80)?;
    for address in [IpAddr::from(LB4), LB6.into()] {
        ping(&topology.client, address)?;
        let source = client_address(address.is_ipv6(), 1);
        let session = || client::tcp_exchange(source, SocketAddr::new(address, 22), &["ls", "exit"]);
        ensure!(topology.client.block_on(session)?? == "host");
        let page = topology
            .client
            .block_on(|| client::get(source, SocketAddr::new(address, 80), "/bytes/300000"))??;
        ensure!(page.backend == "host" && page.body.len() == 300_000);
    }
    // And what the host itself begins.
    for backend in &topology.backends {
        for address in [IpAddr::from(backend.v4), backend.v6.into()] {
            ping(&topology.lb, address)?;
        }
    }
    Ok(())
}
