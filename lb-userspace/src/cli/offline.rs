//! What works with the agent down, on the stored state and the pins: showing, and detaching.

use std::collections::BTreeSet;

use super::args::Global;
use crate::{
    agent::State,
    api::view::{Outcome, SCHEMA_VERSION, Stats, Status},
    desired::{
        model::Desired,
        store::{self, ReadError, Store},
    },
    error::{Error, Kind},
    observe::Counters,
    publish,
};

/// `lb status` without an agent.
pub(super) fn status(global: &Global) -> Result<Status, Error> {
    let (desired, problem) = stored(global)?;
    let mut status = state(global, desired)?.status();
    status.problems.extend(problem);
    Ok(status)
}

/// `lb stats` without an agent.
pub(super) fn stats(global: &Global, service: Option<&str>) -> Result<Stats, Error> {
    state(global, stored(global)?.0)?.stats(service)
}

/// `lb detach` without an agent: from the links, and from what is stored, so that the next agent does not attach again.
/// `down` is the error if there is nothing of either kind.
pub(super) fn detach(
    global: &Global,
    interfaces: Option<&BTreeSet<String>>,
    down: Error,
) -> Result<Outcome, Error> {
    let attached: BTreeSet<String> =
        publish::attached(&global.pin_dir)?.into_iter().map(|attached| attached.ifname).collect();
    let wanted: BTreeSet<String> = stored(global)?.0.interfaces.into_keys().collect();
    let all: BTreeSet<String> = attached.union(&wanted).cloned().collect();
    if all.is_empty() {
        return Err(down);
    }
    let leaving = interfaces.unwrap_or(&all);
    if let Some(unknown) = leaving.difference(&all).next() {
        return Err(Error::not_found(format!("not attached to {unknown}; `lb status` shows where")));
    }
    if wanted.intersection(leaving).next().is_some() {
        // Held, so that no agent starts meanwhile.
        let store = Store::open(&global.state_dir)?;
        if let Some(mut desired) = store::read(&global.state_dir)? {
            desired.interfaces.retain(|name, _| !leaving.contains(name));
            store.save(&desired)?;
        }
    }
    publish::detach(&global.pin_dir, &attached.intersection(leaving).cloned().collect())?;
    Ok(Outcome {
        schema_version: SCHEMA_VERSION,
        changed: true,
        published: true,
        attached: Vec::new(),
        problems: Vec::new(),
        notes: Vec::new(),
    })
}

/// The stored state, and what is wrong with it.
fn stored(global: &Global) -> Result<(Desired, Option<String>), Error> {
    let nothing = || Desired::new(0);
    Ok(match store::read(&global.state_dir) {
        Ok(Some(desired)) => (desired, None),
        Ok(None) => (nothing(), store::earlier_damage(&global.state_dir)),
        Err(error @ ReadError::Damaged(_)) => (nothing(), Some(Error::from(error).message)),
        Err(ReadError::Other(error)) => return Err(error),
    })
}

fn state(global: &Global, desired: Desired) -> Result<State, Error> {
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
