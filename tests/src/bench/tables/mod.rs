//! `lb-bench tables`: what the work beside the packets costs, and how soon packets see it.

pub mod build;
pub mod moved;
mod world;
mod burst;
pub mod publish;
pub mod failover;
pub mod hop;
pub mod memory;

use anyhow::Result;
use serde::Serialize;

use super::machine::Machine;

/// Numbers of services that share a backend which dies.
const SHARING: [u32; 3] = [1, 100, 500];

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Samples of each figure.
    pub samples: usize,
    /// How often a backend dies, for each number of services.
    pub failovers: usize,
}

impl Effort {
    /// What figures that are published need.
    pub const FULL: Self = Self { samples: 11, failovers: 200 };
    /// What shows that the bench works.
    pub const QUICK: Self = Self { samples: 3, failovers: 50 };
}

/// Memory of all maps that are pinned.
#[derive(Clone, Debug, Serialize)]
pub struct MapMemory {
    /// Services of the default table size.
    pub services: u32,
    /// As the kernel accounts for it, bytes.
    pub bytes: u64,
}

/// All figures.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What it was measured on.
    pub machine: Machine,
    /// Samples of each figure.
    pub samples: usize,
    /// Building slot tables.
    pub build: Vec<build::Build>,
    /// Building service tables.
    pub service_tables: Vec<build::ServiceTable>,
    /// What changes move.
    pub moved: Vec<moved::Moved>,
    /// Publishing slots.
    pub publish: Vec<publish::Publish>,
    /// Other calls of the publisher.
    pub steps: Vec<publish::Step>,
    /// Death of a backend.
    pub failover: Vec<failover::Failover>,
    /// The way of a decision inside the agent.
    pub hop: hop::Hop,
    /// Memory of the maps.
    pub maps: Vec<MapMemory>,
    /// Memory of the agent.
    pub agent: memory::AgentMemory,
}

/// Measures everything, and tells what comes next.
pub fn tables(effort: Effort, next: impl Fn(&str)) -> Result<Report> {
    let Effort { samples, failovers } = effort;
    let machine = Machine::here();
    next("building tables");
    let (build, service_tables) = (build::tables(samples)?, build::service_tables(samples)?);
    next("slots that changes move");
    let moved = moved::moved(samples)?;
    next("publishing");
    let publish = publish::publish(samples)?;
    let steps = publish::steps(samples)?;
    let (mut failover, mut maps) = (Vec::new(), Vec::new());
    for services in SHARING {
        next(&format!("failover, services: {services}"));
        let mut world = failover::World::publish(services)?;
        maps.push(MapMemory { services, bytes: world.map_bytes()? });
        failover.push(world.measure(failovers)?);
    }
    next("the way of a decision");
    let hop = hop::hop(failovers)?;
    next("memory of the agent");
    let agent = memory::agent()?;
    Ok(Report { machine, samples, build, service_tables, moved, publish, steps, failover, hop, maps, agent })
}
