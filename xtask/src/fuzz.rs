//! `cargo xtask fuzz`: builds the targets of `fuzz/` for libFuzzer and runs them.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};
use clap::ValueEnum;

use crate::{
    run::{self, Privilege, capture, quiet},
    setup,
};

/// What libFuzzer needs to see of a program, as cargo-fuzz has it; no sanitizer, so a stable compiler will do.
const FLAGS: [&str; 7] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
    "--cfg=fuzzing",
];
/// Longest frame that is tried.
const LENGTH_MAX: usize = 3_000;

/// Arguments of `cargo xtask fuzz`.
#[derive(clap::Args)]
pub struct Arguments {
    /// One target only
    target: Option<Target>,
    /// How long each target runs
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Add what was found to the committed corpus, as few and small inputs as cover the same
    #[arg(long)]
    merge: bool,
}

/// A target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Target {
    /// The parser, on the host
    Parser,
    /// The whole packet path beside its reference (needs root)
    Path,
}

impl Target {
    const fn name(self) -> &'static str {
        match self {
            Self::Parser => "parser",
            Self::Path => "path",
        }
    }
}

/// Builds and runs.
pub fn fuzz(arguments: &Arguments) -> Result<()> {
    setup::ensure()?;
    compiler()?;
    let targets = arguments.target.map_or_else(|| Target::value_variants().to_vec(), |target| vec![target]);
    let binaries = build()?;
    for target in targets {
        let program = binaries.join(target.name());
        run_target(target, &program, arguments)?;
    }
    Ok(())
}

/// libFuzzer is built from its C++ sources.
fn compiler() -> Result<()> {
    let has_compiler = || quiet(Command::new("c++").arg("--version"));
    if has_compiler() {
        return Ok(());
    }
    let by_hand = "install one with your package manager, such as `sudo apt-get install g++`";
    ensure!(Privilege::detect() == Privilege::Root, "no C++ compiler, which libFuzzer needs; {by_hand}");
    println!("a C++ compiler is missing, installing g++");
    let install = || quiet(Command::new("apt-get").args(["install", "-y", "--no-install-recommends", "g++"]));
    let installed = install() || (quiet(Command::new("apt-get").arg("update")) && install());
    ensure!(installed && has_compiler(), "no C++ compiler, and apt-get can't install one; {by_hand}");
    Ok(())
}

/// Directory of the built targets.
fn build() -> Result<PathBuf> {
    let rustc = capture(Command::new("rustc").arg("-vV").current_dir(run::workspace()))?;
    let host = rustc.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc names no host")?;
    let directory = run::workspace().join("target/fuzz");
    let mut build = run::cargo();
    // With a target named, build scripts are built without the flags.
    build.args(["build", "--quiet", "--release", "--bins", "--locked", "--target", host]);
    build.arg("--manifest-path").arg(run::workspace().join("fuzz/Cargo.toml"));
    build.env("CARGO_TARGET_DIR", &directory).env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\x1f"));
    println!("building the targets; the first time takes some minutes");
    run::run(&mut build)?;
    Ok(directory.join(host).join("release"))
}

fn run_target(target: Target, program: &Path, arguments: &Arguments) -> Result<()> {
    let name = target.name();
    let seeds = run::workspace().join("fuzz/corpus").join(name);
    // What is found stays out of the repository until it is merged.
    let (found, artifacts) = (working("corpus", name)?, working("artifacts", name)?);
    println!("fuzzing {name} for {} s", arguments.seconds);
    let mut command = as_root(target, program)?;
    command.arg(format!("-max_total_time={}", arguments.seconds)).arg(format!("-max_len={LENGTH_MAX}"));
    command.args(["-print_final_stats=1", "-verbosity=0"]).arg(prefix(&artifacts)).args([&found, &seeds]);
    run::run(&mut command).with_context(|| {
        let directory = artifacts.display();
        format!("{name} has found something: the frame is above and in {directory}; make it a row or a test with a name")
    })?;
    if arguments.merge {
        let mut merge = as_root(target, program)?;
        merge.args(["-merge=1", "-verbosity=0"]).arg(prefix(&artifacts)).args([&seeds, &found]);
        run::run(&mut merge)?;
    }
    Ok(())
}

fn prefix(artifacts: &Path) -> OsString {
    let mut argument = OsString::from("-artifact_prefix=");
    // libFuzzer takes it literally, so that a directory ends with a slash.
    argument.push(artifacts.join(""));
    argument
}

fn working(kind: &str, name: &str) -> Result<PathBuf> {
    let directory = run::workspace().join("target/fuzz").join(kind).join(name);
    fs::create_dir_all(&directory).with_context(|| format!("can't make {}", directory.display()))?;
    Ok(directory)
}

fn as_root(target: Target, program: &Path) -> Result<Command> {
    match (target, Privilege::detect()) {
        (Target::Parser, _) | (_, Privilege::Root) => Ok(Command::new(program)),
        (_, Privilege::Sudo) => {
            let mut command = Command::new("sudo");
            command.arg(program);
            Ok(command)
        }
        (_, Privilege::None) => {
            bail!("running the packet path needs root; as you are: `cargo xtask fuzz parser`")
        }
    }
}
