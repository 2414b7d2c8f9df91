//! Temporary directories, and a private bpffs in one.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::unique;

/// A directory that goes with its guard.
#[derive(Debug)]
pub struct TempDir {
    path: PathBuf,
}

impl TempDir {
    /// An empty directory.
    pub fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(unique::name());
        fs::create_dir(&path).with_context(|| format!("can't make {}", path.display()))?;
        Ok(Self { path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            eprintln!("can't remove {}: {error}", self.path.display());
        }
    }
}

/// A bpffs of our own on a temporary directory; unmounted, with all pins, on drop.
#[derive(Debug)]
pub struct Bpffs {
    directory: TempDir,
}

impl Bpffs {
    /// Mounts one.
    pub fn mount() -> Result<Self> {
        let directory = TempDir::new()?;
        let target = c_path(directory.path())?;
        // SAFETY: three C strings that live through the call, and no data.
        let result =
            unsafe { libc::mount(c"bpf".as_ptr(), target.as_ptr(), c"bpf".as_ptr(), 0, std::ptr::null()) };
        if result != 0 {
            return Err(io::Error::last_os_error()).context("can't mount a bpffs (needs root)");
        }
        Ok(Self { directory })
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for Bpffs {
    fn drop(&mut self) {
        let Ok(target) = c_path(self.path()) else { return };
        // SAFETY: a C string that lives through the call.
        if unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH) } != 0 {
            eprintln!("can't unmount {}: {}", self.path().display(), io::Error::last_os_error());
        }
    }
}

fn c_path(path: &Path) -> Result<std::ffi::CString> {
    Ok(std::ffi::CString::new(path.as_os_str().as_encoded_bytes())?)
}
