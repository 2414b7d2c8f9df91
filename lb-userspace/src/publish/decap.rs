//! `lb decap`: the backend's end of `ipip`, on hosts that need no agent. Everything lives in pins.

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
    Attached, attach,
    kernel::{open_map, write},
    object::Object,
    pins::{self, Pins},
    sys,
    walk::walk,
};
use crate::{desired::model::AttachMode, error::Error, observe};

const OBJECT: Object =
    Object { bytes: crate::objects::LB_DECAP, maps: &[maps::DECAP_VIPS, maps::REASONS], program: "decap" };
/// Name of the program's pin.
const PROGRAM_PIN: &str = "program";

/// An interface whose tunnel packets are unpacked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decap {
    /// Where.
    pub attached: Attached,
    /// Service addresses of the packets that are unpacked, in order.
    pub vips: Vec<IpAddr>,
}

/// Attaches the decapsulation program to an interface, for these service addresses and no others. On an interface that
/// has it already, the addresses are replaced.
///
/// # Errors
/// Those of [`super::Publisher::attach`], `InvalidConfiguration` for no or too many addresses or foreign pins.
pub fn attach(pin_dir: &Path, ifname: &str, vips: &[IpAddr], mode: AttachMode) -> Result<Decap, Error> {
    let vips: BTreeSet<RawAddr> = vips.iter().map(|vip| raw(*vip)).collect();
    if vips.is_empty() || vips.len() > maps::MAX_DECAP_VIPS as usize {
        return Err(Error::invalid(format!(
            "{} service addresses; give 1 to {}, each with --vip",
            vips.len(),
            maps::MAX_DECAP_VIPS
        )));
    }
    attach::ifindex(ifname)?;
    pins::ensure_bpffs(pin_dir)?;
    let pins = Pins::new(pin_dir).decap_on(ifname);
    let fix = format!("remove what is there: rm -r {}", pins.root().display());
    let fresh = !OBJECT.check(&pins, &fix)?.is_empty();
    pins::make_dir(&pins.links())?;
    let attached = load_and_attach(&pins, ifname, &vips, mode).inspect_err(|_| {
        if fresh {
            let _ = remove_all(&pins);
        }
    })?;
    Ok(Decap { attached, vips: addresses(&vips) })
}

fn load_and_attach(
    pins: &Pins,
    ifname: &str,
    vips: &BTreeSet<RawAddr>,
    mode: AttachMode,
) -> Result<Attached, Error> {
    let (_ebpf, program) = OBJECT.load(pins, &[])?;
    let map = open_map(pins, maps::DECAP_VIPS)?;
    let present = read_vips(map.as_fd())?;
    for vip in vips.difference(&present) {
        write(&map, maps::DECAP_VIPS, vip, &[1u32])?;
    }
    let attached = attach::attach(program.as_fd(), &pins.links(), ifname, mode)?;
    pin_program(pins, &program)?;
    // Last, so that a failure above leaves an earlier attachment with all it had.
    for vip in present.difference(vips) {
        sys::map_delete(map.as_fd(), vip)
            .map_err(|error| pins::failed("write the map DECAP_VIPS", &error))?;
    }
    Ok(attached)
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
            found.push(Decap { attached, vips: addresses(&vips) });
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
