//! `cargo xtask test`: every check, each thing built once, with the time that each step took.

use std::{
    env, fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{
    run::{self, Privilege, shown},
    setup, tidy,
};

/// Arguments of `cargo xtask test`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Run only the tests whose name contains this, and no lints.
    #[arg(long)]
    filter: Option<String>,
    /// Succeed without the tests that need root.
    #[arg(long)]
    no_root: bool,
}

/// Counts of the test programs, and the steps that failed.
#[derive(Default)]
struct Totals {
    passed: usize,
    failed: usize,
    steps: Vec<(String, Duration, bool)>,
}

/// Runs everything.
pub fn test(arguments: &Arguments) -> Result<()> {
    setup::ensure()?;
    setup::lints()?;
    let mut totals = Totals::default();
    if arguments.filter.is_none() {
        totals.step("format", || run::run(run::cargo().args(["fmt", "--all", "--check"])));
        totals.step("tidy", tidy::tidy);
        let clippy = ["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"];
        totals.step("clippy", || run::run(run::cargo().args(clippy)));
    }
    // The default members each time: another selection could mean other features, and everything built again.
    totals.step("build", || run::run(run::cargo().args(["test", "--no-run", "--quiet"])));
    totals.step("build lb", || run::run(run::cargo().args(["build", "--bins", "--quiet"])));
    totals.tests("host tests", &["--lib", "--bins"], arguments, Privilege::Root);
    totals.tests("doc tests", &["--doc"], arguments, Privilege::Root);
    let privilege = Privilege::detect();
    if privilege != Privilege::None {
        for name in integration_tests()? {
            totals.tests(&format!("{name} tests"), &["--test", &name], arguments, privilege);
        }
    }
    totals.report(arguments, privilege)
}

impl Totals {
    /// One step; a failure is shown and the others still run.
    fn step(&mut self, name: &str, work: impl FnOnce() -> Result<()>) {
        println!("\n--- {name}");
        let started = Instant::now();
        let result = work();
        if let Err(error) = &result {
            println!("{name}: {error:#}");
        }
        self.steps.push((name.to_owned(), started.elapsed(), result.is_ok()));
    }

    fn tests(&mut self, name: &str, selection: &[&str], arguments: &Arguments, privilege: Privilege) {
        let mut command = run::cargo();
        command.args(["test", "--quiet", "--no-fail-fast"]).args(selection).arg("--").args(&arguments.filter);
        command.env("LB_BIN", run::debug_dir().join("lb"));
        if privilege == Privilege::Sudo {
            // Cargo stays with the user, only the test programs become root.
            if let Some(variable) = runner_variable() {
                command.env(variable, "sudo --preserve-env");
            }
        }
        let (mut passed, mut failed) = (0, 0);
        self.step(name, || count(&mut command, &mut passed, &mut failed));
        self.passed += passed;
        self.failed += failed;
    }

    fn report(&self, arguments: &Arguments, privilege: Privilege) -> Result<()> {
        println!();
        for (name, took, ok) in &self.steps {
            println!("{name:<18} {:>6.1} s  {}", took.as_secs_f64(), if *ok { "ok" } else { "FAILED" });
        }
        let skipped = privilege == Privilege::None;
        if skipped {
            println!(
                "\nnot run, because they need root: datapath, netns and agent tests. Run them with\n  {}",
                with_sudo()
            );
        }
        println!("{} passed, {} failed", self.passed, self.failed);
        let broken: Vec<_> =
            self.steps.iter().filter(|(_, _, ok)| !ok).map(|(name, _, _)| name.as_str()).collect();
        ensure!(broken.is_empty(), "failed: {}", broken.join(", "));
        ensure!(!skipped || arguments.no_root, "tests were left out; `--no-root` accepts that");
        if let Some(filter) = &arguments.filter {
            ensure!(self.passed > 0, "no test has {filter:?} in its name");
        }
        Ok(())
    }
}

/// Runs test programs, shows what they say and adds up their results.
fn count(command: &mut Command, passed: &mut usize, failed: &mut usize) -> Result<()> {
    let mut child =
        command.stdout(Stdio::piped()).spawn().with_context(|| format!("can't run {}", shown(command)))?;
    let stdout = child.stdout.take().context("no output")?;
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        if let Some(counts) = line.strip_prefix("test result: ") {
            *passed += number_before(counts, " passed");
            *failed += number_before(counts, " failed");
        }
        if !line.is_empty() {
            println!("{line}");
        }
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("{} ({status})", shown(command));
    }
    Ok(())
}

fn number_before(text: &str, word: &str) -> usize {
    let before = text.split(word).next().unwrap_or_default();
    before.rsplit(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Names of the test programs under tests/tests: a file or a directory each.
fn integration_tests() -> Result<Vec<String>> {
    let directory = run::workspace().join("tests/tests");
    let entries = fs::read_dir(&directory).with_context(|| format!("can't list {}", directory.display()))?;
    let mut names: Vec<_> = entries.filter_map(|entry| program_of(&entry.ok()?.path())).collect();
    names.sort();
    Ok(names)
}

fn program_of(path: &Path) -> Option<String> {
    let is_program =
        path.extension().is_some_and(|extension| extension == "rs") || path.join("main.rs").is_file();
    is_program.then(|| path.file_stem().unwrap_or_default().to_string_lossy().into_owned())
}

/// Cargo's variable for the program that runs tests, of this machine's target.
fn runner_variable() -> Option<String> {
    let verbose = crate::toolchain::output(Command::new("rustc").arg("-vV"))?;
    let host = verbose.lines().find_map(|line| line.strip_prefix("host: "))?;
    Some(format!("CARGO_TARGET_{}_RUNNER", host.to_uppercase().replace(['-', '.'], "_")))
}

/// How to run this as root where root has no cargo of its own.
fn with_sudo() -> String {
    let home = env::var("HOME").unwrap_or_default();
    format!("sudo env \"PATH=$PATH\" HOME={home} cargo xtask test")
}

#[cfg(test)]
mod tests {
    use super::number_before;

    #[test]
    fn counts_of_a_result_line() {
        let line = "FAILED. 12 passed; 3 failed; 0 ignored; 0 measured";
        assert_eq!(number_before(line, " passed"), 12);
        assert_eq!(number_before(line, " failed"), 3);
    }
}
