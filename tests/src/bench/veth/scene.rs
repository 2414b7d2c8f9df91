//! A balancer on its own copy of the topology, with servers behind it.

use std::{
    fs,
    net::Ipv4Addr,
    sync::{Arc, Mutex},
    thread,
};

use anyhow::{Context as _, Result};
use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, xdp::DevMap},
};
use lb_common::traffic::{BASELINE_BACKENDS, NextHop};
use lb_userspace::objects;

use super::{conntrack, counter, daemon::Daemon, latency, peer::Peer, server::Server};
use crate::{
    agent::Agent,
    cluster::{self, ECHO_PORT, HTTP_PORT},
    netns::Netns,
    packages::Program,
    topology::{INTERFACE, Topology, VIP4},
    wait,
};

/// Services of lb, each with what follows the address on the command line. The first is for packet rates.
const SERVICES: [(&str, u16, &str); 4] = [
    ("rate", 9, "tcp"),
    ("echo", ECHO_PORT, "tcp"),
    ("datagrams", ECHO_PORT, "udp"),
    ("http", HTTP_PORT, "tcp"),
];

/// Connections that must succeed in a row before anything is measured, so that all next hops are known.
const REHEARSALS: u16 = 40;

/// All of it. Dropping it removes everything.
pub struct Scene {
    /// Who balances.
    pub peer: Peer,
    /// What balances.
    pub mechanism: Mechanism,
    /// Servers by backend; none while it is "killed".
    pub servers: Vec<Mutex<Option<Server>>>,
    /// The network.
    pub topology: Topology,
}

/// What balances; ends when dropped.
pub enum Mechanism {
    /// Nothing, or the kernel.
    Kernel,
    /// An XDP program.
    Program(Ebpf),
    /// lb.
    Agent(Box<Agent>),
    /// A proxy.
    Daemon(Daemon),
}

impl Scene {
    /// Sets one up, and waits until the client is answered.
    pub fn set_up(peer: Peer) -> Result<Self> {
        let topology = Topology::two_arm(if peer == Peer::Wire { 0 } else { BASELINE_BACKENDS })?;
        let mut this = Self { peer, mechanism: Mechanism::Kernel, servers: Vec::new(), topology };
        if peer == Peer::Wire {
            this.topology.lb.ip(&[format!("addr add {VIP4}/32 dev lo")])?;
        }
        for index in 0..this.backends().len() {
            let server = this.start_server(index)?;
            this.servers.push(Mutex::new(Some(server)));
        }
        this.mechanism = match peer {
            Peer::Wire => Mechanism::Kernel,
            Peer::Routing => {
                let via = this.topology.backends[0].v4;
                this.topology.lb.ip(&[format!("route add {VIP4} via {via}")])?;
                Mechanism::Kernel
            }
            Peer::XdpHash => Mechanism::Program(attach_hash(&this.topology)?),
            Peer::Lb | Peer::LbPublish | Peer::LbFailure => Mechanism::Agent(Box::new(start_agent(&this)?)),
            Peer::Nftables => nftables(&this.topology)?,
            Peer::Haproxy => Mechanism::Daemon(Daemon::haproxy(&this.topology)?),
            Peer::Nginx => Mechanism::Daemon(Daemon::nginx(&this.topology)?),
        };
        this.wait_until_answered()?;
        Ok(this)
    }

    /// Namespaces of the backends.
    pub fn backends(&self) -> Vec<&Netns> {
        match self.peer {
            Peer::Wire => vec![&self.topology.lb],
            Peer::Routing => vec![&self.topology.backends[0].netns],
            _ => self.topology.backends.iter().map(|backend| &*backend.netns).collect(),
        }
    }

    /// The agent, where lb balances.
    pub fn agent(&self) -> Result<&Agent> {
        match &self.mechanism {
            Mechanism::Agent(agent) => Ok(agent),
            _ => anyhow::bail!("{} has no agent", self.peer.name()),
        }
    }

    /// Starts the server of a backend, on the CPU that the client is on.
    pub fn start_server(&self, index: usize) -> Result<Server> {
        let own = self.topology.backends.get(index).map(|backend| backend.v4);
        Server::start(self.backends()[index], own, measured_cpu())
    }

    /// What must be done before each sample, so that all samples begin alike.
    pub fn reset(&self) -> Result<()> {
        if self.peer == Peer::Nftables { conntrack::flush(&self.topology.lb) } else { Ok(()) }
    }

