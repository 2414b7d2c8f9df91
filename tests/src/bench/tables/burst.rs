//! A burst: packets one after another on one CPU, while something is done on another.
//!
//! Both threads run before all ordinary ones (SCHED_FIFO), for milliseconds: else the other processes of their CPUs
//! would be measured. What still comes between, the host above all, shows as a gap between two stamps of the sender.

use std::{
    os::fd::BorrowedFd,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, ensure};

use super::world::{OUT_BYTES, backend_of, set_flow};
use crate::{
    cpu::{self, Realtime},
    lab::sys,
};

const XDP_TX: u32 = 3;
/// Packets before anything is done.
const WARM_UP: usize = 64;
/// How long a thread waits for the other to begin.
const BEGIN: Duration = Duration::from_secs(10);
/// Two stamps further apart than this are a stall of the machine.
pub const STALL_NS: u64 = 200_000;

/// One packet; times in ns since the burst began.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sent {
    /// Before the call that runs the program.
    pub started_ns: u64,
    /// After it. The program read its maps between the two.
    pub ended_ns: u64,
    /// The backend that the packet went to.
    pub backend: u32,
}

/// What was done on the other CPU; times in ns since the burst began.
#[derive(Clone, Copy, Debug)]
pub struct Done {
    /// When it began.
    pub called_ns: u64,
    /// When it returned.
    pub returned_ns: u64,
    /// Whether the machine kept it from running for longer than [`STALL_NS`].
    pub stalled: bool,
}

/// The frames of a burst, one after another and again from the first.
pub struct Frames {
    frames: Vec<Vec<u8>>,
    next: usize,
    /// The next frame's flow, if each is one of a new flow.
    flow: Option<u32>,
}

impl Frames {
    /// These frames.
    pub const fn of(frames: Vec<Vec<u8>>) -> Self {
        Self { frames, next: 0, flow: None }
    }

    /// One frame, each time of another flow, from this one on.
    pub fn of_flows_from(frame: Vec<u8>, flow: u32) -> Self {
        Self { frames: vec![frame], next: 0, flow: Some(flow) }
    }

    fn next(&mut self) -> &[u8] {
        let at = self.next;
        self.next = (at + 1) % self.frames.len();
        let frame = &mut self.frames[at];
        if let Some(flow) = &mut self.flow {
            set_flow(frame, *flow);
            *flow += 1;
        }
        frame
    }
}

/// What the two threads tell each other.
#[derive(Default)]
struct Signals {
    sending: AtomicBool,
    done: AtomicBool,
    failed: AtomicBool,
}

/// Sends frames, at most `room`, until it is `enough`, given the last packet and whether `act` has returned. That is
/// called on another CPU meanwhile.
///
/// # Errors
/// There is one CPU only, a packet is not forwarded, `act` fails, or it is never enough.
pub fn burst(
    program: BorrowedFd<'_>,
    frames: &mut Frames,
    room: usize,
    enough: impl FnMut(&Sent, bool) -> bool + Send,
    act: impl FnOnce() -> Result<()>,
) -> Result<(Done, Vec<Sent>)> {
    ensure!(thread::available_parallelism()?.get() > 1, "this takes two CPUs");
    let (signals, began) = (Signals::default(), Instant::now());
    thread::scope(|scope| {
        // Before this thread is pinned: the other one would share its CPU.
        let sender = scope.spawn(|| {
            let sent = send(program, frames, room, &signals, (began, enough));
            signals.failed.fetch_or(sent.is_err(), Ordering::Relaxed);
            sent
        });
        let done = cpu::pinned_to(0).and_then(|_pinned| act_when_sending(&signals, began, act));
        if done.is_err() {
            signals.failed.store(true, Ordering::Relaxed);
        }
        let sent = sender.join().map_err(|_| anyhow!("the sender panicked"))?;
        // Whoever fails makes the other fail: the first cause is the sender's, unless it was told to end.
        let sent = sent?;
        Ok((done?, sent.context("the sender was told to end")?))
    })
}

