//! What one row of the bench measures.

use std::fmt;

use lb_common::{
    mode,
    service::{SERVICE_LEAST_CONNECTIONS, SERVICE_ROUND_ROBIN, Service},
};

/// Backends of a service where a case does not vary them.
pub const BACKENDS: u32 = 100;
/// Flows of the many-flow cases, which targets are about: 2^20.
pub const MANY: u32 = 1 << 20;
/// Number of flows of the cases in which every packet begins one: more than come up in a run.
pub const NEW: u32 = lb_common::bench::MAX_FLOWS;

/// How packets are forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Direct return on the segment.
    L2,
    /// IP in IP.
    Ipip,
    /// IP in UDP.
    Gue,
    /// Not at all: the packets are for nobody's service.
    Pass,
}

/// What the packets meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// All slots at rest. In tracked services all flows are recorded.
    Steady,
    /// One slot of a hundred is moving, its flows are recorded.
    MovingFew,
    /// All slots are moving: every flow is looked up, and found.
    Tracked,
    /// Slots at rest, every packet opens a connection.
    New,
    /// All slots are moving and every packet opens a connection, which is recorded.
    NewMoving,
    /// The service's address, another port.
    OtherPort,
    /// An address without services.
    OtherAddress,
}

/// How a new connection finds its backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// By the slot of its addresses and ports.
    Maglev,
    /// By the slot of the client's address.
    SourceHash,
    /// In turn.
    RoundRobin,
    /// By the number of live connections.
    LeastConnections,
}

/// One row: all that a measurement depends on besides the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    /// How packets are forwarded.
    pub mode: Mode,
    /// 4 or 6: of client, service and backend.
    pub family: u8,
    /// Flows that take turns, a power of two.
    pub flows: u32,
    /// What the packets meet.
    pub state: State,
    /// Services in the table.
    pub services: u32,
    /// Services that the packets are for.
    pub services_hit: u32,
    /// Table class of the services.
    pub class: u8,
    /// Backends of each service.
    pub backends: u32,
    /// How a new connection finds its backend.
    pub algorithm: Algorithm,
}

impl Case {
    /// One service of the default size with a hundred backends, many flows, at rest.
    pub const fn new(mode: Mode, family: u8) -> Self {
        Self {
            mode,
            family,
            flows: MANY,
            state: State::Steady,
            services: 1,
            services_hit: 1,
            class: lb_common::slot::CLASS_DEFAULT,
            backends: BACKENDS,
            algorithm: Algorithm::Maglev,
        }
    }

    /// The same with other flows.
    #[must_use]
    pub const fn flows(self, flows: u32) -> Self {
        Self { flows, ..self }
    }

    /// The same in another state. Where every packet opens a connection, no flow comes twice.
    #[must_use]
    pub const fn state(self, state: State) -> Self {
        match state {
            State::New | State::NewMoving => Self { state, flows: NEW, ..self },
            _ => Self { state, ..self },
        }
    }

    /// The same with another algorithm.
    #[must_use]
    pub const fn algorithm(self, algorithm: Algorithm) -> Self {
        Self { algorithm, ..self }
    }

    /// The same with other backends.
    #[must_use]
    pub const fn backends(self, backends: u32) -> Self {
        Self { backends, ..self }
    }

    /// The same with so many services, of the smallest class, and packets for some of them.
    #[must_use]
    pub const fn services(self, services: u32, services_hit: u32) -> Self {
        Self { services, services_hit, class: lb_common::slot::CLASS_TINY, ..self }
    }

    /// Whether every packet opens a connection.
    pub const fn is_new(&self) -> bool {
        matches!(self.state, State::New | State::NewMoving)
    }

    /// Whether the service records all flows, whatever the state of its slots.
    pub const fn is_tracked_service(&self) -> bool {
        matches!(self.algorithm, Algorithm::RoundRobin | Algorithm::LeastConnections)
    }

    /// Whether flows are recorded before anything is measured.
    pub const fn is_primed(&self) -> bool {
        match self.state {
            State::Steady => self.is_tracked_service(),
            State::MovingFew | State::Tracked => true,
            _ => false,
        }
    }

    /// Whether each packet makes an entry in the flow table.
    pub const fn records(&self) -> bool {
        match self.state {
            State::New => self.is_tracked_service(),
            State::NewMoving => true,
            _ => false,
        }
    }

    /// The service as the packet path knows it.
    pub fn service(&self, id: u32) -> Service {
        let flags = match self.algorithm {
            Algorithm::Maglev => 0,
            Algorithm::SourceHash => Service::source_hash_flags(if self.family == 4 { 32 } else { 64 }),
            Algorithm::RoundRobin => SERVICE_ROUND_ROBIN,
            Algorithm::LeastConnections => SERVICE_LEAST_CONNECTIONS,
        };
        let mode = match self.mode {
            Mode::Ipip => mode::IPIP,
            Mode::Gue => mode::GUE,
            Mode::L2 | Mode::Pass => mode::L2,
        };
        Service { id, mode, class: self.class, flags }
    }

    /// Mode, family, flows and state, then what differs from one default service: `l2/4/1M/steady`,
    /// `l2/4/1M/steady/10-backends`.
    pub fn label(&self) -> String {
        let flows = if self.is_new() { "-".to_owned() } else { in_short(self.flows) };
        let state = self.state.to_string().replace(' ', "-");
        let mut label = format!("{}/{}/{flows}/{state}", self.mode, self.family);
        if self.algorithm != Algorithm::Maglev {
            label += &format!("/{}", self.algorithm);
        }
        if self.backends != BACKENDS {
            label += &format!("/{}-backends", self.backends);
        }
        if self.class != lb_common::slot::CLASS_DEFAULT {
            label += &format!("/{}-of-{}-services", self.services_hit, self.services);
        }
        label
    }
}

/// A number of flows as people write it.
pub fn in_short(flows: u32) -> String {
    match flows {
        65_536 => "65k".to_owned(),
        0..1024 => flows.to_string(),
        1024..0x0010_0000 => format!("{}k", flows >> 10),
        _ => format!("{}M", flows >> 20),
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::L2 => "l2",
            Self::Ipip => "ipip",
            Self::Gue => "gue",
            Self::Pass => "pass",
        })
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Steady => "steady",
            Self::MovingFew => "moving 1%",
            Self::Tracked => "tracked",
            Self::New => "new",
            Self::NewMoving => "new in moving",
            Self::OtherPort => "other port",
            Self::OtherAddress => "other address",
        })
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Maglev => "maglev",
            Self::SourceHash => "source-hash",
            Self::RoundRobin => "round-robin",
            Self::LeastConnections => "least-connections",
        })
    }
}
