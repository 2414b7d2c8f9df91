//! Which command does what.

use std::collections::BTreeSet;

use serde::{Serialize, de::DeserializeOwned};
use tokio::runtime::Runtime;

use super::{
    args::{AgentArguments, Arguments, Global, HealthVerb, Output, Verb},
    bench,
    convert::{self, Ask},
    decap, drain, offline, print, start,
};
use crate::{
    agent,
    api::{
        client::Client,
        view::{self, SCHEMA_VERSION},
    },
    desired::{command::Command, model::Desired, ops},
    error::{Error, Kind},
    publish,
};

/// Runs a command.
pub(super) fn run(arguments: Arguments) -> Result<(), Error> {
    let answer_within = arguments.answer_within();
    let Arguments { global, command } = arguments;
    let timeout = global.timeout;
    let caller = Caller { client: Client::new(&global.socket, answer_within), global };
    match command {
        Verb::Agent(options) => run_agent(&caller.global, &options),
        Verb::Attach { interfaces, mode } => {
            caller.attach(&Command::Attach { interfaces: interfaces.into_iter().collect(), mode })
        }
        Verb::Detach { interfaces, all } => caller.detach((!all).then(|| interfaces.into_iter().collect())),
        Verb::Status => caller.show_or("/v1/status", || offline::status(&caller.global), print::status),
        Verb::Service(verb) => match convert::service(verb) {
            Ask::List(_) => caller.show("/v1/services", print::services),
            Ask::Show(name) => caller.show(&format!("/v1/services/{}", encode(&name)), print::service),
            other => caller.ask(other),
        },
        Verb::Backend(verb) => match convert::backend(verb, timeout) {
            Ask::List(service) => caller.show(&filtered("/v1/backends", service.as_deref()), print::backends),
            other => caller.ask(other),
        },
        Verb::Health(HealthVerb::List { service }) => {
            caller.show(&filtered("/v1/health", service.as_deref()), print::health)
        }
        Verb::Decap(verb) => decap::run(&caller.global, verb),
        Verb::Stats { service } => {
            let path = filtered("/v1/stats", service.as_deref());
            caller.show_or(&path, || offline::stats(&caller.global, service.as_deref()), print::stats)
        }
        Verb::Bench { arguments } => bench::run(&arguments),
        Verb::Version => version(&caller.global),
    }
}

/// A command with the options of every command.
struct Caller {
    global: Global,
    client: Client,
}

impl Caller {
    fn change(&self, command: &Command) -> Result<(), Error> {
        let outcome = runtime()?.block_on(self.client.command(command))?;
        emit(&self.global, &outcome, print::outcome)
    }

    /// Detaches, without an agent if none runs.
    fn detach(&self, interfaces: Option<BTreeSet<String>>) -> Result<(), Error> {
        let command = Command::Detach { interfaces };
        let outcome = match runtime()?.block_on(self.client.command(&command)) {
            Err(error) if error.kind == Kind::AgentNotRunning => {
                let Command::Detach { interfaces } = &command else { return Err(error) };
                offline::detach(&self.global, interfaces.as_ref(), error)?
            }
            other => other?,
        };
        emit(&self.global, &outcome, print::outcome)
    }

    /// Starts an agent for a command, which was made for it. If that fails, all is as it was before.
    fn start_for(&self, runtime: &Runtime, command: &Command) -> Result<view::Outcome, Error> {
        // What can be seen without an agent is refused without one.
        ops::apply(&Desired::new(0), command)?;
        if let Command::Attach { interfaces, .. } = command {
            interfaces.iter().try_for_each(|interface| publish::attach::ifindex(interface).map(|_| ()))?;
        }
        let started = start::start(&self.global)?;
        runtime.block_on(self.client.command(command)).inspect_err(|_| {
            // Others may have found the agent and put it to use.
            let unused = |status: &view::Status| status.services.is_empty() && status.interfaces.is_empty();
            if runtime.block_on(self.client.get("/v1/status")).is_ok_and(|status| unused(&status)) {
                started.take_back(&self.global);
            }
        })
    }

    /// A change, what it would touch, or a change that is waited for.
    fn ask(&self, ask: Ask) -> Result<(), Error> {
        match ask {
            Ask::Change(command) => self.change(&command),
            Ask::Preview(command) => {
                let preview = runtime()?.block_on(self.client.preview(&command))?;
                emit(&self.global, &preview, print::preview)
            }
            Ask::Drain(command) => self.drain(&command),
            Ask::List(_) | Ask::Show(_) => Err(Error::failed("not a change")),
        }
    }

