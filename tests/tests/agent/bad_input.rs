//! Bad input: a clear message, its exit code, and nothing changed.

use std::{fs, process::Command, sync::Arc};

use lb_tests::{
    agent::{Agent, Instance, binary},
    bpffs::TempDir,
    netns::Netns,
    wait,
};

use crate::support::{agent, backend, everything, give_up_rights, install, namespace, refusal, wait_for};

/// An agent with a service and two backends.
fn configured() -> Agent {
    let agent = agent();
    agent.lb(&["attach", "eth0"]).unwrap();
    agent.lb(&["service", "add", "web", "--vip", "192.0.2.1:80/tcp", "--check", "none"]).unwrap();
    agent.lb(&["service", "add", "tiny", "--vip", "[2001:db8::1]:53/udp", "--table-size", "1021"]).unwrap();
    agent.lb(&["backend", "add", "web", "10.0.0.2", "10.0.0.3"]).unwrap();
    // At rest: what changes after this is not the agent still taking in what it was told.
    for address in ["10.0.0.2", "10.0.0.3"] {
        wait_for(agent.instance(), address, "/next_hop/state", "resolved");
        let has_share = || Ok(backend(agent.instance(), address)["slots"].as_u64() > Some(0));
        wait::until_true("a share for each", has_share).unwrap();
    }
    agent
}

/// Command line, exit code, and a part of the message.
type Row = (&'static str, i32, &'static str);

