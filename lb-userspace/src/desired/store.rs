//! The state file: read once, replaced as a whole, owned by one agent.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{ErrorKind, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::{
    model::{Desired, SCHEMA_VERSION},
    ops,
};
use crate::error::{Error, Kind};

const STATE_FILE: &str = "desired.json";
const LOCK_FILE: &str = "lock";
/// What to do about a damaged state file.
const DAMAGE_FIX: &str = "put a good copy in its place; or, to begin with an empty state, `lb detach --all` and remove the \
                          damaged one";

/// The state directory, held by this process until dropped.
#[derive(Debug)]
pub struct Store {
    directory: PathBuf,
    _lock: File,
}

impl Store {
    /// Takes a state directory, which is made if missing.
    ///
    /// # Errors
    /// Conflict if another agent holds it; permission.
    pub fn open(directory: &Path) -> Result<Self, Error> {
        make_directory(directory)?;
        let lock = lock(&directory.join(LOCK_FILE)).map_err(|error| match error.kind {
            Kind::Conflict => {
                Error::conflict(format!("another agent runs on state directory {}", directory.display()))
            }
            _ => error,
        })?;
        Ok(Self { directory: directory.to_owned(), _lock: lock })
    }

    /// The stored state; a new one if there is none, with the seed that `inherited` gives, else a random one.
    ///
    /// # Errors
    /// The file is damaged (it is kept aside under a name that the error gives) or of a newer version; that of
    /// `inherited`.
    pub fn load(&self, inherited: impl FnOnce() -> Result<Option<u64>, Error>) -> Result<Desired, Error> {
        let path = self.directory.join(STATE_FILE);
        match read(&self.directory) {
            Ok(Some(desired)) => Ok(desired),
            Ok(None) => match earlier_damage(&self.directory) {
                Some(problem) => Err(Error::invalid(problem)),
                None => Ok(Desired::new(inherited()?.map_or_else(random_seed, Ok)?)),
            },
            Err(ReadError::Damaged(what)) => {
                let aside = keep_aside(&path)?;
                Err(Error::invalid(format!(
                    "the state file {} is damaged ({what}) and was kept as {}; {DAMAGE_FIX}",
                    path.display(),
                    aside.display()
                )))
            }
            Err(ReadError::Other(error)) => Err(error),
        }
    }

    /// Replaces the stored state. When this returns, it survives a crash.
    ///
    /// # Errors
    /// The file system refused; the former state stands.
    pub fn save(&self, desired: &Desired) -> Result<(), Error> {
        let path = self.directory.join(STATE_FILE);
        let mut text = serde_json::to_vec_pretty(desired)
            .map_err(|error| Error::failed(format!("write {}: {error}", path.display())))?;
        text.push(b'\n');
        replace(&self.directory, &path, &text).map_err(|error| io_error("write", &path, &error))
    }

    /// Removes the stored state.
    ///
    /// # Errors
    /// The file system refused.
    pub fn forget(&self) -> Result<(), Error> {
        let path = self.directory.join(STATE_FILE);
        fs::remove_file(&path).map_err(|error| io_error("remove", &path, &error))
    }
}

/// Why a state file could not be read.
#[derive(Debug)]
pub enum ReadError {
    /// Its content is not a state.
    Damaged(String),
    /// Anything else.
    Other(Error),
}

impl From<ReadError> for Error {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Damaged(what) => Self::invalid(format!("the state file is damaged: {what}")),
            ReadError::Other(error) => error,
        }
    }
}

