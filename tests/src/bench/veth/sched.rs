//! Scheduling for steady figures: real time for what is measured, CPUs that never halt, and how long threads ran.

use std::{
    fs, io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use anyhow::{Context as _, Result};

use crate::cpu;

/// Who goes first among what is measured. Any real-time priority is above all fair threads.
#[derive(Clone, Copy, Debug)]
pub enum Priority {
    /// Ends what was begun before it lets anybody below go on.
    High = 11,
    /// Waits for those above.
    Low = 10,
}

/// Pins the calling thread, and makes it real-time (SCHED_RR) where that is permitted.
pub fn settle(nth_cpu: usize, priority: Priority) -> Result<()> {
    cpu::pin_to(nth_cpu)?;
    // Containers without CAP_SYS_NICE measure as well; the report says which it was.
    let _ = set_policy(0, libc::SCHED_RR, priority as i32);
    Ok(())
}

/// The same as [`settle`] for a process of one thread.
pub fn settle_process(process: u32, nth_cpu: usize, priority: Priority) -> Result<()> {
    cpu::pin_process_to(process, nth_cpu)?;
    let _ = set_policy(libc::pid_t::try_from(process)?, libc::SCHED_RR, priority as i32);
    Ok(())
}

/// Whether this process may have real-time threads.
pub fn realtime_is_permitted() -> bool {
    let attempt = thread::spawn(|| set_policy(0, libc::SCHED_RR, Priority::Low as i32).is_ok());
    attempt.join().unwrap_or(false)
}

fn set_policy(thread: libc::pid_t, policy: i32, priority: i32) -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: priority };
    // SAFETY: a system call that reads a live local.
    match unsafe { libc::sched_setscheduler(thread, policy, &parameters) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A thread per CPU that runs when nothing else wants to, so that no CPU halts: waking a halted virtual CPU takes
/// longer than all that is measured here.
#[derive(Debug)]
pub struct Spinners {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Spinners {
    /// Starts them. They end when this is dropped.
    pub fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..thread::available_parallelism().map_or(1, usize::from)).map(|nth| {
            let stop = Arc::clone(&stop);
            thread::spawn(move || {
                // Without the lowest priority it would take time from what is measured.
                if cpu::pin_to(nth).is_err() || set_policy(0, libc::SCHED_IDLE, 0).is_err() {
                    return;
                }
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            })
        });
        let threads = threads.collect();
        Self { stop, threads }
    }
}

impl Drop for Spinners {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // It does nothing that could panic.
            let _ = thread.join();
        }
    }
}

/// Number of the calling thread.
pub fn thread_id() -> u32 {
    // SAFETY: a system call without arguments.
    unsafe { libc::gettid() }.cast_unsigned()
}

/// Nanoseconds that the calling thread has run for, softirqs that interrupted it included.
pub fn own_run_time_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes to a live local.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned()
}

/// Nanoseconds that a thread of this process has run for.
pub fn thread_run_time_ns(thread: u32) -> Result<u64> {
    run_time(&format!("/proc/self/task/{thread}/schedstat"))
}

/// Nanoseconds that all threads of a process have run for.
pub fn process_run_time_ns(process: u32) -> Result<u64> {
    let directory = format!("/proc/{process}/task");
    let tasks = fs::read_dir(&directory).with_context(|| format!("can't list {directory}"))?;
    tasks.map(|task| run_time(&task?.path().join("schedstat").to_string_lossy())).sum()
}

fn run_time(path: &str) -> Result<u64> {
    let text = fs::read_to_string(path).with_context(|| format!("can't read {path}"))?;
    text.split(' ').next().and_then(|word| word.parse().ok()).with_context(|| format!("no number in {path}"))
}

/// Nanoseconds that the kernel's threads for softirqs have run for: they take over when there is much to do at once.
/// Zero where they can't be seen, as in a container.
pub fn softirq_threads_run_time_ns() -> f64 {
    let is_one = |path: &std::path::Path| {
        fs::read_to_string(path.join("comm")).is_ok_and(|name| name.starts_with("ksoftirqd/"))
    };
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path());
    let times = entries
        .filter(|path| is_one(path))
        .filter_map(|path| run_time(&path.join("schedstat").to_string_lossy()).ok());
    times.sum::<u64>() as f64
}
