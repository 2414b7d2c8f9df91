//! What tables and failover may take.

use lb_common::slot::SIZE_DEFAULT;

use super::{Report, build::Build};
use crate::bench::target::Target;

/// Longest time to build a table of the default size with 1,000 backends, ms.
pub const BUILD_MS_MAX: f64 = 2.0;
/// Longest time until packets see a table of the default size, ms.
const VISIBLE_MS_MAX: f64 = 1.0;
/// Longest time in which packets go to a backend that was decided to be dead, us.
pub const FAILOVER_US_MAX: f64 = 1_000.0;
/// Largest difference between the slots of a backend and its share.
const DEVIATION_SLOTS_MAX: f64 = 1.0;
/// Most memory that is resident of the agent, MB.
pub const AGENT_MB_MAX: f64 = 30.0;
/// Most memory of all maps with defaults and one service, MiB.
pub const MAPS_MIB_MAX: f64 = 128.0;

/// What is wanted of the figures.
pub fn targets(report: &Report) -> Vec<Target> {
    let mut targets: Vec<Target> = report.build.iter().flat_map(of_build).collect();
    for publish in report.publish.iter().filter(|publish| publish.slots == SIZE_DEFAULT) {
        let visible_ms = publish.visible_ms.median - publish.fill_ms.median;
        targets.push(Target::at_most("until a filled table is visible", visible_ms, VISIBLE_MS_MAX, "ms"));
    }
    for failover in &report.failover {
        let what = format!("failover of {} services, p99", failover.services);
        targets.push(Target::at_most(what, failover.stall_free_us.p99, FAILOVER_US_MAX, "us"));
    }
    let agent_mb = report.agent.resident_bytes as f64 / 1e6;
    targets.push(Target::at_most("agent, resident", agent_mb, AGENT_MB_MAX, "MB"));
    for maps in report.maps.iter().filter(|maps| maps.services == 1) {
        let maps_mib = maps.bytes as f64 / f64::from(1 << 20);
        targets.push(Target::at_most("maps with one service", maps_mib, MAPS_MIB_MAX, "MiB"));
    }
    targets
}

fn of_build(build: &Build) -> Vec<Target> {
    let at = format!("{} slots, {} backends, {}", build.slots, build.backends, build.weights.name());
    let mut targets = Vec::new();
    if (build.slots, build.backends) == (SIZE_DEFAULT, 1_000) {
        targets.push(Target::at_most(format!("{at}: to build"), build.build_ms.median, BUILD_MS_MAX, "ms"));
    }
    if is_held(build) {
        let what = format!("{at}: off the share");
        targets.push(Target::at_most(what, build.deviation_slots, DEVIATION_SLOTS_MAX, "slots"));
    }
    targets
}

/// Whether shares can be exact to a slot: every backend's is a slot at least.
pub fn is_held(build: &Build) -> bool {
    build.smallest_share_slots >= 1.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{samples::Summary, tables::build::Weights};

    fn build(backends: u32, build_ms: f64, deviation_slots: f64) -> Build {
        Build {
            slots: SIZE_DEFAULT,
            backends,
            weights: Weights::Equal,
            build_ms: Summary { median: build_ms, spread: 0.0 },
            memory_bytes: None,
            smallest_share_slots: SIZE_DEFAULT as f64 / f64::from(backends),
            deviation_slots,
        }
    }

    #[test]
    fn a_slow_or_uneven_table_is_missed() {
        let met = |build: Build| of_build(&build).iter().map(|target| target.met).collect::<Vec<_>>();
        assert_eq!(met(build(1_000, 2.0, 1.0)), [true, true]);
        assert_eq!(met(build(1_000, 2.1, 1.1)), [false, false]);
        // Only the default size with 1,000 backends has a time to keep.
        assert_eq!(met(build(10, 9.0, 1.1)), [false]);
    }
}
