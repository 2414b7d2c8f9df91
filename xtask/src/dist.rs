//! `cargo xtask dist`: a release build, packed with what belongs to it.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result};

use crate::{
    run::{self, capture},
    setup, toolchain,
};

/// What is built: from the release build, to below the root of the tarball.
const PROGRAMS: [(&str, &str); 2] = [("lb", "bin/lb"), ("lb-bench", "libexec/lb/lb-bench")];

/// Files beside them: from the workspace, to below the root of the tarball.
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
    let packages = ["--package", "lb-userspace", "--package", "lb-tests"];
    let binaries = PROGRAMS.iter().flat_map(|(binary, _)| ["--bin", binary]);
    run::run(run::cargo().args(["build", "--release"]).args(packages).args(binaries))?;
    let name = format!("lb-{}-{}", env!("CARGO_PKG_VERSION"), target()?);
    let dist = run::workspace().join("dist");
    let stage = dist.join(&name);
    if stage.exists() {
        fs::remove_dir_all(&stage)?;
    }
    let release = run::debug_dir().with_file_name("release");
    for (binary, to) in PROGRAMS {
        install(&release.join(binary), &stage.join(to))?;
        strip(&stage.join(to))?;
    }
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

/// Takes symbols out of a program, which makes it five times smaller, where there is a `strip` to do so.
fn strip(program: &Path) -> Result<()> {
    if !run::quiet(Command::new("strip").arg("--version")) {
        println!("no `strip` (binutils): {} stays as large as it is", program.display());
        return Ok(());
    }
    capture(Command::new("strip").arg(program)).map(drop)
}

fn target() -> Result<String> {
    let verbose = toolchain::output(Command::new("rustc").arg("-vV")).context("rustc does not run")?;
    let host = verbose.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("rustc does not name its target")
}
