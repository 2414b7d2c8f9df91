//! What the agent takes in memory.

use std::{fs, net::Ipv4Addr, sync::Arc};

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::{agent::Agent, link, netns::Netns, server::Server, unique, wait};

/// Backends of the one service.
pub const BACKENDS: u32 = 1_000;
/// Port of the service and its backends.
const PORT: u16 = 80;

/// Memory of a running agent, at rest after a change of its service.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct AgentMemory {
    /// Backends of its service, all of them checked and healthy.
    pub backends: u32,
    /// Resident (VmRSS), bytes.
    pub resident_bytes: u64,
    /// That part of it which is no file's (RssAnon), bytes: what the agent allocated.
    pub anonymous_bytes: u64,
    /// Most that was resident at any time (VmHWM), bytes.
    pub peak_bytes: u64,
}

/// Starts an agent with a service of many backends behind a router and looks at its memory.
pub fn agent() -> Result<AgentMemory> {
    let name = unique::name();
    let (lb, far) = (Netns::new(&format!("{name}-l"))?, Netns::new(&format!("{name}-b"))?);
    let lb = Arc::new(lb);
    link::veth((&lb, "eth0"), (&far, "eth0"))?;
    lb.ip(&["addr add 10.0.0.1/24 dev eth0", "route add 10.1.0.0/16 via 10.0.0.2"])?;
    far.ip(&["addr add 10.0.0.2/24 dev eth0", "route add local 10.1.0.0/16 dev lo"])?;
    let _server = Server::tcp_echo(&far, "backend", PORT)?;
    let agent = Agent::start(&lb, &[])?;
    agent.lb(&["service", "add", "many", "--vip", &format!("192.0.2.1:{PORT}/tcp"), "--mode", "ipip"])?;
    let addresses = (1..=BACKENDS).map(|n| Ipv4Addr::from(0x0a01_0000 + n).to_string());
    let arguments: Vec<String> =
        ["backend", "add", "many"].map(str::to_owned).into_iter().chain(addresses).collect();
    agent.lb(&arguments)?;
    wait_for_slots(&agent, BACKENDS)?;
    // One change, after which all slots have been worked out twice.
    agent.lb(&["backend", "del", "many", &arguments[3]])?;
    wait_for_slots(&agent, BACKENDS - 1)?;
    of_process(agent.pid()?)
}

/// Waits until so many backends own slots.
fn wait_for_slots(agent: &Agent, backends: u32) -> Result<()> {
    wait::until("the backends to own slots", || {
        let list = agent.json(&["backend", "list", "many"])?;
        let list = list["backends"].as_array().context("no list of backends")?;
        let owners = list.iter().filter(|backend| backend["slots"].as_u64() > Some(0)).count();
        ensure!(owners == backends as usize && list.len() == owners, "{owners} of {} own slots", list.len());
        Ok(())
    })
}

fn of_process(pid: u32) -> Result<AgentMemory> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("the agent's status")?;
    let bytes = |name: &str| -> Result<u64> {
        let value = status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.trim().strip_suffix(" kB"));
        Ok(1024 * value.with_context(|| format!("no {name} in the agent's status"))?.parse::<u64>()?)
    };
    Ok(AgentMemory {
        backends: BACKENDS,
        resident_bytes: bytes("VmRSS")?,
        anonymous_bytes: bytes("RssAnon")?,
        peak_bytes: bytes("VmHWM")?,
    })
}
