//! The backends, and the agent's side of what happens to them: snapshots, publishing, ticks.

use std::{net::Ipv4Addr, rc::Rc, time::Duration};

use anyhow::Result;
use lb_common::{mode, slot::CLASS_DEFAULT};
use lb_userspace::{
    publish::{Moment, Options, Publisher, SlotStates, Timing},
    table::snapshot::{Member, ServiceInput, Snapshot},
};

use super::scenario::{Event, Scenario, WEIGHT};
use crate::lab::{self, Lab, Plane};

/// Number of the only service.
const SERVICE: u32 = 1;
/// Service address.
pub const VIP: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);

#[derive(Clone, Copy, Debug)]
struct Backend {
    weight: u32,
    drained: bool,
    exists: bool,
    up: bool,
    /// Deaths so far: connections from before one have nothing to lose.
    deaths: u32,
}

/// Backends and publisher.
pub struct Cluster {
    backends: Vec<Backend>,
    publisher: Publisher<Plane>,
    /// The last decision on liveness.
    decided: Moment,
}

impl Cluster {
    /// The backends of a scenario's start, published.
    pub fn start(lab: &Rc<Lab>, scenario: Scenario, quiet_s: u32) -> Result<Self> {
        let timing = Timing { quiet_period: Duration::from_secs(quiet_s.into()), ..Timing::default() };
        let options = Options { timing, ..Options::new("", lab.settings().seed) };
        let backend = |number: u32| {
            let exists = number < scenario.backends_at_start();
            Backend { weight: WEIGHT, drained: false, exists, up: exists, deaths: 0 }
        };
        let backends = (0..super::BACKENDS).map(backend).collect();
        let mut this =
            Self { backends, publisher: Publisher::with(lab.plane(), &options)?, decided: Moment::default() };
        this.publish()?;
        Ok(this)
    }

    /// Lets something happen; [`Self::publish`] follows.
    pub fn happen(&mut self, event: Event) -> Result<()> {
        match event {
            Event::Drain(number) => self.backends[number as usize].drained = true,
            Event::Weigh(number, weight) => self.backends[number as usize].weight = weight,
            Event::Die(number) => {
                let backend = &mut self.backends[number as usize];
                (backend.up, backend.deaths) = (false, backend.deaths + 1);
                self.decided = self.publisher.liveness().set(id(number), false)?;
            }
            Event::Start(number) => {
                let backend = &mut self.backends[number as usize];
                (backend.up, backend.exists, backend.drained) = (true, true, false);
                self.decided = self.publisher.liveness().set(id(number), true)?;
            }
        }
        Ok(())
    }

    /// Publishes what has happened.
    pub fn publish(&mut self) -> Result<()> {
        let mut snapshot = Snapshot { liveness_known_until: self.decided, ..Snapshot::default() };
        let mut members = Vec::new();
        for (number, backend) in (0..).zip(&self.backends).filter(|(_, backend)| backend.exists) {
            let id = id(number);
            snapshot.backends.insert(id, lab::backend(id, id));
            snapshot.targets.insert(id, backend.up);
            if backend.up && !backend.drained {
                let address = Ipv4Addr::from(0x0a01_0000 + id).into();
                members.push(Member { id, address, weight: backend.weight });
            }
        }
        let vip = format!("{VIP}:80/tcp").parse().map_err(|error| anyhow::anyhow!("{error}"))?;
        let input =
            ServiceInput { vip, mode: mode::L2, class: CLASS_DEFAULT, flags: 0, quiet_period: None, members };
        snapshot.services.insert(SERVICE, input);
        self.publisher.apply(&snapshot)?;
        Ok(())
    }

    /// What the agent does every second.
    pub fn tick(&mut self) -> Result<()> {
        Ok(self.publisher.tick()?)
    }

    /// How often a backend has died, by its id; connections remember it.
    pub fn deaths(&self, id: u32) -> u32 {
        self.backends[id as usize - 1].deaths
    }

    /// Slots by state.
    pub fn slots(&self) -> SlotStates {
        self.publisher.slot_states(SERVICE).unwrap_or_default()
    }
}

/// Number of a backend, and of its target, in the packet path.
const fn id(number: u32) -> u32 {
    number + 1
}
