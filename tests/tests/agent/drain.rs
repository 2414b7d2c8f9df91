//! Drains: what is left, when they end, with what code, and what follows.

use std::{
    fs::File,
    process::{Child, Stdio},
};

use lb_tests::{
    agent::Instance,
    bpffs::TempDir,
    cluster::{Cluster, HTTP_PORT},
    topology::{Topology, VIP4},
    traffic::Streams,
    wait,
};
use serde_json::Value;

use crate::support::{backend, wait_for};

/// Short times, so that a quiet period and the end of a closed connection can be waited for.
const TIMES: [&str; 4] = ["--quiet-period", "2s", "--closed-idle", "1s"];

/// Two backends with long connections on both.
struct Scene {
    cluster: Cluster,
    streams: Streams,
    /// Address of the backend that is to be drained, and how many connections it has.
    address: String,
    connections: usize,
}

impl Scene {
    fn new() -> Self {
        let cluster = Cluster::start(Topology::one_arm(2).unwrap(), "native", &TIMES).unwrap();
        let target = (VIP4, HTTP_PORT).into();
        cluster.add_service("web", &format!("{VIP4}:{HTTP_PORT}/tcp"), false, &["--check", "none"]).unwrap();
        cluster.wait_for_active("web", 2).unwrap();
        let at_rest = || Ok(slots(cluster.agent.instance())["steady"] == 65_537);
        wait::until_true("a table at rest", at_rest).unwrap();
        let streams = Streams::open(&cluster.topology.client, target, 12).unwrap();
        let connections = streams.open_by_backend()["b1"];
        let address = cluster.address(0, false).to_string();
        Self { cluster, streams, address, connections }
    }

    fn instance(&self) -> &Instance {
        self.cluster.agent.instance()
    }

    fn drain(&self, options: &[&str]) -> Drain {
        Drain::start(self.instance(), &[&["backend", "drain", "web", &self.address], options].concat())
    }

    /// What the drain says when everything that the backend has is known.
    fn all_left(&self) -> String {
        let (address, connections) = (&self.address, self.connections);
        let flows = if connections == 1 { "flow" } else { "flows" };
        format!("{address}: {connections} {flows} left\n")
    }

    /// None of the connections has broken or moved.
    fn assert_unharmed(&self) {
        assert_eq!(self.streams.broken(), Vec::<String>::new());
        assert_eq!(self.streams.open_by_backend()["b1"], self.connections);
    }
}

fn slots(instance: &Instance) -> Value {
    instance.json(&["service", "show", "web"]).unwrap()["service"]["slots"].clone()
}

/// A drain that runs; killed when dropped.
struct Drain {
    child: Child,
    directory: TempDir,
}

impl Drain {
    fn start(instance: &Instance, arguments: &[&str]) -> Self {
        let directory = TempDir::new().unwrap();
        let file = |name| Stdio::from(File::create(directory.path().join(name)).unwrap());
        let mut command = instance.command(arguments).unwrap();
        let child = command.stdout(file("out")).stderr(file("err")).spawn().unwrap();
        Self { child, directory }
    }

    fn said(&self, name: &str) -> String {
        std::fs::read_to_string(self.directory.path().join(name)).unwrap()
    }

    fn code(&mut self) -> i32 {
        let child = &mut self.child;
        let status =
            wait::until("the drain to end", || child.try_wait()?.ok_or_else(|| anyhow::anyhow!("it runs")));
        status.unwrap().code().expect("ended by a signal")
    }

    fn wait_for(&self, text: &str) {
        wait::until(text, || {
            let said = self.said("out");
            anyhow::ensure!(said.contains(text), "it said: {said}{}", self.said("err"));
            Ok(())
        })
        .unwrap();
    }
}

