//! One scenario under one design: an event-driven simulation whose every packet is a run of the real program.

use std::{cmp::Reverse, collections::BinaryHeap, net::Ipv4Addr, rc::Rc};

use anyhow::{Result, ensure};
use lb_common::{addr, rate};

use super::{
    Design, Effort, LRU_SHARE,
    clients::{self, Habits},
    cluster::{Cluster, VIP},
    random::Random,
    scenario::{Event, Scenario},
};
use crate::{
    lab::{self, Lab, Settings},
    packet::{self, ACK, FIN, SYN},
};

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Connections that were there before the scenario was over.
    pub connections: u64,
    /// Packets, the flood's included.
    pub packets: u64,
    /// Packets of the flood.
    pub flood_packets: u64,
    /// Silences in seconds before the packets that went to a wrong backend.
    pub broken_after_s: Vec<u32>,
    /// Connections that died with their backend.
    pub lost: u64,
    /// Most connections that were open at once.
    pub live_peak: u64,
    /// See [`super::Row`].
    pub tracked_peak_share: f64,
    /// See [`super::Row`].
    pub tracked_end_share: f64,
    /// Most entries of the flow table, those of ended connections and of the flood included, over the live connections.
    pub entries_peak_share: f64,
    /// Largest share of the slots that moved at once.
    pub moving_peak_share: f64,
    /// From the last change until nothing was tracked, in seconds of virtual time. None: it did not come to rest.
    pub at_rest_after_s: Option<u32>,
}

impl Outcome {
    /// Broken connections that had been silent for less than this.
    pub fn broken_within(&self, quiet_s: u32) -> u64 {
        self.broken_after_s.iter().filter(|silent_s| **silent_s < quiet_s).count() as u64
    }
}

struct Connection {
    /// Changes when the place is used again, so that old events and flow entries are told apart.
    port: u16,
    open: bool,
    backend: u32,
    deaths: u32,
    last_ms: u64,
    end_ms: u64,
    pace_s: f64,
}

struct Simulation {
    lab: Rc<Lab>,
    cluster: Cluster,
    random: Random,
    connections: Vec<Connection>,
    vacant: Vec<u32>,
    /// Time, place and port of the next packets.
    due: BinaryHeap<Reverse<(u64, u32, u16)>>,
    live: u64,
    frame: Vec<u8>,
    outcome: Outcome,
}

/// How often the flow table is looked at.
const LOOK_EACH_S: u32 = 10;
/// From a SYN to the next packet.
const ROUND_TRIP_MS: u64 = 50;
/// New connections while everything comes to rest, relative to before: just so that there are some.
const TAIL_ARRIVALS: f64 = 0.1;
/// When to give up waiting for that.
const TAIL_MAX_S: u32 = 5 * 3600;
const ROOM: u32 = 1 << 18;
/// Where flags, source address and source port stand in a frame.
const FLAGS_AT: usize = 47;
const SOURCE_AT: usize = 26;
const PORT_AT: usize = 34;

/// Simulates.
pub fn run(effort: Effort, scenario: Scenario, design: Design, quiet_s: u32) -> Result<Outcome> {
    let mut random = Random::new(effort.seed);
    let survivors = clients::survivors(&mut random, effort.arrivals_per_second);
    let lru_entries = ((survivors.len() as f64 * LRU_SHARE) as u32).max(16);
    let settings = Settings {
        seed: effort.seed,
        design: match design {
            Design::Lb => lab::Design::Transitions,
            Design::Lru => lab::Design::Lru(lru_entries),
            Design::Stateless => lab::Design::Stateless,
        },
        max_flows: ROOM,
        new_flows_per_second: rate::NEW_FLOWS_PER_SECOND,
        new_flows_per_source_per_second: rate::NEW_FLOWS_PER_SOURCE_PER_SECOND,
    };
    let lab = Lab::load(settings)?;
    let cluster = Cluster::start(&lab, scenario, quiet_s)?;
    let frame = packet::tcp(0, 80, SYN, &[]).v4(Ipv4Addr::UNSPECIFIED, VIP).frame().bytes();
    let mut simulation = Simulation {
        lab,
        cluster,
        random,
        connections: Vec::new(),
        vacant: Vec::new(),
        due: BinaryHeap::new(),
        live: 0,
        frame,
        outcome: Outcome::default(),
    };
    for habits in survivors {
        simulation.open(0, habits)?;
    }
    let events = scenario.events(&mut simulation.random);
    // The flood turns the LRU over in two seconds.
    let flood_per_second = if scenario.has_flood() { lru_entries / 2 } else { 0 };
    simulation.play(effort, scenario, &events, flood_per_second)?;
    if design == Design::Lb {
        simulation.come_to_rest(effort, &events, scenario.end_s(&events))?;
    }
    simulation.look()?;
    simulation.outcome.tracked_end_share = simulation.tracked_share()?;
    Ok(simulation.outcome)
}

