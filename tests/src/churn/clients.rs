//! How long connections live and how they are silent: most are short, some last for hours.

use super::random::Random;

/// The longest life, in seconds.
pub const LIFETIME_MAX_S: f64 = 3.0 * 3600.0;

/// How one connection behaves.
#[derive(Clone, Copy, Debug)]
pub struct Habits {
    /// From its first to its last packet.
    pub lifetime_s: f64,
    /// Mean time between two packets while it is busy.
    pub pace_s: f64,
}

/// 70% requests of seconds, 22% sessions of about a minute, 8% long ones with a heavy tail.
pub fn habits(random: &mut Random) -> Habits {
    let lifetime_s = match random.below(100) {
        0..70 => random.lognormal(4.0, 1.2),
        70..92 => random.lognormal(60.0, 1.0),
        _ => random.pareto(300.0, 1.1),
    };
    Habits { lifetime_s: lifetime_s.min(LIFETIME_MAX_S), pace_s: random.lognormal(6.0, 1.0) }
}

/// Time until a connection's next packet: nine of ten at its pace, else a silence, some beyond any quiet period.
pub fn silence_s(random: &mut Random, pace_s: f64) -> f64 {
    match random.below(10) {
        0 => random.lognormal(45.0, 1.0),
        _ => random.exponential(pace_s),
    }
}

/// Connections that are there at the start: those of the time before that have not ended. What remains of their life.
pub fn survivors(random: &mut Random, arrivals_per_second: f64) -> Vec<Habits> {
    let before = (arrivals_per_second * LIFETIME_MAX_S) as u64;
    let mut found = Vec::new();
    for _ in 0..before {
        let habits = habits(random);
        let age_s = random.unit() * LIFETIME_MAX_S;
        if habits.lifetime_s > age_s {
            found.push(Habits { lifetime_s: habits.lifetime_s - age_s, ..habits });
        }
    }
    found
}