    /// Most packets of new flows that a sample may have, where each is remembered in a table of limited size.
    pub fn new_flows_max(&self) -> Result<Option<u32>> {
        if self.peer != Peer::Nftables {
            return Ok(None);
        }
        let file = "/proc/sys/net/netfilter/nf_conntrack_max";
        let text = fs::read_to_string(file).with_context(|| format!("can't read {file}"))?;
        Ok(Some(text.trim().parse::<u32>().with_context(|| format!("no number in {file}"))? / 4 * 3))
    }

    fn wait_until_answered(&self) -> Result<()> {
        wait::until(&format!("{} to forward", self.peer.name()), || {
            self.topology.client.enter(|| (1..=REHEARSALS).try_for_each(latency::rehearse))?
        })
    }
}

/// The CPU on which client, servers and proxies run: the last.
pub fn measured_cpu() -> usize {
    thread::available_parallelism().map_or(1, usize::from) - 1
}

fn attach_hash(topology: &Topology) -> Result<Ebpf> {
    let vip = u32::from_ne_bytes(VIP4.octets());
    let mut loader = EbpfLoader::new();
    loader.override_global("VIP", &vip, true);
    let mut ebpf = loader.load(objects::LB_BASELINE).context("lb-baseline")?;
    for (index, backend) in (0..).zip(&topology.backends) {
        let interface = format!("b{}", index + 1);
        let macs = [backend.netns.mac(INTERFACE)?, topology.lb.mac(&interface)?].concat();
        let mut hop = NextHop { macs: [0; 3], tx_port: index };
        for (word, bytes) in hop.macs.iter_mut().zip(macs.chunks_exact(4)) {
            *word = u32::from_ne_bytes(bytes.try_into()?);
        }
        let hops = ebpf.map_mut("NEXT_HOPS").context("no NEXT_HOPS")?;
        Array::<_, NextHop>::try_from(hops)?.set(index, hop, 0)?;
        let ports = ebpf.map_mut("HASH_PORTS").context("no HASH_PORTS")?;
        // The map takes interfaces of the namespace that asks.
        let ifindex = topology.lb.ifindex(&interface)?;
        topology.lb.enter(|| DevMap::try_from(ports)?.set(index, ifindex, None, 0))??;
    }
    counter::attach(&mut ebpf, "hash", (&topology.lb, INTERFACE))?;
    Ok(ebpf)
}

/// The real agent and the real `lb attach`, four services with all backends, checked as by default.
fn start_agent(scene: &Scene) -> Result<Agent> {
    let lb: &Arc<Netns> = &scene.topology.lb;
    let agent = Agent::start(lb, &[])?;
    agent.lb(&["attach", INTERFACE, "--mode", "native"])?;
    let addresses: Vec<_> = scene.topology.backends.iter().map(|backend| backend.v4.to_string()).collect();
    let check_port = HTTP_PORT.to_string();
    let mut check = vec!["--check", "tcp", "--check-port", &check_port];
    if scene.peer == Peer::LbFailure {
        // A failure must be noticed within a sample; more often would keep the measured CPU busy.
        check.extend(["--check-interval", "100ms", "--check-timeout", "50ms"]);
        check.extend(["--check-fall", "1", "--check-rise", "1"]);
    }
    for (name, port, protocol) in SERVICES {
        let vip = format!("{VIP4}:{port}/{protocol}");
        agent.lb(&[&["service", "add", name, "--vip", &vip], &check[..]].concat())?;
        let words = ["backend", "add", name].into_iter().chain(addresses.iter().map(String::as_str));
        agent.lb(&words.collect::<Vec<_>>())?;
    }
    for (name, ..) in SERVICES {
        cluster::wait_for_active(&agent, name, addresses.len())?;
    }
    Ok(agent)
}

/// New connections take turns; checksums are not verified again, as a NIC would have done it.
fn nftables(topology: &Topology) -> Result<Mechanism> {
    let nft = Program::find("nft", &["nftables"])?;
    let backends: Vec<Ipv4Addr> = topology.backends.iter().map(|backend| backend.v4).collect();
    let turns: Vec<_> =
        (0..).zip(&backends).map(|(turn, address): (u32, _)| format!("{turn} : {address}")).collect();
    let rules = format!(
        "table ip lb {{\nchain prerouting {{\ntype nat hook prerouting priority dstnat;\n\
         ip daddr {VIP4} dnat to numgen inc mod {} map {{ {} }};\n}}\n}}\n",
        turns.len(),
        turns.join(", ")
    );
    nft.run(&topology.lb, &["-f", "-"], &rules)?;
    topology.lb.sysctl("net/netfilter/nf_conntrack_checksum", "0")?;
    Ok(Mechanism::Kernel)
}
