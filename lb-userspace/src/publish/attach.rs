//! Attaching an XDP program to an interface by a pinned link, with errors that say what is in the way.

use std::{
    ffi::CString,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use aya_obj::generated::{XDP_FLAGS_DRV_MODE, XDP_FLAGS_SKB_MODE};
use serde::{Deserialize, Serialize};

use super::{pins, sys};
use crate::{
    desired::model::AttachMode,
    error::{Error, Kind},
};

/// How a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum XdpMode {
    /// In the driver.
    Native,
    /// In the stack.
    Generic,
    /// In traffic control (`lb decap` only).
    Tc,
}

impl XdpMode {
    /// The name that users see and pins bear.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
            Self::Tc => "tc",
        }
    }

    const fn flags(self) -> u32 {
        match self {
            Self::Native => XDP_FLAGS_DRV_MODE,
            Self::Generic => XDP_FLAGS_SKB_MODE,
            Self::Tc => 0,
        }
    }

    /// Whether a program attached this way is what was asked for.
    const fn satisfies(self, asked: AttachMode) -> bool {
        matches!(
            (asked, self),
            (AttachMode::Auto, _) | (AttachMode::Native, Self::Native) | (AttachMode::Generic, Self::Generic)
        )
    }
}

/// An interface with our program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attached {
    /// Name of the interface when it was attached.
    pub ifname: String,
    /// Its index.
    pub ifindex: u32,
    /// How.
    pub mode: XdpMode,
    /// Why it is not native although that was tried.
    pub note: Option<String>,
}

/// A pinned link.
pub(crate) struct Pinned {
    pub attached: Attached,
    pub link: OwnedFd,
    pub path: PathBuf,
}

impl Pinned {
    /// Puts another program in the place of the link's, atomically.
    pub(crate) fn replace_program(&self, program: BorrowedFd<'_>) -> Result<(), Error> {
        sys::link_update(self.link.as_fd(), program).map_err(|error| {
            pins::failed(&format!("replace the program of {}", self.attached.ifname), &error)
        })
    }
}

/// The links pinned in a directory. Those whose interface is gone have index 0.
pub(crate) fn pinned(dir: &Path) -> Result<Vec<Pinned>, Error> {
    let mut found = Vec::new();
    for name in pins::names(dir)? {
        let path = dir.join(&name);
        let foreign = |what: &str| {
            Error::invalid(format!("{} {what}; remove it: rm '{}'", path.display(), path.display()))
        };
        let Some((ifname, mode)) = parse(&name) else { return Err(foreign("is not a link of lb")) };
        let link = match sys::object_get(&path) {
            Ok(link) => link,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue, // Detached meanwhile.
            Err(error) => return Err(pins::failed(&format!("open {}", path.display()), &error)),
        };
        let ifindex = sys::link_ifindex(link.as_fd()).map_err(|_| foreign("is not a link"))?;
        found.push(Pinned { attached: Attached { ifname, ifindex, mode, note: None }, link, path });
    }
    found.sort_by(|left, right| left.attached.ifname.cmp(&right.attached.ifname));
    Ok(found)
}

/// Where programs are attached, by the links in a directory.
pub(crate) fn list(dir: &Path) -> Result<Vec<Attached>, Error> {
    let attached = pinned(dir)?.into_iter().map(|pinned| pinned.attached);
    Ok(attached.filter(|attached| attached.ifindex != 0).collect())
}

/// Attaches, or gives the link that is there the program and leaves it.
pub(crate) fn attach(
    program: BorrowedFd<'_>,
    dir: &Path,
    ifname: &str,
    asked: AttachMode,
) -> Result<Attached, Error> {
    let ifindex = ifindex(ifname)?;
    let mut former = None;
    let ours = |attached: &Attached| attached.ifname == ifname && attached.mode != XdpMode::Tc;
    for pinned in pinned(dir)?.into_iter().filter(|pinned| ours(&pinned.attached)) {
        if pinned.attached.ifindex == ifindex && pinned.attached.mode.satisfies(asked) {
            pinned.replace_program(program)?;
            return Ok(pinned.attached);
        }
        // Of an interface that is gone, or in another mode: closing the link detaches it.
        pins::remove(&pinned.path)?;
        former = (pinned.attached.ifindex == ifindex).then_some(pinned.attached.mode);
    }
    create(program, dir, ifname, ifindex, asked).inspect_err(|_| {
        if let Some(mode) = former {
            let _ = create_as(program, dir, ifname, ifindex, mode);
        }
    })
}

/// Removes the links of an interface. It is an error if there is none.
pub(crate) fn detach(dir: &Path, ifname: &str) -> Result<(), Error> {
    let mut any = false;
    for pinned in pinned(dir)?.into_iter().filter(|pinned| pinned.attached.ifname == ifname) {
        pins::remove(&pinned.path)?;
        any = true;
    }
    if any { Ok(()) } else { Err(Error::not_found(format!("lb is not attached to {ifname}"))) }
}

