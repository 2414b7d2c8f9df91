//! The quick way out of rotation: one store per target, past the queue of everything else.

use std::sync::Arc;

use crate::error::Error;

type Store = dyn Fn(u32, bool) -> Result<(), Error> + Send + Sync;

/// Sets targets up or down. Clones reach the same map, from any thread.
#[derive(Clone)]
pub struct Liveness {
    store: Arc<Store>,
}

impl Liveness {
    /// A handle that stores through this function.
    pub fn new(store: impl Fn(u32, bool) -> Result<(), Error> + Send + Sync + 'static) -> Self {
        Self { store: Arc::new(store) }
    }

    /// Marks a target; the packet path follows with its next packet.
    ///
    /// # Errors
    /// If the target's number is beyond the map, or the kernel refuses.
    pub fn set(&self, target: u32, up: bool) -> Result<(), Error> {
        (self.store)(target, up)
    }
}

impl std::fmt::Debug for Liveness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Liveness")
    }
}
