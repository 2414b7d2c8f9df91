//! Keeps a thread on one CPU, so that samples are of one cache, and ahead of others for moments.

use std::{io, marker::PhantomData};

use anyhow::{Context as _, Result, ensure};

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
    let set = allowed()?;
    // SAFETY: the index is below the set's size.
    let cpus = (0..libc::CPU_SETSIZE as usize).filter(|cpu| unsafe { libc::CPU_ISSET(*cpu, &set) });
    let cpus: Vec<usize> = cpus.collect();
    ensure!(!cpus.is_empty(), "no CPU to run on");
    // SAFETY: all zeros is an empty set, and the index is below its size.
    let one = unsafe {
        let mut one: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpus[nth % cpus.len()], &mut one);
        one
    };
    allow(thread, &one)
}

/// [`pin_to`], until the guard is dropped.
pub fn pinned_to(nth: usize) -> Result<Pinned> {
    let before = allowed()?;
    pin_to(nth)?;
    Ok(Pinned { before, _of_this_thread: PhantomData })
}

/// This thread is pinned; dropped, it may run where it might before.
#[derive(Debug)]
pub struct Pinned {
    before: libc::cpu_set_t,
    _of_this_thread: PhantomData<*const ()>,
}

impl Drop for Pinned {
    fn drop(&mut self) {
        if let Err(error) = allow(0, &self.before) {
            eprintln!("can't give a thread its CPUs back: {error}");
        }
    }
}

/// CPUs that this thread may run on.
fn allowed() -> Result<libc::cpu_set_t> {
    // SAFETY: all zeros is an empty set of CPUs.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is a live local of the size that is passed.
    let result = unsafe { libc::sched_getaffinity(0, size_of_val(&set), &raw mut set) };
    ensure!(result == 0, "sched_getaffinity: {}", io::Error::last_os_error());
    Ok(set)
}

/// The CPUs that a thread may run on from now on; 0 is this thread.
fn allow(thread: libc::pid_t, set: &libc::cpu_set_t) -> Result<()> {
    // SAFETY: the set lives through the call and has the size that is passed.
    let result = unsafe { libc::sched_setaffinity(thread, size_of_val(set), set) };
    ensure!(result == 0, "sched_setaffinity: {}", io::Error::last_os_error());
    Ok(())
}

/// This thread runs before all ordinary ones until the guard is dropped. Nothing else runs on its CPU meanwhile: for
/// moments of milliseconds only.
#[derive(Debug)]
pub struct Realtime {
    /// The guard belongs to its thread.
    _of_this_thread: PhantomData<*const ()>,
}

impl Realtime {
    /// Begins it, in the class SCHED_FIFO at the lowest priority.
    pub fn begin() -> Result<Self> {
        schedule(libc::SCHED_FIFO, 1).context("sched_setscheduler (needs CAP_SYS_NICE)")?;
        Ok(Self { _of_this_thread: PhantomData })
    }
}

impl Drop for Realtime {
    fn drop(&mut self) {
        if let Err(error) = schedule(libc::SCHED_OTHER, 0) {
            eprintln!("can't leave SCHED_FIFO: {error}");
        }
    }
}

fn schedule(policy: libc::c_int, priority: libc::c_int) -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: priority };
    // SAFETY: the parameters are a live local; 0 is this thread.
    let result = unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_gets_its_cpus_back() {
        let cpus = || std::thread::available_parallelism().unwrap().get();
        let before = cpus();
        let pinned = pinned_to(0).unwrap();
        assert_eq!(cpus(), 1);
        drop(pinned);
        assert_eq!(cpus(), before);
    }
}
