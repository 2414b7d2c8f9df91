//! The tables of `lb-bench tables`.

use anyhow::Result;
use lb_common::slot::SIZE_DEFAULT;
use lb_tests::bench::{
    samples::{Summary, Tail},
    tables::{self, Effort, Report, failover, hop},
};

/// Runs the bench and prints its figures.
pub fn run(quick: bool) -> Result<Report> {
    let effort = if quick { Effort::QUICK } else { Effort::FULL };
    let report = tables::tables(effort, |next| eprintln!("measuring: {next}"))?;
    print_builds(&report);
    print_moved(&report);
    print_publish(&report);
    print_failover(&report);
    print_memory(&report);
    print_method(&report);
    Ok(report)
}

fn print_builds(report: &Report) {
    println!(
        "build a slot table\n{:>8} {:>9} {:>8} {:>9} {:>8} {:>11} {:>10}",
        "slots", "backends", "weights", "ms", "spread", "bytes", "off share"
    );
    for build in &report.build {
        let note = if tables::is_held(build) { "" } else { "  (shares below one slot)" };
        println!(
            "{:>8} {:>9} {:>8} {:>9.3} {:>8.3} {:>11} {:>10.3}{note}",
            build.slots,
            build.backends,
            build.weights.name(),
            build.build_ms.median,
            build.build_ms.spread,
            build.memory_bytes.map_or("-".into(), |bytes| bytes.to_string()),
            build.deviation_slots,
        );
    }
    println!("\nbuild a service table\n{:>8} {:>9} {:>8}", "services", "ms", "spread");
    for table in &report.service_tables {
        println!("{:>8} {}", table.services, spread(table.build_ms));
    }
}

fn print_moved(report: &Report) {
    println!(
        "\nslots moved, {SIZE_DEFAULT} slots\n{:<18} {:>8} {:>8} {:>8} {:>17} {:>8} {:>8}",
        "change of one", "backends", "moved", "ideal", "beyond ideal in %", "spread", "ratio"
    );
    for row in &report.moved {
        println!(
            "{:<18} {:>8} {:>8} {:>8} {:>17.3} {:>8.3} {:>8.2}",
            row.change.name(),
            row.backends,
            row.moved_slots.median,
            row.ideal_slots.median,
            row.beyond_percent.median,
            row.beyond_percent.spread,
            row.ratio.median,
        );
    }
}

fn print_publish(report: &Report) {
    println!(
        "\npublish a slot table of {} backends (ms, spread)\n{:>8} {:>18} {:>18} {:>18} {:>18} {:>18}",
        tables::publish::BACKENDS,
        "slots",
        "fill",
        "visible",
        "returned",
        "change visible",
        "change returned"
    );
    for row in &report.publish {
        let times =
            [row.fill_ms, row.visible_ms, row.returned_ms, row.change_visible_ms, row.change_returned_ms];
        println!("{:>8} {}", row.slots, times.map(spread).join(" "));
    }
    println!("\n{:<34} {:>8} {:>18}", "publisher (ms, spread)", "services", "time");
    for step in &report.steps {
        println!("{:<34} {:>8} {}", step.step, step.services, spread(step.time_ms));
    }
}

fn print_failover(report: &Report) {
    println!(
        "\nfailover (us: p50, p99, max)\n{:>8} {:>6} {:>28} {:>8} {:>28} {:>28}",
        "services", "times", "without stalls", "stalled", "all", "the store alone"
    );
    for row in &report.failover {
        println!(
            "{:>8} {:>6} {} {:>8} {} {}",
            row.services,
            row.repetitions,
            tail(row.stall_free_us),
            row.stalled,
            tail(row.all_us),
            tail(row.store_us)
        );
    }
    println!("{:<24} {}", "check to store, one", tail(report.hop.one_us));
    println!("{:<24} {}", format!("check to store, {}", hop::AT_ONCE), tail(report.hop.all_at_once_us));
}

fn print_memory(report: &Report) {
    println!();
    for maps in &report.maps {
        println!("maps, services: {:<4} {:>38.1} MB", maps.services, maps.bytes as f64 / 1e6);
    }
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    println!(
        "agent with {} backends, resident {:>24.1} MB ({:.1} MB not of files, {:.1} MB at most)",
        report.agent.backends,
        megabytes(report.agent.resident_bytes),
        megabytes(report.agent.anonymous_bytes),
        megabytes(report.agent.peak_bytes),
    );
}

fn print_method(report: &Report) {
    println!(
        "\n{}; medians of {} samples, spread = max - min.\n\
         off share: largest difference between slots and share, in slots. bytes: most in use at once, result included.\n\
         publish: all of {} backends are replaced; from the order to the end of the first packet (BPF_PROG_TEST_RUN on\n\
         another CPU) that sees it, the fill included, and until it returns (RCU). change: from a snapshot, with table\n\
         and transition. failover: one of {} backends dies, from the decision to the end of the last packet to it;\n\
         stalled: the machine stood still for more than 200 us meanwhile. check to store: the queue in the agent.",
        report.run.machine.line(),
        report.samples,
        tables::publish::BACKENDS,
        failover::BACKENDS,
    );
}

fn spread(summary: Summary) -> String {
    format!("{:>9.3} {:>8.3}", summary.median, summary.spread)
}

fn tail(tail: Tail) -> String {
    format!("{:>8.1} {:>9.1} {:>9.1}", tail.p50, tail.p99, tail.max)
}
