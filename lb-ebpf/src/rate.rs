//! Caps of new flow entries per second: a flood must not fill the flow table.

use aya_ebpf::{
    Global,
    btf_maps::{Array, PerCpuArray},
    macros::btf_map,
};
use lb_common::{event::Event, maps::RATE_SOURCES, rate::Window};

/// New entries per second on this CPU; the agent divides its cap by the number of CPUs. Set when the program is loaded.
#[unsafe(no_mangle)]
static NEW_FLOWS_PER_SECOND: Global<u32> = Global::new(u32::MAX);

/// New entries per second of clients nearby, on all CPUs. Set when the program is loaded.
#[unsafe(no_mangle)]
static NEW_FLOWS_PER_SOURCE_PER_SECOND: Global<u32> = Global::new(u32::MAX);

#[btf_map]
static RATE_GLOBAL: PerCpuArray<Window, 1> = PerCpuArray::new();

#[btf_map]
static RATE_SOURCE: Array<Window, { RATE_SOURCES as usize }> = Array::new();

/// Takes a new entry from the allowance of this second. `group_hash` is the hash of the clients nearby, who share one.
///
/// # Errors
/// Which cap forbids it.
#[inline(always)]
pub fn take(group_hash: u64, now_s: u32) -> Result<(), Event> {
    // The group is asked first, so that the flood of one does not use up what is for all.
    if let Some(window) = RATE_SOURCE.get_ptr_mut((group_hash >> 32) as u32 & (RATE_SOURCES - 1)) {
        // SAFETY: the kernel keeps array values. Other CPUs may count in the same window; a few more then pass.
        let window = unsafe { &mut *window };
        if !allows(window, NEW_FLOWS_PER_SOURCE_PER_SECOND.load(), now_s) {
            return Err(Event::CappedSource);
        }
    }
    if !is_allowed(&RATE_GLOBAL, NEW_FLOWS_PER_SECOND.load(), now_s) {
        return Err(Event::CappedGlobal);
    }
    Ok(())
}

/// Counts in this CPU's window unless it is full; whether it did.
#[inline(always)]
pub fn is_allowed(windows: &'static PerCpuArray<Window, 1>, cap: u32, now_s: u32) -> bool {
    let Some(window) = windows.get_ptr_mut(0) else { return false };
    // SAFETY: the window is this CPU's own, and XDP programs do not interrupt each other on a CPU.
    allows(unsafe { &mut *window }, cap, now_s)
}

/// Counts in a window unless it is full; whether it did.
#[inline(always)]
fn allows(window: &mut Window, cap: u32, now_s: u32) -> bool {
    if window.second != now_s {
        *window = Window { second: now_s, count: 0 };
    }
    let below = window.count < cap;
    if below {
        window.count += 1;
    }
    below
}
