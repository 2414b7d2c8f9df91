//! Tables for round robin: which backend is next, as evenly spread as the weights allow.
//!
//! A period holds each backend as often as its weight says (divided by what all weights have in common), and a backend's
//! turns are spread evenly over it: the one whose next turn is due first goes next, as in earliest deadline first. The
//! backends begin at different parts of their first interval, by multiples of the golden ratio, lest those with small
//! weights come all at once. A table is such periods one after another, so any window of a period's length within it has
//! exactly the weights. Two things limit that: a table's last period is cut off where the table ends, and weights that together exceed the table
//! are rounded to its size.

use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
};

use crate::{
    maglev::{MaglevError, Member, quotas},
    slot::SIZES,
};

/// Builds a table: the id of the owner of each of `slots` slots, in the order of the turns. Without members with a
/// weight, all slots are 0. Nodes with the same set build the same table, whatever ids they gave.
///
/// # Errors
/// As [`crate::maglev::build`].
pub fn build(slots: usize, members: &[Member]) -> Result<Vec<u32>, MaglevError> {
    if !SIZES.contains(&slots) {
        return Err(MaglevError::Size(slots));
    }
    let mut members: Vec<&Member> = members.iter().filter(|member| member.weight > 0).collect();
    if members.len() > slots {
        return Err(MaglevError::TooManyBackends { backends: members.len(), slots });
    }
    members.sort_unstable_by_key(|member| (member.family, member.address));
    let period = period(&turns(slots, &members));
    let owners = period.iter().map(|member| members[*member].id).cycle().take(slots);
    Ok(if members.is_empty() { vec![0; slots] } else { owners.collect() })
}

/// How often each member is in a period, which is no longer than the table.
fn turns(slots: usize, members: &[&Member]) -> Vec<u32> {
    let weights: Vec<u32> = members.iter().map(|member| member.weight).collect();
    let common = weights.iter().copied().fold(0, gcd).max(1);
    let length: u64 = weights.iter().map(|weight| u64::from(weight / common)).sum();
    if length > slots as u64 {
        return quotas(slots as u32, &weights);
    }
    weights.iter().map(|weight| weight / common).collect()
}

const fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// A member's next turn: in its `done`-th of `turns` equal parts of the period, `phase` / 2^16 after that begins.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Turn {
    done: u32,
    turns: u32,
    phase: u16,
    member: usize,
}

impl Turn {
    const fn first(member: usize, turns: u32) -> Self {
        /// The golden ratio's fraction, in units of 2^-16.
        const STEP: u16 = 40_503;
        Self { done: 0, turns, phase: STEP.wrapping_mul(member as u16), member }
    }
}

impl Ord for Turn {
    fn cmp(&self, other: &Self) -> Ordering {
        // (done + phase) / turns, compared without a division. It fits: there are fewer than 2^20 turns.
        let due = |a: &Self, b: &Self| (u64::from(a.done) << 16 | u64::from(a.phase)) * u64::from(b.turns);
        due(self, other).cmp(&due(other, self)).then(self.member.cmp(&other.member))
    }
}

