//! The JSON that scripts rely on: which fields there are, and of which kind.

use lb_tests::agent::Instance;
use serde_json::Value;

use crate::support::{agent, wait_for};

/// Names of an object's fields, in order.
fn fields(value: &Value) -> String {
    let mut names: Vec<&str> = value.as_object().expect("an object").keys().map(String::as_str).collect();
    names.sort_unstable();
    names.join(" ")
}

fn first<'a>(value: &'a Value, list: &str) -> &'a Value {
    &value[list][0]
}

fn answer(instance: &Instance, line: &str) -> Value {
    let value = instance.json(&line.split(' ').collect::<Vec<_>>()).unwrap();
    assert_eq!(value["schema_version"], 1, "{line}");
    value
}

const SERVICE: &str = "algorithm backends_active backends_total bytes check down_within_ms encap_source fragments gue_port id mode name packets quic \
     quic_id slots \
     slow_start_ms source_prefix table_size vip";
const BACKEND: &str = "address admin bytes effective_weight health id next_hop packets quic_server_id service share_ppm slots \
                       tracked_flows weight";

#[test]
fn every_answer_has_its_fields() {
    let agent = agent();
    let lb = |line: &str| answer(agent.instance(), line);
    let attached = lb("attach eth0");
    assert_eq!(fields(&attached), "attached changed notes problems published schema_version");
    assert_eq!(fields(first(&attached, "attached")), "ifindex mode name note");
    lb(
        "service add web --vip 192.0.2.1:80/tcp --mode ipip --encap-source 10.9.0.0/16 --check http --check-host x",
    );
    lb("backend add web 10.0.0.2");
    agent.instance();

    let status = lb("status");
    assert_eq!(fields(&status), "agent interfaces map_memory_bytes problems schema_version services");
    assert_eq!(fields(&status["agent"]), "abi_version pid running uptime_s version");
    assert_eq!(fields(first(&status, "interfaces")), "ifindex mode name wanted");
    assert_eq!(fields(first(&status, "services")), SERVICE);

    assert_eq!(fields(first(&lb("service list"), "services")), SERVICE);
    let detail = lb("service show web");
    assert_eq!(fields(&detail), "backends schema_version service");
    let service = &detail["service"];
    assert_eq!(fields(service), SERVICE);
    assert_eq!(fields(&service["check"]), "fall interval_ms kind port rise timeout_ms");
    assert_eq!(fields(&service["check"]["kind"]), "host path status type");
    assert_eq!(
        fields(&service["slots"]),
        "moving quiet_left_s settled steady tracked_flows turns_left waiting"
    );
    assert_eq!(service["vip"], "192.0.2.1:80/tcp");
    assert_eq!(service["encap_source"], "10.9.0.0/16");

    let backends = lb("backend list");
    let backend = first(&backends, "backends");
    assert_eq!(fields(backend), BACKEND);
    assert!(backend["slots"].is_u64() && backend["share_ppm"].is_u64() && backend["packets"].is_u64());
    assert_eq!(backend["health"], "waiting");

    let health = lb("health list");
    assert_eq!(
        fields(first(&health, "checks")),
        "address check failures last_result latency_us service since_unix_ms state successes"
    );
    let stats = lb("stats");
    assert_eq!(fields(&stats), "events reasons schema_version services");
    assert_eq!(fields(first(&stats, "services")), "backends bytes name packets");
    assert_eq!(fields(&stats["services"][0]["backends"][0]), "address bytes packets");
    assert_eq!(fields(first(&stats, "reasons")), "action bytes packets reason");
    assert_eq!(fields(first(&stats, "events")), "count event");
    assert_eq!(lb("stats web")["reasons"], Value::Array(vec![]));
    let preview = lb("backend drain web 10.0.0.2 --dry-run");
    assert_eq!(fields(&preview), "schema_version services would_change");
    assert_eq!(fields(&lb("version")), "abi_version schema_version version");
    lb("decap attach peer0 --vip 192.0.2.1");
    let decap = lb("decap list");
    assert_eq!(fields(&decap), "interfaces schema_version");
    assert_eq!(fields(first(&decap, "interfaces")), "gue_port ifindex mode name reasons vips");
    assert_eq!(fields(&decap["interfaces"][0]["reasons"][0]), "action bytes packets reason");
}

#[test]
fn a_command_says_whether_it_changed_anything() {
    let agent = agent();
    let lb = |line: &str| answer(agent.instance(), line);
    lb("service add web --vip 192.0.2.1:80/tcp");
    lb("backend add web 10.0.0.2");
    assert_eq!(lb("backend set web 10.0.0.2 --weight 100")["changed"], false);
    assert_eq!(lb("backend set web 10.0.0.2 --weight 7")["changed"], true);
    assert_eq!(lb("service set web --check-interval 2s")["changed"], false);
    assert_eq!(lb("attach eth0")["changed"], true);
    assert_eq!(lb("attach eth0")["changed"], false);
    assert_eq!(lb("detach --all")["changed"], true);
    assert_eq!(lb("detach --all")["changed"], false);
}

#[test]
fn a_next_hop_says_how_or_why_not() {
    let agent = agent();
    let lb = |line: &str| answer(agent.instance(), line);
    lb("service add web --vip 192.0.2.1:80/tcp --mode ipip");
    lb("backend add web 172.31.0.2");
    wait_for(agent.instance(), "172.31.0.2", "/next_hop/state", "unresolved");
    let backends = lb("backend list");
    let next_hop = &backends["backends"][0]["next_hop"];
    assert_eq!(fields(next_hop), "reason state");
    agent.instance();
}

#[test]
fn tables_are_aligned_and_short() {
    let agent = agent();
    agent.lb(&["service", "add", "web", "--vip", "192.0.2.1:80/tcp", "--check", "none"]).unwrap();
    agent.lb(&["service", "add", "dns-of-the-office", "--vip", "[2001:db8::1]:53/udp"]).unwrap();
    let table = agent.lb(&["service", "list"]).unwrap();
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 3, "{table}");
    let column = lines[0].find("ADDRESS").unwrap();
    assert!(lines[1][column..].starts_with("[2001:db8::1]:53/udp"), "{table}");
    assert!(lines[2][column..].starts_with("192.0.2.1:80/tcp"), "{table}");
}
