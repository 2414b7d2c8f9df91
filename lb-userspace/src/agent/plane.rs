//! The packet path behind a thread: its updates block for milliseconds, which no async task should.

use std::{collections::BTreeMap, sync::mpsc as blocking, thread, time::Instant};

use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    api::view::{AttachedView, SlotsView},
    config,
    desired::model::AttachMode,
    error::Error,
    publish::{Attached, Publisher, SlotStates, dataplane::DataPlane},
    table::snapshot::Snapshot,
};

/// The packet path, as far as the agent needs it. The kernel's is [`crate::publish::Publisher`].
pub trait Plane: Send + 'static {
    /// Makes the packet path hold a snapshot.
    ///
    /// # Errors
    /// The kernel refused; what was done stays valid, and the next call repairs the rest.
    fn apply(&mut self, snapshot: &Snapshot) -> Result<(), Error>;
    /// Ends quiet periods, collects flows.
    ///
    /// # Errors
    /// The kernel refused.
    fn tick(&mut self) -> Result<(), Error>;
    /// Takes packets from an interface.
    ///
    /// # Errors
    /// Why that can't be.
    fn attach(&mut self, interface: &str, mode: AttachMode) -> Result<AttachedView, Error>;
    /// Takes no more packets from an interface.
    ///
    /// # Errors
    /// Why that can't be.
    fn detach(&mut self, interface: &str) -> Result<(), Error>;
    /// Where packets are taken from.
    fn attached(&self) -> Vec<AttachedView>;
    /// State of the slots of a service, if it is published.
    fn slots(&self, service: u32) -> Option<SlotsView>;
    /// Slots that each backend of a service owns, by backend id.
    fn owners(&self, service: u32) -> BTreeMap<u32, u32>;
}

impl<P: DataPlane + Send + 'static> Plane for Publisher<P> {
    fn apply(&mut self, snapshot: &Snapshot) -> Result<(), Error> {
        let applied = Self::apply(self, snapshot)?;
        log::debug!("published: {applied:?}");
        Ok(())
    }

    fn tick(&mut self) -> Result<(), Error> {
        Self::tick(self)
    }

    fn attach(&mut self, interface: &str, mode: AttachMode) -> Result<AttachedView, Error> {
        Self::attach(self, interface, mode).map(AttachedView::from)
    }

    fn detach(&mut self, interface: &str) -> Result<(), Error> {
        Self::detach(self, interface)
    }

    fn attached(&self) -> Vec<AttachedView> {
        Self::attached(self).into_iter().map(AttachedView::from).collect()
    }

    fn slots(&self, service: u32) -> Option<SlotsView> {
        let SlotStates { steady, moving, settled, tracked_flows } = self.slot_states(service)?;
        Some(SlotsView { steady, moving, settled, tracked_flows })
    }

    fn owners(&self, service: u32) -> BTreeMap<u32, u32> {
        self.owned_slots(service)
    }
}

impl From<Attached> for AttachedView {
    fn from(attached: Attached) -> Self {
        let Attached { ifname, ifindex, mode, note } = attached;
        Self { name: ifname, ifindex, mode: mode.name().to_owned(), note }
    }
}

/// What was last seen of the packet path.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Where packets are taken from.
    pub attached: Vec<AttachedView>,
    /// State of the slots by service id.
    pub slots: BTreeMap<u32, SlotsView>,
    /// Slots owned, by backend id.
    pub owners: BTreeMap<u32, u32>,
    /// Whether a snapshot was published since the agent started.
    pub published: bool,
    /// What the last round of upkeep ran into.
    pub problem: Option<String>,
}

/// A snapshot has been dealt with.
#[derive(Debug)]
pub(super) struct Done {
    /// Number that the snapshot was given.
    pub generation: u64,
    /// What was published.
    pub snapshot: Box<Snapshot>,
    /// Whether that went well.
    pub result: Result<(), Error>,
}

enum Order {
    Apply(u64, Box<Snapshot>),
    Attach(String, AttachMode, oneshot::Sender<Result<AttachedView, Error>>),
    Detach(String, oneshot::Sender<Result<(), Error>>),
}

