//! `cargo xtask demo`: builds, then hands over to the demo program of the test harness.

use std::{os::unix::process::CommandExt as _, path::PathBuf, process::Command};

use anyhow::{Result, bail};

use crate::{
    run::{self, Privilege},
    setup,
};

/// Arguments of `cargo xtask demo`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Leave the network up at the end, to look around in it, until Ctrl-C.
    #[arg(long)]
    keep: bool,
    /// Write the checks to this file as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Builds and shows.
pub fn demo(arguments: &Arguments) -> Result<()> {
    let privilege = Privilege::detect();
    if privilege == Privilege::None {
        bail!(
            "the demo needs root for its network namespaces: sudo env \"PATH=$PATH\" \"HOME=$HOME\" cargo xtask demo"
        );
    }
    setup::ensure()?;
    println!("building (the first time takes a few minutes)");
    run::run(run::cargo().args(["build", "--bins", "--quiet"]))?;
    let program = run::debug_dir().join("demo");
    let mut command = match privilege {
        Privilege::Sudo => {
            let mut sudo = Command::new("sudo");
            sudo.arg("--").arg(program);
            sudo
        }
        _ => Command::new(program),
    };
    if arguments.keep {
        command.arg("--keep");
    }
    if let Some(file) = &arguments.json {
        command.arg("--json").arg(file);
    }
    // In our place: Ctrl-C and the exit code are then the demo's alone.
    Err(command.exec().into())
}
