//! Where everything is pinned, and the BPF file system it needs.
//!
//! ```text
//! <pin-dir>/<abi version>/<MAP>                    one per map
//!                         links/<interface>:<mode>
//!                         tables/<service id>      the slot map in use; `<id>-next` while one is published
//!                         tables/services_v4, _v6  the service tables in use
//!                         decap/<interface>/       maps, program and links/ of `lb decap`
//! ```

use std::{
    ffi::CString,
    fs::{self, File},
    io,
    mem::MaybeUninit,
    os::{
        fd::AsRawFd,
        unix::{ffi::OsStrExt, fs::DirBuilderExt},
    },
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use lb_common::abi::ABI_VERSION;

use crate::error::{Error, Kind};

/// Where bpffs is mounted on most systems.
const DEFAULT_MOUNT: &str = "/sys/fs/bpf";
/// `BPF_FS_MAGIC` of the kernel.
const BPF_FS_MAGIC: i64 = 0xcafe_4a11;

/// The paths of one ABI version's pins.
#[derive(Clone, Debug)]
pub struct Pins {
    root: PathBuf,
}

impl Pins {
    /// The pins under a pin directory.
    pub fn new(pin_dir: &Path) -> Self {
        Self { root: pin_dir.join(ABI_VERSION.to_string()) }
    }

    /// Directory of all of them.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A map by its name.
    pub fn map(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Directory of the packet path's links.
    pub fn links(&self) -> PathBuf {
        self.root.join("links")
    }

    /// Directory of the inner maps.
    pub fn tables(&self) -> PathBuf {
        self.root.join("tables")
    }

    /// Directory of all that `lb decap` pinned, one directory per interface.
    pub fn decap(&self) -> PathBuf {
        self.root.join("decap")
    }

    /// Removes all of them but those of `lb decap`.
    pub(crate) fn discard(&self) -> Result<(), Error> {
        for dir in [self.links(), self.tables(), self.root.clone()] {
            for name in names(&dir)? {
                let path = dir.join(name);
                if !path.is_dir() {
                    remove(&path)?;
                }
            }
            // Not while it holds others, those of decap.
            let _ = fs::remove_dir(&dir);
        }
        Ok(())
    }

    /// The pins of `lb decap` on an interface.
    pub fn decap_on(&self, ifname: &str) -> Self {
        Self { root: self.decap().join(encode(ifname)) }
    }
}

/// An interface's name as a name in bpffs, which reserves names with a dot.
pub fn encode(ifname: &str) -> String {
    ifname.replace('%', "%25").replace('.', "%2e")
}

/// The interface's name that was encoded.
pub fn decode(name: &str) -> String {
    name.replace("%2e", ".").replace("%25", "%")
}

/// Names in a directory; none if there is no such directory.
pub(crate) fn names(dir: &Path) -> Result<Vec<String>, Error> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(&format!("read {}", dir.display()), &error)),
    };
    Ok(entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect())
}

/// Makes a directory and those above it, for root alone.
pub(crate) fn make_dir(dir: &Path) -> Result<(), Error> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|error| failed(&format!("make the directory {}", dir.display()), &error))
}

/// Removes a pin; it is fine if there is none.
pub(crate) fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(failed(&format!("remove {}", path.display()), &error))
        }
        _ => Ok(()),
    }
}

/// A failed system call, with what it was for. No rights is a kind of its own.
pub(crate) fn failed(what: &str, error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::PermissionDenied => Error::new(
            Kind::Permission,
            format!("{what}: {error}; run as root, or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON"),
        ),
        _ => Error::failed(format!("{what}: {error}")),
    }
}

/// Makes sure that the pin directory exists and is on a BPF file system. Mounts one if there is none: on the usual
/// place for a directory below it, else on the directory itself.
pub(crate) fn ensure_bpffs(pin_dir: &Path) -> Result<(), Error> {
    if !on_bpffs(pin_dir)? {
        let at = if pin_dir.starts_with(DEFAULT_MOUNT) { Path::new(DEFAULT_MOUNT) } else { pin_dir };
        make_dir(at)?;
        if at == pin_dir && !names(at)?.is_empty() {
            return Err(Error::invalid(format!(
                "{} is not on a BPF file system and not empty; choose another --pin-dir",
                at.display()
            )));
        }
        // Below the mount; the directory itself is on another file system, which takes any name.
        no_dots(pin_dir, at)?;
        mount(at)?;
    } else {
        no_dots(pin_dir, pin_dir.ancestors().find(|path| path.exists()).unwrap_or(pin_dir))?;
    }
    make_dir(pin_dir)
}

