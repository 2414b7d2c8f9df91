//! `cargo xtask tidy`: rules of this repository that no compiler checks.

use std::{fs, path::Path, process::Command};

use anyhow::{Result, ensure};

mod links;

use crate::run::{self, capture};

/// A file longer than this wants to be two.
const MAX_FILE_LINES: usize = 400;
/// A function longer than this wants to be several.
const MAX_FUNCTION_LINES: usize = 70;

/// Text that has no place in the repository, with the reason. In two halves, so that this file passes its own check.
const FORBIDDEN: [(&str, &str, &str); 11] = [
    ("/ho", "me/", "a path of one machine"),
    ("/ro", "ot/", "a path of one machine"),
    ("/wo", "rk/", "a path of one machine"),
    ("crates", ".io", "a registry's host"),
    ("static.rust", "-lang.org", "a registry's host"),
    ("deb.deb", "ian.org", "a registry's host"),
    ("pypi", ".org", "a registry's host"),
    ("npmjs", ".org", "a registry's host"),
    ("gh", "cr.io", "a registry's host"),
    ("docker", ".io", "a registry's host"),
    ("proxy.go", "lang.org", "a registry's host"),
];

/// Checks every file that git knows or would add.
pub fn tidy() -> Result<()> {
    let listed = capture(
        Command::new("git")
            .args(["ls-files", "--cached", "--others", "--exclude-standard"])
            .current_dir(run::workspace()),
    )?;
    let mut problems = Vec::new();
    for name in listed.lines().filter(|name| !name.ends_with("Cargo.lock")) {
        let path = run::workspace().join(name);
        // Deleted but not committed yet, or not text.
        let Ok(text) = fs::read_to_string(&path) else { continue };
        problems.extend(check(&path, &text).into_iter().map(|(line, what)| format!("{name}:{line}: {what}")));
    }
    for problem in &problems {
        println!("{problem}");
    }
    ensure!(problems.is_empty(), "{} things to tidy", problems.len());
    Ok(())
}

/// Line numbers and what is wrong there.
fn check(path: &Path, text: &str) -> Vec<(usize, String)> {
    let mut found = forbidden(text);
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("rs") => found.extend(rust(text)),
        Some("md") => found.extend(links::check(path, text)),
        _ => {}
    }
    found
}

fn forbidden(text: &str) -> Vec<(usize, String)> {
    let lines = text.lines().enumerate();
    let hits = lines.flat_map(|(index, line)| {
        FORBIDDEN.iter().filter_map(move |(start, end, why)| {
            let word = format!("{start}{end}");
            line.contains(&word).then(|| (index + 1, format!("{word:?} is {why}")))
        })
    });
    hits.collect()
}

fn rust(text: &str) -> Vec<(usize, String)> {
    let lines: Vec<_> = text.lines().collect();
    let mut found = Vec::new();
    if !lines.first().is_some_and(|line| line.starts_with("//! ")) {
        found.push((1, "a file opens with a `//!` sentence that says what it is".to_owned()));
    }
    if lines.len() > MAX_FILE_LINES {
        found.push((MAX_FILE_LINES, format!("{} lines; at most {MAX_FILE_LINES} in a file", lines.len())));
    }
    for (index, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        if code.starts_with(concat!("#[al", "low(")) || code.starts_with(concat!("#![al", "low(")) {
            found.push((index + 1, "an expectation with a reason instead of an allowance".to_owned()));
        }
        if let Some(length) = function_length(&lines[index..]).filter(|length| *length > MAX_FUNCTION_LINES) {
            found.push((index + 1, format!("a function of {length} lines; at most {MAX_FUNCTION_LINES}")));
        }
    }
    found
}

/// Lines of the function that begins on the first line; leans on rustfmt's indentation.
fn function_length(lines: &[&str]) -> Option<usize> {
    let first = lines.first()?;
    let code = first.trim_start();
    let indent = &first[..first.len() - code.len()];
    let before_name = code.split("fn ").next()?;
    let modifiers = ["pub", "const", "async", "unsafe", "extern"];
    let is_function = code.contains("fn ")
        && before_name.split_whitespace().all(|word| {
            word.starts_with('"')
                || modifiers.iter().any(|modifier| word.starts_with(modifier))
                || word.ends_with(')')
        });
    if !is_function || code.ends_with(';') || code.ends_with('}') {
        return None;
    }
    let end = lines.iter().position(|line| line.strip_prefix(indent) == Some("}"))?;
    Some(end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(path: &str, text: &str) -> Vec<String> {
        check(Path::new(path), text).into_iter().map(|(line, what)| format!("{line}: {what}")).collect()
    }

    #[test]
    fn a_tidy_file_passes() {
        assert_eq!(messages("a.rs", "//! What it is.\n\npub fn f() {\n    g();\n}\n"), Vec::<String>::new());
    }

    #[test]
    fn a_file_without_a_sentence_is_found() {
        assert_eq!(messages("a.rs", "fn f() {}\n").len(), 1);
    }

    #[test]
    fn a_long_file_is_found() {
        assert_eq!(messages("a.rs", &format!("//! It.\n{}", "//\n".repeat(MAX_FILE_LINES))).len(), 1);
    }

    #[test]
    fn a_long_function_is_found_where_it_begins() {
        let body = "        g();\n".repeat(MAX_FUNCTION_LINES);
        let text = format!("//! It.\nimpl A {{\n    pub(crate) async fn f() {{\n{body}    }}\n}}\n");
        assert_eq!(messages("a.rs", &text), ["3: a function of 72 lines; at most 70"]);
    }

    #[test]
    fn forbidden_words_are_found_in_any_file() {
        let path = ["/ho", "me/me"].concat();
        assert_eq!(messages("a.toml", &path).len(), 1);
    }

    #[test]
    fn a_bare_allowance_is_found() {
        let text = ["//! It.\n#[al", "low(dead_code)]\nfn f() {}\n"].concat();
        assert_eq!(messages("a.rs", &text).len(), 1);
    }
}
