//! The table of `lb bench datapath`.

use anyhow::Result;
use lb_tests::bench::datapath::{self, Case, Effort, Report};

/// What all maps may take with defaults and one service.
const MAP_BYTES_MAX: u64 = 128 << 20;

/// Runs the bench and prints its figures.
pub fn run(quick: bool) -> Result<Report> {
    let effort = if quick { Effort::QUICK } else { Effort::FULL };
    println!("{:<6} {:>6} {:>9} {:>10} {:>8}", "mode", "family", "flows", "added ns", "spread");
    let report = datapath::datapath(effort, print_case)?;
    print_method(&report);
    Ok(report)
}

/// The targets that the figures miss, in words.
pub fn missed(report: &Report) -> Vec<String> {
    let within = report.map_bytes <= MAP_BYTES_MAX;
    let too_large = || format!("the maps take more than {} MB", MAP_BYTES_MAX >> 20);
    if within { Vec::new() } else { vec![too_large()] }
}

fn print_case(case: &Case) {
    println!(
        "{:<6} {:>6} {:>9} {:>10.1} {:>8.1}",
        case.mode, case.family, case.flows, case.added_ns, case.spread
    );
}

fn print_method(report: &Report) {
    println!(
        "{}; BPF_PROG_TEST_RUN, {} samples of {} packets each, alternating with an empty program;\n\
         ns per packet above that program ({:.0} ns with the wrapper that restores the packet); spread = max - min",
        report.machine.line(),
        report.samples,
        report.packets,
        report.empty_ns
    );
    println!("maps with defaults and one service: {:.1} MB", report.map_bytes as f64 / 1e6);
}