/// The sender's side. None if the other side failed.
fn send(
    program: BorrowedFd<'_>,
    frames: &mut Frames,
    room: usize,
    signals: &Signals,
    (began, mut enough): (Instant, impl FnMut(&Sent, bool) -> bool),
) -> Result<Option<Vec<Sent>>> {
    cpu::pin_to_last()?;
    // Written once before, so that no page fault comes between two packets.
    let mut sent = vec![Sent { started_ns: 1, ..Sent::default() }; room];
    let mut out = [0; OUT_BYTES];
    let _realtime = Realtime::begin()?;
    let ns = || began.elapsed().as_nanos() as u64;
    for count in 0..room {
        let frame = frames.next();
        let started_ns = ns();
        let action = sys::test_run(program, frame, &mut out).context("run the packet path")?;
        let ended_ns = ns();
        let backend = backend_of(&out).filter(|_| action == XDP_TX);
        let backend = backend.with_context(|| format!("packet {count} was not forwarded: {action}"))?;
        sent[count] = Sent { started_ns, ended_ns, backend };
        if count == WARM_UP {
            signals.sending.store(true, Ordering::Release);
        }
        if count > WARM_UP && enough(&sent[count], signals.done.load(Ordering::Acquire)) {
            sent.truncate(count + 1);
            return Ok(Some(sent));
        }
        if signals.failed.load(Ordering::Relaxed) {
            return Ok(None);
        }
    }
    anyhow::bail!("{room} packets did not show the change")
}

/// The other side.
fn act_when_sending(signals: &Signals, began: Instant, act: impl FnOnce() -> Result<()>) -> Result<Done> {
    while !signals.sending.load(Ordering::Acquire) {
        ensure!(!signals.failed.load(Ordering::Relaxed), "the sender failed");
        ensure!(began.elapsed() < BEGIN, "the sender does not begin");
        std::hint::spin_loop();
    }
    let _realtime = Realtime::begin()?;
    let before = Usage::now()?;
    let called_ns = began.elapsed().as_nanos() as u64;
    let acted = act();
    let returned_ns = began.elapsed().as_nanos() as u64;
    signals.done.store(true, Ordering::Release);
    let after = Usage::now()?;
    acted?;
    let stalled = after.stalled_since(before, returned_ns - called_ns);
    Ok(Done { called_ns, returned_ns, stalled })
}

/// What this thread has used so far.
#[derive(Clone, Copy)]
struct Usage {
    /// Time that it ran, without what the host took, ns.
    ran_ns: u64,
    /// How often it waited for something.
    waits: i64,
}

impl Usage {
    fn now() -> Result<Self> {
        let mut ran = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: all zeros is a valid rusage.
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        // SAFETY: two system calls that fill a live local each.
        let results = unsafe {
            [
                libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut ran),
                libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage),
            ]
        };
        ensure!(results == [0, 0], "thread clock: {}", std::io::Error::last_os_error());
        Ok(Self { ran_ns: ran.tv_sec as u64 * 1_000_000_000 + ran.tv_nsec as u64, waits: usage.ru_nvcsw })
    }

    /// Whether the thread neither ran nor waited for longer than [`STALL_NS`] of so much time: it could have run. One that
    /// works or waits for long has only itself to blame.
    const fn stalled_since(self, before: Self, elapsed_ns: u64) -> bool {
        self.waits == before.waits && elapsed_ns.saturating_sub(self.ran_ns - before.ran_ns) > STALL_NS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_could_have_run_was_stalled() {
        let before = Usage { ran_ns: 5_000, waits: 2 };
        let ran = |ran_ns: u64, waits| Usage { ran_ns: 5_000 + ran_ns, waits };
        assert!(ran(3_000, 2).stalled_since(before, 900_000));
        assert!(!ran(3_000, 3).stalled_since(before, 900_000), "it waited, for a lock perhaps");
        assert!(!ran(890_000, 2).stalled_since(before, 900_000), "it worked");
        assert!(!ran(3_000, 2).stalled_since(before, 4_000));
    }
}
