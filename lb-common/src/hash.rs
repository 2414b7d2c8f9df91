//! The hashes: short, keyed by a seed, the same on the BPF target and the host.

/// Mixes a word so that every input bit reaches every output bit: the finalizer of SplitMix64 (G. Steele, D. Lea and
/// C. Flood, "Fast splittable pseudorandom number generators", 2014, variant 13 of D. Stafford's constants).
#[inline(always)]
pub const fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// Odd multiplier, 2 to the 64th over the golden ratio.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The secret multipliers of the flow hash, all odd: one for ports and protocol, four for the words of addresses.
///
/// The packet path has them ready made, so that nothing is derived per packet.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keys(pub [u64; 5]);

impl Keys {
    /// Those of a seed.
    pub const fn of(seed: u64) -> Self {
        let mut keys = [0; 5];
        let mut index = 0;
        while index < keys.len() {
            keys[index] = mix(seed.wrapping_add((index as u64 + 1).wrapping_mul(GOLDEN))) | 1;
            index += 1;
        }
        Self(keys)
    }
}

/// Where the multipliers are read, one at a time.
pub trait Multipliers: Copy {
    /// The one at an index of [`Keys`].
    fn get(self, index: usize) -> u64;
}

impl Multipliers for &Keys {
    fn get(self, index: usize) -> u64 {
        self.0[index]
    }
}

/// Hash of an IPv4 flow. Addresses and ports are loaded little-endian as they stand in the packet: `addresses` is the
/// source in the low half and the destination in the high half, `ports` the source port in the low half.
///
/// A sum of products with secret odd factors, of which those who don't know them can't find two flows that collide (M.
/// Dietzfelbinger et al., "A reliable randomized algorithm for the closest-pair problem", 1997, section 3.5), and one
/// more multiplication, by which neighbours part. The products don't wait for one another.
#[inline(always)]
pub fn flow_v4(keys: impl Multipliers, addresses: u64, ports: u32, protocol: u8) -> u64 {
    finish(addresses.wrapping_mul(keys.get(1)).wrapping_add(transport(keys, ports, protocol)))
}

/// Hash of an IPv6 flow; words loaded little-endian as they stand in the packet. As [`flow_v4`].
#[inline(always)]
pub fn flow_v6(
    keys: impl Multipliers,
    source: [u64; 2],
    destination: [u64; 2],
    ports: u32,
    protocol: u8,
) -> u64 {
    // What differs between neighbours comes last in an address. A product carries it only upwards, so it goes to the
    // low end first.
    let word = |word: u64, key: usize| word.swap_bytes().wrapping_mul(keys.get(key));
    let source = word(source[0], 1).wrapping_add(word(source[1], 2));
    let destination = word(destination[0], 3).wrapping_add(word(destination[1], 4));
    finish(source.wrapping_add(destination).wrapping_add(transport(keys, ports, protocol)))
}

/// The part of ports and protocol.
#[inline(always)]
fn transport(keys: impl Multipliers, ports: u32, protocol: u8) -> u64 {
    (u64::from(ports) | u64::from(protocol) << 32).wrapping_mul(keys.get(0))
}

