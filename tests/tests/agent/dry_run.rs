//! `--dry-run`: says what a change would touch, and changes nothing.

use std::fs;

use lb_tests::{agent::Agent, wait};
use serde_json::Value;

use crate::support::{agent, backend, everything, wait_for};

const SLOTS: u64 = 65_537;

/// An agent with a service of two backends that share its table.
fn configured() -> Agent {
    let agent = agent();
    agent.lb(&["service", "add", "web", "--vip", "192.0.2.1:80/tcp", "--check", "none"]).unwrap();
    agent.lb(&["backend", "add", "web", "10.0.0.2", "10.0.0.3"]).unwrap();
    for address in ["10.0.0.2", "10.0.0.3"] {
        wait_for(agent.instance(), address, "/next_hop/state", "resolved");
        let half = || Ok(backend(agent.instance(), address)["slots"].as_u64() >= Some(SLOTS / 2));
        wait::until_true("half of the slots for each", half).unwrap();
    }
    agent
}

fn preview(agent: &Agent, line: &str) -> Value {
    let words: Vec<&str> = line.split(' ').chain(["--dry-run"]).collect();
    agent.json(&words).unwrap()
}

#[test]
fn every_verb_says_what_would_move_and_changes_nothing() {
    let agent = configured();
    let before = everything(agent.instance());
    let file = agent.instance().state_dir().join("desired.json");
    let written = fs::metadata(&file).unwrap().modified().unwrap();
    // What is expected to move, in thousandths of the table, at least and at most.
    for (line, least, most) in [
        ("service add other --vip 192.0.2.1:81/tcp", 0, 0),
        ("service set web --check-interval 3s", 0, 0),
        ("service del web", 1000, 1000),
        ("backend add web 10.0.0.4", 333, 360),
        ("backend del web 10.0.0.2", 499, 501),
        ("backend set web 10.0.0.2 --weight 300", 249, 270),
        ("backend set web 10.0.0.2 --weight 0", 499, 501),
        ("backend drain web 10.0.0.2", 499, 501),
        ("backend drain web 10.0.0.2 --wait --then remove --timeout 1s", 499, 501),
        ("backend maint web 10.0.0.2 10.0.0.3", 1000, 1000),
        ("backend ready web 10.0.0.2", 0, 0),
    ] {
        let preview = preview(&agent, line);
        let moving = preview["services"][0]["slots_moving"].as_u64().unwrap_or(0);
        let share = (moving * 1000 + SLOTS / 2) / SLOTS;
        assert!((least..=most).contains(&share), "{line}: {preview}");
        assert_eq!(preview["would_change"], !line.contains("ready"), "{line}");
        if moving > 0 {
            let service = &preview["services"][0];
            assert_eq!((&service["name"], &service["table_size"]), (&"web".into(), &SLOTS.into()), "{line}");
            assert_eq!(
                (&service["tracked_flows"], &service["flows_broken"]),
                (&0.into(), &0.into()),
                "{line}"
            );
        }
    }
    assert_eq!(everything(agent.instance()), before);
    assert_eq!(fs::metadata(&file).unwrap().modified().unwrap(), written, "the state was not even rewritten");
    assert_eq!(agent.json(&["service", "show", "web"]).unwrap()["service"]["slots"]["moving"], 0);
}

#[test]
fn what_a_dry_run_says_is_what_happens() {
    let agent = configured();
    let said = preview(&agent, "backend drain web 10.0.0.3")["services"][0]["slots_moving"].clone();
    agent.lb(&["backend", "drain", "web", "10.0.0.3"]).unwrap();
    let slots = agent.json(&["service", "show", "web"]).unwrap()["service"]["slots"].clone();
    assert_eq!(slots["moving"], said);
    let text = agent.lb(&["backend", "ready", "web", "10.0.0.3", "--dry-run"]).unwrap();
    assert!(text.contains(&format!("{said} of {SLOTS} slots would move")), "{text}");
    assert!(text.ends_with("nothing was changed\n"), "{text}");
}
