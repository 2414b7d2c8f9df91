//! Weighted Maglev tables with exact shares: which backend owns each slot of a service.
//!
//! After D. E. Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016, section 3.4:
//! every backend walks a permutation of its own over the slots and takes the next free one when it is its turn. What
//! differs: a backend's number of slots is fixed beforehand by the method of the largest remainder, and it takes one
//! slot per turn until it has them. Weights therefore hold to within one slot, and a change of one weight disturbs
//! little else. Permutations and turns follow from the seed and the backends' addresses alone, so that every node
//! builds the same table from the same set, whatever ids it gave and in whatever order it lists them.
//!
//! The last free slots are far apart on every permutation. They are dealt by working out which one is the nearest.

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

    /// Goes along the permutation to its next free slot, and past it.
    #[inline(always)]
    fn walk(&mut self, slots: u32, taken: &[u64]) -> u32 {
        loop {
            let slot = self.at;
            // A step and a wrap instead of a division: this line runs about slots * ln(slots) / 2 times.
            let next = slot + self.skip;
            self.at = if next >= slots { next - slots } else { next };
            if taken[(slot >> 6) as usize] & 1 << (slot & 63) == 0 {
                return slot;
            }
        }
    }

    /// The same slot as [`Player::walk`] goes to, found from the other side: of the slots that are free, the one that is
    /// the fewest steps ahead. None if none is free.
    fn jump(&mut self, slots: u32, free: &mut Vec<u32>) -> Option<u32> {
        let (modulus, inverse) = (u64::from(slots), inverse(self.skip, slots));
        let steps = |slot: u32| u64::from(slot + slots - self.at) * inverse % modulus;
        let nearest = (0..free.len()).min_by_key(|index| steps(free[*index]))?;
        let slot = free.swap_remove(nearest);
        self.at = (slot + self.skip) % slots;
        Some(slot)
    }
}

/// How many steps lead to the neighbouring slot: `skip` to the power of `slots - 2`, since `slots` is prime.
fn inverse(skip: u32, slots: u32) -> u64 {
    let modulus = u64::from(slots);
    let (mut power, mut base, mut exponent) = (1, u64::from(skip), slots - 2);
    while exponent > 0 {
        if exponent & 1 == 1 {
            power = power * base % modulus;
        }
        base = base * base % modulus;
        exponent >>= 1;
    }
    power
}

/// The slots that are not dealt yet.
struct Board {
    slots: u32,
    /// The taken slots as bits: 8 KB for the default size, which stay in the nearest cache.
    taken: Vec<u64>,
    left: u32,
    /// So few that looking at each costs less than the steps between them: with n left a walk takes slots / n. The last
    /// slots would take half of all steps.
    few: u32,
    /// Once there are few, all that are left.
    free: Vec<u32>,
}

impl Board {
    fn new(slots: usize) -> Self {
        let (taken, few) = (vec![0; slots.div_ceil(64)], slots.isqrt() as u32 / 2);
        Self { slots: slots as u32, taken, left: slots as u32, few, free: Vec::new() }
    }

    /// Gives a player the next free slot of its permutation.
    #[inline(always)]
    fn deal(&mut self, player: &mut Player) -> u32 {
        let slot = if self.left <= self.few {
            if self.free.is_empty() {
                self.free = (0..self.slots).filter(|slot| !self.is_taken(*slot)).collect();
            }
            player.jump(self.slots, &mut self.free).expect("quotas add up to the slots")
        } else {
            let slot = player.walk(self.slots, &self.taken);
            self.taken[(slot >> 6) as usize] |= 1 << (slot & 63);
            slot
        };
        self.left -= 1;
        slot
    }

    fn is_taken(&self, slot: u32) -> bool {
        self.taken[(slot >> 6) as usize] & 1 << (slot & 63) != 0
    }
}

/// Deals all slots, one per player and round, until every quota is full.
fn play(slots: usize, mut players: Vec<Player>) -> Vec<u32> {
    let mut owners = vec![0u32; slots];
    let mut board = Board::new(slots);
    players.retain(|player| player.left > 0);
    while !players.is_empty() {
        let mut finished = false;
        for player in &mut players {
            owners[board.deal(player) as usize] = player.id;
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
