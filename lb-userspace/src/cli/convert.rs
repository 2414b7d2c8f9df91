//! From arguments to commands.

use super::args::{BackendArguments, BackendVerb, ServiceVerb, SettingArguments};
use crate::desired::{
    command::{CheckSettings, Command, Settings},
    model::{Admin, Vip},
};

/// Settings with the address, which `add` needs and `set` may have.
fn settings(arguments: SettingArguments, vip: Option<Vip>) -> Box<Settings> {
    Box::new(Settings {
        vip,
        mode: arguments.mode,
        table_size: arguments.table_size,
        encap_source: arguments.encap_source,
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

/// What a service command asks of the agent.
pub(super) enum Ask {
    /// A change.
    Change(Command),
    /// The list.
    List,
    /// One of them.
    Show(String),
}

/// A service command.
pub(super) fn service(verb: ServiceVerb) -> Ask {
    Ask::Change(match verb {
        ServiceVerb::Add { name, vip, settings: arguments } => {
            Command::ServiceAdd { name, settings: settings(*arguments, Some(vip)) }
        }
        ServiceVerb::Set { name, vip, settings: arguments } => {
            Command::ServiceSet { name, settings: settings(*arguments, vip) }
        }
        ServiceVerb::Del { name } => Command::ServiceDel { name },
        ServiceVerb::List => return Ask::List,
        ServiceVerb::Show { name } => return Ask::Show(name),
    })
}

/// A backend command; the service to list if it changes nothing.
pub(super) fn backend(verb: BackendVerb) -> Result<Command, Option<String>> {
    let admin = |BackendArguments { service, addresses }, admin| {
        let addresses = addresses.into_iter().collect();
        Command::BackendAdmin { service, addresses, admin }
    };
    Ok(match verb {
        BackendVerb::Add { target: BackendArguments { service, addresses }, weight } => {
            Command::BackendAdd { service, addresses: addresses.into_iter().collect(), weight }
        }
        BackendVerb::Set { target: BackendArguments { service, addresses }, weight } => {
            Command::BackendSet { service, addresses: addresses.into_iter().collect(), weight }
        }
        BackendVerb::Del(BackendArguments { service, addresses }) => {
            Command::BackendDel { service, addresses: addresses.into_iter().collect() }
        }
        BackendVerb::Drain(target) => admin(target, Admin::Drain),
        BackendVerb::Ready(target) => admin(target, Admin::Ready),
        BackendVerb::List { service } => return Err(service),
    })
}
