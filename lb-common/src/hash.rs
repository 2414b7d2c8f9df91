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

/// Mask of the first `bits` bits of an IPv4 address that was loaded little-endian from the packet.
#[inline(always)]
pub const fn prefix_mask_v4(bits: u32) -> u32 {
    if bits >= u32::BITS { u32::MAX } else { !(u32::MAX >> bits) }.swap_bytes()
}

/// Mask of the first `bits` bits of an IPv6 address that was loaded little-endian from the packet, as two words.
#[inline(always)]
pub const fn prefix_mask_v6(bits: u32) -> [u64; 2] {
    let high = if bits >= u64::BITS { u64::MAX } else { !(u64::MAX >> bits) };
    let rest = bits.saturating_sub(u64::BITS);
    let low = if rest >= u64::BITS { u64::MAX } else { !(u64::MAX >> rest) };
    [high.swap_bytes(), low.swap_bytes()]
}

/// Hash of the first `bits` bits of a client's address.
#[inline(always)]
pub const fn source_v4(seed: u64, source: u32, bits: u32) -> u64 {
    flow_v4(seed, (source & prefix_mask_v4(bits)) as u64, 0, 0)
}

/// Hash of the first `bits` bits of a client's address.
#[inline(always)]
pub const fn source_v6(seed: u64, source: [u64; 2], bits: u32) -> u64 {
    let [high, low] = prefix_mask_v6(bits);
    flow_v6(seed, [source[0] & high, source[1] & low], [0; 2], 0, 0)
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

    #[test]
    fn prefix_masks_keep_the_first_bits_of_the_address() {
        for bits in 0..=32 {
            let mask = u32::from_be_bytes(prefix_mask_v4(bits).to_le_bytes());
            assert_eq!((mask.leading_ones(), mask.count_ones()), (bits, bits));
        }
        for bits in 0..=128 {
            let [high, low] = prefix_mask_v6(bits);
            let mask = u128::from_le_bytes(((high as u128) | (low as u128) << 64).to_le_bytes()).swap_bytes();
            assert_eq!((mask.leading_ones(), mask.count_ones()), (bits, bits));
        }
    }

    /// The first outputs of SplitMix64 from seed 0, as published with it.
    #[test]
    fn mix_is_the_finalizer_of_splitmix64() {
        assert_eq!(mix(0x9e37_79b9_7f4a_7c15), 0xe220_a839_7b1d_cdaf);
        assert_eq!(mix(0x9e37_79b9_7f4a_7c15u64.wrapping_mul(2)), 0x6e78_9e6a_a1b9_65f4);
    }

    /// Nodes of different releases must agree on every flow: a change here is a change of the ABI.
    #[test]
    fn golden_vectors() {
        let addresses = u64::from_le_bytes([192, 0, 2, 1, 203, 0, 113, 9]);
        let ports = u32::from_le_bytes([0x9c, 0x40, 0x01, 0xbb]);
        let source = [0x0000_0000_b80d_0120, 0x0100_0000_0000_0000];
        let destination = [0x0000_0000_b80d_0120, 0x0200_0000_0000_0000];
        let tcp = flow_v4(7, addresses, ports, 6);
        let vectors = [
            tcp,
            flow_v4(8, addresses, ports, 6),
            flow_v4(7, addresses, ports, 17),
            flow_v6(7, source, destination, ports, 6),
            flow_v6(7, destination, source, ports, 6),
            probe(tcp, 1),
            probe(tcp, 2),
        ];
        let expected = [
            0x942d_3f16_07a6_eeab,
            0x2e87_664c_ccc1_3293,
            0x6f18_6d06_0f73_1233,
            0x0919_312d_49a9_9467,
            0x5c96_203c_7436_a5ad,
            0x2b57_e179_a8e0_1e17,
            0x945c_dfda_49a6_8004,
        ];
        assert_eq!(vectors, expected, "{vectors:#x?}");
        assert_eq!(slot_index(tcp, crate::slot::SIZE_DEFAULT), 37_933);
    }
}
