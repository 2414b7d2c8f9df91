//! The world of one sequence: desired state, the agent's publisher, the packet path, and what the model expects of it.

use std::{collections::BTreeSet, net::Ipv4Addr, rc::Rc, time::Duration};

use lb_common::{mode, service::SERVICE_QUIC, slot::CLASS_TINY};
use lb_tests::lab::{self, Lab, Plane};
use lb_userspace::{
    desired::model::Admin,
    publish::{Moment, Options, Publisher, Timing},
    table::{
        assignments::MAINT_TARGET,
        snapshot::{Member, ServiceInput, Snapshot},
    },
};

use crate::{
    frames::{Kind, Part, VIP},
    ops::{ADDRESSES, Change, Op, SERVICES},
};

pub const SEED: u64 = 7;

/// What is desired of one backend.
#[derive(Clone, Copy, Debug)]
struct Backend {
    id: u32,
    weight: u32,
    admin: Admin,
}

/// A connection as its client sees it.
#[derive(Clone, Debug)]
struct Connection {
    number: u32,
    kind: Kind,
    /// The backend that it must stay with. None: it has none to lose.
    backend: Option<u32>,
    last_s: u32,
    closing: bool,
    /// It began over a cap while its slot's owner was dead and the table not rebuilt yet: nothing names its backend.
    loose: bool,
}

/// All of it.
pub struct World {
    lab: Rc<Lab>,
    timing: Timing,
    publisher: Option<Publisher<Plane>>,
    backends: [[Option<Backend>; ADDRESSES as usize]; SERVICES as usize],
    up: [bool; ADDRESSES as usize],
    /// The last decision on liveness.
    decided: Moment,
    last_id: u32,
    connections: Vec<Connection>,
    next_connection: u32,
    next_stranger: u32,
    now_s: u32,
    unpublished: bool,
    /// Something has died since the tables were published.
    death_unpublished: bool,
    /// Packets that had a backend to keep.
    pub checked: u64,
}

/// A connection that was moved although its backend lives, or anything else that must not be.
pub type Broken = String;

impl World {
    /// Two backends behind each service, at rest.
    pub fn new(lab: Rc<Lab>) -> Result<Self, Broken> {
        lab.reset().map_err(|error| format!("{error:#}"))?;
        let mut world = Self {
            lab,
            timing: Timing::default(),
            publisher: None,
            backends: Default::default(),
            up: [true; ADDRESSES as usize],
            decided: Moment::default(),
            last_id: 0,
            connections: Vec::new(),
            next_connection: 0,
            next_stranger: 0,
            now_s: 0,
            unpublished: true,
            death_unpublished: false,
            checked: 0,
        };
        for service in 0..SERVICES {
            for address in 0..2 {
                world.change(service, address, Change::Add);
            }
        }
        world.now_s = world.lab.now_s();
        world.restart()?;
        Ok(world)
    }

