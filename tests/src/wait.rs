//! Waiting for conditions, with a deadline that is generous because it only matters when something is broken.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

/// Deadline of [`until`]: far beyond what any step takes on a loaded machine.
pub const DEADLINE: Duration = Duration::from_secs(30);

const PAUSE: Duration = Duration::from_millis(10);

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Ends every wait of this process, now and later, with an error: someone wants us to tidy up and go.
pub fn interrupt() {
    INTERRUPTED.store(true, Ordering::Relaxed);
}

/// Fails after [`interrupt`].
pub fn check_interrupted() -> Result<()> {
    if INTERRUPTED.load(Ordering::Relaxed) { bail!("interrupted") } else { Ok(()) }
}

/// Calls `probe` until it returns a value. The error of the last attempt is told when the deadline passes.
pub fn until<T>(what: &str, mut probe: impl FnMut() -> Result<T>) -> Result<T> {
    let started = Instant::now();
    loop {
        check_interrupted()?;
        match probe() {
            Ok(value) => return Ok(value),
            Err(error) if started.elapsed() > DEADLINE => {
                return Err(error).with_context(|| format!("waited {DEADLINE:?} for {what}"));
            }
            Err(_) => thread::sleep(PAUSE),
        }
    }
}

/// Calls `probe` until it returns true.
pub fn until_true(what: &str, mut probe: impl FnMut() -> Result<bool>) -> Result<()> {
    until(what, || if probe()? { Ok(()) } else { bail!("not yet") })
}
