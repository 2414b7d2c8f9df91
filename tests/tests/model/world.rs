//! The world of one sequence: desired state, the agent's publisher, the packet path, and what the model expects of it.

use std::{collections::BTreeMap, rc::Rc};

use lb_common::slot::{CLASS_TINY, Slot};
use lb_tests::lab::{Lab, Plane};
use lb_userspace::publish::{Moment, Options, Publisher, Timing};

use crate::{
    connection::{Connection, Fate},
    desired::{self, Desired},
    frames::{self, Part},
    live::Ledger,
    ops::{ADDRESSES, Change, Op},
    services::{Algorithm, Kind, SEED, SERVICES, Service, Shape},
};

/// All of it.
pub struct World {
    lab: Rc<Lab>,
    timing: Timing,
    publisher: Option<Publisher<Plane>>,
    desired: Desired,
    /// The last decision on liveness.
    decided: Moment,
    connections: Vec<Connection>,
    next_connection: u32,
    next_stranger: u32,
    now_s: u32,
    unpublished: bool,
    /// Flows that could not be recorded so far.
    unrecorded: u64,
    /// Who got the newest connections by service and slot, since anything has changed. Only of source-hash services.
    together: BTreeMap<(usize, u64), u32>,
    live: Ledger,
    /// Packets that had a backend to keep.
    pub checked: u64,
}

/// A connection that was moved although its backend lives, or anything else that must not be.
pub type Broken = String;

impl World {
    /// Two backends behind each service, at rest.
    pub fn new(lab: Rc<Lab>, shapes: [Shape; SERVICES]) -> Result<Self, Broken> {
        lab.reset().map_err(|error| format!("{error:#}"))?;
        let services =
            std::array::from_fn(|number| Service { kind: Kind::ALL[number], shape: shapes[number] });
        let mut world = Self {
            now_s: lab.now_s(),
            lab,
            timing: Timing::default(),
            publisher: None,
            desired: Desired::new(services),
            decided: Moment::default(),
            connections: Vec::new(),
            next_connection: 0,
            next_stranger: 0,
            unpublished: true,
            unrecorded: 0,
            together: BTreeMap::new(),
            live: Ledger::default(),
            checked: 0,
        };
        world.note_unrecorded()?;
        world.restart()?;
        Ok(world)
    }

    pub fn step(&mut self, op: Op) -> Result<(), Broken> {
        match op {
            Op::Change { service, set, change } => {
                self.change(service, set, change);
                Ok(())
            }
            Op::Publish => self.publish(),
            Op::Down { address } => self.down(address),
            Op::Up { address } => self.up(address),
            Op::Restart => self.restart(),
            Op::Wait { seconds } => self.wait(seconds),
            Op::Open { service, count } => (0..count).try_for_each(|_| self.open(service)),
            Op::Send { nth, of } => self.send_some(nth, of, Part::Middle),
            Op::Close { nth, of } => self.send_some(nth, of, Part::Closing),
            Op::Flood { service, opening, count } => self.flood(service, opening, count),
        }
    }

    /// Everyone speaks once more.
    pub fn end(&mut self) -> Result<(), Broken> {
        self.publish()?;
        self.send_some(0, 1, Part::Middle)?;
        self.wait(10)?;
        self.send_some(0, 1, Part::Middle)?;
        self.check_live()
    }

    /// Tracked services know how many connections their backends have.
    fn check_live(&self) -> Result<(), Broken> {
        for id in self.desired.tracked() {
            let counted = self.lab.live(id).map_err(|error| format!("{error:#}"))?;
            self.live.check(id, counted, &self.desired.services, &self.connections)?;
        }
        Ok(())
    }

    fn change(&mut self, service: usize, set: u8, change: Change) {
        self.unpublished = true;
        for address in (0..ADDRESSES).filter(|address| set & 1 << address != 0) {
            let gone = self.desired.change(service, address, change);
            self.forget(|backend| Some(backend) == gone);
        }
    }

    /// Connections of backends that are gone have nothing to keep.
    fn forget(&mut self, gone: impl Fn(u32) -> bool) {
        for connection in &mut self.connections {
            connection.backend = connection.backend.filter(|backend| !gone(*backend));
        }
        self.drop_lost();
    }

    /// Only datagrams go on without their backend.
    fn drop_lost(&mut self) {
        let services = self.desired.services;
        self.connections.retain(|connection| {
            connection.backend.is_some() || services[connection.service].kind == Kind::Udp
        });
    }

    fn publisher(&mut self) -> &mut Publisher<Plane> {
        self.publisher.as_mut().expect("there is one from the start")
    }

