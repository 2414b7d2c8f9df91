//! Live connections of the backends of tracked services, counted by all CPUs together.

use aya_ebpf::{btf_maps::Array, macros::btf_map};
use lb_common::{
    connections::Connections,
    flow::{FLOW_CLOSED, FLOW_FIN, FLOW_OPENED, FLOW_RST, FlowEntry},
    maps::MAX_BACKENDS,
};

#[btf_map]
static CONNECTIONS: Array<Connections, { MAX_BACKENDS as usize }> = Array::new();

#[btf_map]
static EXPIRED: Array<u64, { MAX_BACKENDS as usize }> = Array::new();

/// Connections of a backend that are live. Exact when no CPU is counting at the same moment; off by those that do.
#[inline(always)]
pub fn live(backend: u32) -> u64 {
    let connections = CONNECTIONS.get(backend).copied().unwrap_or_default();
    connections.live(EXPIRED.get(backend).copied().unwrap_or(0))
}

/// Counts a connection that begins on a backend.
#[inline(always)]
pub fn open(backend: u32) {
    if let Some(connections) = CONNECTIONS.get_ptr_mut(backend) {
        // SAFETY: the kernel keeps array values; every CPU adds atomically.
        unsafe { add_one(&raw mut (*connections).opened) };
    }
}

/// Counts a connection that ends on a backend.
#[inline(always)]
fn close(backend: u32) {
    if let Some(connections) = CONNECTIONS.get_ptr_mut(backend) {
        // SAFETY: as above.
        unsafe { add_one(&raw mut (*connections).closed) };
    }
}

/// Counts what a packet does to a recorded connection, once each way: it ends with the first FIN or RST, which
/// [`crate::flow::Record::find`] has noted, and begins again with a packet that `opens` one.
#[inline(always)]
pub fn follow(entry: &mut FlowEntry, opens: bool) {
    if opens {
        if !entry.is_live() {
            entry.flags = (entry.flags | FLOW_OPENED) & !FLOW_CLOSED;
            open(entry.backend);
        }
    } else if entry.is_live() && entry.flags & (FLOW_FIN | FLOW_RST) != 0 {
        entry.flags |= FLOW_CLOSED;
        close(entry.backend);
    }
}

/// Ends a recorded connection whose entry is given to another.
#[inline(always)]
pub fn end(entry: &mut FlowEntry) {
    if entry.is_live() {
        entry.flags |= FLOW_CLOSED;
        close(entry.backend);
    }
}

/// Gives a recorded connection to another backend.
#[inline(always)]
pub fn reassign(entry: &mut FlowEntry, backend: u32) {
    if entry.is_live() {
        close(entry.backend);
        open(backend);
    }
    entry.backend = backend;
}

/// Adds one to a counter that all CPUs share.
///
/// # Safety
/// The counter can be written, and is only written atomically.
#[inline(always)]
unsafe fn add_one(counter: *mut u64) {
    #[cfg(target_arch = "bpf")]
    {
        use core::intrinsics::{AtomicOrdering, atomic_xadd};
        // SAFETY: as the caller promises.
        unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(counter, 1) };
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        use core::sync::atomic::{AtomicU64, Ordering};
        // SAFETY: as the caller promises.
        unsafe { AtomicU64::from_ptr(counter) }.fetch_add(1, Ordering::Relaxed);
    }
}
