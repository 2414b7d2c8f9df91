//! `lb decap`: the backend's end of `ipip` and `gue`, on hosts that need no agent. Everything lives in pins.

use std::{
    collections::BTreeSet,
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use lb_common::{
    addr::{RawAddr, from_v4, v4},
    maps,
    stats::Counter,
    verdict::Reason,
};

use super::{
    Attached, attach, attach_tc,
    kernel::{open_map, write},
    object::Object,
    pins::{self, Pins},
    sys,
    walk::walk,
};
use crate::{
    desired::model::AttachMode,
    error::{Error, Kind},
    observe,
};

const OBJECT: Object = Object {
    bytes: crate::objects::LB_DECAP,
    maps: &[maps::DECAP_VIPS, maps::DECAP_GUE_PORT, maps::REASONS],
    program: "decap",
};
/// The same with its program for traffic control.
const OBJECT_TC: Object = Object { program: "decap_tc", ..OBJECT };
/// Name of the program's pin.
const PROGRAM_PIN: &str = "program";

/// An interface whose tunnel packets are unpacked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decap {
    /// Where.
    pub attached: Attached,
    /// Service addresses of the packets that are unpacked, in order.
    pub vips: Vec<IpAddr>,
    /// UDP port of GUE.
    pub gue_port: u16,
}

/// Where packets are unpacked on their way into the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Hook {
    /// XDP in the driver if it can, else tc, else XDP in the stack.
    #[default]
    Auto,
    /// Before the stack.
    Xdp,
    /// In traffic control, for any interface; needs Linux 6.6.
    Tc,
}

/// What is unpacked, and where.
#[derive(Clone, Copy, Debug)]
pub struct Settings<'a> {
    /// Service addresses.
    pub vips: &'a [IpAddr],
    /// UDP port of GUE.
    pub gue_port: u16,
    /// Where.
    pub hook: Hook,
    /// How, for XDP.
    pub mode: AttachMode,
}

/// Attaches the decapsulation program to an interface, for these service addresses and no others. On an interface that
/// has it already, they are replaced.
///
/// # Errors
/// Those of [`super::Publisher::attach`], `InvalidConfiguration` for no or too many addresses, a mode of XDP in traffic
/// control, or foreign pins.
pub fn attach(pin_dir: &Path, ifname: &str, settings: &Settings<'_>) -> Result<Decap, Error> {
    let vips: BTreeSet<RawAddr> = settings.vips.iter().map(|vip| raw(*vip)).collect();
    if vips.is_empty() || vips.len() > maps::MAX_DECAP_VIPS as usize {
        return Err(Error::invalid(format!(
            "{} service addresses; give 1 to {}, each with --vip",
            vips.len(),
            maps::MAX_DECAP_VIPS
        )));
    }
    if settings.hook == Hook::Tc && settings.mode != AttachMode::Auto {
        return Err(Error::invalid("--mode is for XDP; leave it out with --hook tc"));
    }
    attach::ifindex(ifname)?;
    pins::ensure_bpffs(pin_dir)?;
    let pins = Pins::new(pin_dir).decap_on(ifname);
    let fix = format!("remove what is there: rm -r {}", pins.root().display());
    let fresh = !OBJECT.check(&pins, &fix)?.is_empty();
    pins::make_dir(&pins.links())?;
    let attached = load_and_attach(&pins, ifname, &vips, settings).inspect_err(|_| {
        if fresh {
            let _ = remove_all(&pins);
        }
    })?;
    Ok(Decap { attached, vips: addresses(&vips), gue_port: settings.gue_port })
}

fn load_and_attach(
    pins: &Pins,
    ifname: &str,
    vips: &BTreeSet<RawAddr>,
    settings: &Settings<'_>,
) -> Result<Attached, Error> {
    let (_ebpf, program) = OBJECT.load(pins, &[])?;
    let port = u32::from(settings.gue_port);
    write(&open_map(pins, maps::DECAP_GUE_PORT)?, maps::DECAP_GUE_PORT, &0u32, &[port])?;
    let map = open_map(pins, maps::DECAP_VIPS)?;
    let present = read_vips(map.as_fd())?;
    for vip in vips.difference(&present) {
        write(&map, maps::DECAP_VIPS, vip, &[1u32])?;
    }
    let attached = attach_by(pins, ifname, settings, &program)?;
    attach_tc::remove_other_kind(&pins.links(), &attached)?;
    // Last, so that a failure above leaves an earlier attachment with all it had.
    for vip in present.difference(vips) {
        sys::map_delete(map.as_fd(), vip)
            .map_err(|error| pins::failed("write the map DECAP_VIPS", &error))?;
    }
    Ok(attached)
}

