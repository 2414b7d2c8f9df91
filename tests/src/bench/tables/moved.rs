//! How many slots a change moves, against how many it has to.

use std::collections::BTreeMap;

use anyhow::Result;
use lb_common::{
    maglev::{self, Member},
    slot::SIZE_DEFAULT,
};
use serde::{Deserialize, Serialize};

use super::build::{self, Weights};
use crate::bench::samples::Summary;

/// Numbers of backends before the change.
const BACKENDS: [u32; 3] = [10, 100, 1_000];
/// Seed of all tables.
const SEED: u64 = 1;

/// A change of one backend; all weights are 100 before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// One more.
    Add,
    /// One less.
    Remove,
    /// One gets weight 99.
    Reweight99,
    /// One gets weight 50.
    Reweight50,
}

impl Change {
    const ALL: [Self; 4] = [Self::Add, Self::Remove, Self::Reweight99, Self::Reweight50];

    /// In words.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Remove => "remove",
            Self::Reweight99 => "weight 100 to 99",
            Self::Reweight50 => "weight 100 to 50",
        }
    }

    /// The backends after it; samples differ in the backend that changes.
    fn apply(self, members: &[Member], sample: usize, samples: usize) -> Vec<Member> {
        let mut after = members.to_vec();
        let index = sample * members.len() / samples;
        match self {
            Self::Add => after.push(build::member((members.len() + 1 + sample) as u32, 100)),
            Self::Remove => drop(after.remove(index)),
            Self::Reweight99 => after[index].weight = 99,
            Self::Reweight50 => after[index].weight = 50,
        }
        after
    }
}

/// What a change moves in a table of the default size.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Moved {
    /// What changes.
    pub change: Change,
    /// Backends before.
    pub backends: u32,
    /// Slots that change their owner.
    pub moved_slots: Summary,
    /// Slots that have to, by how many slots each backend has before and after.
    pub ideal_slots: Summary,
    /// Slots moved beyond those that have to, in percent of all slots.
    pub beyond_percent: Summary,
    /// Slots moved for each that has to.
    pub ratio: Summary,
}

/// Measures all changes, with so many different backends that change.
pub fn moved(samples: usize) -> Result<Vec<Moved>> {
    let mut rows = Vec::new();
    for change in Change::ALL {
        for backends in BACKENDS {
            rows.push(row(change, backends, samples)?);
        }
    }
    Ok(rows)
}

fn row(change: Change, backends: u32, samples: usize) -> Result<Moved> {
    let members = build::members(backends, Weights::Equal);
    let before = maglev::build(SEED, SIZE_DEFAULT, &members)?;
    let (mut moved, mut ideal) = (Vec::new(), Vec::new());
    for sample in 0..samples {
        let after = maglev::build(SEED, SIZE_DEFAULT, &change.apply(&members, sample, samples))?;
        moved.push(before.iter().zip(&after).filter(|(before, after)| before != after).count() as f64);
        ideal.push(f64::from(must_move(&before, &after)));
    }
    let each = |of: fn(f64, f64) -> f64| -> Vec<f64> {
        moved.iter().zip(&ideal).map(|(moved, ideal)| of(*moved, *ideal)).collect()
    };
    Ok(Moved {
        change,
        backends,
        moved_slots: Summary::of(&moved),
        ideal_slots: Summary::of(&ideal),
        beyond_percent: Summary::of(&each(|moved, ideal| 100.0 * (moved - ideal) / SIZE_DEFAULT as f64)),
        // A weight that changes nothing moves nothing: as good as can be.
        ratio: Summary::of(&each(|moved, ideal| if moved == ideal { 1.0 } else { moved / ideal })),
    })
}

/// Slots that no table with these shares could leave where they are: what all backends together gain.
fn must_move(before: &[u32], after: &[u32]) -> u32 {
    let mut gained: BTreeMap<u32, i64> = BTreeMap::new();
    before.iter().for_each(|owner| *gained.entry(*owner).or_default() -= 1);
    after.iter().for_each(|owner| *gained.entry(*owner).or_default() += 1);
    gained.values().map(|gain| u32::try_from(*gain).unwrap_or(0)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_must_move_is_what_is_gained() {
        assert_eq!(must_move(&[1, 1, 1, 2], &[2, 1, 3, 1]), 1, "3 gained one, whoever swapped besides");
        assert_eq!(must_move(&[1, 2], &[2, 1]), 0);
    }
}
