//! Running other programs: cargo, and what needs root.

use std::{
    env,
    ffi::OsStr,
    fs,
    io::IsTerminal as _,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};

/// How we get root for the tests and the demo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privilege {
    /// We are root.
    Root,
    /// sudo will do it, perhaps after asking for a password on the terminal.
    Sudo,
    /// There is no way.
    None,
}

impl Privilege {
    /// Finds out.
    pub fn detect() -> Self {
        let root = fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
        if root {
            return Self::Root;
        }
        let silent = || quiet(Command::new("sudo").args(["-n", "true"]));
        let can_ask = || std::io::stdin().is_terminal() && quiet(Command::new("sudo").arg("--version"));
        if silent() || can_ask() { Self::Sudo } else { Self::None }
    }
}

/// Root of the workspace.
pub fn workspace() -> &'static Path {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest)
}

/// The directory that cargo builds into, of the dev profile.
pub fn debug_dir() -> PathBuf {
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    workspace().join(target).join("debug")
}

/// The cargo that started us, at the root of the workspace.
pub fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace());
    // Cargo tells its children about xtask; to builds of other packages that is a change to rebuild for.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}

/// Runs a command, with its output shown; an error names the command.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("can't run {}", shown(command)))?;
    ensure!(status.success(), "{} failed ({status})", shown(command));
    Ok(())
}

/// Whether a command can be run and succeeds; its output goes nowhere.
pub fn quiet(command: &mut Command) -> bool {
    let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Output of a command, or what it wrote on standard error.
pub fn capture(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("can't run {}", shown(command)))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{} failed: {}", shown(command), said.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A command as one would type it.
pub fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words: Vec<_> =
        std::iter::once(program).chain(command.get_args()).map(OsStr::to_string_lossy).collect();
    words.join(" ")
}
