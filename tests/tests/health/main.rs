//! Health checks of a backend on another host that dies in the ways backends die.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpListener},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use lb_tests::{netns::Netns, topology::Topology, wait};
use lb_userspace::{
    desired::model::{Check, CheckKind},
    health::{self, Event, Reports, Target, Targets, schedule},
};
use tokio::sync::{mpsc, watch};

const PORT: u16 = 8080;

fn check(kind: CheckKind) -> Check {
    let (interval, timeout) = (Duration::from_millis(200), Duration::from_millis(100));
    Check { kind, port: PORT, interval, timeout, rise: 2, fall: 3 }
}

fn http() -> CheckKind {
    CheckKind::Http { path: "/".into(), status: (200, 299), host: None }
}

/// Checks that run inside a namespace, until dropped.
struct Checking {
    targets: Option<watch::Sender<Targets>>,
    events: mpsc::Receiver<Event>,
    reports: watch::Receiver<Reports>,
    thread: Option<thread::JoinHandle<std::io::Result<std::io::Result<()>>>>,
}

impl Checking {
    fn start(netns: &Netns, targets: Targets) -> Result<Self> {
        let (targets, targets_seen) = watch::channel(targets);
        let (events_out, events) = mpsc::channel(64);
        let (reports_out, reports) = watch::channel(Reports::new());
        let thread = netns.spawn("checks", move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(health::run(targets_seen, BTreeMap::new(), events_out, reports_out));
            Ok(())
        })?;
        Ok(Self { targets: Some(targets), events, reports, thread: Some(thread) })
    }

    /// Waits until `wanted` targets have told that they are up, or down; gives when the last one did.
    fn wait(&mut self, mut wanted: BTreeMap<u32, bool>) -> Result<Instant> {
        wait::until("the checks to decide", || {
            while let Ok(event) = self.events.try_recv() {
                if wanted.get(&event.id) == Some(&event.up) {
                    wanted.remove(&event.id);
                }
            }
            ensure!(wanted.is_empty(), "still waiting for {wanted:?}: {:?}", *self.reports.borrow());
            Ok(Instant::now())
        })
    }

    fn last_result(&self, id: u32) -> Result<String> {
        Ok(self.reports.borrow().get(&id).context("no report")?.last_result.clone())
    }
}

impl Drop for Checking {
    fn drop(&mut self) {
        self.targets.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Answers each connection with "200 OK", until the test ends.
fn serve(netns: &Netns, address: IpAddr) -> Result<()> {
    let listener = netns.enter(|| TcpListener::bind(SocketAddr::new(address, PORT)))??;
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                // A TCP check sends nothing.
                if matches!(stream.read(&mut [0; 1024]), Ok(1..)) {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
                }
            });
        }
    });
    Ok(())
}

/// Both kinds of check of both addresses of the backend, by target id.
fn targets(topology: &Topology) -> Targets {
    let backend = &topology.backends[0];
    let both = |id, address: IpAddr| {
        [
            (id, Target { address, check: check(CheckKind::Tcp) }),
            (id + 1, Target { address, check: check(http()) }),
        ]
    };
    both(1, backend.v4.into()).into_iter().chain(both(3, backend.v6.into())).collect()
}

fn all(up: bool) -> BTreeMap<u32, bool> {
    (1..=4).map(|id| (id, up)).collect()
}

#[test]
fn a_host_that_falls_silent_is_taken_out_and_comes_back() -> Result<()> {
    let topology = Topology::two_arm(1)?;
    let backend = &topology.backends[0];
    serve(&backend.netns, backend.v4.into())?;
    serve(&backend.netns, backend.v6.into())?;
    let mut checking = Checking::start(&topology.lb, targets(&topology))?;
    checking.wait(all(true))?;
    // Its answers vanish: every check runs into its time limit.
    backend.netns.ip(&["route add blackhole 10.2.0.1/32", "route add blackhole fd00:2:0::1/128"])?;
    let died = Instant::now();
    let down = checking.wait(all(false))?;
    let bound = schedule::down_within(&check(CheckKind::Tcp));
    println!("down {:?} after the last answer, bound {bound:?}", down - died);
    for id in 1..=4 {
        let result = checking.last_result(id)?;
        ensure!(result == "no answer within 100 ms", "target {id}: {result}");
    }
    backend.netns.ip(&["route del blackhole 10.2.0.1/32", "route del blackhole fd00:2:0::1/128"])?;
    checking.wait(all(true))?;
    Ok(())
}

#[test]
fn a_host_without_a_listener_is_down_by_its_refusal() -> Result<()> {
    let topology = Topology::two_arm(1)?;
    let mut checking = Checking::start(&topology.lb, targets(&topology))?;
    checking.wait(all(false))?;
    for id in 1..=4 {
        let result = checking.last_result(id)?;
        ensure!(result == "connection refused", "target {id}: {result}");
    }
    Ok(())
}

#[test]
fn checks_leave_no_connections_behind_on_this_host() -> Result<()> {
    let topology = Topology::two_arm(1)?;
    let backend = &topology.backends[0];
    serve(&backend.netns, backend.v4.into())?;
    serve(&backend.netns, backend.v6.into())?;
    let mut checking = Checking::start(&topology.lb, targets(&topology))?;
    checking.wait(all(true))?;
    for _ in 0..3 {
        let successes = |reports: &Reports| reports.values().map(|report| report.successes).min();
        let before = successes(&checking.reports.borrow());
        wait::until_true("another round of checks", || Ok(successes(&checking.reports.borrow()) > before))?;
    }
    drop(checking);
    // The backend may keep one in TIME_WAIT where it closes first, on its own port: that does no harm.
    wait::until("the connections to be gone", || {
        let shown = topology.lb.enter(|| std::fs::read_to_string("/proc/thread-self/net/tcp"))??;
        let shown6 = topology.lb.enter(|| std::fs::read_to_string("/proc/thread-self/net/tcp6"))??;
        let left: Vec<_> =
            shown.lines().chain(shown6.lines()).filter(|line| !line.contains("local_address")).collect();
        ensure!(left.is_empty(), "left: {left:#?}");
        Ok(())
    })?;
    Ok(())
}
