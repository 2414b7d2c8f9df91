//! Where the tools that build the packet path are: rust-src and bpf-linker. Shared with lb-userspace's build script.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The bpf-linker that `cargo xtask setup` installs.
pub const BPF_LINKER_VERSION: &str = "0.13.0";

/// Names a `library` directory for `-Z build-std` that is not the sysroot's. A switch of cargo's own test suite, and the
/// only one that leaves the sysroot of a distribution alone.
pub const SRC_ROOT_VARIABLE: &str = "__CARGO_TESTS_ONLY_SRC_ROOT";

/// What rustc says of itself.
#[derive(Debug)]
pub struct Rustc {
    /// As in `1.95.0`.
    pub release: String,
    /// Directory that holds `lib/rustlib`.
    pub sysroot: PathBuf,
}

/// Where the sources of `core` are.
#[derive(Debug)]
pub enum RustSrc {
    /// Where cargo looks by itself.
    Sysroot,
    /// A `library` directory that cargo must be told of.
    Elsewhere(PathBuf),
}

impl Rustc {
    /// Asks the rustc that cargo uses (`RUSTC`), or the one in `PATH`. None if it does not run.
    pub fn detect() -> Option<Self> {
        let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let verbose = output(Command::new(&rustc).arg("-vV"))?;
        let release = verbose.lines().find_map(|line| line.strip_prefix("release: "))?.to_owned();
        let sysroot = PathBuf::from(output(Command::new(&rustc).args(["--print", "sysroot"]))?.trim());
        Some(Self { release, sysroot })
    }

    /// The sources of this very compiler's `core`, if they are anywhere.
    pub fn rust_src(&self) -> Option<RustSrc> {
        if let Some(named) = env::var_os(SRC_ROOT_VARIABLE).map(PathBuf::from) {
            return has_core(&named).then_some(RustSrc::Elsewhere(named));
        }
        if has_core(&self.sysroot.join("lib/rustlib/src/rust/library")) {
            return Some(RustSrc::Sysroot);
        }
        let cached = self.cached_src().join("library");
        has_core(&cached).then_some(RustSrc::Elsewhere(cached))
    }

    /// Where `setup` unpacks a distribution's rust-src for this compiler.
    pub fn cached_src(&self) -> PathBuf {
        cache_dir().join(format!("rust-src-{}", self.release))
    }

    /// Root (the directory above `bin`) of the bpf-linker that `setup` builds for this compiler.
    pub fn cached_linker(&self) -> PathBuf {
        cache_dir().join(format!("bpf-linker-{BPF_LINKER_VERSION}-rustc-{}", self.release))
    }

    /// Directory of a bpf-linker that runs, and its version: `setup`'s own first, then PATH, then cargo's directory.
    pub fn bpf_linker(&self) -> Option<(PathBuf, String)> {
        let path = env::var_os("PATH").unwrap_or_default();
        let own = self.cached_linker().join("bin");
        [own].into_iter().chain(env::split_paths(&path)).chain(cargo_bin()).find_map(|directory| {
            let linker = directory.join("bpf-linker");
            if !linker.is_file() {
                return None;
            }
            // One that lost the LLVM it was linked with, after an update of rustc, does not start.
            let text = output(Command::new(&linker).arg("--version"))?;
            Some((directory, text.split_whitespace().nth(1)?.to_owned()))
        })
    }
}

/// Where downloaded and built tools are kept.
pub fn cache_dir() -> PathBuf {
    let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    cache.or(home).unwrap_or_else(env::temp_dir).join("lb-build")
}

fn cargo_bin() -> Option<PathBuf> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    home.or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")))
        .map(|home| home.join("bin"))
}

fn has_core(library: &Path) -> bool {
    // build-std resolves against the lock file beside the sources.
    library.join("core/src/lib.rs").is_file() && library.join("Cargo.lock").is_file()
}

/// Standard output of a command that succeeded.
pub fn output(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}
