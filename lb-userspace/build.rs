//! Builds the BPF programs of lb-ebpf and leaves the objects in `OUT_DIR` for embedding.

use std::{env, process::Command};

use aya_build::{Package, Toolchain};

#[path = "../xtask/src/toolchain.rs"]
mod toolchain;

use toolchain::{RustSrc, Rustc, SRC_ROOT_VARIABLE};

fn main() {
    if let Err(message) = build() {
        // One directive per line: cargo prints each as an error of its own.
        for line in message.lines() {
            println!("cargo::error={line}");
        }
        std::process::exit(1);
    }
}

fn build() -> Result<(), String> {
    // lb-ebpf itself is watched by aya-build.
    for path in [
        "build.rs",
        "../xtask/src/toolchain.rs",
        "../lb-common/src",
        "../lb-common/Cargo.toml",
        "../Cargo.toml",
    ] {
        println!("cargo::rerun-if-changed={path}");
    }
    for variable in [SRC_ROOT_VARIABLE, "RUSTUP_TOOLCHAIN"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    prepare_environment()?;
    let package = Package { name: "lb-ebpf", root_dir: "../lb-ebpf", ..Package::default() };
    aya_build::build_ebpf([package], Toolchain::Custom(&rustup_toolchain())).map_err(|error| {
        format!("lb-ebpf did not build, see the lines above: {error}\nif a tool is missing or too old: `cargo xtask setup`")
    })
}

/// aya-build reads its environment and hands it down to the inner cargo.
fn prepare_environment() -> Result<(), String> {
    let rustc = Rustc::detect().ok_or("rustc does not run; install Rust first, best with rustup")?;
    let missing = |what: &str| {
        format!("{what} is missing, which the packet path is built with; run `cargo xtask setup`")
    };
    let rust_src =
        rustc.rust_src().ok_or_else(|| missing(&format!("rust-src of rustc {}", rustc.release)))?;
    let (linker_dir, _version) = rustc.bpf_linker().ok_or_else(|| missing("a bpf-linker that runs"))?;
    let path = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths([linker_dir].into_iter().chain(env::split_paths(&path)));
    set("PATH", path.map_err(|error| format!("can't put bpf-linker into PATH: {error}"))?);
    if let RustSrc::Elsewhere(library) = rust_src {
        set(SRC_ROOT_VARIABLE, library);
    }
    // `-Z build-std` on a stable compiler.
    set("RUSTC_BOOTSTRAP", "1");
    // Progress of the inner cargo would come out as warnings, again at each build.
    set("CARGO_TERM_QUIET", "true");
    Ok(())
}

fn set(variable: &str, value: impl AsRef<std::ffi::OsStr>) {
    // SAFETY: the build script has one thread at this point.
    unsafe { env::set_var(variable, value) }
}

/// The toolchain that cargo runs in. Without rustup aya-build takes the compiler in `PATH` and ignores the name.
fn rustup_toolchain() -> String {
    env::var("RUSTUP_TOOLCHAIN")
        .ok()
        .or_else(|| {
            let active = toolchain::output(Command::new("rustup").args(["show", "active-toolchain"]))?;
            Some(active.split_whitespace().next()?.to_owned())
        })
        .unwrap_or_else(|| "stable".to_owned())
}
