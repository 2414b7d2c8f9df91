//! The short way of health: from the checks to the packet path, past everything that may take time.

use tokio::sync::{mpsc, watch};

use crate::{
    health::{self, Targets},
    publish::{Liveness, Moment},
};

/// A change of health that is in the packet path already.
#[derive(Debug)]
pub struct Heard {
    pub(super) event: health::Event,
    /// When it was put there; none if that failed, so that the next snapshot does it.
    pub(super) decided: Option<Moment>,
}

/// Puts each change of health in the packet path at once, and hands it on to the core. Never waits for the core. Ends
/// with the checks or the core.
pub async fn relay(
    mut events: mpsc::Receiver<health::Event>,
    targets: watch::Receiver<Targets>,
    liveness: Liveness,
    core: mpsc::UnboundedSender<Heard>,
) {
    while let Some(event) = events.recv().await {
        // The index may have been given to another target while the event was on its way.
        let current = targets.borrow().get(&event.id) == Some(&event.target);
        if !current {
            continue;
        }
        let decided = liveness
            .set(event.id, event.up)
            .inspect_err(|error| log::error!("liveness of {}: {error}", event.target.address))
            .ok();
        if core.send(Heard { event, decided }).is_err() {
            return;
        }
    }
}
