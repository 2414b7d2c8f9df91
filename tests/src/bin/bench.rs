//! Runs a bench and prints its figures; `cargo xtask bench` starts it.

use anyhow::{Result, ensure};
use lb_tests::{
    arguments::Arguments,
    bench::{self, Case, Effort, Report},
};

/// What all maps may take with defaults and one service.
const MAP_BYTES_MAX: u64 = 128 << 20;

fn main() -> Result<()> {
    let Arguments { quick, json } = Arguments::parse()?;
    let effort = if quick { Effort::QUICK } else { Effort::FULL };
    println!("{:<6} {:>6} {:>9} {:>10} {:>8}", "mode", "family", "flows", "added ns", "spread");
    let report = bench::datapath(effort, print_case)?;
    print_method(&report);
    if let Some(file) = json {
        std::fs::write(&file, serde_json::to_string_pretty(&report)?)?;
    }
    ensure!(report.map_bytes <= MAP_BYTES_MAX, "the maps take more than {} MB", MAP_BYTES_MAX >> 20);
    Ok(())
}

fn print_case(case: &Case) {
    println!(
        "{:<6} {:>6} {:>9} {:>10.1} {:>8.1}",
        case.mode, case.family, case.flows, case.added_ns, case.spread
    );
}

fn print_method(report: &Report) {
    println!(
        "kernel {}; BPF_PROG_TEST_RUN, {} samples of {} packets each, alternating with an empty program;\n\
         ns per packet above that program ({:.0} ns with the wrapper that restores the packet); spread = max - min",
        report.kernel, report.samples, report.packets, report.empty_ns
    );
    println!("maps with defaults and one service: {:.1} MB", report.map_bytes as f64 / 1e6);
}
