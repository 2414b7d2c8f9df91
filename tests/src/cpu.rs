//! Keeps a thread on one CPU, so that samples are of one cache.

use anyhow::{Result, ensure};

/// Pins this thread to the last of the CPUs that it may run on: the first has more of the system's own work.
pub fn pin_to_last() -> Result<()> {
    pin_to(std::thread::available_parallelism().map_or(1, usize::from) - 1)
}

/// Pins this thread to the nth of the CPUs that it may run on, counted round.
pub fn pin_to(nth: usize) -> Result<()> {
    pin(0, nth)
}

/// Pins a process of one thread like [`pin_to`].
pub fn pin_process_to(process: u32, nth: usize) -> Result<()> {
    pin(libc::pid_t::try_from(process)?, nth)
}

fn pin(thread: libc::pid_t, nth: usize) -> Result<()> {
    // SAFETY: all zeros is an empty set of CPUs.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is a live local of the size that is passed.
    let result = unsafe { libc::sched_getaffinity(0, size_of_val(&set), &mut set) };
    ensure!(result == 0, "sched_getaffinity: {}", std::io::Error::last_os_error());
    // SAFETY: as above, and the index is below the set's size.
    let allowed = (0..libc::CPU_SETSIZE as usize).filter(|cpu| unsafe { libc::CPU_ISSET(*cpu, &set) });
    let allowed: Vec<usize> = allowed.collect();
    ensure!(!allowed.is_empty(), "no CPU to run on");
    // SAFETY: as above.
    let result = unsafe {
        libc::CPU_ZERO(&mut set);
        libc::CPU_SET(allowed[nth % allowed.len()], &mut set);
        libc::sched_setaffinity(thread, size_of_val(&set), &set)
    };
    ensure!(result == 0, "sched_setaffinity: {}", std::io::Error::last_os_error());
    Ok(())
}
