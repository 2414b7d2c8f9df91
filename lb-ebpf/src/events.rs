//! Counters of what happens to packets without ending their way.

use aya_ebpf::{btf_maps::PerCpuArray, macros::btf_map};
use lb_common::{event::Event, maps::MAX_EVENTS};

#[btf_map]
static EVENTS: PerCpuArray<u64, { MAX_EVENTS as usize }> = PerCpuArray::new();

/// Counts an event.
#[inline(always)]
pub fn count(event: Event) {
    if let Some(counter) = EVENTS.get_ptr_mut(event as u32) {
        // SAFETY: the counter is this CPU's own, and XDP programs do not interrupt each other on a CPU.
        unsafe { *counter += 1 };
    }
}