    pub fn step(&mut self, op: Op) -> Result<(), Broken> {
        match op {
            Op::Change { service, address, change } => {
                self.change(service, address, change);
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
        self.send_some(0, 1, Part::Middle)
    }

    fn change(&mut self, service: u8, address: u8, change: Change) {
        self.unpublished = true;
        let place = &mut self.backends[usize::from(service)][usize::from(address)];
        match (change, place.as_mut()) {
            (Change::Add, None) => {
                self.last_id += 1;
                *place = Some(Backend { id: self.last_id, weight: 1, admin: Admin::Ready });
            }
            (Change::Remove, Some(backend)) => {
                let id = backend.id;
                *place = None;
                self.forget(|backend| backend == id);
            }
            (Change::Weight(weight), Some(backend)) => backend.weight = weight,
            (Change::Drain, Some(backend)) => backend.admin = Admin::Drain,
            (Change::Ready, Some(backend)) => backend.admin = Admin::Ready,
            (Change::Maint, Some(backend)) => {
                backend.admin = Admin::Maint;
                let id = backend.id;
                self.forget(|backend| backend == id);
            }
            (Change::Add, Some(_)) | (_, None) => {}
        }
    }

    /// Connections of backends that are gone have nothing to keep.
    fn forget(&mut self, gone: impl Fn(u32) -> bool) {
        for connection in &mut self.connections {
            connection.backend = connection.backend.filter(|backend| !gone(*backend));
        }
        // Only datagrams go on without their backend.
        self.connections.retain(|connection| connection.backend.is_some() || connection.kind == Kind::Udp);
    }

    fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot { liveness_known_until: self.decided, ..Snapshot::default() };
        snapshot.targets.insert(MAINT_TARGET, false);
        for (service, (kind, backends)) in Kind::ALL.into_iter().zip(&self.backends).enumerate() {
            let mut members = Vec::new();
            for (address, backend) in backends.iter().enumerate() {
                let Some(backend) = backend else { continue };
                // One target per address: the services share it.
                let target = address as u32 + 1;
                snapshot.targets.insert(target, self.up[address]);
                let target = if backend.admin == Admin::Maint { MAINT_TARGET } else { target };
                snapshot.backends.insert(backend.id, lab::backend(backend.id, target));
                if self.up[address] && backend.admin == Admin::Ready && backend.weight > 0 {
                    let address = Ipv4Addr::new(10, 1, 0, address as u8 + 1).into();
                    members.push(Member { id: backend.id, address, weight: backend.weight });
                }
            }
            let protocol = if kind == Kind::Tcp { "tcp" } else { "udp" };
            let flags = if kind == Kind::Quic { SERVICE_QUIC } else { 0 };
            let vip = format!("{VIP}:{}/{protocol}", kind.port()).parse().expect("a service address");
            let input =
                ServiceInput { vip, mode: mode::L2, class: CLASS_TINY, flags, quiet_period: None, members };
            snapshot.services.insert(service as u32 + 1, input);
        }
        snapshot
    }

    fn publish(&mut self) -> Result<(), Broken> {
        if self.unpublished {
            let snapshot = self.snapshot();
            let publisher = self.publisher.as_mut().expect("there is one from the start");
            publisher.apply(&snapshot).map_err(|error| error.to_string())?;
            (self.unpublished, self.death_unpublished) = (false, false);
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

    fn down(&mut self, address: u8) -> Result<(), Broken> {
        if !std::mem::replace(&mut self.up[usize::from(address)], false) {
            return Ok(());
        }
        (self.unpublished, self.death_unpublished) = (true, true);
        let gone: BTreeSet<u32> = self
            .backends
            .iter()
            .filter_map(|of| of[usize::from(address)])
            .map(|backend| backend.id)
            .collect();
        self.forget(|backend| gone.contains(&backend));
        self.set_liveness(address, false)
    }

    /// A backend takes longer to come back than the agent to publish that it is down.
    fn up(&mut self, address: u8) -> Result<(), Broken> {
        self.publish()?;
        if std::mem::replace(&mut self.up[usize::from(address)], true) {
            return Ok(());
        }
        self.unpublished = true;
        self.set_liveness(address, true)
    }

    fn set_liveness(&mut self, address: u8, up: bool) -> Result<(), Broken> {
        let publisher = self.publisher.as_ref().expect("there is one from the start");
        let decided = publisher.liveness().set(u32::from(address) + 1, up);
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
        let end_s = self.now_s + seconds;
        while self.now_s < end_s {
            self.set_time(end_s.min(self.now_s + 10))?;
            let publisher = self.publisher.as_mut().expect("there is one from the start");
            publisher.tick().map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    fn open(&mut self, service: u8) -> Result<(), Broken> {
        let kind = Kind::ALL[usize::from(service)];
        self.next_connection += 1;
        let number = self.next_connection;
        let mut connection =
            Connection { number, kind, backend: None, last_s: self.now_s, closing: false, loose: false };
        let unrecorded = self.unrecorded()?;
        connection.backend = self.run(&connection, Part::Opening)?.filter(|backend| self.is_wanted(*backend));
        connection.loose = self.death_unpublished && self.unrecorded()? > unrecorded;
        // One that no backend took is none.
        if connection.backend.is_some() {
            self.connections.push(connection);
        }
        Ok(())
    }

    fn unrecorded(&self) -> Result<u64, Broken> {
        self.lab.unrecorded().map_err(|error| format!("{error:#}"))
    }

    /// Whether a backend is not on its way out: removed or in maintenance, but not published yet.
    fn is_wanted(&self, id: u32) -> bool {
        let mut backends = self.backends.iter().flatten().flatten();
        backends.any(|backend| backend.id == id && backend.admin != Admin::Maint)
    }

    fn run(&self, connection: &Connection, part: Part) -> Result<Option<u32>, Broken> {
        let [a, b, c, d] = connection.number.wrapping_mul(2_654_435_761).to_be_bytes();
        let frame = connection.kind.frame((Ipv4Addr::new(20, a, b, c), 1024 + u16::from(d)), part);
        self.lab.send(&frame).map_err(|error| format!("{error:#}"))
    }

    fn send_some(&mut self, nth: u8, of: u8, part: Part) -> Result<(), Broken> {
        let mut connections = std::mem::take(&mut self.connections);
        for connection in &mut connections {
            if connection.number % u32::from(of) == u32::from(nth) {
                self.send(connection, part)?;
            }
        }
        connections.retain(|connection| connection.backend.is_some() || connection.kind == Kind::Udp);
        self.connections = connections;
        Ok(())
    }

    fn send(&mut self, connection: &mut Connection, part: Part) -> Result<(), Broken> {
        let silent_s = self.now_s - connection.last_s;
        let unrecorded = self.unrecorded()?;
        let to = self.run(connection, part)?;
        let must_stay = connection.backend.is_some() && silent_s < self.patience_s(connection);
        self.checked += u64::from(must_stay);
        if must_stay && to != connection.backend && !connection.loose {
            return Err(format!(
                "{connection:?} was sent to {to:?} at second {}; backends {:?}",
                self.now_s, self.backends
            ));
        }
        // Silent for too long: datagrams begin anew, a connection that has moved is lost.
        if to != connection.backend {
            connection.loose = self.death_unpublished && self.unrecorded()? > unrecorded;
        }
        let to = to.filter(|backend| self.is_wanted(*backend));
        connection.backend = if connection.kind == Kind::Udp || to == connection.backend { to } else { None };
        connection.last_s = self.now_s;
        connection.closing |= part == Part::Closing;
        Ok(())
    }

    /// For how long a connection may be silent and still be kept.
    fn patience_s(&self, connection: &Connection) -> u32 {
        let patience = match (connection.kind, connection.closing) {
            (Kind::Tcp, false) => self.timing.quiet_period.min(self.timing.tcp_idle),
            (Kind::Tcp, true) => self.timing.closed_idle,
            (Kind::Quic, _) => self.timing.quiet_period,
            (Kind::Udp, _) => self.timing.udp_idle,
        };
        patience.max(Duration::from_secs(1)).as_secs() as u32
    }

    fn flood(&mut self, service: u8, opening: bool, count: u16) -> Result<(), Broken> {
        let kind = Kind::ALL[usize::from(service)];
        for _ in 0..count {
            self.next_stranger += 1;
            let [a, b, c, d] = self.next_stranger.wrapping_mul(2_654_435_761).to_be_bytes();
            let part = if opening { Part::Opening } else { Part::Middle };
            let frame = kind.frame((Ipv4Addr::new(30, a, b, c), 1024 + u16::from(d)), part);
            self.lab.send(&frame).map_err(|error| format!("{error:#}"))?;
        }
        Ok(())
    }
}
