//! What it costs to build a table, and how exact it is.

use std::{hint::black_box, time::Instant};

use anyhow::Result;
use lb_common::{
    addr::{FAMILY_V4, from_v4},
    cuckoo,
    maglev::{self, Member},
    service::{KeyV4, MAX_SERVICES, Service},
    slot::SIZES,
};
use peak_alloc::PeakAlloc;
use serde::{Deserialize, Serialize};

use crate::{bench::samples::Summary, cpu::Realtime};

/// Numbers of backends.
const BACKENDS: [u32; 4] = [10, 100, 1_000, 10_000];
/// Numbers of services.
const SERVICES: [u32; 3] = [1, 1_000, MAX_SERVICES];
/// Largest of the mixed weights.
const WEIGHT_MAX: u32 = 100;
/// Seed of all tables.
const SEED: u64 = 1;

/// How weights are spread over backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Weights {
    /// All 100.
    Equal,
    /// From 1 to 100 in turn.
    Mixed,
}

impl Weights {
    /// In a word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Equal => "equal",
            Self::Mixed => "mixed",
        }
    }

    const fn of(self, n: u32) -> u32 {
        match self {
            Self::Equal => WEIGHT_MAX,
            // 37 is coprime to 100: each weight comes once in a hundred backends, and few backends get far ones.
            Self::Mixed => n * 37 % WEIGHT_MAX + 1,
        }
    }
}

/// Slots of a service: time and memory of building its table, and how exact it is.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Build {
    /// Slots of the table.
    pub slots: usize,
    /// Backends.
    pub backends: u32,
    /// Their weights.
    pub weights: Weights,
    /// Time, ms.
    pub build_ms: Summary,
    /// Most memory that was in use at once, the result included. None where nobody counts it.
    pub memory_bytes: Option<usize>,
    /// Smallest exact share of a backend, in slots. Below 1 nobody can be exact: every backend gets a slot.
    pub smallest_share_slots: f64,
    /// Largest difference between a backend's slots and its exact share.
    pub deviation_slots: f64,
}

/// A table of services.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ServiceTable {
    /// Services in it.
    pub services: u32,
    /// Time to build it, ms.
    pub build_ms: Summary,
}

/// Measures all sizes with as many samples of each.
pub fn tables(samples: usize) -> Result<Vec<Build>> {
    let mut builds = Vec::new();
    for slots in SIZES {
        for backends in BACKENDS.into_iter().filter(|backends| *backends as usize <= slots) {
            for weights in [Weights::Equal, Weights::Mixed] {
                builds.push(table(samples, slots, backends, weights)?);
            }
        }
    }
    Ok(builds)
}

fn table(samples: usize, slots: usize, backends: u32, weights: Weights) -> Result<Build> {
    let members = members(backends, weights);
    let build = || maglev::build(SEED, slots, &members);
    // Also the one that warms the caches up.
    let (memory_bytes, owners) = memory(build);
    let owners = owners?;
    let shares = shares(slots, &members);
    let mut owned = vec![0u32; members.len() + 1];
    owners.iter().for_each(|owner| owned[*owner as usize] += 1);
    let deviations =
        members.iter().zip(&shares).map(|(m, share)| (f64::from(owned[m.id as usize]) - share).abs());
    Ok(Build {
        slots,
        backends,
        weights,
        build_ms: time_ms(samples, || build().is_ok())?,
        memory_bytes,
        smallest_share_slots: shares.iter().copied().fold(f64::INFINITY, f64::min),
        deviation_slots: deviations.fold(0.0, f64::max),
    })
}

/// Exact share of each member, in slots.
fn shares(slots: usize, members: &[Member]) -> Vec<f64> {
    let total: f64 = members.iter().map(|member| f64::from(member.weight)).sum();
    members.iter().map(|member| slots as f64 * f64::from(member.weight) / total).collect()
}

/// Measures the tables of services.
pub fn service_tables(samples: usize) -> Result<Vec<ServiceTable>> {
    let of = |services: u32| {
        let list: Vec<(KeyV4, Service)> = (0..services).map(service).collect();
        let build_ms = time_ms(samples, || cuckoo::build_v4(SEED, &list, &[]).is_ok())?;
        Ok(ServiceTable { services, build_ms })
    };
    SERVICES.into_iter().map(of).collect()
}

fn service(n: u32) -> (KeyV4, Service) {
    let key = KeyV4::new((0xc612_0000 + n).to_be_bytes(), 443u16.to_be_bytes(), 6);
    (key, Service { id: n, ..Service::default() })
}

/// Backends with ids from 1.
pub(super) fn members(backends: u32, weights: Weights) -> Vec<Member> {
    (1..=backends).map(|id| member(id, weights.of(id))).collect()
}

pub(super) const fn member(id: u32, weight: u32) -> Member {
    Member { id, address: from_v4((0x0a00_0000 + id).to_be_bytes()), family: FAMILY_V4, weight }
}

/// Times of runs that must succeed, ms; each of them before all other processes.
fn time_ms(samples: usize, mut run: impl FnMut() -> bool) -> Result<Summary> {
    let mut times = Vec::new();
    for _ in 0..samples {
        let _realtime = Realtime::begin()?;
        let started = Instant::now();
        assert!(black_box(run()), "the input is valid");
        times.push(started.elapsed().as_secs_f64() * 1e3);
    }
    Ok(Summary::of(&times))
}

/// Most memory that a run had in use at once. None unless [`PeakAlloc`] is the program's allocator.
fn memory<T>(run: impl FnOnce() -> T) -> (Option<usize>, T) {
    let counter = PeakAlloc;
    let before = counter.current_usage();
    counter.reset_peak_usage();
    let result = run();
    let peak = counter.peak_usage().saturating_sub(before);
    ((peak > 0).then_some(peak), result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_knows_shares_and_deviations() {
        let row = table(1, SIZES[0], 10, Weights::Mixed).unwrap();
        // Weights 38, 75, 12, 49, 86, 23, 60, 97, 34, 71: 545.
        assert!((row.smallest_share_slots - 1021.0 * 12.0 / 545.0).abs() < 1e-9);
        assert!(row.deviation_slots > 0.0 && row.deviation_slots < 1.0);
    }
}