impl Simulation {
    /// The scenario itself.
    fn play(
        &mut self,
        effort: Effort,
        scenario: Scenario,
        events: &[(u32, Event)],
        flood: u32,
    ) -> Result<()> {
        let end_s = scenario.end_s(events);
        let mut events = events.iter().peekable();
        for now_s in 0..end_s {
            self.lab.set_now(now_s + 1)?;
            let mut changed = false;
            while let Some((_, event)) = events.next_if(|(second, _)| *second <= now_s) {
                self.cluster.happen(*event)?;
                changed = true;
            }
            if changed {
                self.cluster.publish()?;
            }
            self.second(now_s, effort.arrivals_per_second, flood)?;
        }
        self.outcome.connections = self.outcome.connections.max(1);
        Ok(())
    }

    /// Goes on until nothing is tracked any more.
    fn come_to_rest(&mut self, effort: Effort, events: &[(u32, Event)], from_s: u32) -> Result<()> {
        let connections = self.outcome.connections;
        let last_s = events.last().map_or(0, |(second, _)| *second);
        for now_s in from_s..from_s + TAIL_MAX_S {
            let slots = self.cluster.slots();
            if slots.moving + slots.settled == 0 && self.lab.flows()?.is_empty() {
                self.outcome.at_rest_after_s = Some(now_s - last_s);
                break;
            }
            self.lab.set_now(now_s + 1)?;
            self.second(now_s, effort.arrivals_per_second * TAIL_ARRIVALS, 0)?;
        }
        self.outcome.connections = connections;
        Ok(())
    }

    /// One second: the agent's tick, then packets.
    fn second(&mut self, now_s: u32, arrivals: f64, flood: u32) -> Result<()> {
        self.cluster.tick()?;
        if now_s.is_multiple_of(LOOK_EACH_S) {
            self.look()?;
        }
        for number in 0..flood {
            self.stranger()?;
            self.outcome.flood_packets += 1;
            // Spread among the others.
            if number.is_multiple_of(8) {
                self.packets_until(u64::from(now_s) * 1000 + u64::from(number) * 1000 / u64::from(flood))?;
            }
        }
        let from_ms = u64::from(now_s) * 1000;
        let mut at_ms = self.random.exponential(1000.0 / arrivals);
        while at_ms < 1000.0 {
            self.packets_until(from_ms + at_ms as u64)?;
            let habits = clients::habits(&mut self.random);
            self.open(from_ms + at_ms as u64, habits)?;
            at_ms += self.random.exponential(1000.0 / arrivals);
        }
        self.packets_until(from_ms + 1000)
    }

    fn open(&mut self, now_ms: u64, habits: Habits) -> Result<()> {
        let place = self.vacant.pop().unwrap_or(self.connections.len() as u32);
        if place as usize == self.connections.len() {
            ensure!(place < 1 << 24, "too many connections at once");
            let none = Connection {
                port: 1024,
                open: false,
                backend: 0,
                deaths: 0,
                last_ms: 0,
                end_ms: 0,
                pace_s: 0.0,
            };
            self.connections.push(none);
        }
        let port = self.connections[place as usize].port.wrapping_add(1).max(1024);
        let Some(backend) = self.send(place, port, SYN)? else {
            self.vacant.push(place);
            return Ok(());
        };
        self.connections[place as usize] = Connection {
            port,
            open: true,
            backend,
            deaths: self.cluster.deaths(backend),
            last_ms: now_ms,
            end_ms: now_ms + (habits.lifetime_s * 1000.0) as u64,
            pace_s: habits.pace_s,
        };
        self.due.push(Reverse((now_ms + ROUND_TRIP_MS, place, port)));
        self.live += 1;
        self.outcome.connections += 1;
        self.outcome.live_peak = self.outcome.live_peak.max(self.live);
        Ok(())
    }

    fn packets_until(&mut self, end_ms: u64) -> Result<()> {
        while let Some(Reverse((now_ms, place, port))) = self.due.peek().copied()
            && now_ms < end_ms
        {
            self.due.pop();
            self.speak(now_ms, place, port)?;
        }
        Ok(())
    }

