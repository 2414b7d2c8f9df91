//! The task that owns the state: takes in commands, health and next hops, and has the packet path follow.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};

use super::{
    State,
    handle::Call,
    plane::{self, Done, PlaneHandle, Seen},
    relay::Heard,
};
use crate::{
    api::view::Outcome,
    config,
    desired::{model::Desired, store::Store},
    error::Error,
    health::{Reports, Targets},
    net::{Links, NextHop, NextHops},
    table::merge::{self, Inputs},
};

/// How long the first publication waits for the next hops of all backends. The packet path has the former agent's
/// entries until then.
const FIRST_HOPS: Duration = Duration::from_secs(2);
/// Time until a failed publication is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// What arrives.
pub(super) struct Inbox {
    /// From the API.
    pub calls: mpsc::Receiver<Call>,
    /// From the checks, by way of [`super::relay`].
    pub health: mpsc::UnboundedReceiver<Heard>,
    /// Next hops.
    pub hops: watch::Receiver<NextHops>,
    /// Interfaces of this host.
    pub links: watch::Receiver<Links>,
    /// Results of checks.
    pub reports: watch::Receiver<Reports>,
    /// What is seen of the packet path.
    pub seen: watch::Receiver<Seen>,
    /// Snapshots that were dealt with.
    pub done: mpsc::Receiver<Done>,
}

/// Whom the core tells.
pub(super) struct Outbox {
    /// The packet path.
    pub plane: PlaneHandle,
    /// Addresses to resolve.
    pub addresses: watch::Sender<std::collections::BTreeSet<std::net::IpAddr>>,
    /// Targets to check.
    pub targets: watch::Sender<Targets>,
}

/// A command that is stored and waits to be published.
struct Waiter {
    generation: u64,
    deadline: Instant,
    outcome: Outcome,
    answer: oneshot::Sender<Result<Outcome, Error>>,
}

/// The owner of the state.
pub(super) struct Core {
    pub(super) store: Store,
    pub(super) state: State,
    pub(super) outbox: Outbox,
    /// Number of the current state; each change raises it.
    generation: u64,
    /// Number of the state that the packet path has.
    published: u64,
    /// When to publish next; none if there is nothing to.
    due: Option<Instant>,
    /// Whether a snapshot is being published.
    publishing: bool,
    /// Whether the first snapshot still waits for next hops.
    first: bool,
    /// When to attach to the wanted interfaces next; none if all is well.
    pub(super) attach_due: Option<Instant>,
    /// Indices of the wanted interfaces, as far as they exist.
    wanted_links: Links,
    /// When a slow start takes its next step.
    next_step: Option<Instant>,
    waiters: Vec<Waiter>,
    /// Backends whose drain is over and was logged.
    pub(super) told: BTreeSet<u32>,
}

impl Core {
    pub(super) fn new(store: Store, state: State, outbox: Outbox) -> Self {
        let due = Some(Instant::now() + FIRST_HOPS);
        let (generation, published) = (1, 0);
        let (publishing, first) = (false, true);
        Self {
            store,
            state,
            outbox,
            generation,
            published,
            due,
            publishing,
            first,
            attach_due: None,
            wanted_links: Links::new(),
            next_step: None,
            waiters: Vec::new(),
            told: BTreeSet::new(),
        }
    }

    /// Takes in what arrives until nobody can call any more.
    ///
    /// # Errors
    /// The publishing thread has ended: nothing that is decided would reach the packet path.
    pub(super) async fn run(mut self, mut inbox: Inbox) -> Result<(), Error> {
        let mut reconcile = tokio::time::interval_at(Instant::now() + config::RECONCILE, config::RECONCILE);
        self.hops(inbox.hops.borrow_and_update().clone());
        loop {
            let wake = self.next_wake();
            tokio::select! {
                call = inbox.calls.recv() => match call {
                    Some(Call::Command(command, answer)) => self.command(command, answer).await,
                    Some(Call::Preview(command, answer)) => {
                        // The client may have gone.
                        let _ = answer.send(self.preview(&command).await);
                    }
                    Some(Call::Read(look)) => {
                        self.refresh(&inbox);
                        look(&self.state);
                    }
                    None => return Ok(()),
                },
                Some(heard) = inbox.health.recv() => self.health(&heard),
                Ok(()) = inbox.hops.changed() => self.hops(inbox.hops.borrow_and_update().clone()),
                Ok(()) = inbox.seen.changed() => {
                    self.state.seen = inbox.seen.borrow_and_update().clone();
                    self.supervise_drains();
                }
                done = inbox.done.recv() => self.published(done.ok_or_else(plane::gone)?),
                Ok(()) = inbox.links.changed() => self.links(&inbox.links.borrow_and_update()),
                () = tokio::time::sleep_until(wake) => {}
                _ = reconcile.tick() => self.reconcile().await,
            }
            if self.attach_due.is_some_and(|due| due <= Instant::now()) {
                self.attach_wanted().await;
            }
            self.step_if_due();
            self.publish_if_due();
            self.answer_waiters();
        }
    }

    /// Takes over what others write without telling.
    fn refresh(&mut self, inbox: &Inbox) {
        self.state.seen = self.outbox.plane.seen.borrow().clone();
        self.state.reports = inbox.reports.borrow().clone();
    }

    fn next_wake(&self) -> Instant {
        let due = self.due.filter(|_| !self.publishing);
        let answers = self.waiters.iter().map(|waiter| waiter.deadline).min();
        due.into_iter()
            .chain(self.attach_due)
            .chain(self.next_step)
            .chain(answers)
            .min()
            .unwrap_or_else(|| Instant::now() + config::RECONCILE)
    }

