//! How the command line and the agent talk: HTTP and JSON over a Unix socket.

pub mod view;
pub mod server;
pub mod client;

use crate::error::Kind;
use serde::{Deserialize, Serialize};

/// A failure as it is written in JSON, by the agent and by `-o json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Failure {
    /// [`view::SCHEMA_VERSION`].
    #[serde(default)]
    pub schema_version: u32,
    /// The failure.
    pub error: crate::error::Error,
}

impl From<crate::error::Error> for Failure {
    fn from(error: crate::error::Error) -> Self {
        Self { schema_version: view::SCHEMA_VERSION, error }
    }
}

/// HTTP status of a kind of failure.
const fn http_status(kind: Kind) -> u16 {
    match kind {
        Kind::Failed => 500,
        Kind::Usage | Kind::InvalidConfiguration => 400,
        Kind::AgentNotRunning => 503,
        Kind::NotFound => 404,
        Kind::Permission => 403,
        Kind::Conflict => 409,
        Kind::Timeout => 504,
    }
}
