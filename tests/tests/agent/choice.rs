//! How a service chooses backends: algorithms, maintenance, slow start.

use lb_tests::wait;
use serde_json::Value;

use crate::support::{agent, backend, refusal, wait_for};

fn service(agent: &lb_tests::agent::Agent, name: &str) -> Value {
    agent.json(&["service", "show", name]).unwrap()["service"].clone()
}

#[test]
fn algorithms_are_set_shown_and_kept() {
    let mut agent = agent();
    for (name, vip, options, algorithm, prefix) in [
        ("plain", "192.0.2.1:1/tcp", "", "maglev", Value::Null),
        ("by-client", "192.0.2.1:2/tcp", " --algorithm source-hash", "source_hash", 32.into()),
        (
            "by-net",
            "192.0.2.1:3/tcp",
            " --algorithm source-hash --source-prefix4 24",
            "source_hash",
            24.into(),
        ),
        ("by-site", "[2001:db8::1]:4/tcp", " --algorithm source-hash", "source_hash", 64.into()),
        ("turns", "192.0.2.1:5/tcp", " --algorithm round-robin", "round_robin", Value::Null),
        ("load", "192.0.2.1:6/udp", " --algorithm least-connections", "least_connections", Value::Null),
    ] {
        let line = format!("service add {name} --vip {vip}{options}");
        agent.lb(&line.split(' ').collect::<Vec<_>>()).unwrap();
        let view = service(&agent, name);
        assert_eq!((&view["algorithm"], &view["source_prefix"]), (&algorithm.into(), &prefix), "{name}");
    }
    agent.lb(&["service", "add", "web3", "--vip", "192.0.2.1:443/udp", "--quic"]).unwrap();
    assert_eq!(service(&agent, "web3")["quic"], true);
    let stored = agent.json(&["service", "list"]).unwrap();
    agent.kill().unwrap();
    agent.restart().unwrap();
    wait::until_true("the same services", || {
        let now = agent.json(&["service", "list"])?;
        Ok(now["services"].as_array().map(Vec::len) == stored["services"].as_array().map(Vec::len)
            && now["services"][0]["algorithm"] == stored["services"][0]["algorithm"])
    })
    .unwrap();
    agent.lb(&["service", "set", "web3", "--quic=false"]).unwrap();
    assert_eq!(service(&agent, "web3")["quic"], false);
}

#[test]
fn a_service_changes_its_algorithm_without_backends_only() {
    let agent = agent();
    let lb = |line: &str| agent.lb(&line.split(' ').collect::<Vec<_>>()).unwrap();
    lb("service add web --vip 192.0.2.1:80/tcp --check none");
    lb("service set web --algorithm least-connections --table-size 1021");
    lb("backend add web 10.0.0.2");
    for change in ["--algorithm=maglev", "--table-size=8191"] {
        let refused = refusal(agent.instance(), &["service", "set", "web", change]);
        assert_eq!(refused.code, 6, "{}", refused.message);
        assert!(refused.message.contains("connections would move"), "{}", refused.message);
    }
    lb("service set web --algorithm least-connections --check-interval 3s");
    lb("backend del web 10.0.0.2");
    lb("service set web --algorithm maglev");
}

#[test]
fn maintenance_is_for_one_service() {
    let agent = agent();
    let lb = |line: &str| agent.lb(&line.split(' ').collect::<Vec<_>>()).unwrap();
    for name in ["a", "b"] {
        let port = if name == "a" { 80 } else { 81 };
        lb(&format!("service add {name} --vip 192.0.2.1:{port}/tcp --check none --table-size 1021"));
        lb(&format!("backend add {name} 10.0.0.2 10.0.0.3"));
    }
    let slots = |name: &str| -> Vec<u64> {
        let detail = agent.json(&["service", "show", name]).unwrap();
        let backends = detail["backends"].as_array().unwrap();
        backends.iter().map(|backend| backend["slots"].as_u64().unwrap()).collect()
    };
    let halves = |slots: &[u64]| slots == [510, 511] || slots == [511, 510];
    let settled = || Ok(halves(&slots("a")) && halves(&slots("b")));
    wait::until_true("a share for each", settled).unwrap();
    lb("backend maint a 10.0.0.2");
    assert_eq!(slots("a"), [0, 1021]);
    assert!(halves(&slots("b")), "{:?}", slots("b"));
    let list = agent.json(&["backend", "list", "a"]).unwrap();
    assert_eq!(
        (&list["backends"][0]["admin"], &list["backends"][0]["effective_weight"]),
        (&"maint".into(), &0.into())
    );
    let states = agent.json(&["service", "show", "a"]).unwrap()["service"]["slots"].clone();
    assert_eq!(states["moving"], 0, "nobody waits for the connections of what is out: {states}");
    lb("backend ready a 10.0.0.2");
    assert!(halves(&slots("a")), "{:?}", slots("a"));
}

#[test]
fn a_backend_rises_to_its_weight() {
    let agent = agent();
    let lb = |line: &str| agent.lb(&line.split(' ').collect::<Vec<_>>()).unwrap();
    lb("service add web --vip 192.0.2.1:80/tcp --check none --slow-start 1h --table-size 1021");
    lb("backend add web 10.0.0.2 10.0.0.3");
    let weight = |address: &str| backend(agent.instance(), address)["effective_weight"].as_u64();
    assert_eq!(weight("10.0.0.2"), Some(10), "the first of ten steps");
    // A restart is no beginning, and a backend that is new after it is one.
    drop(agent);
    let mut agent = crate::support::agent();
    let lb =
        |agent: &lb_tests::agent::Agent, line: &str| agent.lb(&line.split(' ').collect::<Vec<_>>()).unwrap();
    lb(&agent, "service add web --vip 192.0.2.1:80/tcp --check none --slow-start 2s --table-size 1021");
    lb(&agent, "backend add web 10.0.0.2");
    wait_for(agent.instance(), "10.0.0.2", "/effective_weight", 100);
    lb(&agent, "service set web --slow-start 1h");
    agent.kill().unwrap();
    agent.restart().unwrap();
    wait_for(agent.instance(), "10.0.0.2", "/slots", 1021);
    wait_for(agent.instance(), "10.0.0.2", "/effective_weight", 100);
    lb(&agent, "backend add web 10.0.0.3");
    wait_for(agent.instance(), "10.0.0.3", "/effective_weight", 10);
    let share = || Ok(backend(agent.instance(), "10.0.0.3")["slots"].as_u64() == Some(93));
    wait::until_true("10 of 110 parts of the table", share).unwrap();
    assert_eq!(backend(agent.instance(), "10.0.0.3")["weight"], 100);
    lb(&agent, "backend maint web 10.0.0.2");
    lb(&agent, "backend ready web 10.0.0.2");
    assert_eq!(backend(agent.instance(), "10.0.0.2")["effective_weight"], 10, "ready begins anew");
}
