//! `lb-bench tables`: what the work beside the packets costs, and how soon packets see it.

pub mod build;
pub mod moved;
mod world;
mod burst;
pub mod publish;
pub mod failover;
pub mod hop;
pub mod memory;
pub mod targets;

use anyhow::Result;
use serde::{Deserialize, Serialize};

pub use self::targets::{is_held, targets};

use super::run::Run;

/// Numbers of services that share a backend which dies.
const SHARING: [u32; 3] = [1, 100, 500];

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Whether it is only to show that the bench works.
    pub quick: bool,
    /// Samples of each figure.
    pub samples: usize,
    /// How often a backend dies, for each number of services.
    pub failovers: usize,
}

impl Effort {
    /// What figures that are published need.
    pub const FULL: Self = Self { quick: false, samples: 11, failovers: 200 };
    /// What shows that the bench works.
    pub const QUICK: Self = Self { quick: true, samples: 3, failovers: 50 };
}

/// Memory of all maps that are pinned.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct MapMemory {
    /// Services of the default table size.
    pub services: u32,
    /// As the kernel accounts for it, bytes.
    pub bytes: u64,
}

/// All figures.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Report {
    /// When and on what it was measured.
    #[serde(flatten)]
    pub run: Run,
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
    let Effort { quick, samples, failovers } = effort;
    let run = Run::begin(quick);
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
    let report =
        Report { run, samples, build, service_tables, moved, publish, steps, failover, hop, maps, agent };
    Ok(Report { run: report.run.clone().judged(targets::targets(&report)), ..report })
}
