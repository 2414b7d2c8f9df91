//! Starts the agent in the background: by systemd where it is installed there, else as a process of its own.

use std::{
    fs::{File, OpenOptions},
    io::{Read, Seek, SeekFrom},
    os::unix::{net::UnixStream, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::args::Global;
use crate::{
    config,
    desired::store::{self, Store},
    error::{Error, Kind},
    publish,
};

const UNIT: &str = "lb.service";
/// Larger logs are put aside at a start.
const LOG_BYTES_MAX: u64 = 8 << 20;
/// How long an agent may take to end before it is killed.
const STOP_PATIENCE: Duration = Duration::from_secs(5);
/// Time between two looks for the socket.
const POLL: Duration = Duration::from_millis(20);

/// An agent that this command has started, and what was there before.
pub(super) struct Started {
    agent: Running,
    before: Before,
}

enum Running {
    /// Nothing was started.
    Nothing,
    /// The unit.
    Unit,
    /// A process.
    Process(Child),
}

/// What there was before an agent was started.
struct Before {
    pins: bool,
    directory: bool,
    state: bool,
}

impl Before {
    fn look(global: &Global) -> Self {
        Self {
            pins: publish::is_pinned(&global.pin_dir),
            directory: global.state_dir.exists(),
            state: store::exists(&global.state_dir),
        }
    }

    /// Removes what was not there. What another agent uses is left alone: it holds locks on it.
    fn restore(&self, global: &Global) {
        if !self.pins && publish::is_pinned(&global.pin_dir) {
            let _ = publish::discard(&global.pin_dir);
        }
        if !self.state
            && store::exists(&global.state_dir)
            && let Ok(store) = Store::open(&global.state_dir)
        {
            let _ = store.forget();
        }
    }
}

impl Started {
    /// Ends the agent and removes what it has left that was not there before.
    pub(super) fn take_back(mut self, global: &Global) {
        self.stop();
        self.before.restore(global);
        if !self.before.directory {
            // Its log, and nothing else: all of it is of the agent that has just ended.
            let _ = std::fs::remove_dir_all(&global.state_dir);
        }
    }

    /// Ends the agent, and waits for its end.
    fn stop(&mut self) {
        let child = match &mut self.agent {
            Running::Nothing => return,
            Running::Unit => {
                let _ = Command::new("systemctl").args(["stop", UNIT]).stdin(Stdio::null()).output();
                return;
            }
            Running::Process(child) => child,
        };
        let Ok(pid) = libc::pid_t::try_from(child.id()) else { return };
        // SAFETY: sends a signal to a child that was not waited for, so its number is not another's.
        unsafe { libc::kill(pid, libc::SIGTERM) };
        let begun = Instant::now();
        while matches!(child.try_wait(), Ok(None)) {
            if begun.elapsed() > STOP_PATIENCE {
                let _ = child.kill();
            }
            std::thread::sleep(POLL);
        }
    }
}

/// Starts the agent and waits until it answers. If it does not, all is as it was before, but for its log.
pub(super) fn start(global: &Global) -> Result<Started, Error> {
    // SAFETY: geteuid reads a number of this process and can't fail.
    if unsafe { libc::geteuid() } != 0 {
        return Err(Error::new(
            Kind::Permission,
            "no agent runs, and only root can start one; run with sudo",
        ));
    }
    let mut started = Started { agent: Running::Nothing, before: Before::look(global) };
    let result = if unit_applies(global) {
        start_unit(global, &mut started.agent)
    } else {
        start_process(global, &mut started.agent)
    };
    if let Err(error) = result {
        started.stop();
        started.before.restore(global);
        return Err(error);
    }
    Ok(started)
}

/// Whether systemd runs, knows the unit, and the unit is what the flags ask for.
fn unit_applies(global: &Global) -> bool {
    let defaults = [
        (&global.socket, config::SOCKET),
        (&global.state_dir, config::STATE_DIR),
        (&global.pin_dir, config::PIN_DIR),
    ];
    let known = || {
        let mut command = Command::new("systemctl");
        let quiet =
            command.args(["cat", UNIT]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        quiet.status().is_ok_and(|status| status.success())
    };
    defaults.iter().all(|(path, default)| *path == Path::new(default))
        && Path::new("/run/systemd/system").is_dir()
        && known()
}

fn start_unit(global: &Global, started: &mut Running) -> Result<(), Error> {
    let mut is_active = Command::new("systemctl");
    is_active.args(["is-active", "--quiet", UNIT]).stdin(Stdio::null());
    if !is_active.status().is_ok_and(|status| status.success()) {
        *started = Running::Unit;
    }
    let output = Command::new("systemctl")
        .args(["start", UNIT])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Error::failed(format!("run systemctl start {UNIT}: {error}")))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        return Err(Error::failed(format!("systemctl start {UNIT}: {}", text.trim())));
    }
    wait_for_socket(global, unit_still_runs, &format!("`journalctl -u {UNIT}`"))
}

/// A unit whose process has ended is being restarted by systemd, or has failed. The journal says why.
fn unit_still_runs() -> Result<(), Error> {
    let ask = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().ok()?;
        Some(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let state = ask("systemctl", &["show", UNIT, "--property=ActiveState,SubState"]).unwrap_or_default();
    if !has_ended(&state) {
        return Ok(());
    }
    let journal = ask("journalctl", &["--unit", UNIT, "--lines=20", "--output=cat", "--quiet"]);
    Err(journal.and_then(|text| failure_in(&text)).unwrap_or_else(|| {
        Error::failed(format!("the agent ended at once; `journalctl -u {UNIT}` says why"))
    }))
}

/// Whether `systemctl show` tells of a unit whose process is not there.
fn has_ended(state: &str) -> bool {
    state
        .lines()
        .any(|line| matches!(line, "ActiveState=failed" | "ActiveState=inactive" | "SubState=auto-restart"))
}

/// The last failure that an agent wrote.
fn failure_in(log: &str) -> Option<Error> {
    let failure = |line| serde_json::from_str::<crate::api::Failure>(line).ok();
    log.lines().rev().find_map(failure).map(|failure| failure.error)
}

fn start_process(global: &Global, started: &mut Running) -> Result<(), Error> {
    let (log, log_path) = open_log(&global.state_dir)?;
    let begin = log.metadata().map_or(0, |metadata| metadata.len());
    let failed = |error: &std::io::Error| Error::failed(format!("start the agent: {error}"));
    let program = std::env::current_exe().map_err(|error| failed(&error))?;
    let mut command = Command::new(program);
    command.arg("agent").arg("--output=json");
    command.arg("--socket").arg(&global.socket);
    command.arg("--state-dir").arg(&global.state_dir);
    command.arg("--pin-dir").arg(&global.pin_dir);
    command.args(std::iter::repeat_n("-v", usize::from(global.verbose)));
    let copy = log.try_clone().map_err(|error| failed(&error))?;
    command.current_dir("/").stdin(Stdio::null()).stdout(copy).stderr(log);
    // SAFETY: between fork and exec only setsid is called, which is async-signal-safe.
    unsafe {
        command.pre_exec(|| {
            // Not a group leader after fork, so this can't fail; the agent would run on either way.
            libc::setsid();
            Ok(())
        });
    }
    *started = Running::Process(command.spawn().map_err(|error| failed(&error))?);
    let place = log_path.display().to_string();
    wait_for_socket(global, || still_runs(started, &log_path, begin), &place)
}

/// Waits until something listens on the socket.
fn wait_for_socket(
    global: &Global,
    mut still_runs: impl FnMut() -> Result<(), Error>,
    log: &str,
) -> Result<(), Error> {
    let begun = Instant::now();
    loop {
        if UnixStream::connect(&global.socket).is_ok() {
            return Ok(());
        }
        still_runs()?;
        if begun.elapsed() >= global.answer_within() {
            return Err(Error::new(
                Kind::Timeout,
                format!(
                    "the agent was started but does not answer after {:?}; see {log}",
                    global.answer_within()
                ),
            ));
        }
        std::thread::sleep(POLL);
    }
}

/// An agent that ended already says why in the last line of its log.
fn still_runs(started: &mut Running, log: &Path, begin: u64) -> Result<(), Error> {
    let Running::Process(child) = started else { return Ok(()) };
    let Ok(Some(status)) = child.try_wait() else { return Ok(()) };
    let mut text = String::new();
    let read = File::open(log).and_then(|mut file| {
        file.seek(SeekFrom::Start(begin))?;
        file.read_to_string(&mut text)
    });
    Err(read.ok().and_then(|_| failure_in(&text)).unwrap_or_else(|| {
        Error::failed(format!("the agent ended at once ({status}); see {}", log.display()))
    }))
}

fn open_log(state_dir: &Path) -> Result<(File, PathBuf), Error> {
    let path = state_dir.join(config::LOG_FILE);
    let failed = |error: std::io::Error| Error::failed(format!("open the log {}: {error}", path.display()));
    store::make_directory(state_dir)?;
    if std::fs::metadata(&path).is_ok_and(|metadata| metadata.len() > LOG_BYTES_MAX) {
        std::fs::rename(&path, path.with_extension("log.1")).map_err(failed)?;
    }
    let log = OpenOptions::new().create(true).append(true).open(&path).map_err(failed)?;
    Ok((log, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_says_why_a_unit_has_ended() {
        let journal = "info ready\n{\"error\":{\"kind\":\"conflict\",\"message\":\"another agent runs\"}}\nlb.service: Failed\n";
        let error = failure_in(journal).unwrap();
        assert_eq!((error.kind, error.message.as_str()), (Kind::Conflict, "another agent runs"));
        assert_eq!(failure_in("info ready\n"), None);
        for (state, ended) in [
            ("ActiveState=active\nSubState=running\n", false),
            ("ActiveState=activating\nSubState=start\n", false),
            ("ActiveState=activating\nSubState=auto-restart\n", true),
            ("ActiveState=failed\nSubState=failed\n", true),
        ] {
            assert_eq!(has_ended(state), ended, "{state}");
        }
    }
}
