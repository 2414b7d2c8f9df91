//! Health as users see it: a backend joins with its first success and leaves when it fails.

use lb_tests::{agent::Agent, server::Server, topology::Topology, wait};

use crate::support::{backend, wait_for};

#[test]
fn backends_join_when_they_answer_and_leave_when_they_do_not() {
    let topology = Topology::one_arm(2).unwrap();
    let agent = Agent::start(&topology.lb, &[]).unwrap();
    let instance = agent.instance();
    let [one, two] = topology.backends.as_slice() else { panic!("two backends") };
    let (first, second) = (one.v4.to_string(), two.v4.to_string());
    agent.lb(&["attach", "eth0"]).unwrap();
    let add = "service add web --vip 198.51.100.1:80/tcp --check-interval 100ms --check-fall 2";
    agent.lb(&add.split(' ').collect::<Vec<_>>()).unwrap();
    agent.lb(&["backend", "add", "web", &first, &second]).unwrap();
    let _one = Server::http(&one.netns, "one", 80).unwrap();
    wait_for(instance, &first, "/health", "up");
    wait_for(instance, &first, "/slots", 65_537);
    assert_eq!(backend(instance, &second)["slots"], 0, "it has never answered");

    let server = Server::http(&two.netns, "two", 80).unwrap();
    wait_for(instance, &second, "/health", "up");
    wait::until_true("both to have a share", || {
        Ok(backend(instance, &second)["slots"].as_u64() > Some(30_000))
    })
    .unwrap();

    drop(server);
    wait_for(instance, &second, "/health", "down");
    wait_for(instance, &second, "/slots", 0);
    let checks = agent.json(&["health", "list", "web"]).unwrap();
    let check =
        checks["checks"].as_array().unwrap().iter().find(|check| check["address"] == *second).unwrap();
    assert_eq!(check["state"], "down");
    assert!(check["failures"].as_u64() >= Some(2), "{check}");
    assert!(check["last_result"].is_string(), "{check}");
}

#[test]
fn a_restarted_agent_remembers_who_was_up() {
    let topology = Topology::one_arm(2).unwrap();
    let mut agent = Agent::start(&topology.lb, &[]).unwrap();
    let [one, two] = topology.backends.as_slice() else { panic!("two backends") };
    let (first, second) = (one.v4.to_string(), two.v4.to_string());
    agent.lb(&["attach", "eth0"]).unwrap();
    // Checks so rare that only memory can answer after the restart.
    let add = "service add web --vip 198.51.100.1:80/tcp --check-interval 1h --check-timeout 1s";
    agent.lb(&add.split(' ').collect::<Vec<_>>()).unwrap();
    let _server = Server::http(&one.netns, "one", 80).unwrap();
    agent.lb(&["backend", "add", "web", &first, &second]).unwrap();
    wait_for(agent.instance(), &first, "/slots", 65_537);
    agent.kill().unwrap();
    agent.restart().unwrap();
    // Nothing is published yet, and yet the first takes traffic.
    let problems = agent.json(&["status"]).unwrap()["problems"].to_string();
    assert!(!problems.contains("no backend that takes traffic"), "{problems}");
    wait_for(agent.instance(), &first, "/slots", 65_537);
    assert_eq!(backend(agent.instance(), &first)["health"], "up");
    assert_ne!(backend(agent.instance(), &second)["health"], "up");
}