/// The way to the thread. The thread ends when this is dropped.
#[derive(Debug)]
pub(super) struct PlaneHandle {
    orders: blocking::Sender<Order>,
    /// What was last seen.
    pub seen: watch::Receiver<Seen>,
}

/// Starts the thread; snapshots that are dealt with arrive at the second part.
pub(super) fn start(plane: impl Plane) -> Result<(PlaneHandle, mpsc::Receiver<Done>), Error> {
    let (orders, arriving) = blocking::channel();
    let (done, finished) = mpsc::channel(4);
    let (look, seen) = watch::channel(Seen { attached: plane.attached(), ..Seen::default() });
    thread::Builder::new()
        .name("publish".to_owned())
        .spawn(move || serve(plane, &arriving, &done, &look))
        .map_err(|error| Error::failed(format!("start a thread: {error}")))?;
    Ok((PlaneHandle { orders, seen }, finished))
}

impl PlaneHandle {
    /// Orders a snapshot; [`Done`] follows with the same number.
    pub(super) fn apply(&self, generation: u64, snapshot: Snapshot) -> Result<(), Error> {
        self.orders.send(Order::Apply(generation, Box::new(snapshot))).map_err(|_| gone())
    }

    pub(super) async fn attach(&self, interface: &str, mode: AttachMode) -> Result<AttachedView, Error> {
        let (answer, answered) = oneshot::channel();
        self.orders.send(Order::Attach(interface.to_owned(), mode, answer)).map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }

    pub(super) async fn detach(&self, interface: &str) -> Result<(), Error> {
        let (answer, answered) = oneshot::channel();
        self.orders.send(Order::Detach(interface.to_owned(), answer)).map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

/// What is left to say when the thread is not there any more.
pub(super) fn gone() -> Error {
    Error::failed("the publishing thread has ended; restart the agent")
}

/// The thread: orders in turn, upkeep between them.
fn serve(
    mut plane: impl Plane,
    orders: &blocking::Receiver<Order>,
    done: &mpsc::Sender<Done>,
    look: &watch::Sender<Seen>,
) {
    let mut services: Option<Vec<u32>> = None;
    let mut next_tick = Instant::now() + config::TICK;
    let mut problem = None;
    loop {
        match orders.recv_timeout(next_tick.saturating_duration_since(Instant::now())) {
            Ok(Order::Apply(generation, snapshot)) => {
                let result = plane.apply(&snapshot);
                services = Some(snapshot.services.keys().copied().collect());
                look.send_replace(see(&plane, services.as_deref(), problem.clone()));
                // The core waits for each; it is gone if this fails.
                let _ = done.blocking_send(Done { generation, snapshot, result });
            }
            Ok(Order::Attach(interface, mode, answer)) => {
                let result = plane.attach(&interface, mode);
                look.send_replace(see(&plane, services.as_deref(), problem.clone()));
                let _ = answer.send(result);
            }
            Ok(Order::Detach(interface, answer)) => {
                let result = plane.detach(&interface);
                look.send_replace(see(&plane, services.as_deref(), problem.clone()));
                let _ = answer.send(result);
            }
            Err(blocking::RecvTimeoutError::Timeout) => {}
            Err(blocking::RecvTimeoutError::Disconnected) => return,
        }
        if Instant::now() >= next_tick {
            problem = plane.tick().err().map(|error| error.message);
            look.send_replace(see(&plane, services.as_deref(), problem.clone()));
            next_tick = Instant::now() + config::TICK;
        }
    }
}

fn see(plane: &impl Plane, published: Option<&[u32]>, problem: Option<String>) -> Seen {
    let services = published.unwrap_or_default();
    Seen {
        attached: plane.attached(),
        slots: services.iter().filter_map(|id| Some((*id, plane.slots(*id)?))).collect(),
        owners: services.iter().flat_map(|id| plane.owners(*id)).collect(),
        published: published.is_some(),
        problem,
    }
}
