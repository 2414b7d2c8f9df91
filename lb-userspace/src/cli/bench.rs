//! `lb bench`: hands over to `lb-bench`, which comes with a release.

use std::{
    env,
    ffi::OsString,
    fs, io,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use clap::Parser as _;

use super::args::{Arguments, Verb};
use crate::error::{Error, Kind};

/// The program that measures.
const PROGRAM: &str = "lb-bench";
/// Names the `lb` that `lb-bench` shall measure.
const LB_BIN: &str = "LB_BIN";

/// Reads a command line. What follows `bench` is lb-bench's, also where it looks like an option of ours.
pub(super) fn parse(words: &[OsString]) -> Result<Arguments, clap::Error> {
    for (before, _) in words.iter().enumerate().filter(|(_, word)| *word == "bench") {
        let (ours, theirs) = words.split_at(before + 1);
        let parsed = Arguments::try_parse_from(ours);
        if let Ok(Arguments { global, command: Verb::Bench { .. } }) = parsed {
            return Ok(Arguments { global, command: Verb::Bench { arguments: theirs.to_vec() } });
        }
    }
    Arguments::try_parse_from(words)
}

/// Becomes lb-bench; returns only if that can't be.
pub(super) fn run(arguments: &[OsString]) -> Result<(), Error> {
    let own = env::current_exe()
        .and_then(fs::canonicalize)
        .map_err(|error| Error::failed(format!("can't tell where lb itself is: {error}")))?;
    let places = places(&own);
    let program = places.iter().find(|place| place.is_file()).ok_or_else(|| missing(&places))?;
    let error = Command::new(program).args(arguments).env(LB_BIN, &own).exec();
    let kind = match error.kind() {
        io::ErrorKind::PermissionDenied => Kind::Permission,
        _ => Kind::Failed,
    };
    Err(Error::new(kind, format!("can't run {}: {error}; unpack the release again", program.display())))
}

/// Where lb-bench may be: beside lb, as cargo builds it, or where a release has it.
fn places(own: &Path) -> Vec<PathBuf> {
    let bin = own.parent();
    let release = bin.and_then(Path::parent).map(|prefix| prefix.join("libexec/lb"));
    bin.map(Path::to_owned).into_iter().chain(release).map(|directory| directory.join(PROGRAM)).collect()
}

fn missing(places: &[PathBuf]) -> Error {
    let places: Vec<_> = places.iter().map(|place| place.display().to_string()).collect();
    Error::not_found(format!(
        "no {PROGRAM} at {}; the tarball of a release has it (libexec/lb/{PROGRAM}), and in the source `cargo xtask bench` \
         builds and runs it",
        places.join(" or ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn words_after_bench_are_not_read() {
        for (line, theirs) in [
            ("lb bench -o json --timeout=soon -v --help", "-o json --timeout=soon -v --help"),
            ("lb -v --timeout 3s bench datapath --quick", "datapath --quick"),
            ("lb --socket bench bench bench -q", "bench -q"),
            ("lb bench -- --quick", "-- --quick"),
        ] {
            match parse(&words(line)) {
                Ok(Arguments { command: Verb::Bench { arguments }, .. }) => {
                    assert_eq!(arguments, words(theirs), "{line}");
                }
                other => panic!("{line}: {other:?}"),
            }
        }
    }

    #[test]
    fn bench_elsewhere_is_only_a_word() {
        for line in ["lb service del bench", "lb stats bench", "lb --socket bench status"] {
            let parsed = parse(&words(line));
            assert!(
                matches!(parsed, Ok(Arguments { ref command, .. }) if !matches!(command, Verb::Bench { .. }))
            );
        }
        for line in ["lb --nope bench", "lb -o nope bench", "lb --socket bench", "lb -q -v bench"] {
            assert!(parse(&words(line)).is_err(), "{line}");
        }
    }
}
