//! Runs the checks: one task per target, started and stopped as targets come and go.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{
    sync::{Semaphore, mpsc, watch},
    task::JoinHandle,
    time::{Instant, sleep_until, timeout},
};

use super::{
    Event, Outcome, Report, Reports, Status, Target, Targets,
    http::{self, Question},
    limit, schedule,
    state::State,
    tcp,
};
use crate::desired::model::CheckKind;

/// Checks at once of targets that take no traffic: for those nobody counts milliseconds, and there may be
/// thousands of them at the start. Checks of targets in rotation never wait, so the bound on failover holds
/// whatever their number.
const MAX_IDLE_CHECKS: usize = 256;
/// A check that starts later than planned by more than this moves the beat.
const MAX_LAG: Duration = Duration::from_millis(20);

/// Checks `targets` until their sender or the receiver of `events` is gone.
///
/// `initial` is what was known before, of targets that were in the packet path when the agent started: such a
/// target keeps its state until its checks say otherwise. Others begin as [`Status::New`], or carry over a state
/// ([`carry_over`]). An event is sent for each change, and for each state that a target begins with and that is not from
/// `initial`: whatever became of earlier events, the last one of a target says what it is.
/// `reports` always holds what is known.
pub async fn run(
    mut targets: watch::Receiver<Targets>,
    initial: BTreeMap<u32, bool>,
    events: mpsc::Sender<Event>,
    reports: watch::Sender<Reports>,
) {
    limit::raise_open_files();
    let shared = Arc::new(Shared { events: events.clone(), reports, gate: Semaphore::new(MAX_IDLE_CHECKS) });
    let mut checks = Checks { running: BTreeMap::new(), initial, shared };
    loop {
        let wanted = targets.borrow_and_update().clone();
        checks.update(&wanted).await;
        // Ids that come later are of other targets.
        checks.initial.clear();
        tokio::select! {
            changed = targets.changed() => if changed.is_err() { return },
            () = events.closed() => return,
        }
    }
}

/// The states that the targets of `new` begin with when their check was edited: a target keeps its id's state as
/// long as the address is the same; one with another id takes over from a target of the same address whose check
/// differs in timing only, or which is gone now. So no edit of a check takes backends out for a moment.
pub fn carry_over(old: &Targets, known: &BTreeMap<u32, Status>, new: &Targets) -> BTreeMap<u32, Status> {
    let mut by_address: HashMap<IpAddr, Vec<u32>> = HashMap::new();
    for (id, before) in old {
        by_address.entry(before.address).or_default().push(*id);
    }
    let precedes = |old_id: u32, target: &Target| {
        let before = &old[&old_id];
        let same = (before.check.port, &before.check.kind) == (target.check.port, &target.check.kind);
        same || new.get(&old_id) != Some(before)
    };
    let from = |id: u32, target: &Target| {
        if let Some(before) = old.get(&id) {
            return known.get(&id).copied().filter(|_| before.address == target.address);
        }
        let mut earlier = by_address.get(&target.address)?.iter().filter(|old_id| precedes(**old_id, target));
        earlier.find_map(|old_id| known.get(old_id)).copied()
    };
    new.iter()
        .filter_map(|(id, target)| match from(*id, target)? {
            // Whether an unchecked backend answers is not known, but it was in use.
            Status::Unchecked | Status::Up => Some((*id, Status::Up)),
            Status::Down => Some((*id, Status::Down)),
            Status::New => None,
        })
        .collect()
}

/// What all checks share.
struct Shared {
    events: mpsc::Sender<Event>,
    reports: watch::Sender<Reports>,
    gate: Semaphore,
}

impl Shared {
    /// Shows a report and, if the target went up or down, tells.
    async fn publish(&self, id: u32, target: &Target, report: &Report, changed: bool) {
        self.reports.send_modify(|reports| {
            reports.insert(id, report.clone());
        });
        if changed {
            let event =
                Event { id, target: target.clone(), up: report.status.is_up(), report: report.clone() };
            // Without a receiver `run` is about to end.
            let _ = self.events.send(event).await;
        }
    }
}

/// A target under check. Dropping it stops the task.
struct Running {
    target: Target,
    task: Option<JoinHandle<()>>,
}

impl Running {
    fn abort(&self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }

