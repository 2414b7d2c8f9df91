//! rust-src from the configured Debian mirror, unpacked in the cache; neither apt's sources nor the sysroot are touched.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{
    run::{capture, quiet, shown},
    toolchain::{Rustc, cache_dir},
};

/// Suites that carry recent compilers.
const SUITES: [&str; 2] = ["trixie-backports", "sid"];

/// Fetches the sources of exactly this compiler.
pub fn rust_src(rustc: &Rustc) -> Result<()> {
    let mirror = mirror().context("no Debian mirror in apt's sources")?;
    let apt = Apt::new(&cache_dir().join("apt"))?;
    let result = SUITES.iter().find_map(|suite| apt.fetch(&mirror, suite, &rustc.release).transpose());
    let package = result.with_context(|| {
        format!("{mirror} has no rust-src {} in {}", rustc.release, SUITES.join(" or "))
    })??;
    let target = rustc.cached_src();
    unpack(&package, &target)?;
    fs::remove_dir_all(&apt.root).with_context(|| format!("can't remove {}", apt.root.display()))
}

/// Leaves `library` under `target`, complete or not at all.
fn unpack(package: &Path, target: &Path) -> Result<()> {
    let unpacked = package.with_extension("unpacked");
    capture(Command::new("dpkg-deb").arg("-x").args([package, &unpacked]))?;
    let sources = unpacked.join("usr/src");
    let entries =
        fs::read_dir(&sources).with_context(|| format!("{} is not in the package", sources.display()))?;
    let source =
        entries.filter_map(Result::ok).map(|entry| entry.path()).find(|path| path.join("library").is_dir());
    let source = source.context("the package holds no library sources")?;
    if target.exists() {
        fs::remove_dir_all(target)?;
    }
    fs::rename(&source, target).with_context(|| format!("can't move the sources to {}", target.display()))
}

/// An apt with configuration, lists and archives of its own.
struct Apt {
    root: PathBuf,
}

impl Apt {
    fn new(root: &Path) -> Result<Self> {
        for directory in ["lists/partial", "archives/partial"] {
            let path = root.join(directory);
            fs::create_dir_all(&path).with_context(|| format!("can't make {}", path.display()))?;
        }
        Ok(Self { root: root.to_owned() })
    }

    /// Downloads rust-src of a release. None if the suite does not have it.
    fn fetch(&self, mirror: &str, suite: &str, release: &str) -> Result<Option<PathBuf>> {
        let keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";
        let source = format!("deb [signed-by={keyring}] {mirror} {suite} main\n");
        fs::write(self.root.join("sources.list"), source)?;
        let mut update = self.command("apt-get");
        if !quiet(update.arg("update")) {
            bail!("`{}` failed: is {mirror} reachable and its key in {keyring}?", shown(&update));
        }
        let versions = capture(self.command("apt-cache").args(["madison", "rust-src"]))?;
        let fits = |version: &&str| {
            version.strip_prefix(release).is_some_and(|rest| rest.starts_with(['+', '-', '~']))
        };
        let Some(version) =
            versions.lines().filter_map(|line| line.split('|').nth(1)).map(str::trim).find(fits)
        else {
            return Ok(None);
        };
        capture(self.command("apt-get").args(["download", &format!("rust-src={version}")]))?;
        let package = fs::read_dir(&self.root)?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(|path| path.extension().is_some_and(|extension| extension == "deb"));
        ensure!(package.is_some(), "apt-get download left no package in {}", self.root.display());
        Ok(package)
    }

    /// Proxies and credentials of the system stay in force; only sources and state are our own.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let at = |name: &str| self.root.join(name).display().to_string();
        command.current_dir(&self.root);
        for option in [
            format!("Dir::Etc::SourceList={}", at("sources.list")),
            "Dir::Etc::SourceParts=/dev/null".to_owned(),
            format!("Dir::State::Lists={}", at("lists")),
            format!("Dir::Cache={}", self.root.display()),
            "APT::Sandbox::User=root".to_owned(),
            "Acquire::Languages=none".to_owned(),
        ] {
            command.args(["-o", &option]);
        }
        command
    }
}

/// The mirror that the system uses, from its one-line or deb822 sources.
fn mirror() -> Option<String> {
    let parts = fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten();
    let files = parts.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| {
        path.extension().is_some_and(|extension| extension == "list" || extension == "sources")
    });
    let mut texts = files
        .chain([PathBuf::from("/etc/apt/sources.list")])
        .filter_map(|path| fs::read_to_string(path).ok());
    texts.find_map(|text| mirror_in(&text))
}

fn mirror_in(text: &str) -> Option<String> {
    let lines = text.lines().filter(|line| line.starts_with("deb ") || line.starts_with("URIs:"));
    let mut words = lines.flat_map(str::split_whitespace);
    words
        .find(|word| word.contains("://") && word.trim_end_matches('/').ends_with("/debian"))
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::mirror_in;

    #[test]
    fn mirror_of_both_formats() {
        let deb822 = "Types: deb\nURIs: http://mirror.example/debian-security\n\nTypes: deb\nURIs: http://mirror.example/debian\n";
        assert_eq!(mirror_in(deb822).as_deref(), Some("http://mirror.example/debian"));
        let one_line = "# deb http://off.example/debian x main\ndeb [arch=amd64] https://mirror.example/debian/ trixie main\n";
        assert_eq!(mirror_in(one_line).as_deref(), Some("https://mirror.example/debian/"));
        assert_eq!(mirror_in("deb http://mirror.example/ubuntu noble main\n"), None);
    }
}
