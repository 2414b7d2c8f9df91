//! Everything is restarted, one after another, under connections that must not notice.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use lb_tests::{
    cluster::{Cluster, ECHO_PORT},
    sessions::Sessions,
    topology::{INTERFACE, Topology, VIP4},
    wait,
};

const SESSIONS: u16 = 500;
const BACKENDS: usize = 4;
/// Answers that each session has between two steps.
const ANSWERS: u64 = 5;

/// Each backend is drained and made ready again; meanwhile the agent is killed, ended and replaced by one with another
/// program.
#[test]
fn long_connections_do_not_notice_a_rolling_restart() -> Result<()> {
    let target = SocketAddr::from((VIP4, ECHO_PORT));
    // So short that slots settle while the connections go on.
    let mut cluster = Cluster::start(Topology::one_arm(BACKENDS)?, "native", &["--quiet-period", "5s"])?;
    cluster.add_service("echo", &format!("{target}/tcp"), false, &[])?;
    let sessions = Sessions::open(&cluster.topology.client, target, SESSIONS)?;
    let opened = sessions.state().opened;
    ensure!(opened.len() == BACKENDS, "not all backends are used: {opened:?}");
    for index in 0..BACKENDS {
        let address = cluster.address(index, false).to_string();
        cluster.agent.lb(&["backend", "drain", "echo", &address])?;
        cluster.wait_for_active("echo", BACKENDS - 1)?;
        sessions.go_on(ANSWERS)?;
        match index {
            0 => {
                cluster.agent.kill()?;
                sessions.go_on(ANSWERS)?;
                cluster.agent.restart()?;
            }
            1 => {
                cluster.agent.end()?;
                sessions.go_on(ANSWERS)?;
                cluster.agent.restart()?;
            }
            2 => upgrade(&mut cluster, &sessions)?,
            _ => {}
        }
        cluster.agent.lb(&["backend", "ready", "echo", &address])?;
        cluster.wait_for_active("echo", BACKENDS)?;
        sessions.go_on(ANSWERS)?;
    }
    wait::until_true("all slots to rest or settle", || {
        let service = &cluster.agent.json(&["service", "show", "echo"])?["service"];
        Ok(service["slots"]["moving"] == 0)
    })?;
    sessions.go_on(ANSWERS)?;
    let seen = sessions.finish()?;
    println!(
        "{SESSIONS} sessions, {} answers, {} of them after more than 200 ms, the slowest after {:?}",
        seen.answers, seen.slow, seen.slowest
    );
    ensure!(seen.broken.is_empty(), "{:?}", seen.broken);
    Ok(())
}

/// Another program takes the place of the one that is attached, without a gap.
fn upgrade(cluster: &mut Cluster, sessions: &Sessions) -> Result<()> {
    let before = program_id(cluster)?;
    cluster.agent.end()?;
    // The log level is compiled into the program.
    cluster.agent.restart_with(&["--packet-log", "1"])?;
    let after = program_id(cluster)?;
    ensure!(before != 0 && after != 0 && before != after, "program {before} is {after} after the upgrade");
    sessions.go_on(ANSWERS)
}

/// Id of the program on the balancer's interface; 0 for none.
fn program_id(cluster: &Cluster) -> Result<u64> {
    let output =
        cluster.topology.lb.command("ip").args(["-json", "link", "show", "dev", INTERFACE]).output()?;
    let links: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    Ok(links[0]["xdp"]["prog"]["id"].as_u64().unwrap_or(0))
}