impl PartialOrd for Turn {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The members of a period by their numbers, in the order of their turns.
fn period(turns: &[u32]) -> Vec<usize> {
    let first = turns.iter().enumerate().map(|(member, turns)| Reverse(Turn::first(member, *turns)));
    let mut waiting: BinaryHeap<Reverse<Turn>> = first.collect();
    let mut order = Vec::with_capacity(turns.iter().sum::<u32>() as usize);
    while let Some(Reverse(turn)) = waiting.pop() {
        order.push(turn.member);
        let done = turn.done + 1;
        if done < turn.turns {
            waiting.push(Reverse(Turn { done, ..turn }));
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        addr::{FAMILY_V4, from_v4},
        slot::SIZE_TINY,
    };

    fn members(weights: &[u32]) -> Vec<Member> {
        let member = |(id, weight): (u32, &u32)| Member {
            id,
            address: from_v4([10, 0, (id >> 8) as u8, id as u8]),
            family: FAMILY_V4,
            weight: *weight,
        };
        (1..).zip(weights).map(member).collect()
    }

    /// How often each member is in a stretch of the table.
    fn shares(slots: &[u32], members: usize) -> Vec<u32> {
        (1..=members as u32).map(|id| slots.iter().filter(|slot| **slot == id).count() as u32).collect()
    }

    #[test]
    fn turns_are_spread() {
        for (weights, start) in [
            (&[1, 1, 1][..], &[1, 3, 2, 1, 3, 2][..]),
            (&[100, 100], &[1, 2, 1, 2]),
            (&[2, 1], &[1, 1, 2, 1, 1, 2]),
            (&[5, 1, 1], &[1, 1, 3, 1, 1, 2, 1]),
            (&[10, 1, 1, 1], &[1, 1, 1, 3, 1, 1, 1, 1, 2, 1, 1, 4, 1]),
            (&[4, 2], &[1, 1, 2]),
            (&[0, 7], &[2, 2]),
        ] {
            let table = build(SIZE_TINY, &members(weights)).unwrap();
            assert_eq!(&table[..start.len()], start, "{weights:?}");
        }
    }

    #[test]
    fn a_table_of_nobody_is_empty() {
        assert_eq!(build(SIZE_TINY, &members(&[0])), Ok(vec![0; SIZE_TINY]));
        assert_eq!(build(SIZE_TINY, &[]), Ok(vec![0; SIZE_TINY]));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert_eq!(build(1000, &[]), Err(MaglevError::Size(1000)));
        let too_many = MaglevError::TooManyBackends { backends: 1022, slots: 1021 };
        assert_eq!(build(SIZE_TINY, &members(&[1; 1022])), Err(too_many));
    }

    #[test]
    fn weights_beyond_the_table_are_rounded_to_it() {
        let table = build(SIZE_TINY, &members(&[1_000_000, 1_000_001, 1])).unwrap();
        assert_eq!(shares(&table, 3), [510, 510, 1]);
    }

    #[test]
    fn ids_and_order_do_not_matter() {
        let ours = members(&[3, 5, 7]);
        let mut theirs: Vec<Member> = ours.iter().map(|m| Member { id: m.id + 10, ..*m }).collect();
        theirs.reverse();
        let renamed: Vec<u32> = build(SIZE_TINY, &ours).unwrap().iter().map(|id| id + 10).collect();
        assert_eq!(build(SIZE_TINY, &theirs), Ok(renamed));
    }

    proptest! {
        #[test]
        fn every_window_of_a_period_has_the_weights(weights in prop::collection::vec(1u32..60, 1..25)) {
            let table = build(SIZE_TINY, &members(&weights)).unwrap();
            let common = weights.iter().copied().fold(0, gcd);
            let expected: Vec<u32> = weights.iter().map(|weight| weight / common).collect();
            let length = expected.iter().sum::<u32>() as usize;
            prop_assume!(length <= SIZE_TINY);
            // A window that moves on by one loses what it gains.
            prop_assert_eq!(&shares(&table[..length], weights.len()), &expected);
            prop_assert!(table.iter().zip(&table[length..]).all(|(left, gained)| left == gained));
        }

        /// Within any stretch, nobody has much more than its share.
        #[test]
        fn every_stretch_is_near_the_weights(
            weights in prop::collection::vec(1u32..20, 2..10), start in 0usize..500, length in 1usize..400,
        ) {
            let table = build(SIZE_TINY, &members(&weights)).unwrap();
            let total: u32 = weights.iter().sum();
            let got = shares(&table[start..start + length], weights.len());
            for (got, weight) in got.iter().zip(&weights) {
                let exact = length as f64 * f64::from(*weight) / f64::from(total);
                prop_assert!((f64::from(*got) - exact).abs() < 2.0 + weights.len() as f64 / 2.0, "{got} of {exact}");
            }
        }
    }
}