const ROWS: &[Row] = &[
    ("attach nope0", 4, "nope0"),
    ("attach eth0 nope0", 4, "nope0"),
    // The first can be attached to and must be let go again.
    ("attach peer0 zzz0", 4, "zzz0"),
    ("attach ../eth0", 7, "name of an interface"),
    ("attach eth0 --mode turbo", 2, "turbo"),
    ("attach", 2, "<IFACE>"),
    ("detach nope0", 4, "nope0"),
    ("detach", 2, "<IFACE>"),
    ("detach eth0 --all", 2, "--all"),
    ("service add other --vip 192.0.2.1:80/tcp", 6, "belongs to service web"),
    ("service add web --vip 192.0.2.1:81/tcp", 6, "exists already"),
    ("service set tiny --vip 192.0.2.1:80/tcp", 6, "belongs to service web"),
    ("service add other --vip 192.0.2.1:70000/tcp", 2, "0 to 65535"),
    ("service add other --vip 192.0.2.1:81", 2, "no protocol"),
    ("service add other --vip 192.0.2.1:81/dccp", 2, "none of tcp, udp and sctp"),
    ("service add other --vip 2001:db8::1:81/tcp", 2, "brackets"),
    ("service add other --vip 0.0.0.0:81/tcp", 2, "unicast"),
    ("service add other", 2, "--vip"),
    ("service add -x --vip 192.0.2.1:81/tcp", 2, "-x"),
    ("service add a/b --vip 192.0.2.1:81/tcp", 7, "service name"),
    ("service add other --vip 192.0.2.1:81/tcp --table-size 1000", 7, "1021, 8191, 65537, 524287"),
    ("service add other --vip 192.0.2.1:81/tcp --table-size -1", 2, "-1"),
    ("service add other --vip 192.0.2.1:81/tcp --encap-source 10.9.0.0/16", 7, "--mode ipip"),
    (
        "service add other --vip 192.0.2.1:81/tcp --mode ipip --encap-source 10.9.0.1/16",
        2,
        "beyond the length",
    ),
    ("service add other --vip 192.0.2.1:81/tcp --mode ipip --gue-port 6081", 7, "--mode gue"),
    ("service add other --vip 192.0.2.1:81/tcp --mode gue --gue-port 0", 2, "0"),
    ("service add other --vip 192.0.2.1:81/tcp --check-path /x", 7, "--check http"),
    ("service add other --vip 192.0.2.1:81/tcp --check http --check-path x", 7, "begin with /"),
    ("service add other --vip 192.0.2.1:81/tcp --check http --check-status 99", 7, "100-599"),
    ("service add other --vip 192.0.2.1:81/tcp --check http --check-status ok", 2, "200-399"),
    ("service add other --vip 192.0.2.1:81/tcp --check-port 70000", 2, "70000"),
    ("service add other --vip 192.0.2.1:81/tcp --check-interval 1", 2, "500ms or 2s"),
    (
        "service add other --vip 192.0.2.1:81/tcp --check-interval 1s --check-timeout 2s",
        7,
        "exceeds the interval",
    ),
    ("service add other --vip 192.0.2.1:81/tcp --check-rise 0", 7, "rise of 0"),
    ("service add other --vip 192.0.2.1:81/tcp --check-fall -1", 2, "-1"),
    ("service add other --vip 192.0.2.1:0/tcp --check tcp", 7, "--check-port"),
    ("service add other --vip 192.0.2.1:81/tcp --algorithm fastest", 2, "fastest"),
    ("service add other --vip 192.0.2.1:81/tcp --source-prefix4 24", 7, "--algorithm source-hash"),
    ("service add other --vip 192.0.2.1:81/tcp --algorithm source-hash --source-prefix4 33", 2, "33"),
    ("service add other --vip 192.0.2.1:81/tcp --algorithm source-hash --source-prefix4 -1", 2, "-1"),
    (
        "service add other --vip 192.0.2.1:81/tcp --algorithm source-hash --source-prefix6 48",
        7,
        "--source-prefix4",
    ),
    ("service add other --vip 192.0.2.1:81/tcp --quic", 7, "UDP"),
    ("service add other --vip 192.0.2.1:81/udp --quic=maybe", 2, "maybe"),
    ("service add other --vip 192.0.2.1:81/udp --quic-id 1:4", 7, "--quic"),
    ("service add other --vip 192.0.2.1:81/udp --quic --quic-id 4", 2, "OFFSET:LENGTH"),
    ("service add other --vip 192.0.2.1:81/udp --quic --quic-id 13:8", 2, "20 bytes"),
    ("backend add web 10.0.0.4 --quic-server-id 0g", 2, "hexadecimal"),
    ("backend add web 10.0.0.4 --quic-server-id 0a", 7, "--quic-id OFFSET:LENGTH"),
    ("backend add web 10.0.0.4 10.0.0.5 --quic-server-id 0a", 7, "one backend only"),
    ("service add other --vip 192.0.2.1:81/tcp --fragments by-address", 7, "for UDP services"),
    ("service add other --vip 192.0.2.1:81/udp --fragments maybe", 2, "maybe"),
    ("service add other --vip 192.0.2.1:81/tcp --slow-start soon", 2, "soon"),
    ("service add other --vip 192.0.2.1:81/tcp --slow-start 2h", 7, "exceeds 1h"),
    ("service set web --algorithm round-robin", 6, "connections would move"),
    ("service set web --algorithm round-robin --dry-run", 6, "connections would move"),
    ("service set web --table-size 1021", 6, "another service"),
    ("service set web", 7, "nothing to set"),
    ("service set nope --mode ipip", 4, "no service"),
    ("service del nope", 4, "no service"),
    ("service show nope", 4, "no service"),
    ("service frobnicate", 2, "frobnicate"),
    ("backend add web 2001:db8::2", 7, "another family"),
    ("backend add web 10.0.0.2", 6, "already"),
    ("backend add web 10.0.0.9 10.0.0.2", 6, "already"),
    ("backend add web 10.0.0.300", 2, "10.0.0.300"),
    ("backend add web 127.0.0.1", 7, "127.0.0.1"),
    ("backend add web 192.0.2.1", 7, "own address"),
    ("backend add web 10.0.0.4 --weight -1", 2, "-1"),
    ("backend add web 10.0.0.4 --weight 65536", 2, "65536"),
    ("backend add web", 2, "<ADDR>"),
    ("backend add nope 10.0.0.4", 4, "no service"),
    ("backend set web 10.0.0.2 --weight -1", 2, "-1"),
    ("backend set web 10.0.0.2", 2, "--weight"),
    ("backend set web 10.0.0.9 --weight 1", 4, "no backend"),
    ("backend del web 10.0.0.2 10.0.0.9", 4, "no backend"),
    ("backend drain web 10.0.0.9", 4, "no backend"),
    ("backend drain web 10.0.0.9 --wait", 4, "no backend"),
    ("backend drain web 10.0.0.9 --dry-run", 4, "no backend"),
    ("backend drain web 10.0.0.2 10.0.0.9", 4, "no backend"),
    ("backend drain web 10.0.0.2 --timeout soon", 2, "soon"),
    ("backend drain web 10.0.0.2 --then explode", 2, "explode"),
    ("backend drain web", 2, "<ADDR>"),
    ("backend drain nope 10.0.0.2 --wait", 4, "no service"),
    ("backend maint web 10.0.0.9", 4, "no backend"),
    ("backend ready web 10.0.0.9", 4, "no backend"),
    ("backend list nope", 4, "no service"),
    ("health list nope", 4, "no service"),
    ("stats nope", 4, "no service"),
    ("frobnicate", 2, "frobnicate"),
    ("status --timeout soon", 2, "soon"),
];

