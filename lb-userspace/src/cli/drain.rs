//! `lb backend drain --wait`: shows what is left until nothing is, or the time is over.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::IsTerminal,
    net::IpAddr,
    time::{Duration, SystemTime},
};

use super::{
    args::{Global, Output},
    print,
};
use crate::{
    api::{
        client::Client,
        view::{BackendList, DrainList, DrainState, DrainView, SCHEMA_VERSION},
    },
    error::{Error, Kind},
    health::unix_ms,
};

/// Time between two looks.
const LOOK: Duration = Duration::from_millis(500);

/// Drains that are waited for.
pub(super) struct Waiting<'a> {
    pub global: &'a Global,
    pub client: &'a Client,
    /// Path that tells how the service's drains stand.
    pub path: String,
    /// Path of the service's backends.
    pub backends_path: String,
    pub service: String,
    pub addresses: BTreeSet<IpAddr>,
    pub deadline_unix_ms: Option<u64>,
    pub then_remove: bool,
}

/// What is known of the drains that are waited for, by address.
type Standing = BTreeMap<IpAddr, DrainView>;

impl Waiting<'_> {
    /// Waits for the end.
    ///
    /// # Errors
    /// `Timeout` if the deadline passed before all connections were gone; `Conflict` or `NotFound` if somebody else ended
    /// a drain.
    pub(super) async fn run(&self) -> Result<(), Error> {
        let mut standing = Standing::new();
        let mut screen = Screen::new(self.global);
        loop {
            match self.client.get::<DrainList>(&self.path).await {
                Ok(list) => self.take_in(&mut standing, list).await?,
                // The drain goes on when the agent is back.
                Err(error) if error.kind == Kind::AgentNotRunning => {
                    self.give_up_at_deadline(&error)?;
                }
                Err(error) => return Err(error),
            }
            screen.show(&standing)?;
            let over =
                |address| standing.get(address).is_some_and(|drain| drain.state != DrainState::Draining);
            if self.addresses.iter().all(over) && self.is_removed(&standing) {
                return self.conclude(&standing);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Keeps the drains that are meant: those of the addresses, of the ids that they had at first.
    async fn take_in(&self, standing: &mut Standing, list: DrainList) -> Result<(), Error> {
        let mut now = Standing::new();
        for drain in list.drains.into_iter().filter(|drain| self.addresses.contains(&drain.address)) {
            // Those that go on come last: a former drain of the address does not count beside them.
            if standing.get(&drain.address).is_none_or(|former| former.id == drain.id) {
                now.insert(drain.address, drain);
            }
        }
        for address in &self.addresses {
            match now.remove(address) {
                Some(drain) => drop(standing.insert(*address, drain)),
                None if standing.get(address).is_some_and(|drain| drain.removed) => {}
                None => self.vanished(standing, *address).await?,
            }
        }
        Ok(())
    }

    /// A drain that the agent does not know: it has forgotten those that ended before its start.
    async fn vanished(&self, standing: &mut Standing, address: IpAddr) -> Result<(), Error> {
        let over = || {
            let what = "is drained no more: somebody else made it ready or removed it";
            Error::conflict(format!("{address} of {} {what}", self.service))
        };
        let list: BackendList = self.client.get(&self.backends_path).await?;
        let is_there = list.backends.iter().any(|backend| backend.address == address);
        let drain = standing.get_mut(&address).filter(|_| self.then_remove && !is_there).ok_or_else(over)?;
        let late = self.deadline_unix_ms.is_some_and(|deadline| deadline <= unix_ms(SystemTime::now()));
        drain.state = if late { DrainState::DeadlinePassed } else { DrainState::Gone };
        drain.removed = true;
        Ok(())
    }

    fn give_up_at_deadline(&self, error: &Error) -> Result<(), Error> {
        match self.deadline_unix_ms {
            Some(deadline) if deadline <= unix_ms(SystemTime::now()) => Err(Error::new(
                Kind::Timeout,
                format!("the time is over, and how the drain ended is not known: {}", error.message),
            )),
            _ => Ok(()),
        }
    }

    /// Whether what was to follow has followed.
    fn is_removed(&self, standing: &Standing) -> bool {
        !self.then_remove || standing.values().all(|drain| drain.removed)
    }

    fn conclude(&self, standing: &Standing) -> Result<(), Error> {
        let late: Vec<String> = standing
            .values()
            .filter(|drain| drain.state == DrainState::DeadlinePassed)
            .map(|drain| format!("{} had {}", drain.address, left(drain)))
            .collect();
        if late.is_empty() {
            return Ok(());
        }
        let what = if self.then_remove { "it was removed nevertheless" } else { "it stays drained" };
        Err(Error::new(Kind::Timeout, format!("the time is over: {}; {what}", late.join(", "))))
    }
}

/// What a drain has left, in words.
fn left(drain: &DrainView) -> String {
    let flows = match drain.flows_left {
        1 => "1 flow left".to_owned(),
        flows => format!("{flows} flows left"),
    };
    match (drain.all_known, drain.quiet_left_s) {
        (true, _) => flows,
        (false, Some(seconds)) => format!("{flows}, not all known yet: quiet period for another {seconds}s"),
        (false, None) => format!("{flows}, not all known yet"),
    }
}

/// Where progress is shown.
struct Screen {
    output: Output,
    quiet: bool,
    /// Lines can be written over.
    live: bool,
    /// What was shown last.
    shown: Vec<String>,
}

impl Screen {
    fn new(global: &Global) -> Self {
        let live = std::io::stdout().is_terminal() && global.output == Output::Table;
        Self { output: global.output, quiet: global.quiet, live, shown: Vec::new() }
    }

    /// Shows what is new since it was last shown.
    fn show(&mut self, standing: &Standing) -> Result<(), Error> {
        let lines = match self.output {
            Output::Json => vec![json(standing)?],
            Output::Table if self.quiet => return Ok(()),
            Output::Table => standing.values().map(text).collect(),
        };
        if self.live && !self.shown.is_empty() && self.shown != lines {
            // Up to the first line, and clear from there.
            let up = self.shown.len();
            print::text(&format!("\x1b[{up}F\x1b[J"))?;
            self.shown.clear();
        }
        for (index, line) in lines.iter().enumerate() {
            if self.shown.get(index) != Some(line) {
                print::line(line)?;
            }
        }
        self.shown = lines;
        Ok(())
    }
}

fn text(drain: &DrainView) -> String {
    let removed = if drain.removed { ", removed" } else { "" };
    match drain.state {
        DrainState::Draining => format!("{}: {}", drain.address, left(drain)),
        DrainState::Gone => format!("{}: no connection left{removed}", drain.address),
        DrainState::DeadlinePassed => format!("{}: time over, {}{removed}", drain.address, left(drain)),
    }
}

/// One line for programs.
fn json(standing: &Standing) -> Result<String, Error> {
    let drains = standing.values().cloned().collect();
    serde_json::to_string(&DrainList { schema_version: SCHEMA_VERSION, drains })
        .map_err(|error| Error::failed(format!("write JSON: {error}")))
}