/// Spreads what a sum of products has gathered in its high half over the whole word.
#[inline(always)]
const fn finish(sum: u64) -> u64 {
    (sum ^ (sum >> 32)).wrapping_mul(GOLDEN)
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
pub fn source_v4(keys: impl Multipliers, source: u32, bits: u32) -> u64 {
    flow_v4(keys, (source & prefix_mask_v4(bits)) as u64, 0, 0)
}

/// Hash of the first `bits` bits of a client's address.
#[inline(always)]
pub fn source_v6(keys: impl Multipliers, source: [u64; 2], bits: u32) -> u64 {
    let [high, low] = prefix_mask_v6(bits);
    flow_v6(keys, [source[0] & high, source[1] & low], [0; 2], 0, 0)
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
    mix(hash.wrapping_add((attempt as u64).wrapping_mul(GOLDEN)))
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

    /// Flows that differ in few bits, as real ones do, fill the slots as evenly as random numbers would.
    #[test]
    fn similar_flows_spread_like_random_ones() {
        const SIZE: usize = crate::slot::SIZE_TINY;
        const FLOWS: u32 = 1 << 16;
        let address = u64::from(u32::from_le_bytes([203, 0, 113, 9])) << 32;
        let v4 = move |keys: &Keys, client: u32, port: u16| {
            let ports = u32::from(port.to_be()) | 0xbb01 << 16;
            flow_v4(keys, u64::from(client.to_be()) | address, ports, 6)
        };
        let v6 = move |keys: &Keys, high: u64, low: u64, port: u16| {
            let ports = u32::from(port.to_be()) | 0xbb01 << 16;
            flow_v6(keys, [high.to_be(), low.to_be()], [0xb80d_0120, 1 << 56], ports, 6)
        };
        type Population = (&'static str, Box<dyn Fn(&Keys, u32) -> u64>);
        let populations: [Population; 8] = [
            ("ports of one client", Box::new(move |keys, n| v4(keys, 0xc000_0201, n as u16))),
            ("one port of neighbours", Box::new(move |keys, n| v4(keys, 0x0a00_0000 + n, 40_000))),
            (
                "ports of neighbours",
                Box::new(move |keys, n| v4(keys, 0x0a00_0000 + (n >> 8), 1024 + (n & 255) as u16)),
            ),
            ("every 256th address", Box::new(move |keys, n| v4(keys, n << 8, 40_000))),
            ("addresses alone", Box::new(|keys, n| source_v4(keys, (0x0a00_0000 + n).to_be(), 32))),
            ("IPv6 neighbours", Box::new(move |keys, n| v6(keys, 0x2001_0db8 << 32, n.into(), 40_000))),
            ("IPv6 networks", Box::new(move |keys, n| v6(keys, 0x2001_0db8 << 32 | u64::from(n), 1, 40_000))),
            (
                "IPv6 networks of neighbours",
                Box::new(move |keys, n| v6(keys, u64::from(n >> 8) << 16, u64::from(n & 255) << 56, 40_000)),
            ),
        ];
        for (what, hash) in &populations {
            // Of many seeds some are worse than others; that of random numbers is 1 on average, and by far below 1.3.
            for seed in 0..20 {
                let mut counts = [0u32; SIZE];
                for n in 0..FLOWS {
                    counts[slot_index(hash(&Keys::of(seed), n), SIZE)] += 1;
                }
                let mean = f64::from(FLOWS) / SIZE as f64;
                let spread: f64 = counts.iter().map(|count| (f64::from(*count) - mean).powi(2) / mean).sum();
                assert!(spread / (SIZE as f64) < 1.3, "{what}, seed {seed}: {}", spread / SIZE as f64);
            }
        }
    }

    /// Nodes of different releases must agree on every flow: a change here is a change of the ABI.
    #[test]
    fn golden_vectors() {
        let addresses = u64::from_le_bytes([192, 0, 2, 1, 203, 0, 113, 9]);
        let ports = u32::from_le_bytes([0x9c, 0x40, 0x01, 0xbb]);
        let source = [0x0000_0000_b80d_0120, 0x0100_0000_0000_0000];
        let destination = [0x0000_0000_b80d_0120, 0x0200_0000_0000_0000];
        let (keys, others) = (&Keys::of(7), &Keys::of(8));
        let tcp = flow_v4(keys, addresses, ports, 6);
        let vectors = [
            tcp,
            flow_v4(others, addresses, ports, 6),
            flow_v4(keys, addresses, ports, 17),
            flow_v6(keys, source, destination, ports, 6),
            flow_v6(keys, destination, source, ports, 6),
            probe(tcp, 1),
            probe(tcp, 2),
        ];
        let expected = [
            0x8402_5c20_5063_b934,
            0x18b4_807f_3d09_1360,
            0xf3b9_0bb6_3210_570d,
            0x3a59_fb3b_82d6_0b49,
            0xc9d4_c2a0_44a8_0de3,
            0xbe32_1d87_7e57_3b62,
            0xd6b4_a6ff_fb5d_33d7,
        ];
        assert_eq!(vectors, expected, "{vectors:#x?}");
        assert_eq!(slot_index(tcp, crate::slot::SIZE_DEFAULT), 33_794);
    }
}
