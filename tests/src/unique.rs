//! Names that no other run on this machine uses.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    process,
    sync::atomic::{AtomicU32, Ordering},
};

/// A name made of the process, a counter and a random number, such as `lb-4242-1-7f3a9c`.
pub fn name() -> String {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let counter = COUNTER.fetch_add(1, Ordering::Relaxed);
    let random = RandomState::new().build_hasher().finish() & 0xff_ffff;
    format!("lb-{}-{counter}-{random:06x}", process::id())
}
