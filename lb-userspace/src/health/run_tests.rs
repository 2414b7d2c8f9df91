//! The checks against real sockets on loopback.

use std::net::{IpAddr, Ipv4Addr};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket},
};

use super::*;
use crate::desired::model::Check;

/// Ends a test that hangs; nothing is asserted on time.
const DEADLINE: Duration = Duration::from_secs(20);

fn target(port: u16, kind: CheckKind) -> Target {
    let check = Check {
        kind,
        port,
        interval: Duration::from_millis(40),
        timeout: Duration::from_millis(20),
        rise: 2,
        fall: 2,
    };
    Target { address: IpAddr::V4(Ipv4Addr::LOCALHOST), check }
}

fn http() -> CheckKind {
    CheckKind::Http { path: "/".into(), status: (200, 299), host: None }
}

/// A running health service and what it tells.
struct Health {
    targets: watch::Sender<Targets>,
    events: mpsc::Receiver<Event>,
    reports: watch::Receiver<Reports>,
    task: JoinHandle<()>,
}

impl Health {
    fn start(targets: Targets, initial: BTreeMap<u32, bool>) -> Self {
        let (targets, targets_seen) = watch::channel(targets);
        let (events_out, events) = mpsc::channel(16);
        let (reports_out, reports) = watch::channel(Reports::new());
        let task = tokio::spawn(run(targets_seen, initial, events_out, reports_out));
        Self { targets, events, reports, task }
    }

    async fn event(&mut self) -> (u32, bool) {
        let event = timeout(DEADLINE, self.events.recv()).await.expect("an event in time").unwrap();
        (event.id, event.up)
    }

    async fn until(&mut self, condition: impl FnMut(&Reports) -> bool) {
        timeout(DEADLINE, self.reports.wait_for(condition)).await.expect("the report in time").unwrap();
    }
}

/// A port that stays bound, so that no other test takes it, but refuses.
fn closed_port() -> (TcpSocket, u16) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = socket.local_addr().unwrap().port();
    (socket, port)
}

#[tokio::test]
async fn a_backend_goes_up_down_and_up_again() {
    let (socket, port) = closed_port();
    let mut health = Health::start([(7, target(port, CheckKind::Tcp))].into(), BTreeMap::new());
    health.until(|reports| reports.get(&7).is_some_and(|report| report.status == Status::Down)).await;
    assert_eq!(health.event().await, (7, false));
    assert_eq!(health.reports.borrow()[&7].last_result, "connection refused");
    let listener = socket.listen(16).unwrap();
    assert_eq!(health.event().await, (7, true));
    drop(listener);
    assert_eq!(health.event().await, (7, false));
}

#[tokio::test]
async fn a_backend_that_accepts_but_stays_silent_is_down_for_http_and_up_for_tcp() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move { stream.read_to_end(&mut Vec::new()).await });
        }
    });
    let targets = [(1, target(port, http())), (2, target(port, CheckKind::Tcp))].into();
    let mut health = Health::start(targets, BTreeMap::new());
    let mut told = BTreeMap::new();
    while told.len() < 2 {
        let (id, up) = health.event().await;
        told.insert(id, up);
    }
    assert_eq!(told, [(1, false), (2, true)].into());
    assert_eq!(health.reports.borrow()[&1].last_result, "no answer within 20 ms");
    server.abort();
}

#[tokio::test]
async fn a_body_that_never_ends_does_not_count_against_a_good_status() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nn").await?;
                stream.read_to_end(&mut Vec::new()).await
            });
        }
    });
    let mut health = Health::start([(1, target(port, http()))].into(), BTreeMap::new());
    health.until(|reports| reports.get(&1).is_some_and(|report| report.status == Status::Up)).await;
    server.abort();
}

#[tokio::test]
async fn without_a_check_a_target_is_up() {
    let mut health = Health::start([(3, target(0, CheckKind::None))].into(), BTreeMap::new());
    assert_eq!(health.event().await, (3, true));
    assert_eq!(health.reports.borrow()[&3].status, Status::Unchecked);
}

