//! Clients that ask over HTTPS without a pause for anything: some on a connection for each request, some on kept ones.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result};
use lb_tests::{netns::Netns, topology::client_address};

use super::tls::{Answer, Connection, Identity};

/// Clients of each kind.
const CLIENTS: u16 = 6;
/// Between two requests of a client.
const PAUSE: Duration = Duration::from_millis(15);

/// What they have seen.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Answers by the backend and whether the connection was kept.
    pub by_backend: BTreeMap<(String, bool), usize>,
    /// Answers by the client's address.
    pub by_client: BTreeMap<IpAddr, usize>,
    /// Kept connections that a server ended, so that another took their place.
    pub reopened: usize,
    /// What went wrong.
    pub failed: Vec<String>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    seen: Mutex<Seen>,
}

/// Clients, until finished or dropped.
pub struct Clients {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<std::io::Result<Result<()>>>>,
}

impl Clients {
    /// Starts them, each with an address of its own.
    pub fn start(netns: &Netns, target: SocketAddr, identity: &Identity) -> Result<Self> {
        let mut this = Self { shared: Arc::default(), threads: Vec::new() };
        for number in 0..2 * CLIENTS {
            let client = Client {
                source: client_address(false, 1 + number),
                target,
                identity: identity.clone(),
                keeps: number % 2 == 0,
                shared: Arc::clone(&this.shared),
            };
            this.threads.push(netns.spawn("https", move || client.run())?);
        }
        Ok(this)
    }

    /// What they have seen so far.
    pub fn seen(&self) -> Seen {
        self.shared.lock().clone()
    }

    /// Lets the requests under way end.
    pub fn finish(mut self) -> Result<Seen> {
        self.stop()?;
        Ok(self.seen())
    }

    fn stop(&mut self) -> Result<()> {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().map_err(|_| anyhow::anyhow!("a client panicked"))?.context("no client")??;
        }
        Ok(())
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        // An error matters to who asks for the result, by `finish`.
        let _ = self.stop();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Seen> {
        // A panicking client fails its test anyway.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Client {
    source: IpAddr,
    target: SocketAddr,
    identity: Identity,
    keeps: bool,
    shared: Arc<Shared>,
}

impl Client {
    fn run(&self) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut kept = None;
        while !self.shared.stop.load(Ordering::Relaxed) {
            let result = self.request(&runtime, &mut kept);
            let mut seen = self.shared.lock();
            match result {
                Ok(answer) => {
                    *seen.by_backend.entry((answer.backend, self.keeps)).or_default() += 1;
                    *seen.by_client.entry(self.source).or_default() += 1;
                    seen.reopened += usize::from(self.keeps && answer.is_last);
                }
                Err(error) => seen.failed.push(format!("{}: {error:#}", self.source)),
            }
            drop(seen);
            thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// One request, on the connection that was kept or on a new one.
    fn request(&self, runtime: &tokio::runtime::Runtime, kept: &mut Option<Connection>) -> Result<Answer> {
        let mut connection = match kept.take() {
            Some(connection) => connection,
            None => runtime.block_on(Connection::open(&self.identity, self.source, self.target))?,
        };
        let answer = connection.get(if self.keeps { "keep-alive" } else { "close" })?;
        if self.keeps && !answer.is_last {
            *kept = Some(connection);
        } else {
            connection.end()?;
        }
        Ok(answer)
    }
}
