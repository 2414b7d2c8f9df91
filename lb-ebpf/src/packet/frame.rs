//! The bounds of a frame, and loads and stores within them.

use aya_ebpf::programs::XdpContext;

/// Where the frame begins and ends, as addresses.
pub struct Frame {
    /// Address of the first byte.
    pub start: usize,
    /// Address after the last byte.
    pub end: usize,
}

impl Frame {
    /// The frame as it is now; stale once its head has been moved.
    #[inline(always)]
    pub fn of(ctx: &XdpContext) -> Self {
        Self { start: ctx.data(), end: ctx.data_end() }
    }

    /// Whether `length` bytes at address `at` lie in the frame. The verifier lets nothing be read or written that no
    /// such comparison has covered.
    #[inline(always)]
    pub fn holds(&self, at: usize, length: usize) -> bool {
        at + length <= self.end
    }
}

/// Length of the frame in bytes, with its Ethernet header.
#[inline(always)]
pub fn frame_len(ctx: &XdpContext) -> u64 {
    (ctx.data_end() - ctx.data()) as u64
}

/// Loads a value from the frame.
///
/// # Safety
/// [`Frame::holds`] said yes for these bytes.
#[inline(always)]
pub unsafe fn load<T: Copy>(at: usize) -> T {
    let pointer = at as *const T;
    if cfg!(target_arch = "bpf") {
        // SAFETY: readable as the caller promises. BPF loads need no alignment on the machines that run XDP; a load
        // that is declared unaligned would be taken apart into bytes.
        unsafe { pointer.read() }
    } else {
        // SAFETY: readable as the caller promises.
        unsafe { pointer.read_unaligned() }
    }
}

/// Stores a value in the frame.
///
/// # Safety
/// [`Frame::holds`] said yes for these bytes.
#[inline(always)]
pub unsafe fn store<T: Copy>(at: usize, value: T) {
    let pointer = at as *mut T;
    if cfg!(target_arch = "bpf") {
        // SAFETY: writable as the caller promises; for the alignment see `load`.
        unsafe { pointer.write(value) }
    } else {
        // SAFETY: writable as the caller promises.
        unsafe { pointer.write_unaligned(value) }
    }
}
