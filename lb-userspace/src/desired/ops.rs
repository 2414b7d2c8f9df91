//! How each command changes the desired state. Pure: a state and a command give a new state or an error.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use lb_common::{maps::MAX_BACKENDS, service::MAX_SERVICES, slot};

use super::{
    check,
    command::{Change, Command, EncapSource, Settings},
    model::{Admin, Algorithm, Backend, Desired, Drain, Fragments, Mode, SCHEMA_VERSION, Service},
    quic::ServerId,
    validate, vips,
};
use crate::error::Error;

impl Desired {
    /// Nothing asked for yet.
    pub fn new(seed: u64) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            seed,
            interfaces: BTreeMap::new(),
            services: BTreeMap::new(),
            last_service_id: 0,
            last_backend_id: 0,
        }
    }

    /// The service of a name.
    ///
    /// # Errors
    /// There is none.
    pub fn service(&self, name: &str) -> Result<&Service, Error> {
        self.services.get(name).ok_or_else(|| no_service(name))
    }
}

fn no_service(name: &str) -> Error {
    Error::not_found(format!("no service {name:?}; `lb service list` shows what there is"))
}

/// The state after a command.
///
/// # Errors
/// The command names what does not exist, collides with what does, or gives a value that can't be accepted.
pub fn apply(desired: &Desired, command: &Command) -> Result<Desired, Error> {
    let mut next = desired.clone();
    match command {
        Command::Attach { interfaces, mode } => {
            for interface in interfaces {
                validate::interface(interface)?;
                next.interfaces.insert(interface.clone(), *mode);
            }
        }
        Command::Detach { interfaces: Some(interfaces) } => {
            for interface in interfaces {
                next.interfaces
                    .remove(interface)
                    .ok_or_else(|| Error::not_found(format!("not attached to {interface:?}")))?;
            }
        }
        Command::Detach { interfaces: None } => next.interfaces.clear(),
        Command::ServiceAdd { name, settings } => service_add(&mut next, name, settings)?,
        Command::ServiceSet { name, settings } => service_set(&mut next, name, settings)?,
        Command::ServiceDel { name } => {
            next.services.remove(name).ok_or_else(|| no_service(name))?;
        }
        Command::BackendAdd { service, addresses, weight, quic_server_id } => {
            backend_add(&mut next, service, addresses, (*weight, *quic_server_id))?;
        }
        Command::BackendSet { service, addresses, weight, quic_server_id } => {
            backend_set(&mut next, service, addresses, (*weight, *quic_server_id))?;
        }
        Command::BackendAdmin { service, addresses, admin, drain } => {
            let drain = drain_plan(*admin, *drain)?;
            backends_each(&mut next, service, addresses, |backend| {
                (backend.admin, backend.drain) = (*admin, drain);
            })?;
        }
        Command::BackendDel { service, addresses } => backend_del(&mut next, service, addresses)?,
    }
    Ok(next)
}

/// Whether a state as a whole is one that commands can lead to.
///
/// # Errors
/// What is wrong with it.
pub fn validate(desired: &Desired) -> Result<(), Error> {
    let (mut service_ids, mut backend_ids) = (BTreeSet::new(), BTreeSet::new());
    desired.interfaces.keys().try_for_each(|name| validate::interface(name))?;
    for (name, service) in &desired.services {
        validate::name(name)?;
        validate::service(name, service)?;
        vips::is_free(desired, name, service.vip)?;
        vips::has_fragments(desired, name, service)?;
        if service.id == 0 || service.id >= MAX_SERVICES || !service_ids.insert(service.id) {
            return Err(Error::invalid(format!(
                "service {name}: id {} is taken or out of range",
                service.id
            )));
        }
        for (address, backend) in &service.backends {
            if backend.id == 0 || backend.id >= MAX_BACKENDS || !backend_ids.insert(backend.id) {
                let id = backend.id;
                return Err(Error::invalid(format!("backend {address}: id {id} is taken or out of range")));
            }
        }
    }
    Ok(())
}

