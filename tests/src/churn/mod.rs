//! `cargo xtask bench churn`: connections that break although their backend is alive, while backends come and go.
//!
//! A population of clients in virtual time against the real packet path: every packet is one run of the program, and the
//! tables, transitions and the collector are the agent's own. The same population meets the two usual designs, made of
//! the same packet path: all flows recorded in a table of limited size (LRU), and nothing recorded.

mod random;
mod clients;
mod scenario;
mod cluster;
mod simulation;
mod targets;

use std::sync::Mutex;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::{bench::run::Run, cpu};
pub use scenario::Scenario;
use simulation::Outcome;
pub use targets::{targets, tracked_max_percent};

/// Backends of every scenario.
pub const BACKENDS: u32 = 100;
/// Share of the live flows that the table of the LRU design has room for.
pub const LRU_SHARE: f64 = 0.1;
/// Quiet periods, in seconds.
pub const QUIET_S: [u32; 2] = [120, 300];

/// How much is simulated.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Whether it is only to show that the bench works.
    pub quick: bool,
    /// New connections per second.
    pub arrivals_per_second: f64,
    /// Seed of everything random.
    pub seed: u64,
}

impl Effort {
    /// At least 200,000 connections in each scenario.
    pub const FULL: Self = Self { quick: false, arrivals_per_second: 110.0, seed: 1 };
    /// What shows that the bench works.
    pub const QUICK: Self = Self { quick: true, arrivals_per_second: 12.0, seed: 1 };
}

/// One way of keeping connections on their backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Design {
    /// Slots in transition are tracked.
    Lb,
    /// Every flow is tracked, as far as there is room.
    Lru,
    /// None is.
    Stateless,
}

/// The figures of one scenario under one design.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Row {
    /// What happens to the backends.
    pub scenario: String,
    /// How connections are kept.
    pub design: Design,
    /// Connections that were there.
    pub connections: u64,
    /// Those that were sent to another backend although their own was alive and they had not been silent for the quiet
    /// period, per million.
    pub broken_per_million: f64,
    /// Quiet period in seconds.
    pub quiet_s: u32,
    /// Largest share of the live connections that the flow table named at once.
    pub tracked_peak_share: f64,
    /// The same at the end, at rest.
    pub tracked_end_share: f64,
    /// More than the figures that are compared.
    #[serde(default)]
    pub detail: Option<Detail>,
}

/// How a row came about.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct Detail {
    /// Packets, the flood's included.
    pub packets: u64,
    /// Most entries of the flow table, those of ended connections and of the flood included, over the live connections.
    pub entries_peak_share: f64,
    /// Largest share of the slots that moved at once.
    pub moving_peak_share: f64,
    /// From the last change until nothing was tracked, in seconds of virtual time. None: it did not come to rest.
    pub at_rest_after_s: Option<u32>,
}

/// All figures.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Report {
    /// When and on what it was measured.
    #[serde(flatten)]
    pub run: Run,
    /// The rows.
    pub scenarios: Vec<Row>,
}

/// Simulates everything and hands each row to `done` as it is known.
pub fn churn(effort: Effort, done: impl Fn(&Row) + Sync) -> Result<Report> {
    let run = Run::begin(effort.quick);
    let mut jobs = Vec::new();
    for scenario in Scenario::ALL.into_iter().rev() {
        for design in [Design::Stateless, Design::Lru] {
            jobs.push((scenario, design, *QUIET_S.last().context("no quiet period")?));
        }
        jobs.extend(QUIET_S.into_iter().rev().map(|quiet_s| (scenario, Design::Lb, quiet_s)));
    }
    let (jobs, rows) = (Mutex::new(jobs), Mutex::new(Vec::new()));
    let work = &|worker: usize| -> Result<()> {
        // The packet path's caps are per CPU.
        cpu::pin_to(worker)?;
        loop {
            let Some((scenario, design, quiet_s)) = lock(&jobs).pop() else { return Ok(()) };
            let outcome = simulation::run(effort, scenario, design, quiet_s)
                .with_context(|| format!("{} under {design:?}", scenario.name()))?;
            for row in rows_of(scenario, design, quiet_s, &outcome) {
                done(&row);
                lock(&rows).push(row);
            }
        }
    };
    std::thread::scope(|scope| -> Result<()> {
        let threads = std::thread::available_parallelism()?.get().min(8);
        let workers: Vec<_> = (0..threads).map(|worker| scope.spawn(move || work(worker))).collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("a simulation panicked"))
    })?;
    let mut rows = rows.into_inner().expect("no simulation panicked");
    rows.sort_by_key(|row| {
        let position = Scenario::ALL.iter().position(|scenario| scenario.name() == row.scenario);
        (position, row.quiet_s, row.design as u8)
    });
    let report = Report { run, scenarios: rows };
    Ok(Report { run: report.run.clone().judged(targets(&report)), ..report })
}

/// The usual designs know no quiet period: one simulation counts the broken for each of them.
fn rows_of(scenario: Scenario, design: Design, quiet_s: u32, outcome: &Outcome) -> Vec<Row> {
    let quiet: Vec<u32> = if design == Design::Lb { vec![quiet_s] } else { QUIET_S.to_vec() };
    let row = |quiet_s: u32| Row {
        scenario: scenario.name().to_owned(),
        design,
        connections: outcome.connections,
        broken_per_million: 1e6 * outcome.broken_within(quiet_s) as f64 / outcome.connections.max(1) as f64,
        quiet_s,
        tracked_peak_share: outcome.tracked_peak_share,
        tracked_end_share: outcome.tracked_end_share,
        detail: Some(Detail {
            packets: outcome.packets,
            entries_peak_share: outcome.entries_peak_share,
            moving_peak_share: outcome.moving_peak_share,
            at_rest_after_s: outcome.at_rest_after_s,
        }),
    };
    quiet.into_iter().map(row).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
