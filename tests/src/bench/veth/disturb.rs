//! What may happen to lb while it is measured: tables published all the time, and a backend that fails.

use std::{sync::PoisonError, thread, time::Duration};

use anyhow::{Result, anyhow, ensure};

use super::{peer::Peer, publish, scene::Scene};
use crate::cluster;

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
        Peer::LbPublish => publish::during(scene, service, work).map(|(result, rate)| (result, Some(rate))),
        Peer::LbFailure => failing(scene, service, length, work).map(|result| (result, None)),
        _ => work().map(|result| (result, None)),
    }
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
