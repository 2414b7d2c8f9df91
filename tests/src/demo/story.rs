//! The chapters of the demo, in order.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use super::{
    checks::Checks,
    scene::{Scene, View},
    screen::{Screen, grouped},
};
use crate::{
    client,
    cluster::{Cluster, HTTP_PORT},
    server::Server,
    topology::{INTERFACE, Topology, VIP4, VIP6, client_address},
    traffic::{Request, Streams, by_backend, failures},
};

/// Health check of the demo's services.
const INTERVAL: Duration = Duration::from_millis(200);
const FALL: u32 = 3;
const CHECK: [&str; 8] =
    ["--check-interval", "200ms", "--check-timeout", "130ms", "--check-fall", "3", "--check-rise", "2"];
/// A killed backend may cost this long.
const FAILOVER_BOUND: Duration = Duration::from_millis(INTERVAL.as_millis() as u64 * FALL as u64 + 100);
/// A share may be off by so much, in tenths of a percent, when a few thousand requests are drawn at random.
const SHARE_SLACK_PERMILLE: usize = 40;
/// Long connections; with so many each backend has some.
const STREAMS: u16 = 24;
/// Requests that a chapter must have seen before "none failed" means anything.
const ENOUGH: usize = 200;
const TUNNEL_PORT: u16 = 8080;

/// Four backends; the service begins with three.
pub fn set_up(screen: &mut Screen) -> Result<Scene> {
    screen.begin("Set up: one command attaches, one adds the service");
    let cluster = Cluster::start(Topology::one_arm(4)?, "native", &[])?;
    let scene = Scene { cluster };
    screen.command(&["attach", INTERFACE]);
    let vip = format!("{VIP4}:{HTTP_PORT}/tcp");
    scene.lb(screen, &[&["service", "add", "web", "--vip", &vip], &CHECK[..]].concat())?;
    let addresses: Vec<_> = (0..3).map(|index| scene.cluster.address(index, false).to_string()).collect();
    let words: Vec<_> =
        ["backend", "add", "web"].into_iter().chain(addresses.iter().map(String::as_str)).collect();
    scene.lb(screen, &words)?;
    scene.cluster.wait_for_active("web", 3)?;
    let status = scene.cluster.agent.json(&["status"])?;
    let mode = status["interfaces"][0]["mode"].as_str().context("no mode in lb status")?;
    screen.result(mode == "native", format!("{mode} XDP on {INTERFACE}; three backends are healthy"));
    screen.end();
    Ok(scene)
}

/// Shares of three equal backends.
pub fn spread(screen: &mut Screen, checks: &mut Checks, scene: &Scene) -> Result<()> {
    screen.begin("Many clients, spread over three backends");
    let load = scene.load((VIP4, HTTP_PORT).into())?;
    scene.watch(
        screen,
        &View { load: &load, streams: None, notes: &[], v6: false },
        Duration::from_secs(4),
    )?;
    let requests = load.finish()?;
    let counts = by_backend(&requests);
    let share = |name: &str| counts.get(name).copied().unwrap_or(0) * 1_000 / requests.len().max(1);
    let off = ["b1", "b2", "b3"].map(|name| share(name).abs_diff(333)).into_iter().max().unwrap_or(1_000);
    let ok = checks.add(
        "spread_off",
        off <= SHARE_SLACK_PERMILLE,
        off,
        "permille",
        "largest distance of a share from one third",
    );
    screen.result(
        ok,
        format!("{} requests; shares within {}.{} % of a third", grouped(requests.len()), off / 10, off % 10),
    );
    none_failed(screen, checks, "spread_failed_requests", &requests, "failed requests while nothing changes");
    screen.end();
    Ok(())
}

