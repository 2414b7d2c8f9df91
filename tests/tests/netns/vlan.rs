//! Connections whose packets reach the balancer with tags or without, and its backends likewise: client and backend behind
//! access ports, the balancer on a trunk. The kernel of the tests need not have VLAN devices, so the entries are put in the
//! maps by hand.

use std::{
    net::{IpAddr, SocketAddr},
    os::fd::OwnedFd,
};

use anyhow::{Context as _, Result, ensure};
use lb_common::{backend::Backend, gue, mode, service::Service, slot::CLASS_TINY};
use lb_tests::{
    agent::Instance,
    capture::Capture,
    client,
    cluster::HTTP_PORT,
    link::{self, Offload},
    runner::{self, Balancer, Label, Slots, World, WorldService},
    server::Server,
    topology::{INTERFACE, LB4, LB6, Topology, VIP4, VIP6, client_address},
    vlan_port,
};

/// Where packets come from and where they go.
struct Way {
    name: &'static str,
    /// Back through the interface that they came in on, or through another.
    one_arm: bool,
    /// Ids of the tags that they come in with, from the innermost to the outermost.
    tags: &'static [u16],
    /// The backend's VLAN; 0: none.
    vlan: u16,
    mode: u8,
    natively: bool,
}

const L2: Way = Way { name: "", one_arm: false, tags: &[], vlan: 0, mode: mode::L2, natively: true };
const TCP: u8 = 6;

/// The services of both families, with one backend that is reached over `egress`.
fn world(way: &Way, topology: &Topology, egress: &str) -> Result<World> {
    let lb = &topology.lb;
    let backend = &topology.backends[0];
    let entry = |id, address: IpAddr, source: IpAddr| -> Result<Backend> {
        Ok(Backend {
            next_hop_mac: backend.netns.mac(INTERFACE)?,
            source_mac: lb.mac(egress)?,
            ifindex: lb.ifindex(egress)?,
            tx_port: 2,
            vlan: way.vlan,
            mtu: u16::try_from(link::MTU)?,
            port: gue::PORT.to_be_bytes(),
            ..runner::backend(id, address, source)
        })
    };
    let service = |id: u32, address: IpAddr| WorldService {
        address,
        port: HTTP_PORT,
        protocol: TCP,
        service: Service { id, mode: way.mode, class: CLASS_TINY, flags: 0 },
        slots: Slots::steady(id),
        prefix: None,
    };
    Ok(World {
        seed: 7,
        services: vec![service(1, VIP4.into()), service(2, VIP6.into())],
        backends: [
            (1, entry(1, backend.v4.into(), LB4.into())?),
            (2, entry(2, backend.v6.into(), LB6.into())?),
        ]
        .into(),
        tx_ports: [(2, lb.ifindex(egress)?)].into(),
        ..World::default()
    })
}

/// Neighbours that nobody asks for: of the balancer's host, which is in no VLAN, and across VLANs.
fn introduce(way: &Way, topology: &Topology, egress: &str) -> Result<()> {
    let text = |mac: [u8; 6]| mac.map(|byte| format!("{byte:02x}")).join(":");
    let (client, lb, backend) = (&topology.client, &topology.lb, &topology.backends[0].netns);
    let mac_of_client = text(client.mac(INTERFACE)?);
    let know = |address: &str, mac: &str| format!("neigh replace {address} lladdr {mac} dev {INTERFACE}");
    let mac_of_lb = text(lb.mac(INTERFACE)?);
    client.ip(&[know(&LB4.to_string(), &mac_of_lb), know(&LB6.to_string(), &mac_of_lb)])?;
    lb.ip(&[know("10.0.0.1", &mac_of_client), know("fd00::1", &mac_of_client)])?;
    if way.one_arm {
        return backend.ip(&[know("10.0.0.1", &mac_of_client), know("fd00::1", &mac_of_client)]);
    }
    let gateway = text(lb.mac(egress)?);
    backend.ip(&[know("10.2.0.1", &gateway), know("fd00:2:0::1", &gateway)])
}