    /// A connection's next packet.
    fn speak(&mut self, now_ms: u64, place: u32, port: u16) -> Result<()> {
        let connection = &self.connections[place as usize];
        let closes = now_ms >= connection.end_ms;
        let to = self.send(place, port, if closes { FIN | ACK } else { ACK })?;
        let connection = &mut self.connections[place as usize];
        let stays = to == Some(connection.backend);
        let alive = connection.deaths == self.cluster.deaths(connection.backend);
        match (stays, alive) {
            (_, false) => self.outcome.lost += 1,
            (false, true) => self.outcome.broken_after_s.push(((now_ms - connection.last_ms) / 1000) as u32),
            (true, true) => {}
        }
        if closes || !stays || !alive {
            connection.open = false;
            self.live -= 1;
            self.vacant.push(place);
            return Ok(());
        }
        connection.last_ms = now_ms;
        let silence_ms = (clients::silence_s(&mut self.random, connection.pace_s) * 1000.0) as u64;
        let next_ms = (now_ms + silence_ms.max(1)).min(connection.end_ms.max(now_ms + 1));
        self.due.push(Reverse((next_ms, place, port)));
        Ok(())
    }

    fn send(&mut self, place: u32, port: u16, flags: u8) -> Result<Option<u32>> {
        self.run(0x1400_0000 | scramble(place), port, flags)
    }

    /// A packet of the flood: a SYN from anywhere, never answered.
    fn stranger(&mut self) -> Result<()> {
        let random = self.random.next();
        self.run(0x2800_0000 | random as u32 & 0x00ff_ffff, (random >> 32) as u16, SYN).map(drop)
    }

    fn run(&mut self, source: u32, port: u16, flags: u8) -> Result<Option<u32>> {
        self.outcome.packets += 1;
        self.frame[SOURCE_AT..SOURCE_AT + 4].copy_from_slice(&source.to_be_bytes());
        self.frame[PORT_AT..PORT_AT + 2].copy_from_slice(&port.to_be_bytes());
        self.frame[FLAGS_AT] = flags;
        self.lab.send(&self.frame)
    }

    /// Notes how much is tracked.
    fn look(&mut self) -> Result<()> {
        let share = self.tracked_share()?;
        let entries = self.lab.flows()?.len() as f64 / self.live.max(1) as f64;
        let outcome = &mut self.outcome;
        outcome.tracked_peak_share = outcome.tracked_peak_share.max(share);
        outcome.entries_peak_share = outcome.entries_peak_share.max(entries);
        let slots = self.cluster.slots();
        let all = f64::from(slots.steady + slots.moving + slots.settled);
        outcome.moving_peak_share = outcome.moving_peak_share.max(f64::from(slots.moving) / all.max(1.0));
        Ok(())
    }

    /// Live connections that the flow table names, of all live ones.
    fn tracked_share(&self) -> Result<f64> {
        let is_live = |source: u32, port: u16| {
            let place = unscramble(source & 0x00ff_ffff) as usize;
            source >> 24 == 0x14
                && self.connections.get(place).is_some_and(|live| live.open && live.port == port)
        };
        let flows = self.lab.flows()?;
        let tracked = flows.iter().filter(|(key, _)| {
            is_live(u32::from_be_bytes(addr::v4(&key.source)), u16::from_be_bytes(key.source_port))
        });
        Ok(tracked.count() as f64 / self.live.max(1) as f64)
    }
}

/// An odd number, and the one that undoes its multiplication modulo 2^24.
const SPREAD: u32 = 0x9e_3779;
const GATHER: u32 = {
    // Newton's iteration doubles the right bits; an odd number is its own inverse in the lowest three.
    let mut inverse = SPREAD;
    let mut round = 0;
    while round < 4 {
        inverse = inverse.wrapping_mul(2u32.wrapping_sub(SPREAD.wrapping_mul(inverse)));
        round += 1;
    }
    inverse & 0x00ff_ffff
};

/// Spreads places over client addresses, one to one.
const fn scramble(place: u32) -> u32 {
    place.wrapping_mul(SPREAD) & 0x00ff_ffff
}

const fn unscramble(address: u32) -> u32 {
    address.wrapping_mul(GATHER) & 0x00ff_ffff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_found_again() {
        for place in (0..1 << 24).step_by(4099) {
            assert_eq!(unscramble(scramble(place)), place);
        }
    }
}
