//! Properties of the tables, and vectors that hold them fixed.

use proptest::prelude::*;

use super::*;
use crate::{
    addr::{FAMILY_V4, from_v4},
    slot::{SIZE_DEFAULT, SIZE_SMALL, SIZE_TINY, SIZES},
};

/// A member whose address is derived from its id.
fn member(id: u32, weight: u32) -> Member {
    Member { id, address: from_v4((0x0a00_0000 + id).to_be_bytes()), family: FAMILY_V4, weight }
}

fn equal(count: u32) -> Vec<Member> {
    (1..=count).map(|id| member(id, 100)).collect()
}

fn counts(table: &[u32], members: &[Member]) -> Vec<usize> {
    members.iter().map(|m| table.iter().filter(|owner| **owner == m.id).count()).collect()
}

/// FNV-1a of a table, to compare it with a vector.
fn digest(table: &[u32]) -> u64 {
    table
        .iter()
        .flat_map(|owner| owner.to_le_bytes())
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

fn moved(before: &[u32], after: &[u32]) -> usize {
    before.iter().zip(after).filter(|(old, new)| old != new).count()
}

#[test]
fn golden_tables() {
    let weighted: Vec<Member> = (1..=7).map(|id| member(id, id * 10)).collect();
    let small = build(1, SIZE_TINY, &weighted).unwrap();
    assert_eq!(small[..16], GOLDEN_FIRST_SLOTS);
    let digests: Vec<u64> =
        SIZES.iter().map(|size| digest(&build(42, *size, &equal(100)).unwrap())).collect();
    assert_eq!(digests, GOLDEN_DIGESTS);
}

/// Nodes of different releases must build the same tables: a change here is a change of the ABI.
const GOLDEN_FIRST_SLOTS: [u32; 16] = [6, 6, 5, 2, 3, 3, 5, 6, 4, 5, 7, 6, 6, 6, 6, 7];
const GOLDEN_DIGESTS: [u64; 4] =
    [0x5ddd_7311_9a10_be5e, 0xa556_93a2_b1aa_7261, 0xc2e8_43ce_a843_6563, 0x24e9_c058_1514_9d52];

#[test]
fn without_backends_all_slots_are_vacant() {
    for members in [vec![], vec![member(1, 0)]] {
        assert_eq!(build(1, SIZE_TINY, &members).unwrap(), vec![0; SIZE_TINY]);
    }
}

#[test]
fn ids_do_not_matter() {
    let other: Vec<Member> = equal(20).iter().map(|m| Member { id: m.id + 1000, ..*m }).collect();
    let expected: Vec<u32> =
        build(7, SIZE_SMALL, &equal(20)).unwrap().iter().map(|owner| owner + 1000).collect();
    assert_eq!(build(7, SIZE_SMALL, &other).unwrap(), expected);
}

#[test]
fn more_backends_than_slots_are_refused() {
    let error = build(1, SIZE_TINY, &equal(1022)).unwrap_err();
    assert_eq!(error, MaglevError::TooManyBackends { backends: 1022, slots: 1021 });
    assert_eq!(counts(&build(1, SIZE_TINY, &equal(1021)).unwrap(), &equal(1021)), vec![1; 1021]);
}

#[test]
fn one_address_twice_is_refused() {
    let twice = [member(1, 5), Member { id: 2, ..member(1, 7) }];
    assert_eq!(build(1, SIZE_TINY, &twice), Err(MaglevError::DuplicateAddress(1, 2)));
}

#[test]
fn other_sizes_are_refused() {
    assert_eq!(build(1, 1024, &equal(2)), Err(MaglevError::Size(1024)));
}

#[test]
fn a_weight_of_one_beside_huge_ones_gets_a_slot() {
    let mut members: Vec<Member> = (1..=1000).map(|id| member(id, 1)).collect();
    members.push(member(1001, 65_535));
    let counts = counts(&build(1, SIZE_TINY, &members).unwrap(), &members);
    assert!(counts[..1000].iter().all(|count| *count == 1));
    assert_eq!(counts[1000], 21);
}

#[test]
fn removal_at_a_thousand_backends_moves_little() {
    let members = equal(1000);
    let before = build(3, SIZE_DEFAULT, &members).unwrap();
    let after = build(3, SIZE_DEFAULT, &members[1..]).unwrap();
    let limit = SIZE_DEFAULT as f64 * (1.0 / 1000.0 + 0.015);
    assert!((moved(&before, &after) as f64) < limit, "{}", moved(&before, &after));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// With weights of at most 100 to 1 and enough slots, no weight is worth less than a slot.
    #[test]
    fn shares_hold_to_within_one_slot(seed: u64, weights in prop::collection::vec(1u32..=100, 1..80)) {
        let members: Vec<Member> = (1..).zip(&weights).map(|(id, w)| member(id, *w)).collect();
        let total: u32 = weights.iter().sum();
        let table = build(seed, SIZE_SMALL, &members).unwrap();
        for (count, weight) in counts(&table, &members).into_iter().zip(weights) {
            let share = SIZE_SMALL as f64 * f64::from(weight) / f64::from(total);
            prop_assert!((count as f64 - share).abs() < 1.0, "{count} slots for a share of {share}");
        }
    }

    #[test]
    fn every_weight_gets_a_slot(seed: u64, weights in prop::collection::vec(1u32..=65_535, 1..=1021)) {
        let members: Vec<Member> = (1..).zip(&weights).map(|(id, w)| member(id, *w)).collect();
        let counts = counts(&build(seed, SIZE_TINY, &members).unwrap(), &members);
        prop_assert!(counts.iter().all(|count| *count > 0));
        prop_assert_eq!(counts.iter().sum::<usize>(), SIZE_TINY);
    }

    #[test]
    fn quotas_use_all_slots(slots in 1000u32..600_000, weights in prop::collection::vec(1u32.., 1..1000)) {
        let quotas = quotas(slots, &weights);
        prop_assert_eq!(quotas.iter().sum::<u32>(), slots);
        prop_assert!(quotas.iter().all(|quota| *quota > 0));
    }

    #[test]
    fn the_order_of_the_input_does_not_matter(
        seed: u64,
        members in Just((1..=50).map(|id| member(id, id % 7 + 1)).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let mut sorted = members.clone();
        sorted.sort_by_key(|m| m.id);
        prop_assert_eq!(build(seed, SIZE_SMALL, &members), build(seed, SIZE_SMALL, &sorted));
    }

    #[test]
    fn removal_moves_little_and_adding_back_restores(seed: u64, count in 2u32..200, gone in 0usize..200) {
        let members = equal(count);
        let before = build(seed, SIZE_DEFAULT, &members).unwrap();
        let mut rest = members.clone();
        rest.remove(gone % members.len());
        let moved = moved(&before, &build(seed, SIZE_DEFAULT, &rest).unwrap()) as f64;
        let limit = SIZE_DEFAULT as f64 * (1.0 / f64::from(count) + 0.015);
        prop_assert!(moved <= limit, "{moved} slots moved, at most {limit}");
        rest.push(members[gone % members.len()]);
        prop_assert_eq!(build(seed, SIZE_DEFAULT, &rest).unwrap(), before);
    }
}

#[test]
fn a_jump_ends_where_a_walk_does() {
    for slots in SIZES {
        for key in 1..50u64 {
            let key = hash::mix(key);
            let mut free: Vec<u32> =
                (1..20u64).map(|n| hash::slot_index(hash::mix(key ^ n), slots) as u32).collect();
            free.sort_unstable();
            free.dedup();
            let mut taken = vec![u64::MAX; slots.div_ceil(64)];
            free.iter().for_each(|slot| taken[(slot >> 6) as usize] &= !(1 << (slot & 63)));
            let mut walker = Player::new(key, slots, 1, 1);
            let mut jumper = walker;
            while !free.is_empty() {
                let slot = walker.walk(slots as u32, &taken);
                taken[(slot >> 6) as usize] |= 1 << (slot & 63);
                assert_eq!(jumper.jump(slots as u32, &mut free), Some(slot));
                assert_eq!(jumper.at, walker.at);
            }
            assert_eq!(jumper.jump(slots as u32, &mut free), None);
        }
    }
}
