//! What may happen to lb while it is measured: tables published all the time, and a backend that fails.

use std::{
    collections::BTreeMap,
    fs,
    net::IpAddr,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use lb_common::abi::ABI_VERSION;
use lb_userspace::{api::client::Client, desired::command::Command};

use super::{peer::Peer, scene::Scene};
use crate::cluster;

/// Time between two publications: 50 a second.
const PERIOD: Duration = Duration::from_millis(20);
/// Weights that the first backend has in turn.
const WEIGHTS: [u32; 2] = [100, 99];
/// How often it is looked whether another table is in use.
const LOOK: Duration = Duration::from_millis(2);
/// The backend that fails: the last.
const FAILING: usize = 3;

/// Runs `work`, which takes about `length`, while what the row is named for happens to the measured service. Returns
/// publications per second as well, where there are any.
pub fn during<T>(
    scene: &Scene,
    service: &str,
    length: Duration,
    work: impl FnOnce() -> Result<T>,
) -> Result<(T, Option<f64>)> {
    match scene.peer {
        Peer::LbPublish => publishing(scene, service, work).map(|(result, rate)| (result, Some(rate))),
        Peer::LbFailure => failing(scene, service, length, work).map(|result| (result, None)),
        _ => work().map(|result| (result, None)),
    }
}

/// Toggles a weight through the agent's API, and counts the tables that come of it.
fn publishing<T>(scene: &Scene, service: &str, work: impl FnOnce() -> Result<T>) -> Result<(T, f64)> {
    let instance = scene.agent()?.instance();
    let client = Client::new(&instance.socket(), Duration::from_secs(10));
    let address = scene.topology.backends[0].v4.into();
    let tables = instance.pin_dir().join(ABI_VERSION.to_string()).join("tables");
    let stop = Arc::new(AtomicBool::new(false));
    thread::scope(|scope| {
        let commands = scope.spawn(|| command(&client, service, address, &stop));
        let swaps = scope.spawn(|| count_tables(&tables, &stop));
        let result = work();
        stop.store(true, Ordering::Relaxed);
        commands.join().map_err(|_| anyhow!("who publishes panicked"))??;
        let rate = swaps.join().map_err(|_| anyhow!("who counts tables panicked"))?;
        Ok((result?, rate))
    })
}

/// One command per period, each as a task of its own: an answer comes when the table is in use, which may take longer.
fn command(client: &Client, service: &str, address: IpAddr, stop: &AtomicBool) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        let mut ticks = tokio::time::interval(PERIOD);
        for weight in WEIGHTS.into_iter().cycle() {
            ticks.tick().await;
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let client = client.clone();
            let command =
                Command::BackendSet { service: service.to_owned(), addresses: [address].into(), weight };
            tasks.spawn(async move { client.command(&command).await });
        }
        while let Some(done) = tasks.join_next().await {
            done?.context("changing a weight")?;
        }
        Ok(())
    })
}

/// Tables that came into use, per second. A table in use is pinned, and the next one takes over its name.
fn count_tables(directory: &Path, stop: &AtomicBool) -> f64 {
    let (started, mut count) = (Instant::now(), 0);
    let mut seen = inodes(directory);
    while !stop.load(Ordering::Relaxed) {
        thread::sleep(LOOK);
        let now = inodes(directory);
        count += now.iter().filter(|(path, inode)| seen.get(*path).is_some_and(|old| old != *inode)).count();
        seen.extend(now);
    }
    count as f64 / started.elapsed().as_secs_f64()
}

fn inodes(directory: &Path) -> BTreeMap<PathBuf, u64> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let tables = entries.filter(|entry| !entry.file_name().to_string_lossy().contains("next"));
    tables.filter_map(|entry| Some((entry.path(), entry.metadata().ok()?.ino()))).collect()
}

/// Kills the servers of a backend when a quarter of the time is over, and brings them back afterwards.
fn failing<T>(scene: &Scene, service: &str, length: Duration, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let server = &scene.servers[FAILING];
    let result = thread::scope(|scope| {
        let killer = scope.spawn(|| {
            thread::sleep(length / 4);
            server.lock().unwrap_or_else(PoisonError::into_inner).take().is_some()
        });
        let result = work();
        let killed = killer.join().map_err(|_| anyhow!("who kills a backend panicked"))?;
        ensure!(killed, "the backend was dead before");
        result
    })?;
    let agent = scene.agent()?;
    // It was noticed, or this was no failure.
    cluster::wait_for_active(agent, service, scene.servers.len() - 1)?;
    let restarted = scene.start_server(FAILING)?;
    *server.lock().unwrap_or_else(PoisonError::into_inner) = Some(restarted);
    cluster::wait_for_active(agent, service, scene.servers.len())?;
    Ok(result)
}
