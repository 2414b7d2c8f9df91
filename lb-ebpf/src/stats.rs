//! Counters of forwarded packets, one update per packet: a service's numbers are the sums of its backends'.

use aya_ebpf::{btf_maps::PerCpuArray, macros::btf_map};
use lb_common::{maps::MAX_BACKENDS, stats::Counter};

#[btf_map]
static FORWARDED: PerCpuArray<Counter, { MAX_BACKENDS as usize }> = PerCpuArray::new();

/// Counts a packet that goes to a backend. `bytes` is its length as it came in.
#[inline(always)]
pub fn count_forwarded(backend: u32, bytes: u64) {
    if let Some(counter) = FORWARDED.get_ptr_mut(backend) {
        // SAFETY: the counter is this CPU's own, and XDP programs do not interrupt each other on a CPU.
        let counter = unsafe { &mut *counter };
        counter.packets += 1;
        counter.bytes += bytes;
    }
}
