//! The way of a decision inside the agent: from a check, through the queue, to the store.

use std::{
    net::Ipv4Addr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context as _, Result, ensure};
use lb_userspace::{
    agent::relay,
    desired::model::{Check, CheckKind},
    health::{Event, Report, Status, Target, Targets},
    publish::Liveness,
};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};

use crate::bench::samples::Tail;

/// Targets that die at once in [`Hop::all_at_once_us`].
pub const AT_ONCE: u32 = 1_000;
/// Between decisions: as in service, the agent's threads sleep before one.
const PAUSE: Duration = Duration::from_millis(2);
/// The agent's queue of events.
const QUEUE: usize = 1024;

/// Times from a check's decision to the call that stores it. The store itself is in the time of a failover.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Hop {
    /// How often it was measured.
    pub repetitions: usize,
    /// One decision, the agent idle before, us.
    pub one_us: Tail,
    /// The last of so many decisions at one moment, us.
    pub all_at_once_us: Tail,
}

/// When each store was called.
type Stored = Arc<Mutex<Vec<Instant>>>;

/// Measures single decisions, and a tenth as often many at once.
pub fn hop(repetitions: usize) -> Result<Hop> {
    // As the agent's own.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let measured = runtime.spawn(async move {
        let mut one = Vec::new();
        let mut all = Vec::new();
        let mut way = Way::start();
        for _ in 0..repetitions {
            one.push(way.send(1).await?);
        }
        for _ in 0..repetitions.div_ceil(10) {
            all.push(way.send(AT_ONCE).await?);
        }
        anyhow::Ok((one, all))
    });
    let (one, all) = runtime.block_on(measured)??;
    Ok(Hop { repetitions, one_us: Tail::of(&one), all_at_once_us: Tail::of(&all) })
}

/// The agent's tasks between a check and the store.
struct Way {
    events: mpsc::Sender<Event>,
    targets: Targets,
    stored: Stored,
    /// What the core would hear.
    heard: mpsc::UnboundedReceiver<lb_userspace::agent::Heard>,
    /// The relay reads it as long as this is there.
    _targets: watch::Sender<Targets>,
}

impl Way {
    fn start() -> Self {
        let targets: Targets = (1..=AT_ONCE).map(|id| (id, target(id))).collect();
        let (events, events_seen) = mpsc::channel(QUEUE);
        let (watched, targets_seen) = watch::channel(targets.clone());
        let (core, heard) = mpsc::unbounded_channel();
        let stored = Stored::default();
        let stamps = Arc::clone(&stored);
        let stamp = move |_, _| {
            stamps.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
            Ok(())
        };
        tokio::spawn(relay(events_seen, targets_seen, Liveness::new(stamp, []), core));
        Self { events, targets, stored, heard, _targets: watched }
    }

    /// Decides that so many targets are down; the time to the last store, us.
    async fn send(&mut self, count: u32) -> Result<f64> {
        tokio::time::sleep(PAUSE).await;
        let events: Vec<Event> =
            self.targets.iter().take(count as usize).map(|(id, target)| event(*id, target)).collect();
        let decided = Instant::now();
        for event in events {
            self.events.send(event).await.ok().context("the relay has ended")?;
        }
        for _ in 0..count {
            self.heard.recv().await.context("the relay has ended")?;
        }
        let stored = std::mem::take(&mut *self.stored.lock().unwrap_or_else(PoisonError::into_inner));
        ensure!(stored.len() == count as usize, "{} of {count} decisions were stored", stored.len());
        let last = stored.last().context("nothing was stored")?;
        Ok(last.duration_since(decided).as_secs_f64() * 1e6)
    }
}

fn target(id: u32) -> Target {
    let second = Duration::from_secs(1);
    let check = Check { kind: CheckKind::Tcp, port: 80, interval: second, timeout: second, rise: 2, fall: 3 };
    Target { address: Ipv4Addr::from(0x0a00_0000 + id).into(), check }
}

fn event(id: u32, target: &Target) -> Event {
    Event { id, target: target.clone(), up: false, report: Report::new(Status::Down, SystemTime::now()) }
}
