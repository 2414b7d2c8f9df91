//! Log lines about packets, for debugging. With [`LOG_LEVEL`] 0 the verifier removes them as dead code.

use aya_ebpf::{Global, programs::XdpContext};
use aya_log_ebpf::info;
use lb_common::verdict::Reason;

/// What is logged, set when the program is loaded: 0 nothing, 1 drops, 2 every packet.
#[unsafe(no_mangle)]
static LOG_LEVEL: Global<u8> = Global::new(0);

const DROPS: u8 = 1;
const EVERYTHING: u8 = 2;

/// Logs a packet that ended for a reason.
#[inline(always)]
pub fn reason(ctx: &XdpContext, reason: Reason, bytes: u64) {
    let wanted = if reason.is_drop() { DROPS } else { EVERYTHING };
    if LOG_LEVEL.load() >= wanted {
        info!(ctx, "{} bytes: reason {}", bytes, reason as u32);
    }
}

/// Logs a forwarded packet.
#[inline(always)]
pub fn forwarded(ctx: &XdpContext, backend: u32, bytes: u64) {
    if LOG_LEVEL.load() >= EVERYTHING {
        info!(ctx, "{} bytes: backend {}", bytes, backend);
    }
}
