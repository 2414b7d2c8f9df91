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
    desired::store,
    error::{Error, Kind},
};

const UNIT: &str = "lb.service";
/// Larger logs are put aside at a start.
const LOG_BYTES_MAX: u64 = 8 << 20;
/// Time between two looks for the socket.
const POLL: Duration = Duration::from_millis(20);

/// Starts the agent and waits until it answers.
pub(super) fn start(global: &Global) -> Result<(), Error> {
    // SAFETY: geteuid reads a number of this process and can't fail.
    if unsafe { libc::geteuid() } != 0 {
        return Err(Error::new(
            Kind::Permission,
            "no agent runs, and only root can start one; run with sudo",
        ));
    }
    if unit_applies(global) {
        return start_unit(global);
    }
    start_process(global)
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

fn start_unit(global: &Global) -> Result<(), Error> {
    let output = Command::new("systemctl")
        .args(["start", UNIT])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Error::failed(format!("run systemctl start {UNIT}: {error}")))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        return Err(Error::failed(format!("systemctl start {UNIT}: {}", text.trim())));
    }
    wait_for_socket(global, || Ok(()), &format!("`journalctl -u {UNIT}`"))
}

fn start_process(global: &Global) -> Result<(), Error> {
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
    let mut child = command.spawn().map_err(|error| failed(&error))?;
    let place = log_path.display().to_string();
    wait_for_socket(global, || still_runs(&mut child, &log_path, begin), &place)
}

/// Waits until something listens on the socket.
fn wait_for_socket(
    global: &Global,
    mut still_runs: impl FnMut() -> Result<(), Error>,
    log: &str,
) -> Result<(), Error> {
    let deadline = Instant::now() + global.timeout;
    loop {
        if UnixStream::connect(&global.socket).is_ok() {
            return Ok(());
        }
        still_runs()?;
        if Instant::now() >= deadline {
            return Err(Error::new(
                Kind::Timeout,
                format!("the agent was started but does not answer after {:?}; see {log}", global.timeout),
            ));
        }
        std::thread::sleep(POLL);
    }
}

/// An agent that ended already says why in the last line of its log.
fn still_runs(child: &mut Child, log: &Path, begin: u64) -> Result<(), Error> {
    let Ok(Some(status)) = child.try_wait() else { return Ok(()) };
    let mut text = String::new();
    let read = File::open(log).and_then(|mut file| {
        file.seek(SeekFrom::Start(begin))?;
        file.read_to_string(&mut text)
    });
    let failure = read.ok().and_then(|_| {
        text.lines().rev().find_map(|line| serde_json::from_str::<crate::api::Failure>(line).ok())
    });
    Err(failure.map_or_else(
        || Error::failed(format!("the agent ended at once ({status}); see {}", log.display())),
        |failure| failure.error,
    ))
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
