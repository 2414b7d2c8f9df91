//! `cargo xtask bench`: builds the bench with optimisation and runs it as root.

use std::{
    env,
    path::{Path, PathBuf, absolute},
    process::Command,
};

use anyhow::{Result, bail};

use crate::{
    run::{self, Privilege},
    setup,
};

/// What is measured.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    target: Target,
}

#[derive(clap::Subcommand)]
enum Target {
    /// The packet path: ns per packet above an empty program, and the memory of the maps.
    Datapath(Options),
    /// Connections that break although their backend is alive, while backends come and go; a few minutes.
    Churn(Options),
}

#[derive(clap::Args)]
struct Options {
    /// Also write the figures to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Little effort: shows that the bench works, the figures are not for publishing.
    #[arg(long)]
    quick: bool,
}

/// Runs a bench.
pub fn bench(arguments: &Arguments) -> Result<()> {
    setup::ensure()?;
    let (binary, options) = match &arguments.target {
        Target::Datapath(options) => ("bench", options),
        Target::Churn(options) => ("churn", options),
    };
    run::run(run::cargo().args(["build", "--release", "--quiet", "--package", "lb-tests", "--bin", binary]))?;
    let mut command = as_root(&release_dir().join(binary))?;
    if options.quick {
        command.arg("--quick");
    }
    if let Some(json) = &options.json {
        command.arg("--json").arg(absolute(json)?);
    }
    run::run(&mut command)
}

fn release_dir() -> PathBuf {
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    run::workspace().join(target).join("release")
}

fn as_root(program: &Path) -> Result<Command> {
    match Privilege::detect() {
        Privilege::Root => Ok(Command::new(program)),
        Privilege::Sudo => {
            let mut command = Command::new("sudo");
            command.arg(program);
            Ok(command)
        }
        Privilege::None => bail!("running BPF programs needs root; run `cargo xtask bench` as root"),
    }
}