fn service_add(desired: &mut Desired, name: &str, settings: &Settings) -> Result<(), Error> {
    validate::name(name)?;
    if let Some(service) = desired.services.get(name) {
        return Err(Error::conflict(format!(
            "service {name} exists already, at {}; change it with `lb service set {name}`",
            service.vip
        )));
    }
    let vip = settings.vip.ok_or_else(|| Error::invalid("a service needs an address: give --vip"))?;
    let used: BTreeSet<u32> = desired.services.values().map(|service| service.id).collect();
    let id = next_id(desired.last_service_id, MAX_SERVICES, &used)
        .ok_or_else(|| Error::invalid(format!("no room for more than {} services", MAX_SERVICES - 1)))?;
    let service = Service {
        id,
        vip,
        mode: Mode::default(),
        table_size: slot::SIZE_DEFAULT as u32,
        check: check::default_for(&vip),
        encap_source: None,
        gue_port: None,
        algorithm: Algorithm::default(),
        source_prefix: None,
        quic: false,
        quic_id: None,
        fragments: Fragments::default(),
        slow_start: Duration::ZERO,
        backends: BTreeMap::new(),
    };
    desired.last_service_id = id;
    change(desired, name, service, settings)
}

fn service_set(desired: &mut Desired, name: &str, settings: &Settings) -> Result<(), Error> {
    if *settings == Settings::default() {
        return Err(Error::invalid("nothing to set; `lb service set --help` lists what can be"));
    }
    let service = desired.services.remove(name).ok_or_else(|| no_service(name))?;
    let former = service.clone();
    change(desired, name, service, settings)?;
    keeps_choice(name, &former, &desired.services[name])
}

/// Refuses what would have the connections that a service has choose their backend anew.
fn keeps_choice(name: &str, former: &Service, service: &Service) -> Result<(), Error> {
    let different = [
        ("algorithm", former.algorithm != service.algorithm),
        ("source prefix", former.source_prefix != service.source_prefix && former.vip == service.vip),
        ("table size", former.table_size != service.table_size),
    ];
    match different.into_iter().find(|(_, different)| *different) {
        Some((what, _)) if !former.backends.is_empty() => Err(Error::conflict(format!(
            "service {name} has backends: with another {what} their connections would move; create another \
             service, or remove the backends first"
        ))),
        _ => Ok(()),
    }
}

/// Puts a service in the state, with some settings changed.
fn change(desired: &mut Desired, name: &str, mut service: Service, settings: &Settings) -> Result<(), Error> {
    if let Some(vip) = settings.vip {
        // A check on the service's own port follows it.
        if service.check.port == service.vip.only_port() {
            service.check.port = vip.only_port();
        }
        if vip.address.is_ipv4() != service.vip.address.is_ipv4() {
            service.source_prefix = None;
        }
        service.vip = vip;
    }
    service.mode = settings.mode.unwrap_or(service.mode);
    service.table_size = settings.table_size.unwrap_or(service.table_size);
    match settings.encap_source {
        Some(EncapSource::Prefix(prefix)) => service.encap_source = Some(prefix),
        Some(EncapSource::Interface) => service.encap_source = None,
        None => {}
    }
    // A port of its own goes with the mode, and is refused where the mode is another.
    service.gue_port = settings.gue_port.or(service.gue_port.filter(|_| service.mode == Mode::Gue));
    service.check = check::changed(&service.check, &settings.check)?;
    choose(&mut service, settings)?;
    vips::is_free(desired, name, service.vip)?;
    vips::has_fragments(desired, name, &service)?;
    validate::service(name, &service)?;
    desired.services.insert(name.to_owned(), service);
    Ok(())
}

/// Settings of how a backend is chosen.
fn choose(service: &mut Service, settings: &Settings) -> Result<(), Error> {
    service.algorithm = settings.algorithm.unwrap_or(service.algorithm);
    service.quic = settings.quic.unwrap_or(service.quic);
    service.quic_id = settings.quic_id.map_or(service.quic_id, Change::value);
    service.fragments = settings.fragments.unwrap_or(service.fragments);
    service.slow_start = settings.slow_start_ms.map_or(service.slow_start, Duration::from_millis);
    let (own, other, option) = match service.vip.address {
        IpAddr::V4(_) => (settings.source_prefix4, settings.source_prefix6, "--source-prefix4"),
        IpAddr::V6(_) => (settings.source_prefix6, settings.source_prefix4, "--source-prefix6"),
    };
    if other.is_some() {
        return Err(Error::invalid(format!(
            "the clients of {} are of the other family; use {option}",
            service.vip
        )));
    }
    if service.algorithm != Algorithm::SourceHash {
        if own.is_some() {
            return Err(Error::invalid(format!("{option} is for --algorithm source-hash")));
        }
        service.source_prefix = None;
    }
    service.source_prefix = own.or(service.source_prefix);
    Ok(())
}

