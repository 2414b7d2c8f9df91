//! `cargo xtask setup`: what building the packet path needs, installed once and without touching the system's own.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};

mod debian;

use crate::{
    run::{self, Privilege, capture, quiet},
    toolchain::{self, BPF_LINKER_VERSION, RustSrc, Rustc},
};

/// Installs what is missing and says what it found.
pub fn setup() -> Result<()> {
    let rustc = rustc()?;
    rust_src(&rustc)?;
    bpf_linker(&rustc)?;
    if let Err(error) = lints() {
        println!("{error:#} (only `cargo xtask test` needs them)");
    }
    iproute2()?;
    match rustc.rust_src() {
        Some(RustSrc::Elsewhere(library)) => {
            println!("rust-src     {} ({})", rustc.release, library.display())
        }
        _ => println!("rust-src     {} (with rustc)", rustc.release),
    }
    if let Some((directory, version)) = rustc.bpf_linker() {
        println!("bpf-linker   {version} ({})", directory.display());
    }
    println!("ready: `cargo xtask demo`, `cargo xtask test`, `cargo build`");
    Ok(())
}

/// Runs [`setup`] if something is missing.
pub fn ensure() -> Result<()> {
    let rustc = rustc()?;
    let complete = rustc.rust_src().is_some() && rustc.bpf_linker().is_some() && has_ip();
    if complete { Ok(()) } else { setup().context("setting up the tools, see `cargo xtask setup`") }
}

fn rustc() -> Result<Rustc> {
    Rustc::detect().context("rustc does not run; install Rust first, best with rustup")
}

fn rust_src(rustc: &Rustc) -> Result<()> {
    if rustc.rust_src().is_some() {
        return Ok(());
    }
    if let Some(named) = env::var_os(toolchain::SRC_ROOT_VARIABLE) {
        bail!(
            "{} names {}, which holds no library sources",
            toolchain::SRC_ROOT_VARIABLE,
            PathBuf::from(named).display()
        );
    }
    println!("rust-src for rustc {} is missing, fetching it", rustc.release);
    let by_rustup = rustup(&["rust-src"]);
    if by_rustup.is_ok() && rustc.rust_src().is_some() {
        return Ok(());
    }
    let by_debian = debian::rust_src(rustc);
    if by_debian.is_ok() && rustc.rust_src().is_some() {
        return Ok(());
    }
    bail!(
        "no rust-src for rustc {release}\n  tried rustup: {}\n  tried the distribution: {}\n\
         run `rustup component add rust-src`, or unpack the sources of exactly this rustc and set {}=.../library",
        outcome(by_rustup),
        outcome(by_debian),
        toolchain::SRC_ROOT_VARIABLE,
        release = rustc.release,
    )
}

fn outcome(result: Result<()>) -> String {
    match result {
        Ok(()) => "done, but the sources are not where this rustc has them".to_owned(),
        Err(error) => format!("{error:#}"),
    }
}

/// Adds components to the toolchain in use.
fn rustup(components: &[&str]) -> Result<()> {
    let mut command = Command::new("rustup");
    command.args(["component", "add"]).args(components).current_dir(run::workspace());
    if let Some(toolchain) = env::var_os("RUSTUP_TOOLCHAIN") {
        command.arg("--toolchain").arg(toolchain);
    }
    capture(&mut command).map(drop)
}

fn bpf_linker(rustc: &Rustc) -> Result<()> {
    if rustc.bpf_linker().is_some() {
        return Ok(());
    }
    println!(
        "bpf-linker is missing, building {BPF_LINKER_VERSION} against rustc's own LLVM (about a minute)"
    );
    let llvm = Llvm::find(rustc)?;
    let flags = [
        format!("-Lnative={}", llvm.directory.display()),
        format!("-ldylib={}", llvm.name),
        format!("-Clink-arg=-Wl,-rpath,{}", llvm.directory.display()),
    ];
    let root = rustc.cached_linker();
    let mut install = run::cargo();
    install
        .args([
            "install",
            "bpf-linker",
            "--locked",
            "--version",
            BPF_LINKER_VERSION,
            "--no-default-features",
            "--features",
        ])
        .arg(format!("llvm-{},no-llvm-linking", llvm.major))
        .arg("--root")
        .arg(&root)
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("CARGO_BUILD_TARGET");
    run::run(&mut install).with_context(|| {
        format!(
            "bpf-linker {BPF_LINKER_VERSION} does not build against {} in {}; \
             install one yourself (`cargo install bpf-linker`, with the LLVM of your rustc) and try again",
            llvm.name,
            llvm.directory.display()
        )
    })?;
    ensure!(rustc.bpf_linker().is_some(), "bpf-linker was built in {} but does not run", root.display());
    Ok(())
}

/// The shared LLVM that rustc itself uses: bpf-linker must read what this very rustc writes.
#[derive(Debug)]
struct Llvm {
    major: String,
    directory: PathBuf,
    /// As the linker takes it, without `lib` and `.so`.
    name: String,
}

impl Llvm {
    fn find(rustc: &Rustc) -> Result<Self> {
        let verbose =
            capture(Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())).arg("-vV"))?;
        let version = verbose.lines().find_map(|line| line.strip_prefix("LLVM version: "));
        let major =
            version.and_then(|version| version.split('.').next()).context("rustc does not name its LLVM")?;
        let system = PathBuf::from(format!("/usr/lib/llvm-{major}/lib"));
        let places = [rustc.sysroot.join("lib"), system];
        let found = places.iter().find_map(|directory| {
            let name = library_in(directory, &format!("libLLVM-{major}"))?;
            Some(Self { major: major.to_owned(), directory: directory.clone(), name })
        });
        found.with_context(|| {
            let places: Vec<_> = places.iter().map(|place| place.display().to_string()).collect();
            format!(
                "rustc uses LLVM {major}, but there is no libLLVM-{major}*.so in {}; \
                 use rustup's Rust, or install llvm-{major}-dev",
                places.join(" or ")
            )
        })
    }
}

/// Link name of the library in a directory whose file name begins so.
fn library_in(directory: &Path, prefix: &str) -> Option<String> {
    fs::read_dir(directory).ok()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).find_map(
        |name| {
            let link_name = name.strip_prefix("lib")?.strip_suffix(".so")?;
            name.starts_with(prefix).then(|| link_name.to_owned())
        },
    )
}

fn has_lints() -> bool {
    ["fmt", "clippy"].iter().all(|tool| quiet(run::cargo().args([tool, "--version"])))
}

/// rustfmt and clippy, which only the tests need.
pub fn lints() -> Result<()> {
    if has_lints() {
        return Ok(());
    }
    rustup(&["rustfmt", "clippy"])
        .context("rustfmt and clippy are missing; install them as your Rust was installed")
}

fn has_ip() -> bool {
    quiet(Command::new("ip").arg("-V"))
}

fn iproute2() -> Result<()> {
    if has_ip() {
        return Ok(());
    }
    let by_hand = "install it with your package manager, such as `sudo apt-get install iproute2`";
    ensure!(Privilege::detect() == Privilege::Root, "`ip` (iproute2) is missing; {by_hand}");
    println!("iproute2 is missing, installing it");
    let install =
        || quiet(Command::new("apt-get").args(["install", "-y", "--no-install-recommends", "iproute2"]));
    let installed = install() || (quiet(Command::new("apt-get").arg("update")) && install());
    ensure!(installed && has_ip(), "`ip` (iproute2) is missing and apt-get can't install it; {by_hand}");
    Ok(())
}
