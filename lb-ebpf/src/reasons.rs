//! Counters of the packets that end for a reason rather than at a backend.

use aya_ebpf::{btf_maps::PerCpuArray, macros::btf_map};
use lb_common::{maps::MAX_REASONS, stats::Counter, verdict::Reason};

#[btf_map]
static REASONS: PerCpuArray<Counter, { MAX_REASONS as usize }> = PerCpuArray::new();

/// Counts a packet that ends for a reason. `bytes` is its length as it came in.
#[inline(always)]
pub fn count(reason: Reason, bytes: u64) {
    if let Some(counter) = REASONS.get_ptr_mut(reason as u32) {
        // SAFETY: the counter is this CPU's own, and XDP programs do not interrupt each other on a CPU.
        let counter = unsafe { &mut *counter };
        counter.packets += 1;
        counter.bytes += bytes;
    }
}