/// Interface index of a name in this thread's network namespace.
pub(crate) fn ifindex(ifname: &str) -> Result<u32, Error> {
    let missing = || Error::not_found(format!("no interface {ifname:?}; `ip link` lists them"));
    let name = CString::new(ifname).map_err(|_| missing())?;
    // SAFETY: the name ends with a zero byte.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(missing()),
        index => Ok(index),
    }
}

fn create(
    program: BorrowedFd<'_>,
    dir: &Path,
    ifname: &str,
    ifindex: u32,
    asked: AttachMode,
) -> Result<Attached, Error> {
    let native = match asked {
        AttachMode::Generic => return create_as(program, dir, ifname, ifindex, XdpMode::Generic),
        AttachMode::Native => return create_as(program, dir, ifname, ifindex, XdpMode::Native),
        AttachMode::Auto => create_as(program, dir, ifname, ifindex, XdpMode::Native),
    };
    match native {
        // The driver refused; other reasons hold in generic mode as well.
        Err(error) if matches!(error.kind, Kind::InvalidConfiguration | Kind::Failed) => {
            let generic = create_as(program, dir, ifname, ifindex, XdpMode::Generic)?;
            Ok(Attached { note: Some(error.message), ..generic })
        }
        other => other,
    }
}

fn create_as(
    program: BorrowedFd<'_>,
    dir: &Path,
    ifname: &str,
    ifindex: u32,
    mode: XdpMode,
) -> Result<Attached, Error> {
    let link = sys::xdp_link_create(program, ifindex, mode.flags())
        .map_err(|error| refused(ifname, mode, &error))?;
    let path = pin_path(dir, ifname, mode);
    sys::object_pin(link.as_fd(), &path)
        .map_err(|error| pins::failed(&format!("pin {}", path.display()), &error))?;
    Ok(Attached { ifname: ifname.to_owned(), ifindex, mode, note: None })
}

/// What a refusal means, from the error number: the kernel's own words are not available for links.
fn refused(ifname: &str, mode: XdpMode, error: &io::Error) -> Error {
    let what = format!("attach to {ifname} in {} mode", mode.name());
    let mtu = mtu(ifname);
    match (error.raw_os_error(), mode) {
        (Some(libc::EBUSY | libc::EEXIST), _) => Error::conflict(format!(
            "{ifname} has another XDP program; `ip link show dev {ifname}` shows its id. Remove it with \
             `ip link set dev {ifname} xdp off`; if that is refused, a link holds it: `bpftool link` shows whose, and it \
             goes when its owner ends (another lb: `lb detach {ifname}` with that one's --pin-dir)"
        )),
        (Some(libc::ENODEV), _) => Error::not_found(format!("no interface {ifname:?}; `ip link` lists them")),
        (Some(libc::ERANGE), XdpMode::Native) => too_large(ifname, mtu),
        (Some(libc::EINVAL), XdpMode::Native) if mtu > Some(STANDARD_MTU) => too_large(ifname, mtu),
        (Some(libc::EOPNOTSUPP | libc::EINVAL), XdpMode::Native) => Error::invalid(format!(
            "the driver of {ifname} refuses native XDP ({error}); use `--mode generic`, which is slower"
        )),
        _ => pins::failed(&what, error),
    }
}

/// Every driver that has XDP takes frames of this size.
const STANDARD_MTU: i32 = 1500;

fn too_large(ifname: &str, mtu: Option<i32>) -> Error {
    let mtu = mtu.map_or("its MTU".to_owned(), |mtu| format!("its MTU of {mtu}"));
    Error::invalid(format!(
        "{ifname} can't run XDP in native mode with {mtu} (or that of its veth peer): a frame must fit in a memory \
         page, about 3,500 bytes; lower it (`ip link set dev {ifname} mtu 1500`) or use `--mode generic`"
    ))
}

/// MTU of an interface, asked over a socket because `/sys` may show another network namespace.
fn mtu(ifname: &str) -> Option<i32> {
    use std::os::fd::AsRawFd;
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    // SAFETY: plain integers and a union of them; zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays zero, which ends the name.
    for (to, from) in request.ifr_name.iter_mut().take(libc::IFNAMSIZ - 1).zip(ifname.bytes()) {
        *to = from as libc::c_char;
    }
    // SAFETY: the request is what this call reads and writes, and the kernel filled in the MTU when it returns 0.
    unsafe {
        let done = libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFMTU, std::ptr::from_mut(&mut request)) == 0;
        done.then_some(request.ifr_ifru.ifru_mtu)
    }
}

/// Where the link of an interface is pinned.
pub(crate) fn pin_path(dir: &Path, ifname: &str, mode: XdpMode) -> PathBuf {
    dir.join(format!("{}:{}", pins::encode(ifname), mode.name()))
}

/// Interface and mode of a pin's name.
fn parse(name: &str) -> Option<(String, XdpMode)> {
    let (ifname, mode) = name.rsplit_once(':')?;
    let mode =
        [XdpMode::Native, XdpMode::Generic, XdpMode::Tc].into_iter().find(|known| known.name() == mode)?;
    Some((pins::decode(ifname), mode))
}
