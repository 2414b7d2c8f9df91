//! What is known of a target, as values for the table and for `lb health list`.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::Target;

/// State of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// No check has decided yet. Takes no traffic; the first success brings it up.
    New,
    /// Takes traffic.
    Up,
    /// Takes none.
    Down,
    /// The service has no check: counts as up.
    Unchecked,
}

impl Status {
    /// Whether the target takes traffic.
    pub const fn is_up(self) -> bool {
        matches!(self, Self::Up | Self::Unchecked)
    }
}

/// How one check ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The backend answered as it should. The text says how.
    Success(String),
    /// It did not. The text says what came instead.
    Failure(String),
    /// This host could not make the check (out of files or ports); says nothing about the backend.
    Inconclusive(String),
}

/// What is known of a target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Its state.
    pub status: Status,
    /// Since when it has had this state, milliseconds since 1970.
    pub since_unix_ms: u64,
    /// How the last check ended, in words. Empty before the first.
    pub last_result: String,
    /// Successes in a row until now.
    pub successes: u32,
    /// Failures in a row until now.
    pub failures: u32,
    /// How long the last successful check took.
    pub latency_us: Option<u64>,
}

impl Report {
    /// A target in this state, not checked yet.
    pub fn new(status: Status, now: SystemTime) -> Self {
        Self {
            status,
            since_unix_ms: unix_ms(now),
            last_result: String::new(),
            successes: 0,
            failures: 0,
            latency_us: None,
        }
    }
}

/// Milliseconds since 1970; 0 for a clock before that.
pub(crate) fn unix_ms(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A target went up or down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Target id.
    pub id: u32,
    /// What was checked, so that an event on its way while the id is reused can be told.
    pub target: Target,
    /// Whether it takes traffic now.
    pub up: bool,
    /// What is known of it.
    pub report: Report,
}