    fn publish(&mut self) -> Result<(), Broken> {
        if std::mem::take(&mut self.unpublished) {
            self.together.clear();
            let snapshot = self.desired.snapshot(self.decided);
            self.publisher().apply(&snapshot).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// What was stored but not published is published by the next agent.
    fn restart(&mut self) -> Result<(), Broken> {
        drop(self.publisher.take());
        let options = Options { timing: self.timing, ..Options::new("", SEED) };
        let publisher = Publisher::with(self.lab.plane(), &options).map_err(|error| error.to_string())?;
        self.publisher = Some(publisher);
        self.decided = Moment::default();
        self.unpublished = true;
        self.publish()
    }

    fn down(&mut self, address: usize) -> Result<(), Broken> {
        if !std::mem::replace(&mut self.desired.up[address], false) {
            return Ok(());
        }
        self.unpublished = true;
        let gone = self.desired.at(address);
        self.forget(|backend| gone.contains(&backend));
        self.set_liveness(address, false)
    }

    /// A backend takes longer to come back than the agent to publish that it is down.
    fn up(&mut self, address: usize) -> Result<(), Broken> {
        self.publish()?;
        if std::mem::replace(&mut self.desired.up[address], true) {
            return Ok(());
        }
        self.unpublished = true;
        self.set_liveness(address, true)
    }

    fn set_liveness(&mut self, address: usize, up: bool) -> Result<(), Broken> {
        self.together.clear();
        let decided = self.publisher().liveness().set(Desired::target(address), up);
        self.decided = decided.map_err(|error| error.to_string())?;
        Ok(())
    }

    fn set_time(&mut self, now_s: u32) -> Result<(), Broken> {
        self.now_s = now_s;
        self.lab.set_now(now_s).map_err(|error| format!("{error:#}"))
    }

    /// Changes do not wait so long to be published; the agent looks after transitions meanwhile.
    fn wait(&mut self, seconds: u32) -> Result<(), Broken> {
        self.publish()?;
        self.together.clear();
        let end_s = self.now_s + seconds;
        while self.now_s < end_s {
            self.set_time(end_s.min(self.now_s + 10))?;
            self.publisher().tick().map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    fn open(&mut self, service: usize) -> Result<(), Broken> {
        self.next_connection += 1;
        let number = self.next_connection;
        let fate = self.run(number, service, Part::Opening)?;
        let to = fate.to.filter(|backend| self.desired.is_wanted(*backend));
        let connection = Connection::begin(number, service, to, fate, self.now_s);
        self.check_together(&connection, fate)?;
        // Datagrams can't be told from older ones.
        if fate.is_stand_in && self.desired.services[service].kind != Kind::Udp {
            return Err(format!("{connection:?} began on a stand-in, unrecorded"));
        }
        self.live.note(None, fate.to, false);
        // One that no backend took is none.
        if connection.backend.is_some() {
            self.connections.push(connection);
        }
        Ok(())
    }

    /// New connections of one client's address, or of its network, meet at one backend.
    fn check_together(&mut self, connection: &Connection, fate: Fate) -> Result<(), Broken> {
        let service = self.desired.services[connection.service];
        let (Algorithm::SourceHash { .. }, Fate { to: Some(to), unrecorded: false, .. }) =
            (service.shape.algorithm, fate)
        else {
            return Ok(());
        };
        let hash = service.slot_hash(service.client(connection.number));
        match *self.together.entry((connection.service, hash)).or_insert(to) {
            first if first == to => Ok(()),
            first => Err(format!("{connection:?} of {service:?} went to {to}, the one before to {first}")),
        }
    }

    /// Runs a packet of a connection.
    fn run(&mut self, number: u32, service_number: usize, part: Part) -> Result<Fate, Broken> {
        let service = self.desired.services[service_number];
        let frame = frames::frame(service, service.client(number), part);
        let before = self.unrecorded;
        let to = self.lab.send(&frame).map_err(|error| format!("{error:#}"))?;
        self.note_unrecorded()?;
        let mut fate = Fate { to, unrecorded: self.unrecorded > before, is_stand_in: false };
        if let (Some(to), true) = (to, fate.unrecorded) {
            let (cur, prev) = self.slot(number, service_number)?;
            fate.is_stand_in = to != cur.backend() && to != prev;
        }
        Ok(fate)
    }

    /// The slot of a connection and its former owner.
    fn slot(&self, number: u32, service: usize) -> Result<(Slot, u32), Broken> {
        let slots = self.lab.slots(desired::id(service), CLASS_TINY).ok_or("no table")?;
        let service = self.desired.services[service];
        let index = service.slot_index(service.client(number), slots.size());
        Ok((slots.cur(index), slots.prev(index)))
    }

    /// Looks how many flows could not be recorded. Without a cap there are none.
    fn note_unrecorded(&mut self) -> Result<(), Broken> {
        if self.lab.settings().new_flows_per_second != u32::MAX {
            self.unrecorded = self.lab.unrecorded().map_err(|error| format!("{error:#}"))?;
        }
        Ok(())
    }

    fn send_some(&mut self, nth: u8, of: u8, part: Part) -> Result<(), Broken> {
        let mut connections = std::mem::take(&mut self.connections);
        for connection in &mut connections {
            if connection.number % u32::from(of) == u32::from(nth) {
                self.send(connection, part)?;
            }
        }
        self.connections = connections;
        self.drop_lost();
        Ok(())
    }

    fn send(&mut self, connection: &mut Connection, part: Part) -> Result<(), Broken> {
        let service = self.desired.services[connection.service];
        let fate = self.run(connection.number, connection.service, part)?;
        let must_stay = connection.must_stay(service, &self.timing, self.now_s);
        self.checked += u64::from(must_stay);
        if must_stay && fate.to != connection.backend && !connection.may_move(service, fate) {
            return Err(format!(
                "{connection:?} of {service:?} was sent to {:?} at second {}; {:?}",
                fate.to, self.now_s, self.desired
            ));
        }
        let to = fate.to.filter(|backend| self.desired.is_wanted(*backend));
        let (before, closes) = (connection.backend, part == Part::Closing && service.kind == Kind::Tcp);
        connection.note(service, &self.timing, to, fate, self.now_s);
        self.live.note(before, fate.to, closes && !connection.closing);
        connection.closing |= part == Part::Closing;
        connection.is_counted &= !closes;
        Ok(())
    }

    fn flood(&mut self, service: usize, opening: bool, count: u16) -> Result<(), Broken> {
        let service = self.desired.services[service];
        self.live.strangers = true;
        for _ in 0..count {
            self.next_stranger += 1;
            let part = if opening { Part::Opening } else { Part::Middle };
            let frame = frames::frame(service, service.stranger(self.next_stranger), part);
            self.lab.send(&frame).map_err(|error| format!("{error:#}"))?;
        }
        self.note_unrecorded()
    }
}