#[test]
fn each_is_refused_with_its_code_and_changes_nothing() {
    let agent = configured();
    let before = everything(agent.instance());
    for (line, code, part) in ROWS {
        let words: Vec<&str> = line.split(' ').collect();
        let refused = refusal(agent.instance(), &words);
        assert_eq!(refused.code, *code, "lb {line}: {}", refused.message);
        assert!(refused.message.contains(part), "lb {line}: {part:?} is not in: {}", refused.message);
    }
    assert_eq!(everything(agent.instance()), before);
}

#[test]
fn more_backends_than_slots_or_than_the_map_holds() {
    let agent = configured();
    let before = everything(agent.instance());
    let many = |count: u32| -> Vec<String> {
        (1..=count).map(|n| std::net::Ipv6Addr::from((0xfd00 << 112) + u128::from(n)).to_string()).collect()
    };
    for (service, count, part) in [("tiny", 1022, "1021 slots"), ("tiny", 65_536, "65535 backends")] {
        let addresses = many(count);
        let words: Vec<&str> =
            ["backend", "add", service].into_iter().chain(addresses.iter().map(String::as_str)).collect();
        let refused = refusal(agent.instance(), &words);
        assert_eq!(refused.code, 7);
        assert!(refused.message.contains(part), "{}", refused.message);
    }
    assert_eq!(everything(agent.instance()), before);
}

#[test]
fn an_interface_with_another_program() {
    let netns = namespace();
    let (first, second) = (Agent::start(&netns, &[]).unwrap(), Agent::start(&netns, &[]).unwrap());
    first.lb(&["attach", "eth0"]).unwrap();
    let (before, owner) = (everything(second.instance()), everything(first.instance()));
    let refused = refusal(second.instance(), &["attach", "eth0"]);
    assert_eq!(refused.code, 6, "{}", refused.message);
    assert!(refused.message.contains("eth0"), "{}", refused.message);
    assert_eq!(everything(second.instance()), before);
    assert_eq!(everything(first.instance()), owner);
}

#[test]
fn an_interface_whose_mtu_refuses_native_mode() {
    let netns = namespace();
    netns.ip(&["link set eth0 mtu 9000", "link set peer0 mtu 9000"]).unwrap();
    let agent = Agent::start(&netns, &[]).unwrap();
    let before = everything(agent.instance());
    let refused = refusal(agent.instance(), &["attach", "eth0", "--mode", "native"]);
    assert_eq!(refused.code, 7, "{}", refused.message);
    assert!(refused.message.to_lowercase().contains("mtu"), "{}", refused.message);
    assert_eq!(everything(agent.instance()), before);
    let attached = agent.json(&["attach", "eth0"]).unwrap();
    assert_eq!(attached["attached"][0]["mode"], "generic", "auto falls back, and says so");
}

