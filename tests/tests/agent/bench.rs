//! `lb bench` away from the source: which program it becomes, and with what.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use lb_tests::{agent::binary, bpffs::TempDir};

use crate::support::{give_up_rights, install};

/// Says where it is, which `lb` it shall measure, and each of its words.
const STAND_IN: &str = "#!/bin/sh\nprintf '%s\\n' \"$0\" \"$LB_BIN\" \"$@\"\nexit 9\n";

/// `lb` and perhaps other files of a release, in a place of their own.
struct Release {
    directory: TempDir,
}

impl Release {
    fn new() -> Self {
        let release = Self { directory: TempDir::new().unwrap() };
        install(&binary().unwrap(), &release.lb());
        release
    }

    fn path(&self, file: &str) -> PathBuf {
        fs::canonicalize(self.directory.path()).unwrap().join(file)
    }

    fn lb(&self) -> PathBuf {
        self.path("bin/lb")
    }

    fn add_stand_in(&self, file: &str) -> PathBuf {
        fs::write(self.path("stand-in"), STAND_IN).unwrap();
        install(&self.path("stand-in"), &self.path(file));
        self.path(file)
    }
}

fn run(program: &Path, words: &[&str]) -> Output {
    // One that the tests were started with is not the one that was unpacked.
    Command::new(program).args(words).env("LB_BIN", "/nope").output().unwrap()
}

/// The stand-in's words, if it was run.
fn said(output: Output) -> Vec<String> {
    assert_eq!(output.status.code(), Some(9), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn all_words_after_bench_reach_lb_bench_as_they_are() {
    let release = Release::new();
    let bench = release.add_stand_in("libexec/lb/lb-bench");
    let theirs = ["veth", "-o", "json", "--timeout=soon", "-v", "a  b", "--", "--help"];
    let said = said(run(&release.lb(), &[&["-v", "--timeout", "3s", "bench"], &theirs[..]].concat()));
    assert_eq!(said[..2], [bench, release.lb()].map(|path| path.display().to_string()));
    assert_eq!(said[2..], theirs);
}

#[test]
fn lb_bench_is_found_through_a_link_and_first_beside_lb() {
    let release = Release::new();
    release.add_stand_in("libexec/lb/lb-bench");
    let beside = release.add_stand_in("bin/lb-bench");
    let link = release.path("lb");
    symlink(release.lb(), &link).unwrap();
    let said = said(run(&link, &["bench", "--help"]));
    assert_eq!(said, [beside.to_str().unwrap(), release.lb().to_str().unwrap(), "--help"]);
}

#[test]
fn without_lb_bench_lb_says_where_to_get_it() {
    let release = Release::new();
    let output = run(&release.lb(), &["bench", "datapath"]);
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(4), "{message}");
    for part in [
        release.path("bin/lb-bench").to_str().unwrap(),
        release.path("libexec/lb/lb-bench").to_str().unwrap(),
        "tarball",
        "cargo xtask bench",
    ] {
        assert!(message.contains(part), "{part:?} is not in: {message}");
    }
    let help = String::from_utf8(run(&release.lb(), &["--help"]).stdout).unwrap();
    assert!(help.lines().any(|line| line.trim_start().starts_with("bench ")), "{help}");
}

#[test]
fn lb_bench_without_root() {
    let place = TempDir::new().unwrap();
    let bench = place.path().join("lb-bench");
    install(env!("CARGO_BIN_EXE_lb-bench").as_ref(), &bench);
    let output = give_up_rights(Command::new(&bench).arg("datapath")).output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(5), "{message}");
    assert!(message.contains("sudo"), "{message}");
    // Help needs no rights.
    let output = give_up_rights(Command::new(&bench).arg("--help")).output().unwrap();
    assert!(output.status.success());
    let help = String::from_utf8(output.stdout).unwrap();
    assert!(help.contains("lb bench") && help.contains("9 a target is missed"), "{help}");
}
