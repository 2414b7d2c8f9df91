//! The main story: a service and its backends through all that an operator does with them.

use lb_tests::{agent::Agent, topology::Topology};
use serde_json::Value;

use crate::support::{backend, wait_for};

const SLOTS: u64 = 65_537;

/// Slots of each backend by its address.
fn slots(agent: &Agent, addresses: &[String]) -> Vec<u64> {
    addresses.iter().map(|address| backend(agent.instance(), address)["slots"].as_u64().unwrap()).collect()
}

fn show(agent: &Agent) -> Value {
    agent.json(&["service", "show", "web"]).unwrap()["service"].clone()
}

#[test]
fn a_service_and_its_backends() {
    let topology = Topology::one_arm(3).unwrap();
    let mut agent = Agent::start(&topology.lb, &[]).unwrap();
    let addresses: Vec<String> = topology.backends.iter().map(|backend| backend.v4.to_string()).collect();
    let [one, two, three] = addresses.as_slice() else { panic!("three backends") };

    let attached = agent.json(&["attach", "eth0"]).unwrap();
    assert_eq!((&attached["changed"], &attached["published"]), (&true.into(), &true.into()));
    assert_eq!(attached["attached"][0]["mode"], "native");
    agent.lb(&["service", "add", "web", "--vip", "198.51.100.1:80/tcp", "--check", "none"]).unwrap();
    let added = agent.json(&["backend", "add", "web", one, two]).unwrap();
    assert_eq!(added["published"], true);
    wait_for(agent.instance(), one, "/next_hop/state", "resolved");
    wait_for(agent.instance(), two, "/next_hop/state", "resolved");
    wait_for_shares(&agent, &addresses[..2], &[1, 1]);

    agent.lb(&["backend", "add", "web", three, "--weight", "200"]).unwrap();
    wait_for(agent.instance(), three, "/next_hop/state", "resolved");
    wait_for_shares(&agent, &addresses, &[1, 1, 2]);
    let moving = show(&agent)["slots"]["moving"].as_u64().unwrap();
    assert!(moving > SLOTS / 3, "half of the slots get a new owner: {moving} move");

    agent.lb(&["backend", "drain", "web", one]).unwrap();
    assert_eq!(slots(&agent, &addresses)[0], 0, "published when the command has answered");
    assert_eq!(backend(agent.instance(), one)["admin"], "drain");
    agent.lb(&["backend", "ready", "web", one]).unwrap();
    assert_shares(&agent, &addresses, &[1, 1, 2]);
    agent.lb(&["backend", "set", "web", three, "--weight", "100"]).unwrap();
    assert_shares(&agent, &addresses, &[1, 1, 1]);

    let before = slots(&agent, &addresses);
    agent.kill().unwrap();
    let down = agent.json(&["status"]).unwrap();
    assert_eq!(down["agent"]["running"], false);
    assert_eq!(down["interfaces"][0]["mode"], "native", "still attached with the agent dead");
    assert_eq!(down["services"][0]["backends_total"], 3);
    agent.json(&["stats"]).unwrap();
    agent.restart().unwrap();
    wait_for_shares(&agent, &addresses, &[1, 1, 1]);
    assert_eq!(slots(&agent, &addresses), before);
    let slots_now = &show(&agent)["slots"];
    assert!(slots_now["moving"].as_u64() > Some(0), "what was moving moves on: {slots_now}");

    agent.lb(&["backend", "del", "web", one]).unwrap();
    assert_eq!(backend(agent.instance(), one), Value::Null);
    assert_shares(&agent, &addresses[1..], &[1, 1]);
    agent.lb(&["service", "del", "web"]).unwrap();
    agent.lb(&["detach", "--all"]).unwrap();
    let end = agent.json(&["status"]).unwrap();
    assert_eq!((&end["interfaces"], &end["services"]), (&Value::Array(vec![]), &Value::Array(vec![])));
}

/// Each backend has its share of the slots, to within one.
fn assert_shares(agent: &Agent, addresses: &[String], weights: &[u64]) {
    let slots = slots(agent, addresses);
    assert!(shares_hold(&slots, weights), "{slots:?} for weights {weights:?}");
}

fn wait_for_shares(agent: &Agent, addresses: &[String], weights: &[u64]) {
    lb_tests::wait::until("the shares", || {
        let slots = slots(agent, addresses);
        anyhow::ensure!(shares_hold(&slots, weights), "{slots:?} for weights {weights:?}");
        Ok(())
    })
    .unwrap();
}

fn shares_hold(slots: &[u64], weights: &[u64]) -> bool {
    let total: u64 = weights.iter().sum();
    slots.iter().sum::<u64>() == SLOTS
        && slots.iter().zip(weights).all(|(slots, weight)| (slots * total).abs_diff(SLOTS * weight) <= total)
}
