//! The command line: what users type, and what they see.

pub mod args;
mod parse;
mod convert;
mod run;
mod start;
mod offline;
mod decap;
mod drain;
mod bench;
mod print;
mod table;

use std::{ffi::OsString, io::Write, process::ExitCode};

use args::{Arguments, Output};
use clap::{CommandFactory, error::ErrorKind};

use crate::{
    api::Failure,
    error::{Error, Kind},
};

/// Runs the command that this process was started with.
pub fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    let arguments = match bench::parse(&words) {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error, &words),
    };
    let output = arguments.global.output;
    match run::run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error, output),
    }
}

/// Help and version go to standard output; a wrong command line becomes one line.
fn usage(error: &clap::Error, words: &[OsString]) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        // The reader may have closed its end.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let _ = error.print();
        return ExitCode::from(Kind::Usage.exit_code());
    }
    let text = error.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    // What is wrong comes first, in lines of its own; usage and hints follow after an empty line.
    let what = text.split("\n\nUsage: ").next().unwrap_or(text);
    let what = what.split("\n\nFor more information").next().unwrap_or(what);
    let what: Vec<&str> = what.split_whitespace().collect();
    let message = format!("{}; see `{} --help`", what.join(" "), verb(words));
    fail(&Error::new(Kind::Usage, message), wanted_output(words))
}

/// The command that a command line names, as far as it exists.
fn verb(words: &[OsString]) -> String {
    let root = Arguments::command();
    let (mut known, mut verb) = (&root, "lb".to_owned());
    for word in words.iter().filter_map(|word| word.to_str()) {
        if let Some(found) = known.find_subcommand(word) {
            verb = format!("{verb} {word}");
            known = found;
        }
    }
    verb
}

/// The output format of a command line that could not be parsed.
fn wanted_output(words: &[OsString]) -> Output {
    let words: Vec<&str> = words.iter().filter_map(|word| word.to_str()).collect();
    let json = words.iter().any(|word| matches!(*word, "-ojson" | "-o=json" | "--output=json"))
        || words.windows(2).any(|pair| matches!(pair, ["-o" | "--output", "json"]));
    if json { Output::Json } else { Output::Table }
}

/// Writes a failure to standard error, as one line.
fn fail(error: &Error, output: Output) -> ExitCode {
    let text = match output {
        Output::Table => format!("lb: {}", error.message.trim_end().replace('\n', "; ")),
        Output::Json => serde_json::to_string(&Failure::from(error.clone()))
            .unwrap_or_else(|_| format!("lb: {}", error.message)),
    };
    // There is nobody left to tell if this fails.
    let _ = writeln!(std::io::stderr(), "{text}");
    ExitCode::from(error.kind.exit_code())
}
