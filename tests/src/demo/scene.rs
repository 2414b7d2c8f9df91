//! Where the demo plays: the cluster, and how its traffic is watched.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::Result;

use super::screen::{Row, Screen};
use crate::{
    cluster::Cluster,
    traffic::{Load, Streams},
    wait,
};

/// Clients at once, and the pause of each between requests: enough to see every share, little enough for a laptop.
const CLIENTS: u16 = 16;
const PAUSE: Duration = Duration::from_millis(10);
/// How often the table is drawn.
const REDRAW: Duration = Duration::from_millis(100);

/// The network with what runs in it.
pub struct Scene {
    /// Balancer, backends and client.
    pub cluster: Cluster,
}

impl Scene {
    /// Runs `lb` in the balancer's namespace, and shows the command.
    pub fn lb(&self, screen: &mut Screen, words: &[&str]) -> Result<String> {
        screen.command(words);
        self.cluster.agent.lb(words)
    }

    /// Many clients at work.
    pub fn load(&self, target: SocketAddr) -> Result<Load> {
        Load::start(&self.cluster.topology.client, target, CLIENTS, PAUSE)
    }

    /// Shows the live table for a time.
    pub fn watch(&self, screen: &mut Screen, view: &View<'_>, time: Duration) -> Result<()> {
        let started = Instant::now();
        while started.elapsed() < time {
            self.show(screen, view)?;
            std::thread::sleep(REDRAW);
        }
        self.show(screen, view)
    }

    /// Shows the live table until something has happened.
    pub fn watch_until(
        &self,
        screen: &mut Screen,
        view: &View<'_>,
        what: &str,
        mut done: impl FnMut() -> bool,
    ) -> Result<()> {
        wait::until_true(what, || {
            self.show(screen, view)?;
            Ok(done())
        })
    }

    fn show(&self, screen: &mut Screen, view: &View<'_>) -> Result<()> {
        wait::check_interrupted()?;
        let (counts, failed) = view.load.tally();
        let total = counts.values().sum::<usize>() + failed;
        let long = view.streams.map_or_else(BTreeMap::new, Streams::open_by_backend);
        let rows = self.cluster.topology.backends.iter().enumerate().map(|(index, backend)| {
            let name = format!("b{}", index + 1);
            Row {
                requests: counts.get(&name).copied().unwrap_or(0),
                total,
                long: long.get(&name).copied().unwrap_or(0),
                note: view.notes.iter().find(|(of, _)| *of == name).map_or("", |(_, note)| note),
                address: if view.v6 { backend.v6.to_string() } else { backend.v4.to_string() },
                name,
            }
        });
        screen.rows(rows.collect());
        Ok(())
    }

    /// What to type to see it from inside.
    pub fn how_to_look_around(&self) -> Result<String> {
        let topology = &self.cluster.topology;
        let enter = |netns: &crate::netns::Netns| format!("nsenter --net={}", netns.path().display());
        let instance = self.cluster.agent.instance();
        let lb = format!(
            "{} {} --socket {} --state-dir {} --pin-dir {}",
            enter(&topology.lb),
            crate::agent::binary()?.display(),
            instance.socket().display(),
            instance.state_dir().display(),
            instance.pin_dir().display(),
        );
        Ok(format!(
            " All of it stays up until Ctrl-C. As root:\n\
             \n  the balancer   {lb} status\
             \n  a backend      {} ip addr\
             \n  the client     {} curl http://{}/\n",
            enter(&topology.backends[0].netns),
            enter(&topology.client),
            crate::topology::VIP4,
        ))
    }
}

/// What the live table shows.
pub struct View<'a> {
    /// Requests.
    pub load: &'a Load,
    /// Long connections.
    pub streams: Option<&'a Streams>,
    /// Backends and what happens to them.
    pub notes: &'a [(&'a str, &'static str)],
    /// Whether backends are addressed by IPv6.
    pub v6: bool,
}

/// Namespaces and mounts of this process that are still there.
pub fn left_behind() -> Result<Vec<String>> {
    let ours = format!("lb-{}-", std::process::id());
    let namespaces = fs::read_dir("/run/netns").into_iter().flatten();
    let names = namespaces.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(1)).map(str::to_owned);
    let files =
        fs::read_dir(std::env::temp_dir())?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    Ok(names.chain(points).chain(files).filter(|name| name.contains(&ours)).collect())
}
