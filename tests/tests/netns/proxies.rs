//! The README's set-up in front of HAProxy and nginx, as it stands there: TLS ends at the proxies, which see the clients'
//! own addresses and are upgraded one after another without a failed request.

mod clients;
mod proxy;
mod recipe;
mod tls;

use std::{collections::BTreeMap, io::Write as _};

use anyhow::{Result, ensure};
use lb_tests::{
    cluster::Cluster,
    packages::{Missing, Program},
    topology::{Topology, VIP4},
    wait,
};

use self::{clients::Clients, proxy::Proxy, recipe::Recipe, tls::Identity};

const PROXIES: usize = 2;
const TLS_PORT: u16 = 443;
/// Short times, so that a quiet period and the end of a closed connection can be waited for.
const TIMES: [&str; 4] = ["--quiet-period", "2s", "--closed-idle", "1s"];
/// Answers that each proxy gives on connections of each kind before the next step.
const ANSWERS: usize = 30;

/// A proxy of the distribution. None, with the reason printed, where it is neither installed nor to be had.
fn find(name: &str) -> Result<Option<Program>> {
    match Program::find(name, &[name]) {
        Ok(program) => Ok(Some(program)),
        Err(error) if error.is::<Missing>() => {
            // Past the capture of a test's output: a skip is to be seen.
            writeln!(std::io::stderr(), "skipped, proxies behind the balancer: {error:#}")?;
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Runs the recipe with proxies of one kind. `mode` is appended to the command that adds the service.
fn upgrade_one_after_another(kind: &proxy::Kind, mode: &[&str]) -> Result<()> {
    let Some(program) = find(kind.name)? else { return Ok(()) };
    let (recipe, identity) = (Recipe::read()?, Identity::new()?);
    let mut cluster = Cluster::start(Topology::one_arm(PROXIES)?, "native", &TIMES)?;
    if !mode.is_empty() {
        cluster.attach_decap(&[])?;
    }
    let configuration = recipe.block(kind.name)?;
    let mut proxies = Vec::new();
    for backend in &cluster.topology.backends {
        proxies.push(Proxy::start(kind, &program, &backend.netns, configuration, &identity)?);
    }
    let addresses: Vec<_> = (0..PROXIES).map(|index| cluster.address(index, false)).collect();
    for command in recipe.set_up(&addresses) {
        let extra = if command.starts_with(&["service".to_owned()]) { mode } else { &[] };
        let words = command.iter().map(String::as_str).chain(extra.iter().copied());
        cluster.agent.lb(&words.collect::<Vec<_>>())?;
    }
    cluster.wait_for_active("shop", PROXIES)?;
    let clients = Clients::start(&cluster.topology.client, (VIP4, TLS_PORT).into(), &identity)?;
    answered_by_all(&clients)?;
    for (index, proxy) in proxies.iter_mut().enumerate() {
        let [drain, ready] = recipe.upgrade(&addresses, index)?;
        cluster.agent.lb(&drain)?;
        // Without mercy: if the drain was over too early, its connections break.
        proxy.replace()?;
        cluster.agent.lb(&ready)?;
        cluster.wait_for_active("shop", PROXIES)?;
        answered_by_all(&clients)?;
    }
    let seen = clients.finish()?;
    ensure!(seen.failed.is_empty(), "{} requests failed: {:#?}", seen.failed.len(), seen.failed);
    ensure!(seen.reopened > 0, "no kept connection was ended by a proxy");
    logged_under_own_address(&proxies, &seen)
}

/// Every answer was logged once, under the address of the client that got it, and by each process of each proxy some.
fn logged_under_own_address(proxies: &[Proxy], seen: &clients::Seen) -> Result<()> {
    let expected: BTreeMap<_, _> =
        seen.by_client.iter().map(|(client, answers)| (client.to_string(), *answers)).collect();
    wait::until("the proxies' logs", || {
        let mut logged = BTreeMap::new();
        for proxy in proxies {
            for log in proxy.logs()? {
                let of_clients = proxy::clients(&log).filter(|client| expected.contains_key(*client));
                let before = logged.values().sum::<usize>();
                of_clients.for_each(|client| *logged.entry(client.to_owned()).or_insert(0) += 1);
                ensure!(logged.values().sum::<usize>() > before, "a process has answered nobody:\n{log}");
            }
        }
        ensure!(logged == expected, "logged {logged:?}\nanswered {expected:?}");
        Ok(())
    })
}

/// Waits until each proxy has answered more requests of each kind.
fn answered_by_all(clients: &Clients) -> Result<()> {
    let before = clients.seen().by_backend;
    wait::until("answers of all proxies on new and kept connections", || {
        let seen = clients.seen();
        ensure!(seen.failed.is_empty(), "{:#?}", seen.failed);
        for proxy in 1..=PROXIES {
            for kept in [false, true] {
                let key = (format!("b{proxy}"), kept);
                let count = |tally: &BTreeMap<_, usize>| tally.get(&key).copied().unwrap_or(0);
                let more = count(&seen.by_backend) - count(&before);
                ensure!(more >= ANSWERS, "{more} by {key:?}");
            }
        }
        Ok(())
    })
}

#[test]
fn nginx_is_upgraded_without_a_failed_request() -> Result<()> {
    upgrade_one_after_another(&proxy::NGINX, &[])
}

#[test]
fn haproxy_is_upgraded_without_a_failed_request() -> Result<()> {
    upgrade_one_after_another(&proxy::HAPROXY, &[])
}

#[test]
fn haproxy_behind_a_tunnel_is_upgraded_without_a_failed_request() -> Result<()> {
    upgrade_one_after_another(&proxy::HAPROXY, &["--mode", "ipip"])
}
