//! How the agent starts, ends and comes back.

use std::{fs, os::unix::fs::PermissionsExt, process::Child};

use lb_tests::{agent::Instance, wait};
use serde_json::Value;

use crate::support::{agent, namespace, refusal};

/// An agent that `lb attach` started in the background; ended when dropped.
struct Background(libc::pid_t);

impl Background {
    fn of(status: &Value) -> Self {
        Self(status["agent"]["pid"].as_i64().expect("a running agent").try_into().unwrap())
    }

    fn signal(&self, signal: libc::c_int) -> bool {
        // SAFETY: sends a signal; the process is one that this test had started.
        unsafe { libc::kill(self.0, signal) == 0 }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.signal(libc::SIGKILL);
    }
}

#[test]
fn attach_starts_the_agent_and_says_the_mode() {
    let instance = Instance::new(&namespace()).unwrap();
    let said = instance.lb(&["attach", "eth0", "--mode", "generic"]).unwrap();
    let status = instance.json(&["status"]).unwrap();
    let background = Background::of(&status);
    assert!(said.starts_with("attached to eth0, generic\n"), "{said}");
    assert!(said.contains(&format!("pid {}", background.0)), "{said}");
    assert_eq!(status["interfaces"][0]["mode"], "generic");
    let mode = fs::metadata(instance.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);

    // It ends cleanly, and leaves the packet path as it is.
    assert!(background.signal(libc::SIGTERM));
    wait::until_true("the socket to go", || Ok(!instance.socket().exists())).unwrap();
    let down = instance.json(&["status"]).unwrap();
    assert_eq!(down["agent"]["running"], false);
    assert_eq!(down["interfaces"][0]["mode"], "generic");
    assert!(down["problems"][0].as_str().unwrap().contains("down"));
}

#[test]
fn attach_tells_why_the_agent_did_not_start() {
    let instance = Instance::new(&namespace()).unwrap();
    fs::create_dir(instance.state_dir()).unwrap();
    fs::write(instance.state_dir().join("desired.json"), "damaged").unwrap();
    let output = instance.output(&["attach", "eth0"]).unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(7), "{message}");
    assert!(message.contains("desired.json.damaged-1"), "{message}");
}

#[test]
fn an_attach_that_is_refused_leaves_no_agent_behind() {
    let netns = namespace();
    let other = lb_tests::agent::Agent::start(&netns, &[]).unwrap();
    other.lb(&["attach", "eth0"]).unwrap();
    let instance = Instance::new(&netns).unwrap();
    for (line, code) in [
        ("attach eth0", 6),
        ("attach nope0", 4),
        ("attach eth0 nope0", 4),
        ("attach ../eth0", 7),
        ("attach peer0 eth0", 6),
    ] {
        let refused = refusal(&instance, &line.split(' ').collect::<Vec<_>>());
        assert_eq!(refused.code, code, "lb {line}: {}", refused.message);
        assert!(!instance.socket().exists(), "lb {line} left an agent");
        assert!(!instance.state_dir().exists(), "lb {line} left a state");
        let pins = fs::read_dir(instance.pin_dir()).map(|names| names.count()).unwrap_or(0);
        assert_eq!(pins, 0, "lb {line} left pins");
    }
}

#[test]
fn any_time_to_wait_is_fine() {
    let instance = Instance::new(&namespace()).unwrap();
    let wait = ["--timeout", "18446744073709551615s"];
    instance.lb(&[&wait[..], &["attach", "eth0"]].concat()).unwrap();
    drop(Background::of(&instance.json(&["status"]).unwrap()));
}

#[test]
fn a_lost_state_does_not_clear_a_working_packet_path_and_is_no_dead_end() {
    let mut agent = agent();
    agent.lb(&["attach", "eth0"]).unwrap();
    agent.kill().unwrap();
    let file = agent.instance().state_dir().join("desired.json");
    let problem = |agent: &lb_tests::agent::Agent, part: &str| {
        let status = agent.json(&["status"]).unwrap();
        assert_eq!(status["interfaces"][0]["mode"].is_string(), part != "detached", "{status}");
        assert!(part == "detached" || status["problems"].to_string().contains(part), "{status}");
    };
    let refused_start = |agent: &lb_tests::agent::Agent, code, part: &str| {
        let output = agent.instance().output(&["agent"]).unwrap();
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{message}");
        assert!(message.contains(part), "{message}");
    };

    fs::write(&file, "damaged").unwrap();
    problem(&agent, "is damaged");
    refused_start(&agent, 7, "lb detach --all");
    problem(&agent, "desired.json.damaged-1");
    fs::remove_file(file.with_extension("json.damaged-1")).unwrap();
    refused_start(&agent, 6, "lb detach --all");
    agent.lb(&["detach", "--all"]).unwrap();
    problem(&agent, "detached");
    // With the seed of the pins, which are still there.
    agent.restart().unwrap();
    agent.lb(&["attach", "eth0"]).unwrap();
}

