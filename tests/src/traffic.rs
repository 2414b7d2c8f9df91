//! Load from many clients, and long-lived connections, with a record of what happened to each.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU16, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use crate::{client, netns::Netns, topology::client_address};

/// One request of a load.
#[derive(Clone, Debug)]
pub struct Request {
    /// When it began.
    pub started: Instant,
    /// How long it took.
    pub took: Duration,
    /// The backend that answered, or what went wrong.
    pub outcome: Result<String, String>,
}

/// Clients that send HTTP requests, each on a new connection from a new address, until stopped.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<std::io::Result<()>>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    requests: Mutex<Vec<Request>>,
    /// Of the streams: still open, by backend; and those that broke, with the reason.
    open: Mutex<BTreeMap<String, usize>>,
    broken: Mutex<Vec<String>>,
}

/// Long-lived responses that must not break.
#[derive(Debug)]
pub struct Streams {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<std::io::Result<()>>>,
}

impl Load {
    /// Starts `workers` at once, each of which pauses between its requests.
    pub fn start(client: &Netns, target: SocketAddr, workers: u16, pause: Duration) -> Result<Self> {
        let shared = Arc::<Shared>::default();
        let theirs = Arc::clone(&shared);
        let thread = client.spawn("load", move || block_on(run_load(theirs, target, workers, pause)))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Requests that ended so far.
    pub fn requests(&self) -> Vec<Request> {
        lock(&self.shared.requests).clone()
    }

    /// How many ended so far.
    pub fn count(&self) -> usize {
        lock(&self.shared.requests).len()
    }

    /// Successful requests per backend so far, and how many failed.
    pub fn tally(&self) -> (BTreeMap<String, usize>, usize) {
        let requests = lock(&self.shared.requests);
        let counts = by_backend(&*requests);
        let succeeded: usize = counts.values().sum();
        (counts, requests.len() - succeeded)
    }

    /// Lets the requests under way end and returns all.
    pub fn finish(mut self) -> Result<Vec<Request>> {
        finish(&self.shared, &mut self.thread)?;
        Ok(std::mem::take(&mut *lock(&self.shared.requests)))
    }
}

impl Streams {
    /// Opens `count` streams, and returns when all run.
    pub fn open(client: &Netns, target: SocketAddr, count: u16) -> Result<Self> {
        let shared = Arc::<Shared>::default();
        let theirs = Arc::clone(&shared);
        let thread = client.spawn("streams", move || block_on(run_streams(theirs, target, count)))?;
        let this = Self { shared, thread: Some(thread) };
        crate::wait::until_true("streams to open", || {
            Ok(this.open_by_backend().values().sum::<usize>() + this.broken().len() >= usize::from(count))
        })?;
        Ok(this)
    }

    /// Streams that run, by backend.
    pub fn open_by_backend(&self) -> BTreeMap<String, usize> {
        lock(&self.shared.open).clone()
    }

    /// What happened to those that broke.
    pub fn broken(&self) -> Vec<String> {
        lock(&self.shared.broken).clone()
    }

    /// Closes them and returns what happened to those that broke before.
    pub fn finish(mut self) -> Result<Vec<String>> {
        finish(&self.shared, &mut self.thread)?;
        Ok(self.broken())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // An error matters to who asks for the result, by `finish`.
        let _ = finish(&self.shared, &mut self.thread);
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        let _ = finish(&self.shared, &mut self.thread);
    }
}

/// Successful requests per backend.
pub fn by_backend<'a>(requests: impl IntoIterator<Item = &'a Request>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for name in requests.into_iter().filter_map(|request| request.outcome.as_ref().ok()) {
        *counts.entry(name.clone()).or_default() += 1;
    }
    counts
}

/// Failed requests, as text.
pub fn failures(requests: &[Request]) -> Vec<&str> {
    requests.iter().filter_map(|request| request.outcome.as_ref().err()).map(String::as_str).collect()
}

fn finish(shared: &Shared, thread: &mut Option<JoinHandle<std::io::Result<()>>>) -> Result<()> {
    shared.stop.store(true, Ordering::Relaxed);
    let Some(thread) = thread.take() else { return Ok(()) };
    match thread.join() {
        Ok(result) => result.context("the clients' thread did not start"),
        Err(_) => anyhow::bail!("a client panicked"),
    }
}

fn block_on(work: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime needs only an epoll descriptor").block_on(work);
}

/// Numbers for client addresses: every request of this process comes from another one.
fn next_client() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed) % 60_000 + 1
}

async fn run_load(shared: Arc<Shared>, target: SocketAddr, workers: u16, pause: Duration) {
    let mut tasks = tokio::task::JoinSet::new();
    for worker in 0..workers {
        let shared = Arc::clone(&shared);
        tasks.spawn(async move {
            // Spread over the pause, so that requests don't come in bursts.
            tokio::time::sleep(pause * worker.into() / workers.into()).await;
            while !shared.stop.load(Ordering::Relaxed) {
                let started = Instant::now();
                let result = client::get(client_address(target.is_ipv6(), next_client()), target, "/").await;
                let outcome = result.map(|response| response.backend).map_err(|error| format!("{error:#}"));
                lock(&shared.requests).push(Request { started, took: started.elapsed(), outcome });
                tokio::time::sleep(pause).await;
            }
        });
    }
    tasks.join_all().await;
}

async fn run_streams(shared: Arc<Shared>, target: SocketAddr, count: u16) {
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..count {
        let shared = Arc::clone(&shared);
        tasks.spawn(async move {
            if let Err(error) = run_stream(&shared, target).await {
                lock(&shared.broken).push(format!("{error:#}"));
            }
        });
    }
    tasks.join_all().await;
}

async fn run_stream(shared: &Shared, target: SocketAddr) -> Result<()> {
    let source = client_address(target.is_ipv6(), next_client());
    let (mut stream, name) = client::open_stream(source, target).await?;
    *lock(&shared.open).entry(name.clone()).or_default() += 1;
    let mut result = Ok(());
    while result.is_ok() && !shared.stop.load(Ordering::Relaxed) {
        result = client::read_tick(&mut stream).await;
    }
    if let Some(count) = lock(&shared.open).get_mut(&name) {
        *count -= 1;
    }
    result.with_context(|| format!("stream from {name}"))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // A panicking client fails its test anyway.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
