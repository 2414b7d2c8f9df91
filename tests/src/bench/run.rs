//! When, on what and how thoroughly a bench ran, and what its targets say: what all reports begin with.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::{machine::Machine, target::Target};

/// The head of a report. What a file of an earlier version lacks is absent, not guessed.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Run {
    /// What it was measured on.
    #[serde(default)]
    pub machine: Machine,
    /// When it began: UTC, RFC 3339.
    #[serde(default)]
    pub date: Option<String>,
    /// Whether little effort was made, so that the figures are not for publishing.
    #[serde(default)]
    pub quick: Option<bool>,
    /// What was wanted of the figures, and whether they reach it.
    #[serde(default)]
    pub targets: Vec<Target>,
}

impl Run {
    /// One that begins here and now.
    pub fn begin(quick: bool) -> Self {
        Self {
            machine: Machine::here(),
            date: Some(humantime::format_rfc3339_seconds(SystemTime::now()).to_string()),
            quick: Some(quick),
            targets: Vec::new(),
        }
    }

    /// The same, its figures judged.
    #[must_use]
    pub fn judged(self, targets: Vec<Target>) -> Self {
        Self { targets, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_is_utc_to_the_second() {
        let date = Run::begin(true).date.expect("one that begins has a date");
        assert!(date.len() == "2026-01-02T03:04:05Z".len() && date.ends_with('Z'), "{date}");
        assert!(humantime::parse_rfc3339(&date).is_ok());
    }

    #[test]
    fn a_file_without_head_is_read() {
        let run: Run = serde_json::from_str("{}").expect("all is optional");
        assert!(run.date.is_none() && run.quick.is_none() && run.targets.is_empty());
    }
}