/// Access ports for client and backend: whatever of the backend's VLAN is not for it, is not received.
fn plug_in(way: &Way, topology: &Topology) -> Result<Vec<OwnedFd>> {
    if let Some(switch) = &topology.switch {
        // The port to the balancer is a trunk whose frames have their tags in them.
        link::set_offload(switch, "lb", Offload::TxVlan, false)?;
    }
    let backend = (&*topology.backends[0].netns, INTERFACE);
    Ok(vec![
        vlan_port::tag_sent((&topology.client, INTERFACE), way.tags)?,
        vlan_port::receive_only(backend, Some(way.vlan).filter(|id| *id != 0))?,
    ])
}

/// Loads pages through the balancer.
fn drive(way: &Way) -> Result<()> {
    let topology = if way.one_arm { Topology::one_arm(1)? } else { Topology::two_arm(1)? };
    let egress = if way.one_arm { INTERFACE } else { "b1" };
    let backend = &topology.backends[0];
    introduce(way, &topology, egress)?;
    let _ports = plug_in(way, &topology)?;
    let _server = Server::http(&backend.netns, "b1", HTTP_PORT)?;
    let decap = Instance::new(&backend.netns)?;
    if way.mode != mode::L2 {
        let (v4, v6) = (VIP4.to_string(), VIP6.to_string());
        decap.lb(&["decap", "attach", INTERFACE, "--vip", &v4, "--vip", &v6, "--mode", "native"])?;
    }
    let world = world(way, &topology, egress)?;
    let mut balancer = topology.lb.enter(|| -> Result<Balancer> {
        let mut balancer = Balancer::load(&world)?;
        balancer.attach(INTERFACE, way.natively)?;
        Ok(balancer)
    })??;
    let capture = Capture::start(way.name, &topology.ends())?;
    for (id, vip) in [(1, IpAddr::from(VIP4)), (2, VIP6.into())] {
        for number in 1..=5 {
            let (source, target) = (client_address(vip.is_ipv6(), number), SocketAddr::new(vip, HTTP_PORT));
            let page = topology.client.block_on(|| client::get(source, target, "/bytes/50000"))?;
            let page = page.with_context(|| format!("counted: {:?}", balancer.counted()))?;
            ensure!(page.status == 200 && page.body.len() == 50_000, "{} bytes", page.body.len());
        }
        let counted = balancer.counted()?;
        ensure!(counted.contains_key(&Label::Forwarded(id)), "they did not pass the balancer: {counted:?}");
    }
    capture.discard();
    Ok(())
}

#[test]
fn tagged_packets_reach_a_backend_without_a_vlan() -> Result<()> {
    drive(&Way { name: "vlan_to_none_two_arm", tags: &[10], ..L2 })?;
    drive(&Way { name: "vlan_to_none_one_arm", tags: &[10], one_arm: true, ..L2 })
}

#[test]
fn untagged_packets_reach_a_backend_in_a_vlan() -> Result<()> {
    drive(&Way { name: "none_to_vlan_two_arm", vlan: 20, ..L2 })?;
    drive(&Way { name: "none_to_vlan_one_arm", vlan: 20, one_arm: true, ..L2 })
}

#[test]
fn packets_of_one_vlan_reach_a_backend_in_another() -> Result<()> {
    drive(&Way { name: "vlan_to_vlan_two_arm", tags: &[10], vlan: 20, ..L2 })?;
    drive(&Way { name: "vlan_to_vlan_one_arm", tags: &[10], vlan: 20, one_arm: true, ..L2 })
}

#[test]
fn packets_with_two_tags_reach_a_backend_in_a_vlan() -> Result<()> {
    drive(&Way { name: "qinq_to_vlan", tags: &[10, 7], vlan: 20, ..L2 })?;
    drive(&Way { name: "qinq_to_none", tags: &[10, 7], ..L2 })
}

#[test]
fn tunnels_cross_vlans() -> Result<()> {
    drive(&Way { name: "vlan_ipip", tags: &[10], vlan: 20, mode: mode::IPIP, ..L2 })?;
    drive(&Way { name: "vlan_gue", vlan: 20, mode: mode::GUE, ..L2 })?;
    drive(&Way { name: "vlan_ipip_to_none", tags: &[10], mode: mode::IPIP, one_arm: true, ..L2 })
}

#[test]
fn generic_mode_crosses_vlans() -> Result<()> {
    let generic = Way { natively: false, ..L2 };
    drive(&Way { name: "generic_vlan_to_vlan", tags: &[10], vlan: 20, ..generic })?;
    drive(&Way { name: "generic_vlan_to_none", tags: &[10], ..generic })
}
