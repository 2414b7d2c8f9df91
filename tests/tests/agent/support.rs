//! What these tests share: running commands that fail, and proof that nothing changed.

use std::{fs, os::unix::process::CommandExt as _, path::Path, process::Command, sync::Arc};

use lb_tests::{
    agent::{Agent, Instance},
    link,
    netns::Netns,
    unique, wait,
};
use serde_json::Value;

/// A namespace with one end of a veth pair as `eth0`, for what needs an interface but no traffic.
pub fn namespace() -> Arc<Netns> {
    let netns = Netns::new(&unique::name()).unwrap();
    link::veth((&netns, "eth0"), (&netns, "peer0")).unwrap();
    netns
        .ip(&[
            "addr add 10.0.0.1/24 dev eth0",
            "addr add fd00::1/64 dev eth0 nodad",
            // Two backends that are always known, since there is nobody to answer for them.
            "neigh add 10.0.0.2 lladdr 02:00:00:00:00:02 dev eth0",
            "neigh add 10.0.0.3 lladdr 02:00:00:00:00:03 dev eth0",
        ])
        .unwrap();
    Arc::new(netns)
}

/// An agent in such a namespace.
pub fn agent() -> Agent {
    Agent::start(&namespace(), &[]).unwrap()
}

/// A failed command.
#[derive(Debug)]
pub struct Refusal {
    pub code: i32,
    pub message: String,
}

/// Runs a command that must fail, with both kinds of output, and checks their form.
pub fn refusal(instance: &Instance, arguments: &[&str]) -> Refusal {
    let json = instance.output(&[&["-o", "json"], arguments].concat()).unwrap();
    let code = json.status.code().expect("ended by a signal");
    assert_ne!(code, 0, "lb {arguments:?} should have failed");
    assert!(json.stdout.is_empty(), "lb {arguments:?} printed a result beside its failure");
    let stderr = String::from_utf8(json.stderr).unwrap();
    let value: Value = serde_json::from_str(&stderr).unwrap_or_else(|_| panic!("no JSON: {stderr}"));
    let message = value["error"]["message"].as_str().unwrap().to_owned();
    assert_eq!(value["error"]["kind"], kind(code), "{message}");
    assert_eq!((&value["schema_version"], value.as_object().unwrap().len()), (&Value::from(1), 2));
    let text = instance.output(arguments).unwrap();
    assert_eq!(text.status.code(), Some(code), "lb {arguments:?}");
    assert_eq!(String::from_utf8(text.stderr).unwrap(), format!("lb: {message}\n"), "one clear line");
    Refusal { code, message }
}

/// Name of the kind of failure of an exit code.
fn kind(code: i32) -> &'static str {
    match code {
        1 => "failed",
        2 => "usage",
        3 => "agent_not_running",
        4 => "not_found",
        5 => "permission",
        6 => "conflict",
        7 => "invalid_configuration",
        8 => "timeout",
        other => panic!("unknown exit code {other}"),
    }
}

/// Puts a program where it can be run.
pub fn install(program: &Path, place: &Path) {
    // By another process: a descriptor open for writing here would be inherited by what other tests start meanwhile, and
    // a file that anybody has open for writing can't be run.
    let status = Command::new("install").args(["-D", "-m", "755"]).args([program, place]).status();
    assert!(status.unwrap().success());
}

/// A command without the rights of root.
pub fn give_up_rights(command: &mut Command) -> &mut Command {
    const NOBODY: u32 = 65_534;
    // SAFETY: plain system calls between fork and exec.
    unsafe {
        command.pre_exec(|| {
            match (libc::setgroups(0, std::ptr::null()), libc::setgid(NOBODY), libc::setuid(NOBODY)) {
                (0, 0, 0) => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        })
    }
}

/// Everything that a refused command must leave alone.
#[derive(Debug, PartialEq)]
pub struct Everything {
    stored: String,
    status: Value,
    backends: Value,
}

/// Looks at everything.
pub fn everything(instance: &Instance) -> Everything {
    let mut status = instance.json(&["status"]).unwrap();
    status["agent"]["uptime_s"].take();
    Everything {
        stored: fs::read_to_string(instance.state_dir().join("desired.json")).unwrap(),
        status,
        backends: instance.json(&["backend", "list"]).unwrap(),
    }
}

/// The backend of an address in `lb backend list`.
pub fn backend(instance: &Instance, address: &str) -> Value {
    let list = instance.json(&["backend", "list"]).unwrap();
    let backends = list["backends"].as_array().unwrap();
    backends.iter().find(|backend| backend["address"] == address).unwrap_or(&Value::Null).clone()
}

/// Waits until a field of a backend has a value.
pub fn wait_for(instance: &Instance, address: &str, pointer: &str, value: impl Into<Value>) {
    let value = value.into();
    let what = format!("{pointer} of {address} to be {value}");
    wait::until(&what, || {
        let backend = backend(instance, address);
        anyhow::ensure!(backend.pointer(pointer) == Some(&value), "it is {backend}");
        Ok(())
    })
    .unwrap();
}
