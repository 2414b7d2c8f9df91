//! Which names, services and backends are accepted.

use std::{net::IpAddr, time::Duration};

use clap::ValueEnum as _;
use lb_common::slot;

use super::{
    check,
    model::{Admin, Algorithm, Fragments, Mode, Prefix, Protocol, Service},
    quic,
};
use crate::error::Error;

/// Longest name of a service, bytes.
const NAME_MAX: usize = 63;
/// Longest name of an interface, bytes: the kernel's IFNAMSIZ without its zero.
const IFNAME_MAX: usize = 15;
/// Names of the modes that rewrite addresses or ports.
const REWRITING: [&str; 2] = ["nat", "dnat"];
/// Longest slow start.
const SLOW_START_MAX: Duration = Duration::from_secs(3600);
/// Largest weight.
pub(super) const WEIGHT_MAX: u32 = 65_535;

/// Whether a service may have this name.
pub(super) fn name(name: &str) -> Result<(), Error> {
    let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    let rest = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if first && rest && name.len() <= NAME_MAX {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "service name {name:?}: use 1 to {NAME_MAX} letters, digits, dots, dashes and underscores, \
         beginning with a letter or digit"
    )))
}

/// Whether an interface can have this name.
pub(super) fn interface(name: &str) -> Result<(), Error> {
    let plain = name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/' && byte != b':');
    if plain && !name.is_empty() && name.len() <= IFNAME_MAX && name != "." && name != ".." {
        return Ok(());
    }
    Err(Error::invalid(format!("{name:?} can't be the name of an interface; `ip link` lists them")))
}

/// Whether a weight is in its range.
pub(super) fn weight(weight: u32) -> Result<(), Error> {
    if weight <= WEIGHT_MAX {
        return Ok(());
    }
    Err(Error::invalid(format!("weight {weight} is not within 0 to {WEIGHT_MAX}")))
}

/// Whether a service can be carried out as a whole.
pub(super) fn service(name: &str, service: &Service) -> Result<(), Error> {
    let wrong = |what: String| Error::invalid(format!("service {name}: {what}"));
    if !slot::SIZES.contains(&(service.table_size as usize)) {
        let sizes = slot::SIZES.map(|size| size.to_string()).join(", ");
        return Err(wrong(format!("a table size of {} is none of {sizes}", service.table_size)));
    }
    if service.backends.len() > service.table_size as usize {
        return Err(wrong(format!(
            "{} backends don't fit in a table of {} slots; choose a larger --table-size",
            service.backends.len(),
            service.table_size
        )));
    }
    let mode = service.mode.to_possible_value();
    let mode = mode.as_ref().map_or("", |value| value.get_name());
    goes_with(service.vip.protocol, mode).map_err(|error| wrong(error.message))?;
    check::validate(&service.check).map_err(|error| wrong(error.message))?;
    choice(service).map_err(|error| wrong(error.message))?;
    for (address, backend) in &service.backends {
        backend_address(service, *address).map_err(|error| wrong(error.message))?;
        weight(backend.weight).map_err(|error| wrong(error.message))?;
        if backend.drain.is_some() && backend.admin != Admin::Drain {
            return Err(wrong(format!("backend {address} has the end of a drain but is not drained")));
        }
    }
    quic::validate(service)
        .map_err(|error| Error::new(error.kind, format!("service {name}: {}", error.message)))?;
    gue_port(service).map_err(|error| wrong(error.message))?;
    match service.encap_source {
        Some(prefix) => encap_source(service, prefix).map_err(|error| wrong(error.message)),
        None => Ok(()),
    }
}

/// Whether a mode can forward a protocol. Those that rewrite addresses would have to work out SCTP's checksum over the whole
/// packet anew, and its INIT may list addresses inside.
fn goes_with(protocol: Protocol, mode: &str) -> Result<(), Error> {
    if protocol == Protocol::Sctp && REWRITING.contains(&mode) {
        return Err(Error::invalid(format!("--mode {mode} can't forward SCTP; use l2 or ipip")));
    }
    Ok(())
}

/// Whether backends can be chosen in the way that is asked for.
fn choice(service: &Service) -> Result<(), Error> {
    let longest = if service.vip.address.is_ipv4() { 32 } else { 128 };
    match service.source_prefix {
        Some(_) if service.algorithm != Algorithm::SourceHash => {
            return Err(Error::invalid("a source prefix is for --algorithm source-hash"));
        }
        Some(prefix) if prefix > longest => {
            return Err(Error::invalid(format!("a source prefix of {prefix} is not within 0 to {longest}")));
        }
        _ => {}
    }
    if service.quic && service.vip.protocol != Protocol::Udp {
        return Err(Error::invalid("--quic is for UDP services"));
    }
    if service.fragments == Fragments::ByAddress && service.vip.protocol != Protocol::Udp {
        return Err(Error::invalid(
            "--fragments by-address is for UDP services: the fragments of a connection have to go where it goes",
        ));
    }
    if service.slow_start > SLOW_START_MAX {
        return Err(Error::invalid(format!("a slow start of {:?} exceeds 1h", service.slow_start)));
    }
    Ok(())
}

fn backend_address(service: &Service, address: IpAddr) -> Result<(), Error> {
    let wrong = |what: &str| Err(Error::invalid(format!("backend {address}: {what}")));
    if address.is_unspecified() || address.is_multicast() || address.is_loopback() {
        return wrong("not an address that packets can be sent to");
    }
    if matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some()) {
        return wrong("an IPv4 address in IPv6 notation; write it as IPv4");
    }
    if address == service.vip.address && !service.vip.is_prefix() {
        return wrong("this is the service's own address; give the backend's");
    }
    if service.vip.contains(address) {
        return wrong("within the service's own prefix; give an address outside of it");
    }
    if service.mode == Mode::L2 && address.is_ipv4() != service.vip.address.is_ipv4() {
        return wrong(
            "of another family than the service address, which mode l2 can't do; use --mode ipip or gue",
        );
    }
    Ok(())
}

fn gue_port(service: &Service) -> Result<(), Error> {
    match service.gue_port {
        Some(_) if service.mode != Mode::Gue => Err(Error::invalid("--gue-port is only for --mode gue")),
        Some(0) => Err(Error::invalid("--gue-port 0: not a port; give 1 to 65535")),
        _ => Ok(()),
    }
}

fn encap_source(service: &Service, prefix: Prefix) -> Result<(), Error> {
    if !matches!(service.mode, Mode::Ipip | Mode::Gue) {
        return Err(Error::invalid("--encap-source is only for --mode ipip and gue"));
    }
    if prefix.address.is_unspecified() || prefix.address.is_multicast() || prefix.address.is_loopback() {
        return Err(Error::invalid(format!("--encap-source {prefix}: not a unicast prefix")));
    }
    match service.backends.keys().find(|address| address.is_ipv4() != prefix.address.is_ipv4()) {
        Some(address) => Err(Error::invalid(format!(
            "--encap-source {prefix} is of another family than backend {address}"
        ))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sctp_goes_with_modes_that_rewrite_nothing() {
        for (mode, accepted) in [("l2", true), ("ipip", true), ("gue", true), ("nat", false), ("dnat", false)]
        {
            assert_eq!(goes_with(Protocol::Sctp, mode).is_ok(), accepted, "{mode}");
            assert!(goes_with(Protocol::Tcp, mode).is_ok() && goes_with(Protocol::Udp, mode).is_ok());
        }
        let error = goes_with(Protocol::Sctp, "nat").unwrap_err();
        assert!(error.message.contains("use l2 or ipip"), "{error}");
    }
}
