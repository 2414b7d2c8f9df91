//! The demo as a program: `cargo xtask demo` builds and runs it.

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use lb_tests::demo;

/// Shows lb at work on network namespaces of its own, and checks what it shows.
#[derive(Parser)]
#[command(name = "cargo xtask demo")]
struct Arguments {
    /// Leave the network up at the end, to look around in it, until Ctrl-C
    #[arg(long)]
    keep: bool,
    /// Write the checks to this file as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match demo::run(arguments.keep, arguments.json.as_deref()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
