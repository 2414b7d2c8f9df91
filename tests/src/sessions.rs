//! Long TCP connections with steady traffic in both directions, and how long each answer took.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    time::timeout,
};

use crate::{client, netns::Netns, topology::client_address, wait};

/// Pause of each session between an answer and the next line.
const PAUSE: Duration = Duration::from_millis(100);
/// A session without an answer for so long is broken.
const PATIENCE: Duration = Duration::from_secs(20);
/// Sessions that are being opened at once.
const OPENING: usize = 50;

/// Sessions with echo servers, until stopped.
#[derive(Debug)]
pub struct Sessions {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<std::io::Result<()>>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    state: Mutex<State>,
}

/// What sessions saw so far.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Sessions by the backend that greeted them.
    pub opened: BTreeMap<String, usize>,
    /// What happened to those that broke.
    pub broken: Vec<String>,
    /// Answers to all of them.
    pub answers: u64,
    /// Answers that took longer than 200 ms.
    pub slow: u64,
    /// The slowest.
    pub slowest: Duration,
}

/// What counts as slow.
const SLOW: Duration = Duration::from_millis(200);

impl Sessions {
    /// Opens `count` sessions with an echo server, and returns when all of them run.
    pub fn open(client: &Netns, target: SocketAddr, count: u16) -> Result<Self> {
        let shared = Arc::<Shared>::default();
        let theirs = Arc::clone(&shared);
        let thread = client.spawn("sessions", move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.expect("a runtime needs only an epoll descriptor");
            runtime.block_on(run_all(theirs, target, count));
        })?;
        let this = Self { shared, thread: Some(thread) };
        wait::until("sessions to open", || {
            let state = this.state();
            ensure!(state.broken.is_empty(), "{:?}", state.broken);
            let open: usize = state.opened.values().sum();
            ensure!(open == usize::from(count), "{open} of {count}");
            Ok(())
        })?;
        Ok(this)
    }

    /// What they saw so far.
    pub fn state(&self) -> State {
        self.shared.lock().clone()
    }

    /// Waits until each session has had about this many more answers.
    pub fn go_on(&self, answers_each: u64) -> Result<()> {
        let state = self.state();
        let wanted = state.answers + answers_each * state.opened.values().sum::<usize>() as u64;
        wait::until("sessions to go on", || {
            let state = self.state();
            ensure!(state.answers >= wanted, "{} answers, broken: {:?}", state.answers, state.broken);
            Ok(())
        })
    }

    /// Ends them.
    pub fn finish(mut self) -> Result<State> {
        self.stop()?;
        Ok(self.state())
    }

    fn stop(&mut self) -> Result<()> {
        self.shared.stop.store(true, Ordering::Relaxed);
        match self.thread.take().map(JoinHandle::join) {
            Some(Err(_)) => bail!("a session panicked"),
            Some(Ok(result)) => result.context("the sessions' thread did not start"),
            None => Ok(()),
        }
    }
}

impl Drop for Sessions {
    fn drop(&mut self) {
        // An error matters to who asks for the result, by `finish`.
        let _ = self.stop();
    }
}

impl Shared {
    fn note(&self, took: Duration) {
        let mut state = self.lock();
        state.answers += 1;
        state.slow += u64::from(took > SLOW);
        state.slowest = state.slowest.max(took);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // A panicking session fails its test anyway.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn run_all(shared: Arc<Shared>, target: SocketAddr, count: u16) {
    let opening = Arc::new(tokio::sync::Semaphore::new(OPENING));
    let mut tasks = tokio::task::JoinSet::new();
    for number in 1..=count {
        let (shared, opening) = (Arc::clone(&shared), Arc::clone(&opening));
        tasks.spawn(async move {
            if let Err(error) = run(&shared, &opening, target, number).await {
                shared.lock().broken.push(format!("session {number}: {error:#}"));
            }
        });
    }
    tasks.join_all().await;
}

async fn run(
    shared: &Shared,
    opening: &tokio::sync::Semaphore,
    target: SocketAddr,
    number: u16,
) -> Result<()> {
    let permit = opening.acquire().await?;
    let source = client_address(target.is_ipv6(), number);
    let mut stream = BufReader::new(client::connect(source, target).await?);
    let mut backend = String::new();
    timeout(PATIENCE, stream.read_line(&mut backend)).await.context("no greeting")??;
    drop(permit);
    *shared.lock().opened.entry(backend.trim_end().to_owned()).or_default() += 1;
    let mut line = 0u64;
    while !shared.stop.load(Ordering::Relaxed) {
        let took =
            exchange(&mut stream, line).await.with_context(|| format!("with {}", backend.trim_end()))?;
        shared.note(took);
        line += 1;
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

/// One line and its echo.
async fn exchange(stream: &mut BufReader<TcpStream>, line: u64) -> Result<Duration> {
    let (started, sent, mut echoed) = (Instant::now(), format!("{line}\n"), String::new());
    stream.write_all(sent.as_bytes()).await?;
    timeout(PATIENCE, stream.read_line(&mut echoed)).await.context("silent")??;
    ensure!(echoed == sent, "sent {sent:?}, got {echoed:?} back");
    Ok(started.elapsed())
}