    fn health(&mut self, Heard { event, decided }: &Heard) {
        self.state.known_until = self.state.known_until.max(decided.unwrap_or_default());
        if self.state.assignments.target(&event.target) != Some(event.id) {
            return;
        }
        let word = if event.up { "up" } else { "down" };
        log::info!("{} is {word}: {}", event.target.address, event.report.last_result);
        if self.state.liveness.insert(event.id, event.up) != Some(event.up) {
            self.touch();
        }
    }

    fn hops(&mut self, hops: NextHops) {
        for (address, hop) in &hops {
            if let NextHop::Unresolved(reason) = hop
                && self.state.hops.get(address) != Some(hop)
            {
                let reason = reason.strip_prefix(&format!("{address}: ")).unwrap_or(reason);
                log::info!("next hop of {address}: {reason}");
            }
        }
        if self.state.hops != hops {
            self.state.hops = hops;
            self.touch();
        }
        let resolved =
            |address| matches!(self.state.hops.get(address), Some(NextHop::Resolved(_) | NextHop::Local));
        if self.first && self.state.addresses().iter().all(resolved) {
            self.first = false;
            self.due = Some(Instant::now());
        }
    }

    /// Interfaces came or went: attaches at once if it is one that is wanted.
    fn links(&mut self, links: &Links) {
        let interfaces = &self.state.desired.interfaces;
        let wanted = links.iter().filter(|(_, name)| interfaces.contains_key(*name));
        let wanted: Links = wanted.map(|(ifindex, name)| (*ifindex, name.clone())).collect();
        if self.wanted_links != wanted {
            self.wanted_links = wanted;
            self.attach_due = Some(Instant::now());
        }
    }

    /// The state is another: publish soon, together with what else changes meanwhile.
    pub(super) fn touch(&mut self) {
        self.generation += 1;
        let soon = Instant::now() + config::COALESCE;
        self.due = Some(self.due.unwrap_or(soon));
    }

    /// Takes over a new desired state, which is stored already.
    pub(super) fn adopt(&mut self, desired: Desired) {
        let before = std::mem::replace(&mut self.state.desired, desired);
        let old = self.state.assignments.clone();
        let state = &mut self.state;
        state.assignments.update(&state.desired, &state.hops);
        merge::inherit(&before, &state.desired, &old, &state.assignments, &mut state.liveness);
        self.outbox.addresses.send_if_modified(|addresses| {
            let wanted = self.state.addresses();
            let modified = *addresses != wanted;
            *addresses = wanted;
            modified
        });
        self.outbox.targets.send_if_modified(|targets| {
            let wanted = self.state.assignments.checked();
            let modified = *targets != wanted;
            *targets = wanted;
            modified
        });
        self.touch();
    }

    fn publish_if_due(&mut self) {
        if self.publishing || self.due.is_none_or(|due| Instant::now() < due) {
            return;
        }
        (self.due, self.first) = (None, false);
        self.state.assignments.update(&self.state.desired, &self.state.hops);
        let rising = self.rise();
        let State { desired, assignments, liveness, known_until, hops, held, .. } = &self.state;
        let snapshot = merge::merge(Inputs {
            desired,
            assignments,
            liveness,
            known_until: *known_until,
            hops,
            held,
            rising: &rising,
        });
        match self.outbox.plane.apply(self.generation, snapshot) {
            Ok(()) => self.publishing = true,
            Err(error) => self.publish_failed(&error),
        }
    }

    /// Takes in who begins to take traffic; the backends in a slow start, and since when.
    fn rise(&mut self) -> BTreeMap<u32, Duration> {
        let now = Instant::now();
        let State { desired, assignments, liveness, rising, .. } = &mut self.state;
        rising.update(desired, assignments, liveness, now.into_std());
        self.next_step = rising.next_step(desired, now.into_std()).map(Instant::from_std);
        rising.elapsed(now.into_std())
    }

    fn step_if_due(&mut self) {
        if self.next_step.is_some_and(|next| next <= Instant::now()) {
            self.next_step = None;
            self.touch();
        }
    }

    fn published(&mut self, done: Done) {
        self.publishing = false;
        match done.result {
            Ok(()) => {
                self.published = done.generation;
                self.state.held = done.snapshot.backends;
                self.state.publish_problem = None;
            }
            Err(error) => self.publish_failed(&error),
        }
    }

    fn publish_failed(&mut self, error: &Error) {
        log::error!("publish: {error}");
        self.state.publish_problem = Some(error.message.clone());
        self.due = Some(Instant::now() + RETRY);
    }

    /// Compares everything, so that a half-done step or a foreign change heals.
    async fn reconcile(&mut self) {
        self.attach_wanted().await;
        if let Err(error) = self.outbox.plane.resync() {
            log::error!("{error}");
        }
        self.touch();
    }

    /// Answers a command once its state is published.
    pub(super) fn answer_later(&mut self, outcome: Outcome, answer: oneshot::Sender<Result<Outcome, Error>>) {
        let deadline = Instant::now() + config::PUBLISH_WAIT;
        self.waiters.push(Waiter { generation: self.generation, deadline, outcome, answer });
    }

    fn answer_waiters(&mut self) {
        let (now, published) = (Instant::now(), self.published);
        let ready =
            self.waiters.extract_if(.., |waiter| waiter.generation <= published || waiter.deadline <= now);
        for Waiter { generation, outcome, answer, .. } in ready {
            let problems = self.state.publish_problem.iter().cloned().collect();
            let outcome = Outcome { published: generation <= published, problems, ..outcome };
            // The client may have gone.
            let _ = answer.send(Ok(outcome));
        }
    }
}

#[cfg(test)]
#[path = "core_tests.rs"]
mod tests;
