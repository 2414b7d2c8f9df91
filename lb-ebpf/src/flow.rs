//! The flow table: flows that an owner other than their slot's keeps, and those that began while the slot moved.

use aya_ebpf::{
    bindings::{BPF_ANY, BPF_F_NO_PREALLOC},
    btf_maps::HashMap,
    helpers::bpf_ktime_get_boot_ns,
    macros::btf_map,
};
use lb_common::{
    flow::{FLOW_FIN, FLOW_RST, FlowEntry, FlowKey},
    maps::MAX_FLOWS,
};

use lb_ebpf::packet::{TCP_FIN, TCP_RST, TCP_SYN};

#[btf_map]
static FLOWS: HashMap<FlowKey, FlowEntry, { MAX_FLOWS as usize }, { BPF_F_NO_PREALLOC as usize }> =
    HashMap::new();

const NS_PER_S: u64 = 1_000_000_000;

/// Seconds since boot, the clock of [`FlowEntry::last_seen_s`].
#[inline(always)]
fn now_s() -> u32 {
    // SAFETY: the helper reads a clock and takes no arguments.
    (unsafe { bpf_ktime_get_boot_ns() } / NS_PER_S) as u32
}

/// The backend that a flow is recorded with, and notes that it was seen. An entry that another service left behind is
/// as good as none.
#[inline(always)]
pub fn find(key: &FlowKey, service: u32, tcp_flags: u8) -> Option<u32> {
    let entry = FLOWS.get_ptr_mut(key)?;
    // SAFETY: the kernel keeps the entry's memory until this program has ended. Other CPUs may write the same entry;
    // each field is one word, and any of the values written is right.
    let entry = unsafe { &mut *entry };
    if entry.service != service {
        return None;
    }
    let now_s = now_s();
    if entry.last_seen_s != now_s {
        entry.last_seen_s = now_s;
    }
    let flags = closing_flags(entry.flags, tcp_flags);
    if entry.flags != flags {
        entry.flags = flags;
    }
    Some(entry.backend)
}

/// Records the backend of a flow; false if the table is full.
#[inline(always)]
pub fn record(key: &FlowKey, service: u32, backend: u32, tcp_flags: u8) -> bool {
    let entry = FlowEntry { backend, service, last_seen_s: now_s(), flags: closing_flags(0, tcp_flags) };
    FLOWS.insert(key, entry, u64::from(BPF_ANY)).is_ok()
}

/// The entry's flags after a packet: a FIN or RST stays until a SYN begins the connection anew.
#[inline(always)]
fn closing_flags(flags: u32, tcp_flags: u8) -> u32 {
    let mut flags = if tcp_flags & TCP_SYN != 0 { 0 } else { flags };
    if tcp_flags & TCP_FIN != 0 {
        flags |= FLOW_FIN;
    }
    if tcp_flags & TCP_RST != 0 {
        flags |= FLOW_RST;
    }
    flags
}