/// Reads the state without holding or changing anything; none if there is no state.
///
/// # Errors
/// See [`ReadError`].
pub fn read(directory: &Path) -> Result<Option<Desired>, ReadError> {
    let path = directory.join(STATE_FILE);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(ReadError::Other(io_error("read", &path, &error))),
    };
    let damaged = |error: serde_json::Error| ReadError::Damaged(error.to_string());
    let Version { schema_version } = serde_json::from_slice(&text).map_err(damaged)?;
    if schema_version > SCHEMA_VERSION {
        return Err(ReadError::Other(Error::invalid(format!(
            "the state file {} is of version {schema_version}, this lb knows up to {SCHEMA_VERSION}; run the newer lb",
            path.display()
        ))));
    }
    let desired: Desired = serde_json::from_slice(&text).map_err(damaged)?;
    ops::validate(&desired).map_err(|error| ReadError::Damaged(error.message))?;
    Ok(Some(desired))
}

/// Just the version, whatever else a newer file holds.
#[derive(Deserialize)]
struct Version {
    schema_version: u32,
}

/// Whether a state is stored, of whatever kind.
pub fn exists(directory: &Path) -> bool {
    directory.join(STATE_FILE).exists()
}

/// Makes a state directory if it is missing.
///
/// # Errors
/// The file system refused.
pub fn make_directory(directory: &Path) -> Result<(), Error> {
    let mut builder = fs::DirBuilder::new();
    let made = builder.recursive(true).mode(0o750).create(directory);
    made.map_err(|error| io_error("make the state directory", directory, &error))
}

/// Locks a file for this process, until the file is dropped.
///
/// # Errors
/// Conflict if another process holds it.
pub fn lock(path: &Path) -> Result<File, Error> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o640)
        .open(path)
        .map_err(|error| io_error("open", path, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(Error::conflict(format!("{} is held by another process", path.display())))
        }
        Err(TryLockError::Error(error)) => Err(io_error("lock", path, &error)),
    }
}

/// Temporary file, fsync, rename, fsync of the directory.
fn replace(directory: &Path, path: &Path, text: &[u8]) -> std::io::Result<()> {
    let temporary = path.with_extension("json.new");
    let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o640).open(&temporary)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    File::open(directory)?.sync_all()
}

/// Path that the `number`-th damaged state file is kept at.
fn damaged_path(path: &Path, number: u32) -> PathBuf {
    path.with_extension(format!("json.damaged-{number}"))
}

/// Renames a damaged file to the first free name.
fn keep_aside(path: &Path) -> Result<PathBuf, Error> {
    let aside = (1..).map(|number| damaged_path(path, number)).find(|aside| !aside.exists());
    let aside = aside.ok_or_else(|| Error::failed("no name left for a damaged state file"))?;
    fs::rename(path, &aside).map_err(|error| io_error("rename", path, &error))?;
    Ok(aside)
}

/// What is to be said of a damaged state file that was kept aside and that nothing has replaced; none if there is none.
pub fn earlier_damage(directory: &Path) -> Option<String> {
    let path = directory.join(STATE_FILE);
    let damaged = last_damaged(&path).filter(|_| !path.exists())?;
    Some(format!(
        "the state file {} was damaged and kept as {}; {DAMAGE_FIX}",
        path.display(),
        damaged.display()
    ))
}

/// The latest of the damaged files that were kept.
fn last_damaged(path: &Path) -> Option<PathBuf> {
    let prefix = format!("{STATE_FILE}.damaged-");
    let numbers = fs::read_dir(path.parent()?)
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.strip_prefix(&prefix)?.parse::<u32>().ok());
    numbers.max().map(|number| damaged_path(path, number))
}

/// A seed that nobody can guess.
fn random_seed() -> Result<u64, Error> {
    let mut bytes = [0; 8];
    File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut bytes))
        .map_err(|error| io_error("read", Path::new("/dev/urandom"), &error))?;
    Ok(u64::from_ne_bytes(bytes))
}

fn io_error(doing: &str, path: &Path, error: &std::io::Error) -> Error {
    match error.kind() {
        ErrorKind::PermissionDenied => Error::new(
            Kind::Permission,
            format!("{doing} {}: permission denied; run with sudo", path.display()),
        ),
        _ => Error::failed(format!("{doing} {}: {error}", path.display())),
    }
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
