//! Whom a packet goes to, as the slots' states and the flows recorded say.

use lb_common::{
    backend::{BACKEND_PRESENT, BACKEND_RESOLVED},
    hash,
    service::{SERVICE_QUIC, SERVICE_SOURCE_HASH, Service},
    slot::{SIZES, Slot},
    verdict::Reason,
};

use super::{Flow, Reference, parse::Packet};
use crate::world::Slots;

/// Slots that are tried in the stead of one whose owner is down.
const PROBES: u32 = 8;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

/// How it stands with a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ready,
    Unresolved,
    Down,
    Vacant,
}

impl Reference {
    /// The id of the backend that a packet goes to.
    pub(super) fn choose(&mut self, packet: &Packet, service: Service, hash: u64) -> Result<u32, Reason> {
        let slot_hash = self.slot_hash(&packet.flow, service, hash);
        self.slot(service, slot_hash).ok_or(Reason::TableMissing)?;
        let id = match self.named(packet, service) {
            Some(named) => named,
            None => self.choose_any(packet, service, hash)?,
        };
        self.sendable(id)
    }

    /// The same without a look at connection ids, whether or not packets can be sent to it; 0 for none.
    pub(super) fn choose_any(&mut self, packet: &Packet, service: Service, hash: u64) -> Result<u32, Reason> {
        let hash = self.slot_hash(&packet.flow, service, hash);
        let (slot, former) = self.slot(service, hash).ok_or(Reason::TableMissing)?;
        Ok(if is_steady(slot) && self.state(slot.backend()) != State::Down {
            slot.backend()
        } else {
            self.in_transition(packet, service, hash, (slot, former))
        })
    }

    /// The same for a packet that is about a flow but not of it: nothing is recorded, and nothing begins.
    pub(super) fn look_up(&self, flow: &Flow, service: Service, hash: u64) -> Result<u32, Reason> {
        let hash = self.slot_hash(flow, service, hash);
        let (slot, former) = self.slot(service, hash).ok_or(Reason::TableMissing)?;
        let owner = slot.backend();
        if is_steady(slot) && self.state(owner) != State::Down {
            return self.sendable(owner);
        }
        let recorded = self.flows.get(flow).copied();
        let keeps = recorded.or(slot.is_moving().then_some(former)).filter(|id| self.is_up(*id));
        let owner = Some(owner).filter(|id| self.is_up(*id));
        self.sendable(keeps.or(owner).unwrap_or_else(|| self.probe(service, hash)))
    }

    /// The id, if packets can be sent there.
    pub(super) fn sendable(&self, id: u32) -> Result<u32, Reason> {
        match self.state(id) {
            State::Ready => Ok(id),
            State::Unresolved => Err(Reason::NextHopUnresolved),
            State::Vacant if id != 0 => Err(Reason::BackendMissing),
            State::Vacant | State::Down => Err(Reason::NoBackend),
        }
    }

    /// The hash that finds a flow's slot.
    fn slot_hash(&self, flow: &Flow, service: Service, hash: u64) -> u64 {
        if service.flags & SERVICE_SOURCE_HASH == 0 {
            return hash;
        }
        self.source_hash(flow, u32::from(service.flags >> 8))
    }

    /// The backend of a flow whose slot moves, has moved, or has lost its owner; 0 for none.
    fn in_transition(
        &mut self,
        packet: &Packet,
        service: Service,
        hash: u64,
        (slot, former): (Slot, u32),
    ) -> u32 {
        let begins = begins(packet, service);
        let recorded = self.flows.get(&packet.flow).copied();
        if let Some(backend) = recorded.filter(|backend| self.is_up(*backend)) {
            return backend;
        }
        let owner_is_up = self.is_up(slot.backend());
        let another = || self.probe(service, hash);
        let former_keeps_it = recorded.is_none() && slot.is_moving() && !begins && self.is_up(former);
        let chosen = if former_keeps_it {
            former
        } else if owner_is_up {
            slot.backend()
        } else {
            another()
        };
        let needs_no_record = recorded.is_none()
            && (former_keeps_it && slot.is_waiting()
                || slot.is_settled() && !slot.is_moving() && owner_is_up);
        if chosen != 0 && !needs_no_record {
            self.flows.insert(packet.flow, chosen);
        }
        chosen
    }

    /// The first owner that is ready along the probe sequence of a hash; 0 for none.
    fn probe(&self, service: Service, hash: u64) -> u32 {
        (1..=PROBES)
            .filter_map(|attempt| self.slot(service, hash::probe(hash, attempt)))
            .map(|(slot, _)| slot.backend())
            .find(|backend| self.state(*backend) == State::Ready)
            .unwrap_or(0)
    }

    /// The slot of a hash and its former owner; none if no table was published.
    fn slot(&self, service: Service, hash: u64) -> Option<(Slot, u32)> {
        let size = *SIZES.get(usize::from(service.class))?;
        let index = (u128::from(hash >> 32) * size as u128) >> 32;
        match self.tables.get(&(service.class, service.id))? {
            Slots::Missing => None,
            Slots::Cycle(cycle) => Some(cycle[index as usize % cycle.len()]),
        }
    }

    /// Whether a flow may stay with a backend. An unresolved next hop does not end it.
    pub(super) fn is_up(&self, id: u32) -> bool {
        matches!(self.state(id), State::Ready | State::Unresolved)
    }

    fn state(&self, id: u32) -> State {
        let Some(backend) = self.world.backends.get(&id) else { return State::Vacant };
        if backend.flags & BACKEND_PRESENT == 0 {
            State::Vacant
        } else if self.world.down.contains(&backend.target) {
            State::Down
        } else if backend.flags & BACKEND_RESOLVED == 0 {
            State::Unresolved
        } else {
            State::Ready
        }
    }
}

fn is_steady(slot: Slot) -> bool {
    !slot.is_moving() && !slot.is_settled()
}

/// Whether a packet begins a connection: SYN alone, SCTP's INIT, or a QUIC Initial (RFC 9000, 17.2.2; RFC 9369, 3.2).
fn begins(packet: &Packet, service: Service) -> bool {
    if packet.flow.protocol != 17 {
        return packet.tcp_flags & (SYN | ACK | RST) == SYN;
    }
    let [first, version @ ..] = match packet.after_udp[..] {
        [first, a, b, c, d, ..] => [first, a, b, c, d],
        _ => return false,
    };
    let is_long_and_fixed = first & 0xc0 == 0xc0;
    let initial = if version == 0x6b33_43cf_u32.to_be_bytes() { 1 } else { 0 };
    service.flags & SERVICE_QUIC != 0 && is_long_and_fixed && first >> 4 & 3 == initial
}