#[tokio::test]
async fn what_was_known_holds_until_the_checks_say_otherwise() {
    let (_socket, port) = closed_port();
    let mut slow = target(port, CheckKind::Tcp);
    slow.check.interval = Duration::from_secs(3_600);
    let quick = target(port, CheckKind::Tcp);
    let mut health = Health::start(
        [(1, slow.clone()), (2, slow), (3, quick)].into(),
        [(1, true), (2, false), (3, true)].into(),
    );
    // The only event is of the target whose checks came to a decision.
    assert_eq!(health.event().await, (3, false));
    let reports = health.reports.borrow();
    assert_eq!((reports[&1].status, reports[&2].status), (Status::Up, Status::Down));
}

#[tokio::test]
async fn targets_come_and_go() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut health = Health::start(Targets::new(), BTreeMap::new());
    health.targets.send_replace([(1, target(port, CheckKind::Tcp))].into());
    assert_eq!(health.event().await, (1, true));
    // Edited: a new id, nothing but the timing differs. Known to be up at once.
    let mut edited = target(port, CheckKind::Tcp);
    edited.check.interval = Duration::from_secs(3_600);
    health.targets.send_replace([(2, edited)].into());
    assert_eq!(health.event().await, (2, true));
    health.until(|reports| !reports.contains_key(&1)).await;
    health.targets.send_replace(Targets::new());
    health.until(Reports::is_empty).await;
    drop(health.targets);
    timeout(DEADLINE, health.task).await.expect("ends with its input").unwrap();
}

#[tokio::test]
async fn a_target_that_is_down_is_told_again_after_an_edit() {
    let (_socket, port) = closed_port();
    let mut health = Health::start([(1, target(port, CheckKind::Tcp))].into(), BTreeMap::new());
    assert_eq!(health.event().await, (1, false));
    // Whoever gave the new id a state may not have heard of that.
    let mut edited = target(port, CheckKind::Tcp);
    edited.check.interval = Duration::from_secs(3_600);
    health.targets.send_replace([(2, edited)].into());
    assert_eq!(health.event().await, (2, false));
}

#[tokio::test]
async fn a_decision_that_nobody_heard_is_carried_over() {
    let (_socket, port) = closed_port();
    // Nobody takes events: there is room for 16, these fill it before the first check has ended.
    let full: Targets = (10..26).map(|id| (id, target(0, CheckKind::None))).collect();
    let with = |id: u32, target: Target| full.clone().into_iter().chain([(id, target)]).collect::<Targets>();
    let mut health = Health::start(with(1, target(port, CheckKind::Tcp)), [(1, true)].into());
    health.until(|reports| reports.get(&1).is_some_and(|report| report.status == Status::Down)).await;
    let mut edited = target(port, CheckKind::Tcp);
    edited.check.interval = Duration::from_secs(3_600);
    health.targets.send_replace(with(2, edited));
    health.until(|reports| !reports.contains_key(&1)).await;
    let told = async {
        loop {
            let (id, up) = health.event().await;
            if id == 2 {
                return up;
            }
        }
    };
    assert!(!told.await);
}

#[tokio::test]
async fn what_was_known_of_an_id_does_not_last_beyond_the_start() {
    let (_socket, port) = closed_port();
    let other = (9, target(0, CheckKind::None));
    let mut health = Health::start([other.clone()].into(), [(1, true)].into());
    assert_eq!(health.event().await, (9, true));
    health.targets.send_replace([other, (1, target(port, CheckKind::Tcp))].into());
    health.until(|reports| reports.contains_key(&1)).await;
    assert_ne!(health.reports.borrow()[&1].status, Status::Up);
}

#[test]
fn states_are_carried_over_an_edit_but_not_to_other_services() {
    let old: Targets = [(1, target(80, CheckKind::Tcp))].into();
    let known = [(1, Status::Up)].into();
    let carried = |new: &[(u32, Target)]| carry_over(&old, &known, &new.iter().cloned().collect());
    let up = |id| BTreeMap::from([(id, Status::Up)]);
    assert_eq!(carried(&[(1, target(80, http()))]), up(1), "the same id with another check");
    assert_eq!(carried(&[(2, target(81, http()))]), up(2), "another id in its place");
    let both = carried(&[(1, target(80, CheckKind::Tcp)), (2, target(81, CheckKind::Tcp))]);
    assert_eq!(both, up(1), "a new service on the same host proves itself first");
    let mut elsewhere = target(80, CheckKind::Tcp);
    elsewhere.address = "192.0.2.9".parse().unwrap();
    assert_eq!(carried(&[(1, elsewhere)]), BTreeMap::new(), "a reused id");
}