/// A fourth backend comes, then the first one drains, while long connections run.
pub fn add_and_drain(screen: &mut Screen, checks: &mut Checks, scene: &Scene) -> Result<()> {
    let target = SocketAddr::from((VIP4, HTTP_PORT));
    let streams = Streams::open(&scene.cluster.topology.client, target, STREAMS)?;
    let opened = streams.open_by_backend();

    screen.begin("Add a backend");
    let load = scene.load(target)?;
    let before = View { load: &load, streams: Some(&streams), notes: &[], v6: false };
    let view = View { notes: &[("b4", "added")], ..before };
    let address = scene.cluster.address(3, false).to_string();
    scene.watch(screen, &before, Duration::from_secs(1))?;
    let added = Instant::now();
    scene.lb(screen, &["backend", "add", "web", &address])?;
    let b4_is_used = || load.tally().0.contains_key("b4");
    scene.watch_until(screen, &view, "b4 to be used", b4_is_used)?;
    let used = added.elapsed().as_millis();
    scene.watch(screen, &view, Duration::from_secs(2))?;
    none_failed(
        screen,
        checks,
        "add_failed_requests",
        &load.finish()?,
        "failed requests while a backend is added",
    );
    screen.result(true, format!("b4 answered its first request {used} ms after the command"));
    screen.end();

    screen.begin("Drain a backend under long connections");
    let load = scene.load(target)?;
    let view = View { load: &load, streams: Some(&streams), notes: &[("b1", "draining")], v6: false };
    let address = scene.cluster.address(0, false).to_string();
    scene.lb(screen, &["backend", "drain", "web", &address])?;
    scene.watch(screen, &view, Duration::from_secs(4))?;
    let drained_at = Instant::now().checked_sub(Duration::from_secs(2)).context("clock")?;
    let requests = load.finish()?;
    let moved =
        opened.iter().filter(|(name, count)| streams.open_by_backend().get(*name) != Some(*count)).count();
    let broken = streams.finish()?.len() + moved;
    none_failed(screen, checks, "drain_failed_requests", &requests, "failed requests while a backend drains");
    let text = "broken long connections while draining";
    let ok = checks.none("drain_broken_connections", broken, "connections", text);
    let kept = opened.get("b1").copied().unwrap_or(0);
    screen
        .result(ok && kept > 0, format!("{broken} of {STREAMS} long connections broke; b1 kept its {kept}"));
    let late = requests.iter().filter(|request| request.started > drained_at);
    let late = by_backend(late).get("b1").copied().unwrap_or(0);
    let ok =
        checks.none("drain_new_connections", late, "connections", "new connections to the drained backend");
    screen.result(ok, format!("{late} new connections to b1 once it drained"));
    scene.lb(screen, &["backend", "ready", "web", &address])?;
    screen.end();
    scene.cluster.wait_for_active("web", 4)
}

/// A backend dies; its health check finds out.
pub fn kill_backend(screen: &mut Screen, checks: &mut Checks, scene: &mut Scene) -> Result<()> {
    screen.begin("Kill a backend (checked every 200 ms, out after 3 failures)");
    let load = scene.load((VIP4, HTTP_PORT).into())?;
    let view = |notes| View { load: &load, streams: None, notes, v6: false };
    scene.watch(screen, &view(&[]), Duration::from_secs(1))?;
    let killed = Instant::now();
    scene.cluster.stop_servers(1);
    scene.watch(screen, &view(&[("b2", "killed")]), FAILOVER_BOUND + Duration::from_secs(2))?;
    scene.cluster.start_servers(1)?;
    let before = load.tally().0.get("b2").copied().unwrap_or(0);
    let back = || load.tally().0.get("b2").copied().unwrap_or(0) > before;
    scene.watch_until(screen, &view(&[("b2", "back")]), "b2 to be back", back)?;
    scene.watch(screen, &view(&[("b2", "back")]), Duration::from_secs(1))?;
    let requests = load.finish()?;
    let failed = requests.iter().filter(|request| request.outcome.is_err());
    let last = failed
        .clone()
        .map(|request| (request.started + request.took).saturating_duration_since(killed))
        .max();
    let (count, last) = (failed.count(), last.unwrap_or_default());
    let bound = FAILOVER_BOUND.as_millis();
    let last_ms = usize::try_from(last.as_millis())?;
    let text = format!("last failed request after a kill (bound {bound} ms)");
    let ok = checks.add("kill_last_failure", last <= FAILOVER_BOUND, last_ms, "ms", text);
    screen.result(ok, format!("{count} failed requests, the last after {last_ms} ms (bound {bound} ms)"));
    screen.end();
    scene.cluster.wait_for_active("web", 4)
}

/// The same over IPv6.
pub fn ipv6(screen: &mut Screen, checks: &mut Checks, scene: &Scene) -> Result<()> {
    screen.begin("The same over IPv6");
    let target = SocketAddr::from((VIP6, HTTP_PORT));
    let vip = format!("{target}/tcp");
    screen.command(&["service", "add", "web6", "--vip", &vip]);
    scene.cluster.add_service("web6", &vip, true, &CHECK)?;
    let load = scene.load(target)?;
    scene.watch(
        screen,
        &View { load: &load, streams: None, notes: &[], v6: true },
        Duration::from_secs(3),
    )?;
    none_failed(screen, checks, "ipv6_failed_requests", &load.finish()?, "failed requests over IPv6");
    screen.end();
    Ok(())
}