/// The end of a drain, where one is begun.
fn drain_plan(admin: Admin, drain: Option<Drain>) -> Result<Option<Drain>, Error> {
    match (admin, drain) {
        (Admin::Drain, drain) => Ok(Some(drain.unwrap_or_default())),
        (_, None) => Ok(None),
        (_, Some(_)) => Err(Error::invalid("only a drain has an end: leave out `drain`")),
    }
}

fn backend_add(
    desired: &mut Desired,
    name: &str,
    addresses: &BTreeSet<IpAddr>,
    (weight, quic_server_id): (u32, Option<ServerId>),
) -> Result<(), Error> {
    validate::weight(weight)?;
    is_for_one(quic_server_id, addresses)?;
    let mut used: BTreeSet<u32> = backends(desired).map(|backend| backend.id).collect();
    let mut last = desired.last_backend_id;
    let service = desired.services.get_mut(name).ok_or_else(|| no_service(name))?;
    for address in addresses {
        if service.backends.contains_key(address) {
            return Err(Error::conflict(format!(
                "service {name} has backend {address} already; change it with `lb backend set {name} {address}`"
            )));
        }
        last = next_id(last, MAX_BACKENDS, &used)
            .ok_or_else(|| Error::invalid(format!("no room for more than {} backends", MAX_BACKENDS - 1)))?;
        used.insert(last);
        let backend = Backend { id: last, weight, admin: Admin::Ready, drain: None, quic_server_id };
        service.backends.insert(*address, backend);
    }
    validate::service(name, service)?;
    desired.last_backend_id = last;
    Ok(())
}

fn backend_set(
    desired: &mut Desired,
    name: &str,
    addresses: &BTreeSet<IpAddr>,
    (weight, quic_server_id): (Option<u32>, Option<Change<ServerId>>),
) -> Result<(), Error> {
    if (weight, quic_server_id) == (None, None) {
        return Err(Error::invalid("nothing to set; `lb backend set --help` lists what can be"));
    }
    weight.map_or(Ok(()), validate::weight)?;
    is_for_one(quic_server_id.and_then(Change::value), addresses)?;
    backends_each(desired, name, addresses, |backend| {
        backend.weight = weight.unwrap_or(backend.weight);
        backend.quic_server_id = quic_server_id.map_or(backend.quic_server_id, Change::value);
    })?;
    validate::service(name, desired.service(name)?)
}

/// Refuses a server id for several backends.
fn is_for_one(quic_server_id: Option<ServerId>, addresses: &BTreeSet<IpAddr>) -> Result<(), Error> {
    match quic_server_id {
        Some(id) if addresses.len() != 1 => Err(Error::invalid(format!(
            "server id {id} can name one backend only; give one address at a time"
        ))),
        _ => Ok(()),
    }
}

fn backends_each(
    desired: &mut Desired,
    name: &str,
    addresses: &BTreeSet<IpAddr>,
    mut change: impl FnMut(&mut Backend),
) -> Result<(), Error> {
    let service = desired.services.get_mut(name).ok_or_else(|| no_service(name))?;
    for address in addresses {
        change(service.backends.get_mut(address).ok_or_else(|| no_backend(name, *address))?);
    }
    Ok(())
}

fn backend_del(desired: &mut Desired, name: &str, addresses: &BTreeSet<IpAddr>) -> Result<(), Error> {
    let service = desired.services.get_mut(name).ok_or_else(|| no_service(name))?;
    for address in addresses {
        service.backends.remove(address).ok_or_else(|| no_backend(name, *address))?;
    }
    Ok(())
}

fn no_backend(name: &str, address: IpAddr) -> Error {
    Error::not_found(format!("service {name} has no backend {address}; `lb backend list {name}` shows them"))
}

fn backends(desired: &Desired) -> impl Iterator<Item = &Backend> {
    desired.services.values().flat_map(|service| service.backends.values())
}

/// The next free id after `last`, going round: an id is reused as late as possible, so that what still names it in
/// the packet path has gone.
pub(crate) fn next_id(last: u32, limit: u32, used: &BTreeSet<u32>) -> Option<u32> {
    (last.saturating_add(1)..limit).chain(1..limit.min(last.saturating_add(1))).find(|id| !used.contains(id))
}

#[cfg(test)]
#[path = "ops_tests.rs"]
mod tests;
