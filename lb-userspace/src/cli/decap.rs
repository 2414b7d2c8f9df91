//! `lb decap`: works on the pins alone, since backends run no agent.

use super::args::{DecapVerb, Global};
use crate::error::Error;

/// Runs a decap command.
pub(super) fn run(_: &Global, _: DecapVerb) -> Result<(), Error> {
    Err(Error::failed("lb decap is not built in yet"))
}
