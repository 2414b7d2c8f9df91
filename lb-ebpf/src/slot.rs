//! Which share of its service's flows a flow belongs to, and who owns that share.

use aya_ebpf::{
    btf_maps::{Array, ArrayOfMaps},
    macros::btf_map,
};
use lb_common::{
    hash::{self, Keys, Multipliers},
    service::{MAX_SERVICES, SERVICE_SOURCE_HASH, Service},
    slot::{
        CLASS_DEFAULT, CLASS_LARGE, CLASS_SMALL, CLASS_TINY, SIZE_DEFAULT, SIZE_LARGE, SIZE_SMALL, SIZE_TINY,
        Slot, SlotTable,
    },
};

use lb_ebpf::packet::Flow;

type Slots<const M: usize> = ArrayOfMaps<Array<SlotTable<M>, 1>, { MAX_SERVICES as usize }>;

#[btf_map]
static SLOTS_TINY: Slots<SIZE_TINY> = ArrayOfMaps::new();

#[btf_map]
static SLOTS_SMALL: Slots<SIZE_SMALL> = ArrayOfMaps::new();

#[btf_map]
static SLOTS_DEFAULT: Slots<SIZE_DEFAULT> = ArrayOfMaps::new();

#[btf_map]
static SLOTS_LARGE: Slots<SIZE_LARGE> = ArrayOfMaps::new();

/// Multipliers of the flow hash, set when the program is loaded; nodes of one cluster share them.
#[unsafe(no_mangle)]
static HASH_KEYS: Keys = Keys([0; 5]);

/// The multipliers, each loaded where it is used.
#[derive(Clone, Copy)]
pub struct HashKeys;

impl Multipliers for HashKeys {
    #[inline(always)]
    fn get(self, index: usize) -> u64 {
        // SAFETY: a place of our own static. Volatile, because the loader writes it behind the compiler's back.
        unsafe { (&raw const HASH_KEYS.0[index]).read_volatile() }
    }
}

/// Slot of a hash in a table of one class, or who owned it before.
#[inline(always)]
fn read<const M: usize>(slots: &'static Slots<M>, service: u32, hash: u64, former: bool) -> Option<u32> {
    let table = slots.get_value(service, &0)?;
    let index = hash::slot_index(hash, M);
    if former {
        // Hidden from the compiler, which would shift and multiply at once and leave the verifier a looser bound.
        let index = core::hint::black_box(index);
        // SAFETY: `slot_index` stays below the size.
        Some(unsafe { *table.prev.as_ptr().add(index) })
    } else {
        // SAFETY: as above.
        Some(unsafe { (*table.cur.as_ptr().add(index)).0 })
    }
}

#[inline(always)]
fn read_any(class: u8, service: u32, hash: u64, former: bool) -> Option<u32> {
    match class {
        CLASS_DEFAULT => read(&SLOTS_DEFAULT, service, hash, former),
        CLASS_TINY => read(&SLOTS_TINY, service, hash, former),
        CLASS_SMALL => read(&SLOTS_SMALL, service, hash, former),
        CLASS_LARGE => read(&SLOTS_LARGE, service, hash, former),
        _ => None,
    }
}

/// The slot of a hash; none while the agent has not published any table.
#[inline(always)]
pub fn of(service: &Service, hash: u64) -> Option<Slot> {
    read_any(service.class, service.id, hash, false).map(Slot)
}

/// The slot of another hash, off the fast path: a function of its own keeps the verifier's work small. A vacant slot if
/// there is no table.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn slot_other(class: u32, service: u32, hash: u64) -> u32 {
    read_any(class as u8, service, hash, false).unwrap_or(0)
}

/// The former owner of the slot of a hash; 0 if there is none.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn slot_former_owner(class: u32, service: u32, hash: u64) -> u32 {
    read_any(class as u8, service, hash, true).unwrap_or(0)
}

/// Slots of a table.
#[inline(always)]
pub const fn size(class: u8) -> u32 {
    match class {
        CLASS_TINY => SIZE_TINY as u32,
        CLASS_SMALL => SIZE_SMALL as u32,
        CLASS_LARGE => SIZE_LARGE as u32,
        _ => SIZE_DEFAULT as u32,
    }
}

/// The hash of the slot at an index.
#[inline(always)]
pub const fn hash_of_index(index: u32, size: u32) -> u64 {
    // The inverse of `slot_index`, rounded up.
    (((index as u64) << 32) / size as u64 + 1) << 32
}

/// The hash that finds a flow's slot, given the flow's own.
#[inline(always)]
pub fn hash<F: Flow>(service: &Service, flow: &F, flow_hash: u64) -> u64 {
    if service.flags & SERVICE_SOURCE_HASH != 0 {
        flow.source_hash(HashKeys, service.source_prefix())
    } else {
        flow_hash
    }
}