/// Attaches by the hook that is asked for, or the best that works. `program` is the one of XDP.
fn attach_by(
    pins: &Pins,
    ifname: &str,
    settings: &Settings<'_>,
    program: &OwnedFd,
) -> Result<Attached, Error> {
    let links = pins.links();
    let xdp = |mode| -> Result<Attached, Error> {
        let attached = attach::attach(program.as_fd(), &links, ifname, mode)?;
        pin_program(pins, program)?;
        Ok(attached)
    };
    let tc = || -> Result<Attached, Error> {
        let (_ebpf, program) = OBJECT_TC.load(pins, &[])?;
        let attached = attach_tc::attach(program.as_fd(), &links, ifname)?;
        pin_program(pins, &program)?;
        Ok(attached)
    };
    match (settings.hook, settings.mode) {
        (Hook::Tc, _) => tc(),
        (Hook::Auto, AttachMode::Auto) => match xdp(AttachMode::Native) {
            // The driver refused; other reasons hold elsewhere as well.
            Err(error) if matches!(error.kind, Kind::InvalidConfiguration | Kind::Failed) => {
                let attached = tc().or_else(|_| xdp(AttachMode::Generic))?;
                Ok(Attached { note: Some(error.message), ..attached })
            }
            other => other,
        },
        (_, mode) => xdp(mode),
    }
}

fn pin_program(pins: &Pins, program: &OwnedFd) -> Result<(), Error> {
    let path = pins.root().join(PROGRAM_PIN);
    pins::remove(&path)?;
    sys::object_pin(program.as_fd(), &path)
        .map_err(|error| pins::failed(&format!("pin {}", path.display()), &error))
}

/// Detaches the decapsulation program from an interface and removes its pins.
///
/// # Errors
/// `NotFound` if it is not attached there.
pub fn detach(pin_dir: &Path, ifname: &str) -> Result<(), Error> {
    let pins = Pins::new(pin_dir).decap_on(ifname);
    if !pins.root().exists() {
        return Err(Error::not_found(format!("lb decap is not attached to {ifname}")));
    }
    remove_all(&pins)
}

/// Where decapsulation is attached.
///
/// # Errors
/// If the pins can't be read.
pub fn list(pin_dir: &Path) -> Result<Vec<Decap>, Error> {
    let pins = Pins::new(pin_dir);
    let mut found = Vec::new();
    for name in pins::names(&pins.decap())? {
        let pins = pins.decap_on(&pins::decode(&name));
        for attached in attach::list(&pins.links())? {
            let map = open_map(&pins, maps::DECAP_VIPS)?;
            let vips = read_vips(map.as_fd())?;
            let gue_port = read_gue_port(&pins)?;
            found.push(Decap { attached, vips: addresses(&vips), gue_port });
        }
    }
    Ok(found)
}

/// What became of the packets on an interface, by reason; those that were unpacked are `decapsulated`.
///
/// # Errors
/// If the pins can't be read.
pub fn reasons(pin_dir: &Path, ifname: &str) -> Result<Vec<(Reason, Counter)>, Error> {
    observe::reasons(&Pins::new(pin_dir).decap_on(ifname))
}

fn read_gue_port(pins: &Pins) -> Result<u16, Error> {
    let mut port = [0u32];
    let map = open_map(pins, maps::DECAP_GUE_PORT)?;
    sys::map_lookup(map.as_fd(), &0u32, &mut port)
        .map_err(|error| pins::failed("read the map DECAP_GUE_PORT", &error))?;
    Ok(port[0] as u16)
}

fn read_vips(map: BorrowedFd<'_>) -> Result<BTreeSet<RawAddr>, Error> {
    let mut vips = BTreeSet::new();
    walk(map, maps::DECAP_VIPS, |vip: &RawAddr, _: &u32| {
        vips.insert(*vip);
    })?;
    Ok(vips)
}

/// Removes the links first, and the directories last.
fn remove_all(pins: &Pins) -> Result<(), Error> {
    for dir in [pins.links(), pins.root().to_owned()] {
        for name in pins::names(&dir)?.iter().filter(|name| *name != "links") {
            pins::remove(&dir.join(name))?;
        }
        if dir.exists() {
            fs::remove_dir(&dir)
                .map_err(|error| pins::failed(&format!("remove {}", dir.display()), &error))?;
        }
    }
    Ok(())
}

fn raw(address: IpAddr) -> RawAddr {
    match address {
        IpAddr::V4(address) => from_v4(address.octets()),
        IpAddr::V6(address) => address.octets(),
    }
}

/// The addresses in keys, in order.
fn addresses(keys: &BTreeSet<RawAddr>) -> Vec<IpAddr> {
    let mut addresses: Vec<IpAddr> = keys.iter().map(address).collect();
    addresses.sort_unstable();
    addresses
}

/// The address in a key. Twelve zero bytes at the end tell IPv4, which no IPv6 service address has.
fn address(raw: &RawAddr) -> IpAddr {
    if raw[4..].iter().all(|byte| *byte == 0) {
        IpAddr::V4(Ipv4Addr::from(v4(raw)))
    } else {
        IpAddr::V6(Ipv6Addr::from(*raw))
    }
}
