//! A connection as its client sees it, and what it is promised.
//!
//! While its backend is alive, and unless it was silent for too long ([`Connection::patience_s`]), each of its packets goes
//! to the backend that it began on. Flows are recorded up to a cap; what is over it keeps the promise too, but for two
//! deliberate exceptions. Both are of flows that began over the cap, and such a flow moves once:
//!
//! - A flow that was given a stand-in for a dead owner is named by nothing ([`Connection::is_loose`]) and may move when
//!   the table without the dead one is published. That is for datagrams, which can't be told from older ones; other
//!   openings are dropped instead, for their client to repeat.
//! - A datagram flow of a tracked service goes by its hash until a later datagram can be recorded, which is then taken
//!   for its first.

use lb_userspace::publish::Timing;

use crate::services::{Kind, Service};

/// A connection.
#[derive(Clone, Debug)]
pub struct Connection {
    pub number: u32,
    /// Number of the service.
    pub service: usize,
    /// The backend that it must stay with. None: it has none to lose.
    pub backend: Option<u32>,
    pub last_s: u32,
    /// Its client has said that it ends.
    pub closing: bool,
    /// Its last packet found a record or left one, or needed none.
    pub recorded: bool,
    /// Its last packet found no record, and its slot names another backend.
    pub is_loose: bool,
    /// It began with a record, is open, and was never silent for so long that it may be forgotten.
    pub is_counted: bool,
}

/// What became of a packet.
#[derive(Clone, Copy, Debug)]
pub struct Fate {
    /// Who got it.
    pub to: Option<u32>,
    /// It should have been recorded, and was not.
    pub unrecorded: bool,
    /// It was given to a backend that its slot does not name. Only known of unrecorded ones.
    pub is_stand_in: bool,
}

impl Connection {
    /// One that has just begun. `to`: who got its first packet and may keep it.
    pub const fn begin(number: u32, service: usize, to: Option<u32>, fate: Fate, now_s: u32) -> Self {
        Self {
            number,
            service,
            backend: to,
            last_s: now_s,
            closing: false,
            recorded: !fate.unrecorded,
            is_loose: fate.is_stand_in,
            is_counted: !fate.unrecorded,
        }
    }

    /// For how long it may be silent and still be kept.
    fn patience_s(&self, service: Service, timing: &Timing) -> u32 {
        let patience = match service.kind {
            Kind::Tcp if self.closing => timing.closed_idle,
            Kind::Tcp if service.is_tracked() && self.recorded => {
                timing.tracked_idle.max(timing.quiet_period)
            }
            Kind::Tcp => timing.quiet_period.min(timing.tcp_idle),
            Kind::Quic => timing.quiet_period,
            Kind::Udp => timing.udp_idle,
        };
        patience.as_secs() as u32
    }

    /// Whether its next packet must go where the last one went.
    pub fn must_stay(&self, service: Service, timing: &Timing, now_s: u32) -> bool {
        self.backend.is_some() && now_s - self.last_s < self.patience_s(service, timing)
    }

    /// Whether a packet that should have stayed may be elsewhere.
    pub fn may_move(&self, service: Service, fate: Fate) -> bool {
        let taken_for_the_first =
            service.kind == Kind::Udp && service.is_tracked() && !self.recorded && !fate.unrecorded;
        self.is_loose || taken_for_the_first
    }

    /// Takes note of a packet. `to`: who got it and may keep it.
    pub fn note(&mut self, service: Service, timing: &Timing, to: Option<u32>, fate: Fate, now_s: u32) {
        self.is_loose = fate.is_stand_in;
        // One that has moved is lost, unless each of its packets stands for itself.
        self.backend = if service.kind == Kind::Udp || to == self.backend { to } else { None };
        self.is_counted &= now_s - self.last_s < self.patience_s(service, timing);
        self.recorded = !fate.unrecorded;
        self.last_s = now_s;
    }
}
