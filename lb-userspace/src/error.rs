//! The kinds of failure that a user can tell apart, by exit code and by name.

use serde::{Deserialize, Serialize};

/// Kind of a failure: one exit code and one name in JSON each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Anything not listed below.
    Failed,
    /// The command line is wrong.
    Usage,
    /// No agent answers on the socket.
    AgentNotRunning,
    /// A named thing does not exist.
    NotFound,
    /// Not allowed: root or the group `lb` is needed.
    Permission,
    /// Exists already, or is in use by another.
    Conflict,
    /// A value or a file that can't be accepted.
    InvalidConfiguration,
    /// A deadline passed.
    Timeout,
}

impl Kind {
    /// Exit code of the process.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage => 2,
            Self::AgentNotRunning => 3,
            Self::NotFound => 4,
            Self::Permission => 5,
            Self::Conflict => 6,
            Self::InvalidConfiguration => 7,
            Self::Timeout => 8,
        }
    }
}

/// A failure with its kind. The message names the thing and what to do next.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{message}")]
pub struct Error {
    /// What kind of failure.
    pub kind: Kind,
    /// For the user: what failed, on what, and the fix.
    pub message: String,
}

impl Error {
    /// A failure of any kind.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// Something named does not exist.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(Kind::NotFound, message)
    }

    /// Something exists already or is busy.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(Kind::Conflict, message)
    }

    /// A value can't be accepted.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Kind::InvalidConfiguration, message)
    }

    /// Any other failure.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Kind::Failed, message)
    }
}
