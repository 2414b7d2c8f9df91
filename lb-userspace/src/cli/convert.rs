//! From arguments to commands.

use std::time::{Duration, SystemTime};

use super::args::{BackendArguments, BackendVerb, DryRun, ServiceVerb, SettingArguments, Then};
use crate::{
    desired::{
        command::{CheckSettings, Command, Settings},
        model::{Admin, Drain, Vip},
    },
    health::unix_ms,
};

/// Settings with the address, which `add` needs and `set` may have.
fn settings(arguments: SettingArguments, vip: Option<Vip>) -> Box<Settings> {
    Box::new(Settings {
        vip,
        mode: arguments.mode,
        table_size: arguments.table_size,
        encap_source: arguments.encap_source,
        gue_port: arguments.gue_port,
        algorithm: arguments.algorithm,
        source_prefix4: arguments.source_prefix4,
        source_prefix6: arguments.source_prefix6,
        quic: arguments.quic,
        quic_id: arguments.quic_id,
        fragments: arguments.fragments,
        slow_start_ms: arguments.slow_start,
        check: CheckSettings {
            kind: arguments.check,
            port: arguments.check_port,
            path: arguments.check_path,
            status: arguments.check_status,
            host: arguments.check_host,
            interval_ms: arguments.check_interval,
            timeout_ms: arguments.check_timeout,
            rise: arguments.check_rise,
            fall: arguments.check_fall,
        },
    })
}

/// What a command about services or backends asks of the agent.
pub(super) enum Ask {
    /// A change.
    Change(Command),
    /// What a change would touch.
    Preview(Command),
    /// A drain, and then to wait for its end.
    Drain(Command),
    /// The list; of backends: those of one service.
    List(Option<String>),
    /// One of them.
    Show(String),
}

/// A service command.
pub(super) fn service(verb: ServiceVerb) -> Ask {
    match verb {
        ServiceVerb::Add { name, vip, settings: arguments, dry } => {
            change(Command::ServiceAdd { name, settings: settings(*arguments, Some(vip)) }, dry)
        }
        ServiceVerb::Set { name, vip, settings: arguments, dry } => {
            change(Command::ServiceSet { name, settings: settings(*arguments, vip) }, dry)
        }
        ServiceVerb::Del { name, dry } => change(Command::ServiceDel { name }, dry),
        ServiceVerb::List => Ask::List(None),
        ServiceVerb::Show { name } => Ask::Show(name),
    }
}

/// A backend command.
pub(super) fn backend(verb: BackendVerb, drain_within: Option<Duration>) -> Ask {
    match verb {
        BackendVerb::Add { target: BackendArguments { service, addresses }, weight, quic_server_id, dry } => {
            let addresses = addresses.into_iter().collect();
            change(Command::BackendAdd { service, addresses, weight, quic_server_id }, dry)
        }
        BackendVerb::Set { target: BackendArguments { service, addresses }, weight, quic_server_id, dry } => {
            let addresses = addresses.into_iter().collect();
            change(Command::BackendSet { service, addresses, weight, quic_server_id }, dry)
        }
        BackendVerb::Del { target: BackendArguments { service, addresses }, dry } => {
            change(Command::BackendDel { service, addresses: addresses.into_iter().collect() }, dry)
        }
        BackendVerb::Drain { target, wait, then, dry } => {
            // The agent is on the same host and has the same clock.
            let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
            let deadline_unix_ms =
                drain_within.map(|time| unix_ms(SystemTime::now()).saturating_add(millis(time)));
            let drain = Drain { deadline_unix_ms, remove: then == Some(Then::Remove) };
            let command = admin(target, Admin::Drain, Some(drain));
            if wait && !dry.dry_run { Ask::Drain(command) } else { change(command, dry) }
        }
        BackendVerb::Maint { target, dry } => change(admin(target, Admin::Maint, None), dry),
        BackendVerb::Ready { target, dry } => change(admin(target, Admin::Ready, None), dry),
        BackendVerb::List { service } => Ask::List(service),
    }
}

fn change(command: Command, DryRun { dry_run }: DryRun) -> Ask {
    if dry_run { Ask::Preview(command) } else { Ask::Change(command) }
}

fn admin(target: BackendArguments, admin: Admin, drain: Option<Drain>) -> Command {
    let BackendArguments { service, addresses } = target;
    Command::BackendAdmin { service, addresses: addresses.into_iter().collect(), admin, drain }
}
