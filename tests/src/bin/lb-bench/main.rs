//! Runs the benches and prints their figures; `cargo xtask bench` builds and starts it.

mod churn;
mod datapath;
mod output;
mod tables;
mod veth;

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Result, ensure};
use clap::{Parser, Subcommand, ValueEnum};
use lb_tests::bench::{figures::Figures, target};
use lb_userspace::error::Kind;
use peak_alloc::PeakAlloc;

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
#[command(name = "lb-bench", version, after_help = EXIT_CODES, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// What to measure
    #[arg(value_enum, default_value_t = Bench::All)]
    bench: Bench,
    #[command(flatten)]
    options: Options,
    #[command(flatten)]
    datapath: datapath::Selection,
}

#[derive(Subcommand)]
enum Command {
    /// Measures nothing: writes the page and the plots of what earlier runs wrote with --json
    Report {
        /// Files of figures; of two of the same bench the later one counts
        #[arg(required = true, value_name = "FILE.json")]
        files: Vec<PathBuf>,
        #[command(flatten)]
        pages: output::Pages,
    },
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
    pages: output::Pages,
    #[command(flatten)]
    veth: veth::VethOptions,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let measures = arguments.command.is_none();
    // SAFETY: geteuid reads a number of this process and can't fail.
    if measures && unsafe { libc::geteuid() } != 0 {
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

/// Runs what was asked for and returns the targets that are missed, in words.
fn run(arguments: &Arguments) -> Result<Vec<String>> {
    match &arguments.command {
        Some(Command::Report { files, pages }) => {
            ensure!(pages.any(), "nothing to write; give --report FILE.html, --plots DIR, or both");
            output::check_writable(None, pages)?;
            pages.write(&Figures::read(files)?)?;
            // Judging was the affair of the run that measured.
            Ok(Vec::new())
        }
        None => measure(arguments),
    }
}

/// Measures, writes the figures, and returns the targets that they miss, in words.
fn measure(Arguments { bench, options, datapath: of_datapath, .. }: &Arguments) -> Result<Vec<String>> {
    ensure!(
        *bench == Bench::Datapath || !of_datapath.any(),
        "--filter and --against are for one bench: lb-bench datapath"
    );
    output::check_writable(options.json.as_deref(), &options.pages)?;
    let wants = |one| *bench == one || *bench == Bench::All;
    let mut figures = Figures::default();
    if wants(Bench::Datapath) {
        figures.datapath = Some(datapath::run(options.quick, of_datapath)?);
    }
    if wants(Bench::Churn) {
        figures.churn = Some(churn::run(options.quick)?);
    }
    if wants(Bench::Tables) {
        figures.tables = Some(tables::run(options.quick)?);
    }
    if wants(Bench::Veth) {
        figures.veth = Some(veth::run(options.quick, &options.veth)?);
    }
    if let Some(file) = &options.json {
        output::write(file, &json(&figures, *bench)?)?;
    }
    options.pages.write(&figures)?;
    Ok(target::missed(&figures.targets()))
}

/// The figures of the bench that was asked for, or of all by name.
fn json(figures: &Figures, bench: Bench) -> serde_json::Result<String> {
    match bench {
        Bench::Datapath => serde_json::to_string_pretty(&figures.datapath),
        Bench::Churn => serde_json::to_string_pretty(&figures.churn),
        Bench::Tables => serde_json::to_string_pretty(&figures.tables),
        Bench::Veth => serde_json::to_string_pretty(&figures.veth),
        Bench::All => serde_json::to_string_pretty(figures),
    }
}
