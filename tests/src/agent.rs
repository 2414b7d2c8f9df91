//! The real `lb` in a namespace, with a socket, state and pins of its own.

use std::{
    env,
    ffi::OsStr,
    fs::{self, File},
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    sync::{Arc, OnceLock},
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    bpffs::{Bpffs, TempDir},
    netns::Netns,
    wait,
};

/// A place for one instance of `lb`: directories of its own in a namespace. Commands run with or without an agent.
#[derive(Debug)]
pub struct Instance {
    netns: Arc<Netns>,
    directory: TempDir,
    bpffs: Bpffs,
}

/// An agent of an [`Instance`]; killed when dropped.
#[derive(Debug)]
pub struct Agent {
    instance: Instance,
    child: Option<Child>,
    options: Vec<String>,
}

impl Instance {
    /// Directories and a bpffs for one instance.
    pub fn new(netns: &Arc<Netns>) -> Result<Self> {
        Ok(Self { netns: Arc::clone(netns), directory: TempDir::new()?, bpffs: Bpffs::mount()? })
    }

    /// Directory of pins.
    pub fn pin_dir(&self) -> PathBuf {
        self.bpffs.path().join("lb")
    }

    /// Directory of the stored state.
    pub fn state_dir(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    /// Socket of the agent.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("lb.sock")
    }

    /// What the agents wrote on standard error.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// A command line of `lb` for this instance, not run yet.
    pub fn command(&self, arguments: &[impl AsRef<OsStr>]) -> Result<Command> {
        let mut command = self.netns.command(binary()?);
        command.arg("--socket").arg(self.socket()).arg("--state-dir").arg(self.state_dir());
        command.arg("--pin-dir").arg(self.pin_dir()).args(arguments).stdin(Stdio::null());
        Ok(command)
    }

    /// Runs `lb` with these arguments, whatever comes of it.
    pub fn output(&self, arguments: &[impl AsRef<OsStr>]) -> Result<Output> {
        self.command(arguments)?.output().context("can't run lb")
    }

    /// Runs `lb`, which must succeed, and returns what it printed.
    pub fn lb(&self, arguments: &[impl AsRef<OsStr>]) -> Result<String> {
        let output = self.output(arguments)?;
        let words: Vec<_> = arguments.iter().map(|argument| argument.as_ref().to_string_lossy()).collect();
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "lb {}: {}, {}\nthe agent said:\n{}",
            words.join(" "),
            output.status,
            said.trim(),
            self.log()
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs `lb -o json`, which must succeed, and returns its answer.
    pub fn json(&self, arguments: &[&str]) -> Result<serde_json::Value> {
        let text = self.lb(&[&["-o", "json"], arguments].concat())?;
        serde_json::from_str(&text)
            .with_context(|| format!("lb {} printed no JSON: {text}", arguments.join(" ")))
    }

    fn log_path(&self) -> PathBuf {
        self.directory.path().join("agent.log")
    }
}

impl Agent {
    /// Starts an agent and waits until it answers. `options` are further arguments of `lb agent`.
    pub fn start(netns: &Arc<Netns>, options: &[&str]) -> Result<Self> {
        let options = options.iter().map(|&option| option.to_owned()).collect();
        let mut agent = Self { instance: Instance::new(netns)?, child: None, options };
        agent.restart()?;
        Ok(agent)
    }

    /// Where it runs.
    pub fn instance(&self) -> &Instance {
        &self.instance
    }

    /// Id of its process.
    pub fn pid(&self) -> Result<u32> {
        Ok(self.child.as_ref().context("no agent runs")?.id())
    }

    /// [`Instance::lb`].
    pub fn lb(&self, arguments: &[impl AsRef<OsStr>]) -> Result<String> {
        self.instance.lb(arguments)
    }

    /// [`Instance::json`].
    pub fn json(&self, arguments: &[&str]) -> Result<serde_json::Value> {
        self.instance.json(arguments)
    }

    /// Starts it again, after [`Agent::kill`], on the same state and pins.
    pub fn restart(&mut self) -> Result<()> {
        ensure!(self.child.is_none(), "the agent runs already");
        let log = File::options().create(true).append(true).open(self.instance.log_path())?;
        let arguments: Vec<_> =
            ["agent"].into_iter().chain(self.options.iter().map(String::as_str)).collect();
        let mut command = self.instance.command(&arguments)?;
        let child = command.stdout(log.try_clone()?).stderr(log).spawn().context("can't start lb agent")?;
        self.child = Some(child);
        wait::until_true("the agent to answer", || {
            Ok(self.has_ended()? || self.lb(&["service", "list"]).is_ok())
        })?;
        ensure!(!self.has_ended()?, "the agent ended at once:\n{}", self.instance.log());
        Ok(())
    }

    fn has_ended(&mut self) -> Result<bool> {
        let child = self.child.as_mut().context("no agent runs")?;
        Ok(child.try_wait().context("can't look after the agent")?.is_some())
    }

    /// Starts it again with further options.
    pub fn restart_with(&mut self, options: &[&str]) -> Result<()> {
        self.options.extend(options.iter().map(|&option| option.to_owned()));
        self.restart()
    }

    /// Asks it to end (SIGTERM) and waits for it.
    pub fn end(&mut self) -> Result<()> {
        let mut child = self.child.take().context("no agent runs")?;
        // SAFETY: a system call without pointers; the process is our child and has not been waited for.
        let result = unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGTERM) };
        ensure!(result == 0, "can't end the agent: {}", std::io::Error::last_os_error());
        let status = child.wait().context("can't wait for the agent")?;
        ensure!(status.success(), "the agent ended with {status}");
        Ok(())
    }

    /// Kills it with SIGKILL: it can't tidy anything up.
    pub fn kill(&mut self) -> Result<()> {
        let mut child = self.child.take().context("no agent runs")?;
        child.kill().context("can't kill the agent")?;
        child.wait().context("can't wait for the agent")?;
        Ok(())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if self.child.is_some()
            && let Err(error) = self.kill()
        {
            eprintln!("{error:#}");
        }
        if std::thread::panicking() {
            eprintln!("--- the agent said:\n{}", self.instance.log());
        }
    }
}

/// The `lb` of this build, built first if it is not the newest.
pub fn binary() -> Result<PathBuf> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let built = BUILT.get_or_init(|| find_or_build().map_err(|error| format!("{error:#}")));
    built.clone().map_err(anyhow::Error::msg)
}

fn find_or_build() -> Result<PathBuf> {
    if let Some(named) = env::var_os("LB_BIN") {
        return Ok(named.into());
    }
    // Test programs are in `deps` below the directory of the binaries.
    let own = env::current_exe()?;
    let directory = own.ancestors().skip(1).find(|path| !path.ends_with("deps")).context("no directory")?;
    let binary = directory.join("lb");
    if let Some(cargo) = env::var_os("CARGO") {
        let workspace = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
        let mut build = Command::new(cargo);
        build.args(["build", "--quiet", "--bin", "lb"]).current_dir(workspace);
        if directory.ends_with("release") {
            build.arg("--release");
        }
        ensure!(build.status()?.success(), "lb does not build");
    }
    ensure!(binary.is_file(), "no {}; `cargo build` makes it", binary.display());
    Ok(binary)
}
