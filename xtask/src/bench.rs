//! `cargo xtask bench`: builds `lb` and `lb-bench` with optimisation and runs the latter as root.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, bail};

use crate::{
    run::{self, Privilege},
    setup,
};

/// What is measured.
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub struct Arguments {
    /// What to measure and how: `--help` tells
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "BENCH AND OPTIONS")]
    arguments: Vec<OsString>,
}

/// Runs a bench.
pub fn bench(arguments: &Arguments) -> Result<()> {
    setup::ensure()?;
    let packages = ["--package", "lb-userspace", "--package", "lb-tests"];
    run::run(run::cargo().args(["build", "--release", "--quiet", "--bins"]).args(packages))?;
    run::run(as_root(&release_dir().join("lb-bench"))?.args(&arguments.arguments))
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
