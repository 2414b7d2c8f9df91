//! Waiting for conditions, with a deadline that is generous because it only matters when something is broken.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

/// Deadline of [`until`]: far beyond what any step takes on a loaded machine.
pub const DEADLINE: Duration = Duration::from_secs(30);

const PAUSE: Duration = Duration::from_millis(10);

/// Calls `probe` until it returns a value. The error of the last attempt is told when the deadline passes.
pub fn until<T>(what: &str, mut probe: impl FnMut() -> Result<T>) -> Result<T> {
    let started = Instant::now();
    loop {
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
