//! `cargo xtask dist`: a release build, packed with what belongs to it.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result};

use crate::{
    run::{self, capture},
    setup, toolchain,
};

/// Files beside the binary: from the workspace, to below the root of the tarball.
const FILES: [(&str, &str); 6] = [
    ("packaging/lb.service", "lib/systemd/system/lb.service"),
    ("packaging/lb-decap@.service", "lib/systemd/system/lb-decap@.service"),
    ("README.md", "share/doc/lb/README.md"),
    ("CHANGELOG.md", "share/doc/lb/CHANGELOG.md"),
    ("LICENSE-MIT", "share/doc/lb/LICENSE-MIT"),
    ("LICENSE-APACHE", "share/doc/lb/LICENSE-APACHE"),
];

/// Leaves `dist/lb-VERSION-TARGET.tar.gz` and its checksum. Unpack it over /usr/local.
pub fn dist() -> Result<()> {
    setup::ensure()?;
    run::run(run::cargo().args(["build", "--release", "--package", "lb-userspace", "--bin", "lb"]))?;
    let name = format!("lb-{}-{}", env!("CARGO_PKG_VERSION"), target()?);
    let dist = run::workspace().join("dist");
    let stage = dist.join(&name);
    if stage.exists() {
        fs::remove_dir_all(&stage)?;
    }
    let release = run::debug_dir().with_file_name("release");
    install(&release.join("lb"), &stage.join("bin/lb"))?;
    for (from, to) in FILES {
        install(&run::workspace().join(from), &stage.join(to))?;
    }
    let tarball = format!("{name}.tar.gz");
    // The same files give the same tarball.
    capture(Command::new("tar").current_dir(&dist).env("GZIP", "-n").args([
        "--sort=name",
        "--mtime=@0",
        "--owner=0",
        "--group=0",
        "--numeric-owner",
        "-czf",
        &tarball,
        &name,
    ]))?;
    fs::remove_dir_all(&stage)?;
    let sums = capture(Command::new("sha256sum").current_dir(&dist).arg(&tarball))?;
    fs::write(dist.join("SHA256SUMS"), &sums)?;
    println!("dist/{tarball}\n{}", sums.trim());
    Ok(())
}

fn install(from: &Path, to: &Path) -> Result<()> {
    let directory = to.parent().context("no directory")?;
    fs::create_dir_all(directory).with_context(|| format!("can't make {}", directory.display()))?;
    fs::copy(from, to).with_context(|| format!("can't copy {} to {}", from.display(), to.display()))?;
    Ok(())
}

fn target() -> Result<String> {
    let verbose = toolchain::output(Command::new("rustc").arg("-vV")).context("rustc does not run")?;
    let host = verbose.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("rustc does not name its target")
}
