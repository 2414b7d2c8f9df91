//! Programs of the distribution that lb meets in tests and benches: those that are there, else fetched for this run only.

use std::{
    env,
    ffi::OsString,
    fs,
    io::Write as _,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Mutex, PoisonError},
};

use anyhow::{Context as _, Result, ensure};

use crate::{bpffs::TempDir, netns::Netns};

/// Directories of administrators' programs, which `PATH` may lack.
const MORE_PATHS: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// A program is not installed and can't be fetched.
#[derive(Debug, thiserror::Error)]
#[error("{name} is missing; install {packages}: {reason}")]
pub struct Missing {
    name: String,
    packages: String,
    reason: String,
}

/// A program that can be run. What was fetched for it goes when this is dropped.
#[derive(Debug)]
pub struct Program {
    path: PathBuf,
    /// The packages' root, where they were fetched.
    fetched: Option<TempDir>,
}

impl Program {
    /// Finds a program, or fetches it with apt into a directory of its own: nothing is installed.
    pub fn find(name: &str, packages: &[&str]) -> Result<Self> {
        let paths = env::var_os("PATH").unwrap_or_default();
        let directories = env::split_paths(&paths).chain(MORE_PATHS.map(PathBuf::from));
        if let Some(path) = directories.map(|directory| directory.join(name)).find(|path| path.is_file()) {
            return Ok(Self { path, fetched: None });
        }
        eprintln!("{name} is not installed; fetching {} with apt, for this run only", packages.join(", "));
        let directory = fetch(packages).map_err(|reason| Missing {
            name: name.to_owned(),
            packages: packages.join(" and "),
            reason: format!("{reason:#}"),
        })?;
        let path = directory.path().join("root/usr/sbin").join(name);
        ensure!(path.is_file(), "no {name} in {}", packages.join(", "));
        Ok(Self { path, fetched: Some(directory) })
    }

    /// A command that will run it in a namespace.
    pub fn command(&self, netns: &Netns) -> Command {
        let mut command = netns.command(&self.path);
        if let Some(directory) = &self.fetched {
            command.env("LD_LIBRARY_PATH", libraries(&directory.path().join("root")));
        }
        command
    }

    /// Runs it in a namespace with this input; it must succeed.
    pub fn run(&self, netns: &Netns, arguments: &[&str], input: &str) -> Result<()> {
        let mut command = self.command(netns);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let name = self.path.display();
        let mut child = command.spawn().with_context(|| format!("can't run {name}"))?;
        child.stdin.take().context("no stdin")?.write_all(input.as_bytes())?;
        let output = child.wait_with_output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{name}: {}\n{input}", said.trim());
        Ok(())
    }

    /// A file of the packages, named from the root of the system.
    pub fn file(&self, path: &str) -> PathBuf {
        let root =
            self.fetched.as_ref().map_or_else(|| "/".into(), |directory| directory.path().join("root"));
        root.join(path)
    }
}

/// Fetches packages with what they depend on and is not installed, and unpacks them.
fn fetch(packages: &[&str]) -> Result<TempDir> {
    // One at a time: apt-get locks the system's lists while it updates them.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let directory = TempDir::new()?;
    let archives = directory.path().join("archives");
    fs::create_dir_all(archives.join("partial"))?;
    let mut apt = Command::new("apt-get");
    apt.args(["install", "--download-only", "--yes", "--no-install-recommends", "--option"]);
    apt.arg(format!("Dir::Cache::archives={}", archives.display())).args(packages);
    // Others may be at it, another test run among them.
    apt.args(["--option", "DPkg::Lock::Timeout=120"]).env("DEBIAN_FRONTEND", "noninteractive");
    // A fresh system has no lists of packages, an old one lists of packages that are gone.
    run(&mut apt).or_else(|first| {
        let updated = run(Command::new("apt-get").arg("update"));
        updated.and_then(|()| run(&mut apt)).with_context(|| format!("{first:#}; after that"))
    })?;
    for entry in fs::read_dir(&archives)? {
        let archive = entry?.path();
        if archive.extension().is_some_and(|extension| extension == "deb") {
            run(Command::new("dpkg-deb").arg("--extract").arg(&archive).arg(directory.path().join("root")))?;
        }
    }
    Ok(directory)
}

/// All directories of libraries below a root, with the system's names for this machine's own.
fn libraries(root: &Path) -> OsString {
    let of = |lib: &str| {
        let entries = fs::read_dir(root.join(lib)).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect::<Vec<_>>()
    };
    let found = ["usr/lib", "lib"].into_iter().flat_map(of);
    env::join_paths(found).unwrap_or_default()
}

fn run(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    // In a group of its own: Ctrl-C is for us to handle.
    let output = command
        .process_group(0)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("can't run {name}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{name}: {}", said.trim());
    Ok(())
}
