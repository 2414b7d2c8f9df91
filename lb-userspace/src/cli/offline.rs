//! What can be shown with the agent down: the stored state and the pins, read and not changed.

use super::args::Global;
use crate::{
    agent::State,
    api::view::{Stats, Status},
    desired::{model::Desired, store},
    error::{Error, Kind},
    observe::Counters,
    publish,
};

/// `lb status` without an agent.
pub(super) fn status(global: &Global) -> Result<Status, Error> {
    Ok(state(global)?.status())
}

/// `lb stats` without an agent.
pub(super) fn stats(global: &Global, service: Option<&str>) -> Result<Stats, Error> {
    state(global)?.stats(service)
}

fn state(global: &Global) -> Result<State, Error> {
    let desired = store::read(&global.state_dir)?.unwrap_or_else(|| Desired::new(0));
    let mut state = State::idle(desired);
    let attached = publish::attached(&global.pin_dir)?;
    state.seen.attached = attached.into_iter().map(Into::into).collect();
    match Counters::open(&global.pin_dir) {
        Ok(counters) => state.counters = Some(counters),
        // Nothing is pinned: there is nothing to count.
        Err(error) if error.kind == Kind::NotFound => {}
        Err(error) => return Err(error),
    }
    Ok(state)
}