/// Runs `lb agent`, which must refuse to start.
fn refused_start(instance: &Instance) -> (i32, String) {
    let output = instance.output(&["agent"]).unwrap();
    let code = output.status.code().expect("ended by a signal");
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_ne!(code, 0, "it should have refused: {stderr}");
    (code, stderr.lines().last().unwrap_or("").to_owned())
}

#[test]
fn a_damaged_state_file() {
    let instance = Instance::new(&namespace()).unwrap();
    fs::create_dir(instance.state_dir()).unwrap();
    let file = instance.state_dir().join("desired.json");
    let damaged = "{\"schema_version\": 1, \"seed\": 7, \"interf";
    fs::write(&file, damaged).unwrap();
    let aside = instance.state_dir().join("desired.json.damaged-1");
    for _ in 0..2 {
        let (code, message) = refused_start(&instance);
        assert_eq!(code, 7, "{message}");
        assert!(message.contains(aside.to_str().unwrap()), "{message}");
        assert_eq!(fs::read_to_string(&aside).unwrap(), damaged);
        assert!(!file.exists(), "nothing took its place");
    }
    let newer = "{\"schema_version\": 999}";
    fs::write(&file, newer).unwrap();
    let (code, message) = refused_start(&instance);
    assert!(code == 7 && message.contains("999"), "{code}: {message}");
    assert_eq!(fs::read_to_string(&file).unwrap(), newer);
}

#[test]
fn a_second_agent_on_the_same_socket_or_state() {
    let agent = configured();
    let before = everything(agent.instance());
    let (code, message) = refused_start(agent.instance());
    assert!(code == 6 && message.contains("another agent"), "{code}: {message}");
    let other_state = TempDir::new().unwrap();
    let state = other_state.path().join("state");
    let output = agent.instance().output(&["agent", "--state-dir", state.to_str().unwrap()]).unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(6), "{message}");
    assert!(message.contains(agent.instance().socket().to_str().unwrap()), "{message}");
    assert_eq!(everything(agent.instance()), before);
}

#[test]
fn a_dead_agents_socket_is_replaced() {
    let mut agent = agent();
    agent.kill().unwrap();
    assert!(agent.instance().socket().exists());
    assert_eq!(refusal(agent.instance(), &["service", "list"]).code, 3);
    agent.restart().unwrap();
}

/// Runs `lb` for an instance as a user without rights. The binary is copied to where such a user can run it.
fn as_nobody(netns: &Arc<Netns>, instance: &Instance, arguments: &[&str]) -> (Option<i32>, String) {
    let place = TempDir::new().unwrap();
    let copy = place.path().join("lb");
    install(&binary().unwrap(), &copy);
    let mut command: Command = netns.command(&copy);
    command.arg("--socket").arg(instance.socket()).arg("--state-dir").arg(instance.state_dir());
    command.arg("--pin-dir").arg(instance.pin_dir()).args(arguments);
    // After setns, which needs the rights that are given up here.
    let output = give_up_rights(&mut command).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn no_root() {
    let netns = namespace();
    let instance = Instance::new(&netns).unwrap();
    for arguments in [&["attach", "eth0"][..], &["agent"], &["decap", "attach", "eth0", "--vip", "192.0.2.1"]]
    {
        let (code, message) = as_nobody(&netns, &instance, arguments);
        assert_eq!(code, Some(5), "lb {arguments:?}: {message}");
        let hint = message.contains("sudo") || message.contains("as root");
        assert!(hint, "lb {arguments:?}: {message}");
    }
    assert!(!instance.state_dir().exists());
    let agent = Agent::start(&netns, &[]).unwrap();
    let before = everything(agent.instance());
    for arguments in [&["attach", "eth0"][..], &["status"], &["service", "list"]] {
        let (code, message) = as_nobody(&netns, agent.instance(), arguments);
        assert_eq!(code, Some(5), "lb {arguments:?}: {message}");
    }
    assert_eq!(everything(agent.instance()), before);
}
