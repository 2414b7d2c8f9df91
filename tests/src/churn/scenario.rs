//! What happens to the backends, as a list of events in virtual time.

use super::{BACKENDS, random::Random};

/// Something that happens to a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It gets no new connections.
    Drain(u32),
    /// It dies with all that it has.
    Die(u32),
    /// It comes (back): healthy, and ready for connections.
    Start(u32),
    /// Its weight changes.
    Weigh(u32, u32),
}

/// A scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// One after another, each drained for 30 s and then restarted.
    RollingRestart,
    /// 20 more at once.
    ScaleOut,
    /// Small changes of weights all the time.
    WeightWobble,
    /// Five die at once and come back after five minutes.
    Crash,
    /// [`Self::RollingRestart`] under a SYN flood.
    RollingRestartFlood,
    /// [`Self::ScaleOut`] under a SYN flood.
    ScaleOutFlood,
}

/// Weight of a backend, unless it wobbles.
pub const WEIGHT: u32 = 100;
/// Before the first event.
const LEAD_S: u32 = 60;
const DRAIN_S: u32 = 30;
const RESTART_S: u32 = 5;
/// Length of the scenarios with few events, and so the number of their connections.
const LENGTH_S: u32 = 1800;
const WOBBLE_EACH_S: u32 = 10;

impl Scenario {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::RollingRestart,
        Self::ScaleOut,
        Self::WeightWobble,
        Self::Crash,
        Self::RollingRestartFlood,
        Self::ScaleOutFlood,
    ];

    /// Its name in tables and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RollingRestart => "rolling_restart",
            Self::ScaleOut => "scale_out",
            Self::WeightWobble => "weight_wobble",
            Self::Crash => "crash",
            Self::RollingRestartFlood => "rolling_restart_flood",
            Self::ScaleOutFlood => "scale_out_flood",
        }
    }

    /// Whether a SYN flood goes on all the time.
    pub const fn has_flood(self) -> bool {
        matches!(self, Self::RollingRestartFlood | Self::ScaleOutFlood)
    }

    /// Backends at the start.
    pub const fn backends_at_start(self) -> u32 {
        match self {
            Self::ScaleOut | Self::ScaleOutFlood => 80,
            _ => BACKENDS,
        }
    }

    /// The events with the second at which they happen, in order.
    pub fn events(self, random: &mut Random) -> Vec<(u32, Event)> {
        match self {
            Self::RollingRestart | Self::RollingRestartFlood => (0..BACKENDS)
                .flat_map(|backend| {
                    let drain_s = LEAD_S + backend * (DRAIN_S + RESTART_S);
                    let die_s = drain_s + DRAIN_S;
                    [
                        (drain_s, Event::Drain(backend)),
                        (die_s, Event::Die(backend)),
                        (die_s + RESTART_S, Event::Start(backend)),
                    ]
                })
                .collect(),
            Self::ScaleOut | Self::ScaleOutFlood => {
                (self.backends_at_start()..BACKENDS).map(|backend| (LEAD_S, Event::Start(backend))).collect()
            }
            Self::WeightWobble => (LEAD_S..LENGTH_S)
                .step_by(WOBBLE_EACH_S as usize)
                .map(|second| (second, Event::Weigh(random.below(BACKENDS), WEIGHT - 10 + random.below(21))))
                .collect(),
            Self::Crash => {
                let die = (0..5).map(|n| (LEAD_S, Event::Die(n * 20)));
                die.chain((0..5).map(|n| (LEAD_S + 300, Event::Start(n * 20)))).collect()
            }
        }
    }

    /// When the scenario is over; connections that begin later only show how it comes to rest.
    pub fn end_s(self, events: &[(u32, Event)]) -> u32 {
        let last_s = events.last().map_or(0, |(second, _)| *second);
        (last_s + super::QUIET_S[1]).max(LENGTH_S)
    }
}
