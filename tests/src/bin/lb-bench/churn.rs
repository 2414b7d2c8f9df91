//! The table of `lb-bench churn`.

use anyhow::Result;
use lb_tests::churn::{self, Effort, Report, Row};

/// Runs the bench and prints its figures.
pub fn run(quick: bool) -> Result<Report> {
    let effort = if quick { Effort::QUICK } else { Effort::FULL };
    println!(
        "{:<22} {:>9} {:>7} {:>11} {:>14} {:>8} {:>7} {:>8} {:>8} {:>8}",
        "scenario",
        "design",
        "quiet_s",
        "connections",
        "broken/million",
        "tracked",
        "at end",
        "entries",
        "moving",
        "rest"
    );
    let report = churn::churn(effort, print_row)?;
    print_method(effort, &report);
    Ok(report)
}

fn print_row(row: &Row) {
    let Some(detail) = row.detail else { return };
    let percent = |share: f64| format!("{:.1}%", 100.0 * share);
    println!(
        "{:<22} {:>9} {:>7} {:>11} {:>14.0} {:>8} {:>7} {:>8} {:>8} {:>8}",
        row.scenario,
        format!("{:?}", row.design).to_lowercase(),
        row.quiet_s,
        row.connections,
        row.broken_per_million,
        percent(row.tracked_peak_share),
        percent(row.tracked_end_share),
        percent(detail.entries_peak_share),
        percent(detail.moving_peak_share),
        detail.at_rest_after_s.map_or("-".into(), |seconds| format!("{seconds} s")),
    );
}

fn print_method(effort: Effort, report: &Report) {
    let packets: u64 = report.scenarios.iter().filter_map(|row| Some(row.detail?.packets)).sum();
    println!(
        "{}; seed {}; {packets} packets in the rows above, each one BPF_PROG_TEST_RUN of the packet path;\n\
         100 backends, 65537 slots, {} new connections per second of virtual time (70% of seconds, 22% of a minute, 8%\n\
         Pareto from 5 minutes to 3 hours); lru: {:.0}% of the flows at the start; flood: turns that over in 2 s.\n\
         broken: another backend although the own one lives, after less silence than the quiet period. tracked, at end:\n\
         live connections in the flow table, of all live ones; entries: all of the table, flood and ended included;\n\
         moving: slots; rest: virtual time from the last change until nothing is tracked.",
        report.run.machine.line(),
        effort.seed,
        effort.arrivals_per_second,
        100.0 * churn::LRU_SHARE,
    );
}
