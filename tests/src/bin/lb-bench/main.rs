//! Runs the benches and prints their figures; `cargo xtask bench` builds and starts it.

mod churn;
mod datapath;
mod tables;
mod veth;

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context as _, Result, ensure};
use clap::{Parser, ValueEnum};
use lb_userspace::error::Kind;
use peak_alloc::PeakAlloc;
use serde::Serialize;

/// Counts what is allocated: how much memory a table takes to build is one of the figures.
#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

const EXIT_CODES: &str = "\
Exit codes: 0 all targets met, 1 failed, 2 usage, 5 not root, 9 a target is missed (the figures are written all the same).";

/// Exit code if a target is missed, beyond those of `lb`.
const MISSED: u8 = 9;

/// Measures lb on this machine. Needs root; touches only network namespaces of its own.
///
/// `lb bench` runs this program, `cargo xtask bench` builds and runs it.
#[derive(Parser)]
#[command(name = "lb-bench", version, after_help = EXIT_CODES)]
struct Arguments {
    /// What to measure
    #[arg(value_enum, default_value_t = Bench::All)]
    bench: Bench,
    #[command(flatten)]
    options: Options,
    #[command(flatten)]
    datapath: datapath::Selection,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Bench {
    /// The packet path: ns per packet above an empty program, and the memory of the maps; a few minutes
    Datapath,
    /// Connections that break although their backend is alive, while backends come and go; a few minutes
    Churn,
    /// Tables: building, publishing, slots moved, failover; memory of maps and agent
    Tables,
    /// lb beside other balancers, from end to end on veth: packets per second, latency, HTTP; 10 minutes
    Veth,
    /// All of them, one after another
    All,
}

/// What all benches take.
#[derive(clap::Args)]
struct Options {
    /// Little effort: shows that the bench works, the figures are not for publishing
    #[arg(long)]
    quick: bool,
    /// Also write the figures to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    veth: veth::VethOptions,
}

/// What was measured; as JSON an object of one bench, or of several by name.
#[derive(Default, Serialize)]
struct Figures {
    #[serde(skip_serializing_if = "Option::is_none")]
    datapath: Option<lb_tests::bench::datapath::report::Report>,
    #[serde(skip_serializing_if = "Option::is_none")]
    churn: Option<lb_tests::churn::Report>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tables: Option<lb_tests::bench::tables::Report>,
    veth: Option<lb_tests::bench::veth::Report>,
}

impl Figures {
    /// The figures of the bench that was asked for.
    fn json(&self, bench: Bench) -> serde_json::Result<String> {
        match bench {
            Bench::Datapath => serde_json::to_string_pretty(&self.datapath),
            Bench::Churn => serde_json::to_string_pretty(&self.churn),
            Bench::Tables => serde_json::to_string_pretty(&self.tables),
            Bench::Veth => serde_json::to_string_pretty(&self.veth),
            Bench::All => serde_json::to_string_pretty(self),
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // SAFETY: geteuid reads a number of this process and can't fail.
    if unsafe { libc::geteuid() } != 0 {
        eprintln!("error: only root can run BPF programs and make network namespaces; run with sudo");
        return ExitCode::from(Kind::Permission.exit_code());
    }
    match run(&arguments) {
        Ok(missed) if missed.is_empty() => ExitCode::SUCCESS,
        Ok(missed) => {
            eprintln!("targets missed:\n{}", missed.join("\n"));
            ExitCode::from(MISSED)
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs what was asked for, writes the figures, and returns the targets that they miss, in words.
fn run(Arguments { bench, options, datapath: of_datapath }: &Arguments) -> Result<Vec<String>> {
    ensure!(
        *bench == Bench::Datapath || !of_datapath.any(),
        "--filter and --against are for one bench: lb-bench datapath"
    );
    let wants = |one| *bench == one || *bench == Bench::All;
    let (mut figures, mut missed) = (Figures::default(), Vec::new());
    if wants(Bench::Datapath) {
        let report = figures.datapath.insert(datapath::run(options.quick, of_datapath)?);
        missed.extend(datapath::missed(report));
    }
    if wants(Bench::Churn) {
        let report = figures.churn.insert(churn::run(options.quick)?);
        missed.extend(churn::missed(report));
    }
    if wants(Bench::Tables) {
        let report = figures.tables.insert(tables::run(options.quick)?);
        missed.extend(tables::missed(report));
    }
    if wants(Bench::Veth) {
        let report = figures.veth.insert(veth::run(options.quick, &options.veth)?);
        missed.extend(veth::missed(report));
    }
    if let Some(file) = &options.json {
        let text = figures.json(*bench)?;
        std::fs::write(file, text).with_context(|| format!("can't write {}", file.display()))?;
    }
    Ok(missed)
}