    /// Drains, and shows what is left until nothing is.
    fn drain(&self, command: &Command) -> Result<(), Error> {
        let Command::BackendAdmin { service, addresses, drain, .. } = command else {
            return Err(Error::failed("not a drain"));
        };
        let drain = drain.unwrap_or_default();
        let waiting = drain::Waiting {
            global: &self.global,
            client: &self.client,
            path: filtered("/v1/drains", Some(service)),
            backends_path: filtered("/v1/backends", Some(service)),
            service: service.clone(),
            addresses: addresses.clone(),
            deadline_unix_ms: drain.deadline_unix_ms,
            then_remove: drain.remove,
        };
        runtime()?.block_on(async {
            self.client.command(command).await?;
            waiting.run().await
        })
    }

    /// Attaches, and starts the agent first if none runs.
    fn attach(&self, command: &Command) -> Result<(), Error> {
        let runtime = runtime()?;
        let outcome = match runtime.block_on(self.client.command(command)) {
            Err(error) if error.kind == Kind::AgentNotRunning => self.start_for(&runtime, command)?,
            other => other?,
        };
        if self.global.output == Output::Json || self.global.quiet {
            return emit(&self.global, &outcome, print::outcome);
        }
        print::outcome(&outcome)?;
        let status: view::Status = runtime.block_on(self.client.get("/v1/status"))?;
        print::line("")?;
        print::status(&status)
    }

    fn show<T: Serialize + DeserializeOwned>(
        &self,
        path: &str,
        table: impl FnOnce(&T) -> Result<(), Error>,
    ) -> Result<(), Error> {
        emit(&self.global, &runtime()?.block_on(self.client.get(path))?, table)
    }

    /// Shows what the agent says, or with the agent down what can be read without it.
    fn show_or<T: Serialize + DeserializeOwned>(
        &self,
        path: &str,
        offline: impl FnOnce() -> Result<T, Error>,
        table: impl FnOnce(&T) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let view = match runtime()?.block_on(self.client.get(path)) {
            Err(error) if error.kind == Kind::AgentNotRunning => offline()?,
            other => other?,
        };
        emit(&self.global, &view, table)
    }
}

/// Prints a value in the wanted form.
pub(super) fn emit<T: Serialize>(
    global: &Global,
    value: &T,
    table: impl FnOnce(&T) -> Result<(), Error>,
) -> Result<(), Error> {
    match global.output {
        Output::Table => table(value),
        Output::Json => {
            let text = serde_json::to_string_pretty(value)
                .map_err(|error| Error::failed(format!("write JSON: {error}")))?;
            print::line(&text)
        }
    }
}

fn runtime() -> Result<Runtime, Error> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::failed(format!("start the async runtime: {error}")))
}

/// Runs the agent in the foreground.
fn run_agent(global: &Global, arguments: &AgentArguments) -> Result<(), Error> {
    let level = match (global.quiet, global.verbose) {
        (true, _) => log::LevelFilter::Warn,
        (_, 0) => log::LevelFilter::Info,
        (_, 1) => log::LevelFilter::Debug,
        (..) => log::LevelFilter::Trace,
    };
    env_logger::Builder::new()
        .filter_level(log::LevelFilter::Warn)
        .filter_module("lb_userspace", level)
        .filter_module("lb", level)
        .format(|out, record| {
            use std::io::Write;
            writeln!(out, "{} {}", record.level().as_str().to_ascii_lowercase(), record.args())
        })
        .init();
    let options = agent::Options {
        socket: global.socket.clone(),
        state_dir: global.state_dir.clone(),
        pin_dir: global.pin_dir.clone(),
        quiet_period: arguments.quiet_period,
        udp_idle: arguments.udp_idle,
        closed_idle: arguments.closed_idle,
        ping_rate: arguments.ping_rate,
        packet_log: arguments.packet_log,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Error::failed(format!("start the async runtime: {error}")))?;
    runtime.block_on(agent::run(options))
}

#[derive(Serialize)]
struct Version {
    schema_version: u32,
    version: &'static str,
    abi_version: u32,
}

fn version(global: &Global) -> Result<(), Error> {
    let version = Version {
        schema_version: SCHEMA_VERSION,
        version: env!("CARGO_PKG_VERSION"),
        abi_version: lb_common::abi::ABI_VERSION,
    };
    emit(global, &version, |version| {
        print::line(&format!("lb {} (abi {})", version.version, version.abi_version))
    })
}

fn filtered(path: &str, service: Option<&str>) -> String {
    service.map_or_else(|| path.to_owned(), |name| format!("{path}?service={}", encode(name)))
}

/// Text as part of a URL.
fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}