/// bpffs refuses new names with a dot, by an error that looks like missing rights.
fn no_dots(pin_dir: &Path, existing: &Path) -> Result<(), Error> {
    let new = pin_dir.strip_prefix(existing).unwrap_or(Path::new(""));
    if new.as_os_str().as_bytes().contains(&b'.') {
        return Err(Error::invalid(format!(
            "{}: names on a BPF file system can't have a dot; choose another --pin-dir",
            pin_dir.display()
        )));
    }
    Ok(())
}

/// Whether a directory, or what exists of the way to it, is on a BPF file system.
fn on_bpffs(dir: &Path) -> Result<bool, Error> {
    let existing = dir.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let path = c_string(existing)?;
    let mut stat = MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: the path ends with a zero byte, and the kernel fills the struct when it returns 0.
    let stat = unsafe {
        if libc::statfs(path.as_ptr(), stat.as_mut_ptr()) != 0 {
            let what = format!("look at {}", existing.display());
            return Err(failed(&what, &io::Error::last_os_error()));
        }
        stat.assume_init()
    };
    Ok(stat.f_type == BPF_FS_MAGIC)
}

fn mount(at: &Path) -> Result<(), Error> {
    let target = c_string(at)?;
    let (name, data) = (c"bpf".as_ptr(), c"mode=0700".as_ptr());
    // SAFETY: all strings end with a zero byte and outlive the call.
    if unsafe { libc::mount(name, target.as_ptr(), name, 0, data.cast()) } == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    Err(match error.kind() {
        io::ErrorKind::PermissionDenied => Error::new(
            Kind::Permission,
            format!(
                "mount a BPF file system on {0}: {error}; run as root once, or `mount -t bpf bpf {0}`",
                at.display()
            ),
        ),
        _ => failed(&format!("mount a BPF file system on {}", at.display()), &error),
    })
}

/// How long an agent that is just ending may keep the lock.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);

/// Keeps every other agent out of a pin directory for as long as the file is open.
pub(crate) fn lock(pin_dir: &Path) -> Result<File, Error> {
    let what = || format!("lock {}", pin_dir.display());
    let dir = File::open(pin_dir).map_err(|error| failed(&what(), &error))?;
    let started = Instant::now();
    loop {
        // SAFETY: a call on an open descriptor without pointers.
        if unsafe { libc::flock(dir.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } == 0 {
            return Ok(dir);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::WouldBlock {
            return Err(failed(&what(), &error));
        }
        if started.elapsed() > LOCK_PATIENCE {
            return Err(Error::conflict(format!(
                "another agent uses {}; stop it, or choose another --pin-dir",
                pin_dir.display()
            )));
        }
        thread::sleep(LOCK_PATIENCE / 50);
    }
}

fn c_string(path: &Path) -> Result<CString, Error> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| Error::invalid(format!("{}: a path can't hold a zero byte", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dot_is_refused_in_new_names_on_bpffs_only() {
        let refused = |dir: &str, existing: &str| no_dots(Path::new(dir), Path::new(existing)).is_err();
        assert!(refused("/sys/fs/bpf/lb.2", "/sys/fs/bpf"));
        assert!(!refused("/sys/fs/bpf/lb", "/sys/fs/bpf"));
        assert!(!refused("/tmp/a.b/lb", "/tmp/a.b"));
        assert!(!refused("/tmp/a.b", "/tmp/a.b"));
    }

    #[test]
    fn interface_names_become_names_without_a_dot() {
        for name in ["eth0", "eth0.100", "a%2eb", "%", "x.%25"] {
            assert!(!encode(name).contains('.'));
            assert_eq!(decode(&encode(name)), name);
        }
    }
}
