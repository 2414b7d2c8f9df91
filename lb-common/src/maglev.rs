//! Weighted Maglev tables with exact shares: which backend owns each slot of a service.
//!
//! After D. E. Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016, section 3.4:
//! every backend walks a permutation of its own over the slots and takes the next free one when it is its turn. What
//! differs: a backend's number of slots is fixed beforehand by the method of the largest remainder, and it takes one
//! slot per turn until it has them. Weights therefore hold to within one slot, and a change of one weight disturbs
//! little else. Permutations and turns follow from the seed and the backends' addresses alone, so that every node
//! builds the same table from the same set, whatever ids it gave and in whatever order it lists them.

use std::{cmp::Reverse, collections::BinaryHeap};

use crate::{addr::RawAddr, hash};

/// A backend that takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// What its slots will hold.
    pub id: u32,
    /// Address, the identity that the permutation is derived from.
    pub address: RawAddr,
    /// Family of the address.
    pub family: u8,
    /// Share relative to the others. 0: no slots.
    pub weight: u32,
}

/// Why no table could be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MaglevError {
    /// Each backend with a weight needs a slot.
    #[error("{backends} backends do not fit in a table of {slots} slots; choose a larger table size")]
    TooManyBackends {
        /// Backends with a weight above zero.
        backends: usize,
        /// Size of the table.
        slots: usize,
    },
    /// Two members have one address.
    #[error("backends {0} and {1} have the same address")]
    DuplicateAddress(u32, u32),
    /// The size has no prime among [`crate::slot::SIZES`].
    #[error("no table has {0} slots; sizes are 1021, 8191, 65537 and 524287")]
    Size(usize),
}

/// Builds a table: the id of the owner of each of `slots` slots. Without members with a weight, all slots are 0.
///
/// # Errors
/// See [`MaglevError`].
pub fn build(seed: u64, slots: usize, members: &[Member]) -> Result<Vec<u32>, MaglevError> {
    if !crate::slot::SIZES.contains(&slots) {
        return Err(MaglevError::Size(slots));
    }
    let ranked = rank(seed, members)?;
    if ranked.len() > slots {
        return Err(MaglevError::TooManyBackends { backends: ranked.len(), slots });
    }
    let weights: Vec<u32> = ranked.iter().map(|(_, member)| member.weight).collect();
    let quotas = quotas(slots as u32, &weights);
    let players =
        ranked.iter().zip(quotas).map(|((key, member), quota)| Player::new(*key, slots, member.id, quota));
    Ok(play(slots, players.collect()))
}

/// The members that take part, each with the hash of its address, in the order of the hashes.
fn rank(seed: u64, members: &[Member]) -> Result<Vec<(u64, Member)>, MaglevError> {
    let mut ranked: Vec<(u64, Member)> =
        members.iter().filter(|m| m.weight > 0).map(|m| (key(seed, m), *m)).collect();
    ranked.sort_unstable_by_key(|(key, member)| (*key, member.family, member.address));
    for pair in ranked.windows(2) {
        let [(_, left), (_, right)] = pair else { continue };
        if (left.family, left.address) == (right.family, right.address) {
            return Err(MaglevError::DuplicateAddress(left.id.min(right.id), left.id.max(right.id)));
        }
    }
    Ok(ranked)
}

/// Hash of a member's address under the seed, apart from the hashes of flows under the same seed.
fn key(seed: u64, member: &Member) -> u64 {
    let [low, high] = halves(&member.address);
    let domain = hash::mix(seed ^ u64::from_le_bytes(*b"maglev 1"));
    hash::mix(hash::mix(hash::mix(domain ^ low) ^ high) ^ u64::from(member.family))
}

fn halves(address: &RawAddr) -> [u64; 2] {
    let word = u128::from_le_bytes(*address);
    [word as u64, (word >> 64) as u64]
}

