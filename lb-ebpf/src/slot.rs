//! Which share of its service's flows a flow belongs to, and who owns that share.

use aya_ebpf::{
    Global,
    btf_maps::{Array, ArrayOfMaps},
    macros::btf_map,
};
use lb_common::{
    hash,
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

/// Seed of the flow hash, set when the program is loaded; nodes of one cluster share it.
#[unsafe(no_mangle)]
static SEED: Global<u64> = Global::new(0);

/// Seed of the flow hash.
#[inline(always)]
pub fn seed() -> u64 {
    SEED.load()
}

/// One generation of a service's slots, whichever its size.
#[derive(Clone, Copy)]
pub struct Table {
    cur: *const Slot,
    prev: *const u32,
    size: usize,
}

impl Table {
    #[inline(always)]
    fn of<const M: usize>(slots: &'static Slots<M>, service: u32) -> Option<Self> {
        let table = slots.get_value(service, &0)?;
        Some(Self { cur: table.cur.as_ptr(), prev: table.prev.as_ptr(), size: M })
    }

    /// The slot of a hash.
    #[inline(always)]
    pub fn slot(&self, hash: u64) -> Slot {
        // SAFETY: `slot_index` stays below the size that the table was found by.
        unsafe { *self.cur.add(hash::slot_index(hash, self.size)) }
    }

    /// The former owner of the slot of a hash.
    #[inline(always)]
    pub fn former_owner(&self, hash: u64) -> u32 {
        // SAFETY: as above.
        unsafe { *self.prev.add(hash::slot_index(hash, self.size)) }
    }
}

/// The slots of a service; none while the agent has not published any.
#[inline(always)]
pub fn table(service: &Service) -> Option<Table> {
    match service.class {
        CLASS_DEFAULT => Table::of(&SLOTS_DEFAULT, service.id),
        CLASS_TINY => Table::of(&SLOTS_TINY, service.id),
        CLASS_SMALL => Table::of(&SLOTS_SMALL, service.id),
        CLASS_LARGE => Table::of(&SLOTS_LARGE, service.id),
        _ => None,
    }
}

/// The hash that finds a flow's slot, given the flow's own.
#[inline(always)]
pub fn hash<F: Flow>(service: &Service, flow: &F, flow_hash: u64) -> u64 {
    if service.flags & SERVICE_SOURCE_HASH != 0 { flow.source_hash(seed()) } else { flow_hash }
}
