//! The time, real or given.

use aya_ebpf::{Global, btf_maps::Array, helpers::bpf_ktime_get_boot_ns, macros::btf_map};

/// Not 0: the time is what `CLOCK` holds, for tests that need more of it than they can wait for. Set when the program
/// is loaded; with 0 the verifier removes it as dead code.
#[unsafe(no_mangle)]
static VIRTUAL_CLOCK: Global<u8> = Global::new(0);

#[btf_map]
static CLOCK: Array<u32, 1> = Array::new();

const NS_PER_S: u64 = 1_000_000_000;

/// Seconds since boot.
#[inline(always)]
pub fn now_s() -> u32 {
    if VIRTUAL_CLOCK.load() != 0 {
        return CLOCK.get(0).copied().unwrap_or(0);
    }
    // SAFETY: the helper reads a clock and takes no arguments.
    (unsafe { bpf_ktime_get_boot_ns() } / NS_PER_S) as u32
}
