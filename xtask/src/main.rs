//! Development commands of lb: `cargo xtask setup | demo | test | bench | fuzz | tidy | dist`.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

mod run;
mod toolchain;
mod setup;
mod tidy;
mod test;
mod bench;
mod fuzz;
mod demo;
mod dist;

/// Builds, shows, tests and packs lb.
#[derive(Parser)]
#[command(name = "cargo xtask", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install what building the packet path needs (rust-src, bpf-linker), and iproute2. Does nothing if all is there.
    Setup,
    /// Show lb at work on network namespaces, in under two minutes (needs root).
    Demo(demo::Arguments),
    /// Run all checks and tests (those of the packet path need root).
    Test(test::Arguments),
    /// Measure: the packet path, connections that break, and more (needs root).
    Bench(bench::Arguments),
    /// Feed random frames, guided by coverage, to the parser and to the whole packet path.
    Fuzz(fuzz::Arguments),
    /// Check what the compiler does not: sizes of files and functions, headers, links.
    Tidy,
    /// Build a release and pack it into dist/.
    Dist,
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Setup => setup::setup(),
        Command::Demo(arguments) => demo::demo(&arguments),
        Command::Test(arguments) => test::test(&arguments),
        Command::Bench(arguments) => bench::bench(&arguments),
        Command::Fuzz(arguments) => fuzz::fuzz(&arguments),
        Command::Tidy => tidy::tidy(),
        Command::Dist => dist::dist(),
    };
    report(result)
}

fn report(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
