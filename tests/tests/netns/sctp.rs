//! SCTP from end to end: packets of associations, their ports and checksums as the clients sent them.

use std::{collections::BTreeMap, net::IpAddr};

use anyhow::{Result, ensure};
use lb_tests::{
    capture::Capture,
    cluster::Cluster,
    sctp::{self, COOKIE_ECHO, DATA, INIT, Server},
    topology::{Topology, VIP4, VIP6, client_address},
    wait,
};
use socket2::Socket;

const PORT: u16 = 5060;
/// Ports of the clients.
const CLIENTS: std::ops::Range<u16> = 30_000..30_016;

/// Sends a packet of a client's association; who answered. It must be the packet, byte by byte, that was sent.
fn ask(socket: &Socket, vip: IpAddr, client: u16, chunk: u8) -> Result<String> {
    let packet = sctp::packet(client, PORT, chunk, b"of an association");
    let (backend, got) = sctp::exchange(socket, vip, &packet)?;
    ensure!(got[..packet.len()] == packet, "sent {packet:02x?}, {backend} got {got:02x?}");
    Ok(backend)
}

/// Associations over all backends, and a drain that they outlive while those that begin go elsewhere.
fn drive(name: &str, vip: IpAddr, mode: &str) -> Result<()> {
    let mut cluster = Cluster::start(Topology::one_arm(2)?, "native", &[])?;
    if mode == "ipip" {
        cluster.attach_decap(&["--mode", "native"])?;
    }
    let names = ["b1", "b2"];
    let backends = cluster.topology.backends.iter().zip(names);
    let servers = backends.map(|(backend, name)| Server::start(&backend.netns, name, vip));
    let _servers: Vec<Server> = servers.collect::<Result<_>>()?;
    let capture = Capture::start(name, &cluster.topology.ends())?;
    let address = if vip.is_ipv4() { format!("{vip}:{PORT}/sctp") } else { format!("[{vip}]:{PORT}/sctp") };
    cluster.add_service("sip", &address, vip.is_ipv6(), &["--mode", mode])?;
    let client = cluster.topology.client.enter(|| sctp::socket(client_address(vip.is_ipv6(), 1)))??;
    let begin = || -> Result<BTreeMap<u16, String>> {
        let begun = CLIENTS.map(|port| {
            let backend = ask(&client, vip, port, INIT)?;
            ensure!(ask(&client, vip, port, COOKIE_ECHO)? == backend, "an association changed its backend");
            Ok((port, backend))
        });
        begun.collect()
    };
    let associations = begin()?;
    ensure!(
        names.iter().all(|name| associations.values().any(|backend| backend == name)),
        "{associations:?}"
    );
    cluster.agent.lb(&["backend", "drain", "sip", &cluster.address(0, vip.is_ipv6()).to_string()])?;
    wait::until_true("a table without the drained backend", || Ok(cluster.backends("sip")?[0].slots == 0))?;
    for (port, backend) in &associations {
        ensure!(ask(&client, vip, *port, DATA)? == *backend, "the association of {port} left {backend}");
    }
    // The same ports again from another address: only what begins may choose.
    let other = cluster.topology.client.enter(|| sctp::socket(client_address(vip.is_ipv6(), 2)))??;
    for port in CLIENTS {
        ensure!(ask(&other, vip, port, INIT)? == "b2", "an association began on a backend that is drained");
        ensure!(ask(&other, vip, port, DATA)? == "b2", "an association left the backend where it began");
    }
    capture.discard();
    Ok(())
}

#[test]
fn sctp_l2_v4() -> Result<()> {
    drive("sctp_l2_v4", VIP4.into(), "l2")
}

#[test]
fn sctp_ipip_6in6() -> Result<()> {
    drive("sctp_ipip_6in6", VIP6.into(), "ipip")
}