impl std::ops::Drop for Drain {
    fn drop(&mut self) {
        // It has ended already if this fails.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_drain_ends_when_the_last_connection_does() {
    let scene = Scene::new();
    let mut drain = scene.drain(&["--wait"]);
    drain.wait_for("not all known yet");
    drain.wait_for(&scene.all_left());
    assert!(drain.child.try_wait().unwrap().is_none(), "connections are left");
    assert_eq!(backend(scene.instance(), &scene.address)["tracked_flows"], scene.connections);
    for verb in ["del", "maint"] {
        let preview = scene.instance().json(&["backend", verb, "web", &scene.address, "--dry-run"]).unwrap();
        assert_eq!(preview["services"][0]["flows_broken"], scene.connections, "{verb}: {preview}");
    }
    scene.assert_unharmed();
    let Scene { cluster, streams, address, .. } = scene;
    assert_eq!(streams.finish().unwrap(), Vec::<String>::new());
    assert_eq!(drain.code(), 0, "{}", drain.said("err"));
    assert!(
        drain.said("out").ends_with(&format!("{address}: no connection left\n")),
        "{}",
        drain.said("out")
    );
    assert_eq!(
        backend(cluster.agent.instance(), &address)["admin"],
        "drain",
        "it stays until somebody says so"
    );
    let again = cluster.agent.instance().output(&["backend", "drain", "web", &address, "--wait"]).unwrap();
    assert_eq!(again.status.code(), Some(0), "nothing is left to wait for");
}

#[test]
fn a_drain_that_takes_too_long_ends_with_8() {
    let scene = Scene::new();
    let mut drain = scene.drain(&["--wait", "--timeout", "4s"]);
    assert_eq!(drain.code(), 8, "{}", drain.said("out"));
    assert!(drain.said("err").contains("stays drained"), "{}", drain.said("err"));
    assert!(drain.said("out").contains(&format!("{}: time over", scene.address)), "{}", drain.said("out"));
    assert_eq!(backend(scene.instance(), &scene.address)["admin"], "drain");
    scene.assert_unharmed();
}

#[test]
fn a_deadline_removes_what_is_to_be_removed() {
    let scene = Scene::new();
    let mut drain = scene.drain(&["-o", "json", "--wait", "--timeout", "4s", "--then", "remove"]);
    assert_eq!(drain.code(), 8, "{}", drain.said("out"));
    let failure: Value = serde_json::from_str(&drain.said("err")).unwrap();
    assert_eq!(failure["error"]["kind"], "timeout");
    assert!(failure["error"]["message"].as_str().unwrap().contains("removed nevertheless"), "{failure}");
    let said = drain.said("out");
    let lines: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (first, last) = (&lines[0]["drains"][0], &lines[lines.len() - 1]["drains"][0]);
    assert_eq!((&first["state"], &first["all_known"]), (&"draining".into(), &false.into()), "{said}");
    assert_eq!((&last["state"], &last["removed"]), (&"deadline_passed".into(), &true.into()), "{said}");
    assert_eq!(backend(scene.instance(), &scene.address), Value::Null);
}

#[test]
fn the_agent_ends_a_drain_by_itself_and_after_a_restart() {
    let Scene { mut cluster, streams, address, connections } = Scene::new();
    let mut drain = Drain::start(
        cluster.agent.instance(),
        &["backend", "drain", "web", &address, "--wait", "--then", "remove"],
    );
    drain.wait_for("left");
    drain.child.kill().unwrap();
    cluster.agent.kill().unwrap();
    cluster.agent.restart().unwrap();
    wait_for(cluster.agent.instance(), &address, "/tracked_flows", connections);
    let at_rest = || Ok(slots(cluster.agent.instance())["moving"] == 0);
    wait::until_true("the quiet period to end", at_rest).unwrap();
    assert_eq!(backend(cluster.agent.instance(), &address)["admin"], "drain", "it has connections");
    assert_eq!(streams.finish().unwrap(), Vec::<String>::new());
    let gone = || Ok(backend(cluster.agent.instance(), &address).is_null());
    wait::until_true("the backend to be removed", gone).unwrap();
    let log = cluster.agent.instance().log();
    assert!(log.contains(&format!("removed {address} from web after its drain")), "{log}");
}

#[test]
fn who_is_made_ready_is_drained_no_more() {
    let scene = Scene::new();
    let mut drain = scene.drain(&["--wait", "--then", "remove"]);
    drain.wait_for("left");
    scene.cluster.agent.lb(&["backend", "ready", "web", &scene.address]).unwrap();
    assert_eq!(drain.code(), 6, "{}", drain.said("err"));
    assert!(drain.said("err").contains("drained no more"), "{}", drain.said("err"));
    assert_eq!(backend(scene.instance(), &scene.address)["admin"], "ready");
    scene.assert_unharmed();
}