/// Backends reached through tunnels, unpacked by `lb decap`.
pub fn tunnels(screen: &mut Screen, checks: &mut Checks, scene: &mut Scene) -> Result<()> {
    let backends = scene.cluster.topology.backends.iter().enumerate();
    let _servers = backends
        .map(|(index, backend)| Server::http(&backend.netns, &format!("b{}", index + 1), TUNNEL_PORT))
        .collect::<Result<Vec<_>>>()?;
    let mut requests = Vec::new();
    for (name, vip, v6, title) in [
        ("tunnel", IpAddr::from(VIP4), false, "IP-in-IP tunnels: IPv4 in IPv4, unpacked by `lb decap`"),
        ("tunnel6", IpAddr::from(VIP6), true, "IP-in-IP tunnels: IPv6 in IPv6"),
    ] {
        screen.begin(title);
        if !v6 {
            screen.command(&[
                "decap",
                "attach",
                INTERFACE,
                "--vip",
                &VIP4.to_string(),
                "   (on each backend)",
            ]);
            scene.cluster.attach_decap(&["--mode", "native"])?;
        }
        let target = SocketAddr::new(vip, TUNNEL_PORT);
        let text = format!("{target}/tcp");
        screen.command(&["service", "add", name, "--vip", &text, "--mode", "ipip"]);
        scene.cluster.add_service(name, &text, v6, &[&["--mode", "ipip"], &CHECK[..]].concat())?;
        let load = scene.load(target)?;
        scene.watch(
            screen,
            &View { load: &load, streams: None, notes: &[], v6 },
            Duration::from_millis(2_500),
        )?;
        let these = load.finish()?;
        let source = client_address(v6, 1);
        let page =
            scene.cluster.topology.client.block_on(|| client::get(source, target, "/bytes/1000000"))?;
        let failed = failures(&these).len() + usize::from(page.is_err());
        screen.result(
            failed == 0,
            format!("{failed} of {} requests failed, 1 MB in one response included", grouped(these.len())),
        );
        screen.end();
        requests.extend(these);
        if let Err(error) = page {
            checks.none("ipip_large_response", 1, "responses", format!("{error:#}"));
        }
    }
    checks.add(
        "ipip_failed_requests",
        failures(&requests).is_empty() && requests.len() >= ENOUGH,
        failures(&requests).len(),
        "requests",
        "failed requests through tunnels",
    );
    Ok(())
}

/// The agent dies and comes back; the packet path goes on.
pub fn kill_agent(screen: &mut Screen, checks: &mut Checks, scene: &mut Scene) -> Result<()> {
    screen.begin("Kill the agent with -9 under traffic, start it again");
    let target = SocketAddr::from((VIP4, HTTP_PORT));
    let streams = Streams::open(&scene.cluster.topology.client, target, STREAMS)?;
    let load = scene.load(target)?;
    let view = View { load: &load, streams: Some(&streams), notes: &[], v6: false };
    scene.watch(screen, &view, Duration::from_secs(1))?;
    scene.cluster.agent.kill()?;
    let before = load.count();
    scene.watch(screen, &view, Duration::from_secs(3))?;
    let without = load.count().saturating_sub(before);
    scene.cluster.agent.restart()?;
    scene.watch(screen, &view, Duration::from_secs(2))?;
    let requests = load.finish()?;
    let broken = streams.finish()?.len();
    let text = "failed requests, agent killed and restarted";
    none_failed(screen, checks, "agent_killed_failed_requests", &requests, text);
    let ok = checks.none(
        "agent_killed_broken_connections",
        broken,
        "connections",
        "broken long connections meanwhile",
    );
    screen.result(ok, format!("{broken} of {STREAMS} long connections broke"));
    let ok = checks.add(
        "agent_killed_requests_without_agent",
        without >= ENOUGH,
        without,
        "requests",
        "requests answered while no agent ran",
    );
    screen.result(ok, format!("{} requests answered while no agent ran", grouped(without)));
    screen.end();
    Ok(())
}

fn none_failed(
    screen: &mut Screen,
    checks: &mut Checks,
    name: &'static str,
    requests: &[Request],
    text: &str,
) {
    let failed = failures(requests);
    // Nothing asked would be nothing failed.
    let ok = checks.add(name, failed.is_empty() && requests.len() >= ENOUGH, failed.len(), "requests", text);
    screen.result(ok, format!("{} of {} requests failed", failed.len(), grouped(requests.len())));
    if let Some(first) = failed.first() {
        screen.result(false, format!("first: {first}"));
    }
}