/// How many of `slots` each weight gets: its share rounded by the largest remainder, and never zero. Where weights far
/// below one slot take more than their share, the others give it up so that the largest loss is as small as can be.
pub(crate) fn quotas(slots: u32, weights: &[u32]) -> Vec<u32> {
    let total: u64 = weights.iter().map(|w| u64::from(*w)).sum();
    if total == 0 {
        return vec![0; weights.len()];
    }
    // A share is `slots * weight / total`; its remainder is kept in units of 1/total slots. Both fit: slots < 2^20.
    let exact = |weight: u32| u64::from(slots) * u64::from(weight);
    let mut quotas: Vec<u32> = weights.iter().map(|w| (exact(*w) / total) as u32).collect();
    let left = (slots - quotas.iter().sum::<u32>()) as usize;
    let mut by_remainder: Vec<usize> = (0..weights.len()).collect();
    by_remainder.sort_by_key(|index| Reverse(exact(weights[*index]) % total));
    for index in by_remainder.into_iter().take(left) {
        quotas[index] += 1;
    }
    lift_zeros(&mut quotas, |index, quota| {
        i128::from(quota) * i128::from(total) - i128::from(exact(weights[index]))
    });
    quotas
}

/// Gives one slot to each that has none, taken from whoever has the largest `surplus` over its share.
fn lift_zeros(quotas: &mut [u32], surplus: impl Fn(usize, u32) -> i128) {
    let zeros = quotas.iter().filter(|quota| **quota == 0).count();
    if zeros == 0 {
        return;
    }
    let mut donors: BinaryHeap<(i128, Reverse<usize>)> = (0..quotas.len())
        .filter(|index| quotas[*index] > 1)
        .map(|index| (surplus(index, quotas[index]), Reverse(index)))
        .collect();
    for quota in quotas.iter_mut().filter(|quota| **quota == 0) {
        *quota = 1;
    }
    for _ in 0..zeros {
        // There are no fewer slots than members, so someone has more than one as long as the sum is too large.
        let Some((_, Reverse(index))) = donors.pop() else { return };
        quotas[index] -= 1;
        if quotas[index] > 1 {
            donors.push((surplus(index, quotas[index]), Reverse(index)));
        }
    }
}

/// A member while the slots are dealt.
#[derive(Clone, Copy)]
struct Player {
    /// Next slot of its permutation.
    at: u32,
    /// Distance to the one after; coprime to the size, which is prime.
    skip: u32,
    /// Slots it still has to take.
    left: u32,
    id: u32,
}

impl Player {
    fn new(key: u64, slots: usize, id: u32, quota: u32) -> Self {
        let at = hash::slot_index(key, slots) as u32;
        let skip = hash::slot_index(key << 32, slots - 1) as u32 + 1;
        Self { at, skip, left: quota, id }
    }

    /// Takes the next free slot of the permutation.
    #[inline(always)]
    fn take(&mut self, slots: u32, taken: &mut [u64]) -> usize {
        loop {
            let slot = self.at;
            // A step and a wrap instead of a division: this line runs slots * ln(slots) times.
            let next = slot + self.skip;
            self.at = if next >= slots { next - slots } else { next };
            let (word, bit) = (&mut taken[(slot >> 6) as usize], 1u64 << (slot & 63));
            if *word & bit == 0 {
                *word |= bit;
                return slot as usize;
            }
        }
    }
}

/// Deals all slots, one per player and round, until every quota is full.
fn play(slots: usize, mut players: Vec<Player>) -> Vec<u32> {
    let mut owners = vec![0u32; slots];
    // The taken slots as bits: 8 KB for the default size, which stay in the nearest cache.
    let mut taken = vec![0u64; slots.div_ceil(64)];
    players.retain(|player| player.left > 0);
    while !players.is_empty() {
        let mut finished = false;
        for player in &mut players {
            owners[player.take(slots as u32, &mut taken)] = player.id;
            player.left -= 1;
            finished |= player.left == 0;
        }
        if finished {
            players.retain(|player| player.left > 0);
        }
    }
    owners
}

#[cfg(test)]
mod tests;
