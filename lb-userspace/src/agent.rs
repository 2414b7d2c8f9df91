//! The agent on one screen: what it opens, which tasks it starts, and how it ends.

mod handle;
mod plane;
mod state;
mod views;
mod commands;
mod drain;
mod preview;
mod relay;
mod core;

use std::{path::PathBuf, time::Duration};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
};

pub use handle::Handle;
pub use plane::Plane;
pub use relay::{Heard, relay};
pub use state::State;

use crate::{
    api::server,
    config,
    desired::store::{self, Store},
    error::{Error, Kind},
    health, net,
    publish::{self, Publisher},
};

/// Where the agent keeps what, and how it behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// Socket of the API.
    pub socket: PathBuf,
    /// Directory of the desired state.
    pub state_dir: PathBuf,
    /// Directory of the pins.
    pub pin_dir: PathBuf,
    /// How long a moving slot keeps its older connections apart.
    pub quiet_period: Duration,
    /// How long a UDP flow without packets is remembered.
    pub udp_idle: Duration,
    /// How long a TCP connection that one side has closed is remembered.
    pub closed_idle: Duration,
    /// Echo requests to service addresses that are answered per second; 0: they are left to the host.
    pub ping_rate: u32,
    /// How much the packet path logs.
    pub packet_log: u8,
}

/// Runs the agent until it is told to stop. The packet path goes on without it.
///
/// # Errors
/// It could not start; nothing was changed then.
pub async fn run(options: Options) -> Result<(), Error> {
    // Own: one agent per state directory and socket.
    let store = Store::open(&options.state_dir)?;
    server::make_directory(&options.socket)?;
    let _socket_lock = lock_socket(&options)?;
    let desired = store.load(|| publish::seed_to_inherit(&options.pin_dir))?;
    store.save(&desired)?;

    // Open: load or take over the packet path, on a thread of its own since its updates block.
    let publisher = Publisher::open(&publish_options(&options, desired.seed))?;
    let liveness = publisher.liveness();
    let state = State::resume(&options, desired, &publisher);
    let (plane, done) = plane::start(publisher)?;

    // Follow: routes, neighbours and health.
    let (addresses, addresses_seen) = watch::channel(state.addresses());
    let (hops, hops_seen) = watch::channel(net::NextHops::new());
    let (links, links_seen) = watch::channel(net::Links::new());
    let (targets, targets_seen) = watch::channel(state.assignments.checked());
    let (reports, reports_seen) = watch::channel(health::Reports::new());
    let (events, events_seen) = mpsc::channel(1024);
    let mut following = tokio::spawn(net::follow(addresses_seen, hops, links));
    let mut checking =
        tokio::spawn(health::run(targets_seen.clone(), state.liveness.clone(), events, reports));
    let (relayed, health_events) = mpsc::unbounded_channel();
    let mut relaying = tokio::spawn(relay(events_seen, targets_seen, liveness, relayed));

    // Decide: one task owns the state.
    let (handle, calls) = handle::channel();
    let seen = plane.seen.clone();
    let inbox = core::Inbox {
        calls,
        health: health_events,
        hops: hops_seen,
        links: links_seen,
        reports: reports_seen,
        seen,
        done,
    };
    let outbox = core::Outbox { plane, addresses, targets };
    let mut core = core::Core::new(store, state, outbox);
    core.attach_wanted().await;
    let mut deciding = tokio::spawn(core.run(inbox));

    // Answer.
    let listener = server::listen(&options.socket)?;
    log::info!("ready on {}", options.socket.display());
    let mut serving = tokio::spawn(async { axum::serve(listener, server::router(handle)).await });
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| failed("watch signals", &error))?;
    let result = tokio::select! {
        _ = terminate.recv() => Ok(()),
        _ = tokio::signal::ctrl_c() => Ok(()),
        ended = &mut following => Err(ended_early("following routes", ended)),
        ended = &mut serving => Err(failed("the API ended", &format!("{ended:?}"))),
        ended = &mut deciding => Err(ended_early("the agent's core", ended)),
        ended = &mut checking => Err(failed("the checks ended", &format!("{ended:?}"))),
        ended = &mut relaying => Err(failed("handing on health ended", &format!("{ended:?}"))),
    };
    log::info!("stopping; the packet path goes on");
    for task in [checking, relaying] {
        task.abort();
    }
    deciding.abort();
    let _ = std::fs::remove_file(&options.socket);
    result
}

fn lock_socket(options: &Options) -> Result<std::fs::File, Error> {
    let path = options.socket.with_added_extension("lock");
    store::lock(&path).map_err(|error| match error.kind {
        Kind::Conflict => {
            Error::conflict(format!("another agent runs on socket {}", options.socket.display()))
        }
        _ => error,
    })
}

fn publish_options(options: &Options, seed: u64) -> publish::Options {
    let default = publish::Timing::default();
    publish::Options {
        pin_dir: options.pin_dir.clone(),
        seed,
        log_level: options.packet_log,
        echo_per_second: options.ping_rate,
        timing: publish::Timing {
            quiet_period: options.quiet_period,
            udp_idle: options.udp_idle,
            closed_idle: options.closed_idle,
            collect_interval: default.collect_interval.min(options.quiet_period).max(config::TICK),
            ..default
        },
    }
}

fn failed(doing: &str, error: &dyn std::fmt::Display) -> Error {
    Error::failed(format!("{doing}: {error}"))
}

fn ended_early(what: &str, ended: Result<Result<(), Error>, tokio::task::JoinError>) -> Error {
    match ended {
        Ok(Err(error)) => error,
        other => Error::failed(format!("{what} ended: {other:?}")),
    }
}
