//! The hashes: short, keyed by a seed, the same on the BPF target and the host.

/// Mixes a word so that every input bit reaches every output bit: the finalizer of SplitMix64 (G. Steele, D. Lea and
/// C. Flood, "Fast splittable pseudorandom number generators", 2014, variant 13 of D. Stafford's constants).
#[inline(always)]
pub const fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// Hash of an IPv4 flow. Addresses and ports are loaded little-endian as they stand in the packet: `addresses` is the
/// source in the low half and the destination in the high half, `ports` the source port in the low half.
#[inline(always)]
pub const fn flow_v4(seed: u64, addresses: u64, ports: u32, protocol: u8) -> u64 {
    mix(mix(addresses ^ seed) ^ (ports as u64 | (protocol as u64) << 32))
}

/// Hash of an IPv6 flow; words loaded little-endian as they stand in the packet.
#[inline(always)]
pub const fn flow_v6(seed: u64, source: [u64; 2], destination: [u64; 2], ports: u32, protocol: u8) -> u64 {
    // One full mix per address: the two words of each meet by a multiplication with an odd constant first, so that
    // no pair of addresses cancels out by exclusive or alone.
    let source = mix(seed ^ source[0].wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ source[1].rotate_left(32));
    let destination = destination[0].wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ destination[1].rotate_left(32);
    mix(mix(source ^ destination) ^ (ports as u64 | (protocol as u64) << 32))
}

/// Index of a slot among `size`: the high half of a product, which needs no division and whose bound the verifier
/// derives by itself (D. Lemire, "Fast random integer generation in an interval", 2019).
#[inline(always)]
pub const fn slot_index(hash: u64, size: usize) -> usize {
    (((hash >> 32) * size as u64) >> 32) as usize
}

/// Hash for the `attempt`-th probe of a table whose slot of `hash` names a dead backend.
#[inline(always)]
pub const fn probe(hash: u64, attempt: u32) -> u64 {
    mix(hash.wrapping_add((attempt as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slot_index_stays_below_the_size() {
        for size in crate::slot::SIZES {
            assert_eq!(slot_index(0, size), 0);
            assert_eq!(slot_index(u64::MAX, size), size - 1);
        }
    }
}
