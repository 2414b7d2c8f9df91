//! Attaching a program to an interface in traffic control, for drivers that have no XDP: by a pinned link (tcx).

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    path::Path,
};

use super::{
    attach::{Attached, XdpMode, ifindex, pin_path, pinned},
    pins, sys,
};
use crate::error::Error;

/// Attaches, or gives the link that is there the program and leaves it.
pub(crate) fn attach(program: BorrowedFd<'_>, dir: &Path, ifname: &str) -> Result<Attached, Error> {
    let ifindex = ifindex(ifname)?;
    let ours = |attached: &Attached| attached.ifname == ifname && attached.mode == XdpMode::Tc;
    for pinned in pinned(dir)?.into_iter().filter(|pinned| ours(&pinned.attached)) {
        if pinned.attached.ifindex == ifindex {
            pinned.replace_program(program)?;
            return Ok(pinned.attached);
        }
        pins::remove(&pinned.path)?;
    }
    let link = sys::tcx_link_create(program, ifindex).map_err(|error| refused(ifname, &error))?;
    let path = pin_path(dir, ifname, XdpMode::Tc);
    sys::object_pin(link.as_fd(), &path)
        .map_err(|error| pins::failed(&format!("pin {}", path.display()), &error))?;
    Ok(Attached { ifname: ifname.to_owned(), ifindex, mode: XdpMode::Tc, note: None })
}

/// What a refusal means.
fn refused(ifname: &str, error: &io::Error) -> Error {
    match error.raw_os_error() {
        Some(libc::ENODEV) => Error::not_found(format!("no interface {ifname:?}; `ip link` lists them")),
        Some(libc::EINVAL) => Error::invalid(format!(
            "attach to {ifname} in traffic control: {error}; this needs Linux 6.6 or newer (tcx), use `--hook xdp`"
        )),
        _ => pins::failed(&format!("attach to {ifname} in traffic control"), error),
    }
}

/// Removes the links of an interface but the one that was just made, if they are of the other kind.
pub(crate) fn remove_other_kind(dir: &Path, made: &Attached) -> Result<(), Error> {
    let is_tc = |attached: &Attached| attached.mode == XdpMode::Tc;
    for pinned in pinned(dir)? {
        if pinned.attached.ifname == made.ifname && is_tc(&pinned.attached) != is_tc(made) {
            pins::remove(&pinned.path)?;
        }
    }
    Ok(())
}
