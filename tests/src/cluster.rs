//! A balancer at work: a topology with servers on its backends, an attached agent and, for tunnels, `lb decap`.

use std::net::IpAddr;

use anyhow::{Context as _, Result, ensure};
use lb_userspace::api::view::{BackendList, BackendView, HealthState, NextHopView};

use crate::{
    agent::{Agent, Instance},
    server::Server,
    topology::{INTERFACE, Topology, VIP4, VIP6},
    wait,
};

/// Port of the HTTP servers.
pub const HTTP_PORT: u16 = 80;
/// Port of the echo servers, TCP and UDP.
pub const ECHO_PORT: u16 = 7;

/// All of it. Dropping it ends and removes everything.
#[derive(Debug)]
pub struct Cluster {
    /// The agent in the balancer's namespace.
    pub agent: Agent,
    /// Decapsulation on the backends, where it was asked for.
    decap: Vec<Instance>,
    /// Servers of each backend; empty while it is "killed".
    servers: Vec<Vec<Server>>,
    /// The network.
    pub topology: Topology,
}

impl Cluster {
    /// Starts servers on each backend and an agent, and attaches. `mode` is `native` or `generic`.
    pub fn start(topology: Topology, mode: &str, agent_options: &[&str]) -> Result<Self> {
        let agent = Agent::start(&topology.lb, agent_options)?;
        let servers = topology.backends.iter().map(|_| Vec::new()).collect();
        let mut this = Self { agent, decap: Vec::new(), servers, topology };
        for index in 0..this.topology.backends.len() {
            this.start_servers(index)?;
        }
        this.agent.lb(&["attach", INTERFACE, "--mode", mode])?;
        Ok(this)
    }

    /// Starts the servers of a backend: HTTP, TCP echo and UDP echo. They call themselves `b1`, `b2` and so on.
    pub fn start_servers(&mut self, index: usize) -> Result<()> {
        let netns = &self.topology.backends[index].netns;
        let name = format!("b{}", index + 1);
        self.servers[index] = vec![
            Server::http(netns, &name, HTTP_PORT)?,
            Server::tcp_echo(netns, &name, ECHO_PORT)?,
            Server::udp_echo(netns, &name, ECHO_PORT)?,
        ];
        Ok(())
    }

    /// Kills the servers of a backend.
    pub fn stop_servers(&mut self, index: usize) {
        self.servers[index].clear();
    }

    /// Attaches `lb decap` for both service addresses on every backend; options are as on the command line.
    pub fn attach_decap(&mut self, options: &[&str]) -> Result<()> {
        for backend in &self.topology.backends {
            let instance = Instance::new(&backend.netns)?;
            let (v4, v6) = (VIP4.to_string(), VIP6.to_string());
            let words = ["decap", "attach", INTERFACE, "--vip", &v4, "--vip", &v6];
            instance.lb(&[&words, options].concat())?;
            self.decap.push(instance);
        }
        Ok(())
    }

    /// Adds a service with all backends, by their addresses of one family, and waits until all of them get traffic.
    /// `vip` is as on the command line, and so are the options.
    pub fn add_service(&self, name: &str, vip: &str, backends_v6: bool, options: &[&str]) -> Result<()> {
        self.agent.lb(&[&["service", "add", name, "--vip", vip], options].concat())?;
        let addresses: Vec<_> = (0..self.topology.backends.len())
            .map(|index| self.address(index, backends_v6).to_string())
            .collect();
        let words = ["backend", "add", name].into_iter().chain(addresses.iter().map(String::as_str));
        self.agent.lb(&words.collect::<Vec<_>>())?;
        self.wait_for_active(name, addresses.len())
    }

    /// Address of a backend.
    pub fn address(&self, index: usize, v6: bool) -> IpAddr {
        let backend = &self.topology.backends[index];
        if v6 { backend.v6.into() } else { backend.v4.into() }
    }

    /// Backends of a service, as `lb backend list` has them.
    pub fn backends(&self, service: &str) -> Result<Vec<BackendView>> {
        backends(&self.agent, service)
    }

    /// [`wait_for_active`] by this cluster's agent.
    pub fn wait_for_active(&self, service: &str, count: usize) -> Result<()> {
        wait_for_active(&self.agent, service, count)
    }

    /// Packets that `lb stats` has counted for a service.
    pub fn packets(&self, service: &str) -> Result<u64> {
        let stats = self.agent.json(&["stats", service])?;
        stats["services"][0]["packets"].as_u64().context("no packets in lb stats")
    }

    /// Packets that `lb stats` has counted for a reason.
    pub fn ended(&self, reason: &str) -> Result<u64> {
        ended(&self.agent, reason)
    }
}

/// Packets that `lb stats` has counted for a reason.
pub fn ended(agent: &Agent, reason: &str) -> Result<u64> {
    let stats = agent.json(&["stats"])?;
    let reasons = stats["reasons"].as_array().context("no reasons in lb stats")?;
    let entry = reasons.iter().find(|entry| entry["reason"] == reason);
    entry.with_context(|| format!("no reason {reason}"))?["packets"].as_u64().context("no packets")
}

/// Whether a backend gets new connections.
pub fn is_active(backend: &BackendView) -> bool {
    backend.slots > 0
        && matches!(backend.health, HealthState::Up | HealthState::Unchecked)
        && matches!(backend.next_hop, NextHopView::Resolved { .. } | NextHopView::Local)
}

/// Backends of a service, as `lb backend list` has them.
pub fn backends(agent: &Agent, service: &str) -> Result<Vec<BackendView>> {
    let list: BackendList = serde_json::from_value(agent.json(&["backend", "list", service])?)?;
    Ok(list.backends)
}

/// Waits until this many backends own slots, answer their checks and can be reached.
pub fn wait_for_active(agent: &Agent, service: &str, count: usize) -> Result<()> {
    wait::until(&format!("{count} active backends of {service}"), || {
        let active = backends(agent, service)?.iter().filter(|backend| is_active(backend)).count();
        ensure!(active == count, "{active} are active:\n{}", agent.lb(&["backend", "list", service])?);
        Ok(())
    })
}
