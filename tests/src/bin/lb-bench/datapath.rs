//! The table of `lb-bench datapath`.

use std::path::PathBuf;

use anyhow::Result;
use lb_tests::bench::datapath::{self, Effort, report::Report, report::Row};

/// What only this bench takes.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Options of datapath")]
pub struct Selection {
    /// Measure only cases whose label contains this, such as l2/4/1M/steady
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Measure by turns with another build's packet path: an lb-xdp object, as cargo leaves it in
    /// target/release/build/lb-userspace-*/out
    #[arg(long, value_name = "OBJECT")]
    against: Option<PathBuf>,
}

impl Selection {
    /// Whether one is given.
    pub const fn any(&self) -> bool {
        self.filter.is_some() || self.against.is_some()
    }
}

/// Runs the bench and prints its figures.
pub fn run(quick: bool, options: &Selection) -> Result<Report> {
    let effort = if quick { Effort::QUICK } else { Effort::FULL };
    let Selection { filter, against } = options.clone();
    let other = if against.is_some() {
        format!(" {:>9} {:>7} {:>6}", "other ns", "spread", "ratio")
    } else {
        String::new()
    };
    println!("{:<40} {:>9} {:>7}{other}", "mode/family/flows/state", "added ns", "spread");
    let report = datapath::datapath(&datapath::Options { effort, filter, against }, print_row)?;
    print_ratios(&report);
    print_method(&report);
    Ok(report)
}

fn print_row(row: &Row) {
    let mut line = format!("{:<40} {:>9.1} {:>7.1}", row.label, row.added_ns, row.spread);
    if let Some(other) = row.against {
        line += &format!(" {:>9.1} {:>7.1} {:>6.3}", other.added_ns, other.spread, other.ratio);
    }
    if let Some(per_second) = row.new_per_second {
        line += &format!("   {:.2} million connections/s", per_second / 1e6);
    }
    println!("{line}");
}

fn print_ratios(report: &Report) {
    for ratio in &report.ratios {
        let spread =
            ratio.more_ns_spread.map(|spread| format!(", spread {spread:.1} ns")).unwrap_or_default();
        println!("{:<50} {:>6.2} times, {:>+6.1} ns{spread}", ratio.name, ratio.ratio, ratio.more_ns);
    }
}

fn print_method(report: &Report) {
    println!(
        "{}; BPF_PROG_TEST_RUN, {} samples of {} packets each, alternating with an empty program, cases of a kind by\n\
         turns; ns of CPU time per packet above that program ({:.1} ns with the wrapper that restores the packet); spread\n\
         = max - min; CPU time is {:.1} ns per packet above the kernel's whole ns (spread {:.1}); connections/s: of one\n\
         CPU that did nothing else than balance{}",
        report.run.machine.line(),
        report.samples,
        report.packets,
        report.empty_ns,
        report.cpu_less_kernel_ns.median,
        report.cpu_less_kernel_ns.spread,
        if report.run.quick == Some(true) { "; quick: no target applies to the times" } else { "" }
    );
    println!("maps with defaults and one service: {:.1} MB", report.map_bytes as f64 / 1e6);
}
