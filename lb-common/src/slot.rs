//! Slots: which backend a share of a service's flows goes to, and the table of them.

/// Table sizes, all prime. A size is also a class of maps: see [`crate::maps`].
pub const SIZE_TINY: usize = 1_021;
/// For hosts with thousands of small services.
pub const SIZE_SMALL: usize = 8_191;
/// Default.
pub const SIZE_DEFAULT: usize = 65_537;
/// For more than about 650 backends, where each should keep a share that is exact to 1%.
pub const SIZE_LARGE: usize = 524_287;
/// The sizes a service may have, ascending; the index is the service's table class.
pub const SIZES: [usize; 4] = [SIZE_TINY, SIZE_SMALL, SIZE_DEFAULT, SIZE_LARGE];
/// Class of [`SIZE_TINY`].
pub const CLASS_TINY: u8 = 0;
/// Class of [`SIZE_SMALL`].
pub const CLASS_SMALL: u8 = 1;
/// Class of [`SIZE_DEFAULT`].
pub const CLASS_DEFAULT: u8 = 2;
/// Class of [`SIZE_LARGE`].
pub const CLASS_LARGE: u8 = 3;

/// The owner of a slot and the slot's state, in one word, so that a steady packet reads just this.
///
/// Bits 0 to 23 are the backend's id (0: none), bit 29 says waiting, bit 30 moving, bit 31 settled. A moving slot's former
/// owner stands in [`SlotTable::prev`] at the same index.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slot(pub u32);

impl Slot {
    /// Bits of the backend's id.
    pub const ID_MASK: u32 = 0x00ff_ffff;
    /// Set only with [`Self::MOVING`]: the former owner's connections await their turn to be recorded. Only those that
    /// begin are, for the new owner; until the turn has come, a miss tells the older ones.
    pub const WAITING: u32 = 1 << 29;
    /// Flow lookup; a miss that begins a connection goes to the owner, any other to the former owner, both recorded.
    pub const MOVING: u32 = 1 << 30;
    /// Flow lookup; a miss goes to the owner.
    pub const SETTLED: u32 = 1 << 31;

    /// A slot at rest.
    #[inline(always)]
    pub const fn steady(backend: u32) -> Self {
        Self(backend & Self::ID_MASK)
    }

    /// Id of the owner; 0 if the slot has none.
    #[inline(always)]
    pub const fn backend(self) -> u32 {
        self.0 & Self::ID_MASK
    }

    /// Whether packets of this slot need no flow lookup.
    #[inline(always)]
    pub const fn is_steady(self) -> bool {
        self.0 & (Self::MOVING | Self::SETTLED) == 0
    }

    /// Whether the slot is changing its owner.
    #[inline(always)]
    pub const fn is_moving(self) -> bool {
        self.0 & Self::MOVING != 0
    }

    /// Whether the slot is changing its owner and only connections that begin are recorded yet.
    #[inline(always)]
    pub const fn is_waiting(self) -> bool {
        self.0 & Self::WAITING != 0
    }

    /// Whether the slot has its owner but exceptions may stand in the flow table.
    #[inline(always)]
    pub const fn is_settled(self) -> bool {
        self.0 & Self::SETTLED != 0
    }
}

/// The slots of a service: the value of its slot map's only element, published as a whole.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct SlotTable<const M: usize> {
    /// Owner and state of each slot.
    pub cur: [Slot; M],
    /// Former owner of each moving slot, equal to the owner elsewhere. Read only for moving slots.
    pub prev: [u32; M],
}

const _: () = assert!(size_of::<SlotTable<SIZE_DEFAULT>>() == 8 * SIZE_DEFAULT);