#[test]
fn detaching_without_an_agent_is_remembered() {
    let mut agent = agent();
    agent.lb(&["attach", "eth0", "peer0"]).unwrap();
    agent.kill().unwrap();
    assert_eq!(refusal(agent.instance(), &["detach", "nope0"]).code, 4);
    agent.lb(&["detach", "eth0"]).unwrap();
    let names = |agent: &lb_tests::agent::Agent| {
        let status = agent.json(&["status"]).unwrap();
        let interfaces = status["interfaces"].as_array().unwrap().iter();
        interfaces.map(|interface| interface["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&agent), ["peer0"]);
    agent.restart().unwrap();
    assert_eq!(names(&agent), ["peer0"]);
}

#[test]
fn without_an_agent_only_reading_works() {
    let instance = Instance::new(&namespace()).unwrap();
    assert_eq!(instance.json(&["status"]).unwrap()["agent"]["running"], false);
    instance.lb(&["stats"]).unwrap();
    instance.lb(&["version"]).unwrap();
    for line in ["service list", "backend list", "health list", "detach --all", "service del web"] {
        let refused = refusal(&instance, &line.split(' ').collect::<Vec<_>>());
        assert_eq!(refused.code, 3, "lb {line}: {}", refused.message);
        assert!(refused.message.contains("lb attach"), "{}", refused.message);
    }
    assert!(!instance.state_dir().exists(), "reading leaves nothing behind");
}

#[test]
fn everything_asked_for_survives_a_kill() {
    let mut agent = agent();
    agent.lb(&["attach", "eth0"]).unwrap();
    agent.lb(&["service", "add", "web", "--vip", "192.0.2.1:80/tcp"]).unwrap();
    agent.lb(&["backend", "add", "web", "10.0.0.2", "10.0.0.3", "--weight", "7"]).unwrap();
    agent.lb(&["backend", "drain", "web", "10.0.0.3"]).unwrap();
    let asked = |agent: &lb_tests::agent::Agent| {
        let list = agent.json(&["backend", "list"]).unwrap();
        let backends = list["backends"].as_array().unwrap().iter();
        let facts = |b: &Value| format!("{} {} {} {}", b["address"], b["id"], b["weight"], b["admin"]);
        let interfaces = agent.json(&["status"]).unwrap()["interfaces"].clone();
        (backends.map(facts).collect::<Vec<_>>(), interfaces)
    };
    let before = asked(&agent);
    assert_eq!(before.0.len(), 2);
    agent.kill().unwrap();
    agent.restart().unwrap();
    assert_eq!(asked(&agent), before);
}

#[test]
fn an_interface_that_is_gone_is_a_problem_and_not_an_end() {
    let netns = namespace();
    let mut agent = lb_tests::agent::Agent::start(&netns, &[]).unwrap();
    agent.lb(&["attach", "eth0"]).unwrap();
    agent.kill().unwrap();
    netns.ip(&["link delete eth0"]).unwrap();
    agent.restart().unwrap();
    let status = agent.json(&["status"]).unwrap();
    assert_eq!(status["interfaces"][0]["name"], "eth0");
    assert_eq!(status["interfaces"][0]["mode"], Value::Null);
    assert!(status["problems"].to_string().contains("eth0"), "{status}");
    agent.lb(&["detach", "eth0"]).unwrap();
    assert_eq!(agent.json(&["status"]).unwrap()["interfaces"], Value::Array(vec![]));
}

#[test]
fn an_interface_that_is_made_anew_is_attached_to_again() {
    let netns = namespace();
    let agent = lb_tests::agent::Agent::start(&netns, &[]).unwrap();
    agent.lb(&["attach", "eth0"]).unwrap();
    let mode = || agent.json(&["status"]).map(|status| status["interfaces"][0]["mode"].clone());
    netns.ip(&["link delete eth0"]).unwrap();
    wait::until_true("the interface to be missed", || Ok(mode()?.is_null())).unwrap();
    // Not with offloads set, which would race with the attachment.
    netns.ip(&["link add eth0 type veth peer name peer0", "link set peer0 up", "link set eth0 up"]).unwrap();
    wait::until_true("the new interface to be attached to", || Ok(mode()?.is_string())).unwrap();
    let status = agent.json(&["status"]).unwrap();
    assert!(!status["problems"].to_string().contains("eth0"), "{status}");
}

/// Whether the kernel has stopped every thread of a process: the signal is sent before they are.
fn all_stopped(pid: libc::pid_t) -> anyhow::Result<bool> {
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let stat = fs::read_to_string(task?.path().join("stat"))?;
        // The state follows the name in parentheses.
        if !stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T')) {
            return Ok(false);
        }
    }
    Ok(true)
}

#[test]
fn a_client_that_gives_up_says_so() {
    let agent = agent();
    let pid = agent.json(&["status"]).unwrap()["agent"]["pid"].as_i64().unwrap();
    let pid = libc::pid_t::try_from(pid).unwrap();
    // SAFETY: stops a process that this test started; the guard kills it stopped or not.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGSTOP) }, 0);
    wait::until_true("every thread of the agent to stop", || all_stopped(pid)).unwrap();
    let refused = refusal(agent.instance(), &["--timeout", "200ms", "service", "list"]);
    assert_eq!(refused.code, 8, "{}", refused.message);
    // SAFETY: as above.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGCONT) }, 0);
    agent.lb(&["service", "list"]).unwrap();
}

#[test]
fn commands_at_once_all_count() {
    let agent = agent();
    agent.lb(&["service", "add", "web", "--vip", "192.0.2.1:80/tcp", "--check", "none"]).unwrap();
    let add = |n: u32| -> Child {
        let address = format!("10.0.0.{n}");
        agent.instance().command(&["backend", "add", "web", &address]).unwrap().spawn().unwrap()
    };
    let children: Vec<Child> = (2..22).map(add).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let list = agent.json(&["backend", "list", "web"]).unwrap();
    assert_eq!(list["backends"].as_array().unwrap().len(), 20);
}