    /// Stops the task and waits until it can't publish any more.
    async fn stop(mut self) {
        self.abort();
        if let Some(task) = self.task.take() {
            let _ = task.await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.abort();
    }
}

struct Checks {
    running: BTreeMap<u32, Running>,
    initial: BTreeMap<u32, bool>,
    shared: Arc<Shared>,
}

impl Checks {
    /// Starts and stops tasks until exactly the wanted targets are checked.
    async fn update(&mut self, wanted: &Targets) {
        let old = self.running.iter().map(|(id, running)| (*id, running.target.clone())).collect();
        let leaving = self.running.extract_if(.., |id, running| wanted.get(id) != Some(&running.target));
        let leaving: Vec<(u32, Running)> = leaving.collect();
        for (_, running) in &leaving {
            running.abort();
        }
        let mut gone = BTreeSet::new();
        for (id, running) in leaving {
            running.stop().await;
            gone.insert(id);
        }
        // Only now: a task may have decided until it was stopped, and its event be lost.
        let known = self.shared.reports.borrow().iter().map(|(id, report)| (*id, report.status)).collect();
        let carried = carry_over(&old, &known, wanted);
        self.shared.reports.send_modify(|reports| reports.retain(|id, _| !gone.contains(id)));
        for (id, target) in wanted {
            if !self.running.contains_key(id) {
                let running = self.start(*id, target.clone(), carried.get(id).copied()).await;
                self.running.insert(*id, running);
            }
        }
    }

    async fn start(&mut self, id: u32, target: Target, carried: Option<Status>) -> Running {
        let initial = self.initial.remove(&id);
        let status = match (&target.check.kind, initial) {
            (CheckKind::None, _) => Status::Unchecked,
            (_, Some(true)) => Status::Up,
            (_, Some(false)) => Status::Down,
            (_, None) => carried.unwrap_or(Status::New),
        };
        let state = State::new(target.check.rise, target.check.fall, status, SystemTime::now());
        let tell = status != Status::New && initial != Some(status.is_up());
        self.shared.publish(id, &target, state.report(), tell).await;
        let task = (status != Status::Unchecked).then(|| {
            let checker = Checker { id, target: target.clone(), state, shared: self.shared.clone() };
            tokio::spawn(checker.run())
        });
        Running { target, task }
    }
}

/// The task of one target.
struct Checker {
    id: u32,
    target: Target,
    state: State,
    shared: Arc<Shared>,
}

impl Checker {
    async fn run(mut self) {
        let phase = schedule::phase(self.target.check.interval, self.id);
        let mut start = Instant::now();
        // A new target is checked at once, and finds its place in the beat with its second check.
        let mut longest = phase;
        if self.state.report().status != Status::New {
            start += phase;
            longest = Duration::MAX;
        }
        loop {
            sleep_until(start).await;
            let began = self.check().await;
            let spacing = schedule::spacing(&self.target.check, self.state.is_failing());
            let base = if began.duration_since(start) > MAX_LAG { began } else { start };
            start = base + spacing.min(longest);
            longest = Duration::MAX;
        }
    }

    /// One check, its result recorded and published. Gives the moment at which it began.
    async fn check(&mut self) -> Instant {
        let permit = if self.state.report().status.is_up() {
            None
        } else {
            // The semaphore is never closed.
            self.shared.gate.acquire().await.ok()
        };
        let began = Instant::now();
        let outcome = probe(&self.target).await;
        let took = began.elapsed();
        drop(permit);
        let changed = self.state.record(outcome, took, SystemTime::now());
        self.shared.publish(self.id, &self.target, self.state.report(), changed).await;
        began
    }
}

/// Makes one check within its time limit.
async fn probe(target: &Target) -> Outcome {
    let address = SocketAddr::new(target.address, target.check.port);
    let attempt = async {
        match &target.check.kind {
            CheckKind::None => Outcome::Success(String::new()),
            CheckKind::Tcp => tcp::check(address).await,
            CheckKind::Http { path, status, host } => {
                http::check(address, &Question { path, host: host.as_deref(), status: *status }).await
            }
        }
    };
    timeout(target.check.timeout, attempt).await.unwrap_or_else(|_| {
        Outcome::Failure(format!("no answer within {} ms", target.check.timeout.as_millis()))
    })
}

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
