//! The packet path behind a thread: its updates block for milliseconds, which no async task should.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::mpsc as blocking,
    thread,
    time::Instant,
};

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
    /// Backends that a service's table names: owners, and former owners of moving slots.
    fn named(&self, service: u32) -> BTreeSet<u32>;
    /// Flows of a backend in the flow table, as of the last walk.
    fn flows(&self, backend: u32) -> u64;
    /// What a snapshot would change. Nothing is changed.
    ///
    /// # Errors
    /// The packet path can't be read.
    fn preview(&mut self, snapshot: &Snapshot) -> Result<Previews, Error>;
    /// Reads again what the packet path holds, so that the next snapshot repairs what others changed.
    ///
    /// # Errors
    /// It can't be read.
    fn resync(&mut self) -> Result<(), Error>;
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
        let SlotStates { steady, moving, waiting, turns_left, settled, tracked_flows } =
            self.slot_states(service)?;
        let quiet_left_s =
            self.quiet_left(service).map(|left| u32::try_from(left.as_secs()).unwrap_or(u32::MAX));
        Some(SlotsView { steady, moving, waiting, turns_left, settled, tracked_flows, quiet_left_s })
    }

    fn owners(&self, service: u32) -> BTreeMap<u32, u32> {
        self.owned_slots(service)
    }

    fn named(&self, service: u32) -> BTreeSet<u32> {
        self.named_backends(service)
    }

    fn flows(&self, backend: u32) -> u64 {
        // Those that the client has closed included: the backend may still send.
        self.tracked_flows(backend)
    }

    fn preview(&mut self, snapshot: &Snapshot) -> Result<Previews, Error> {
        let services = Self::preview(self, snapshot)?.services.into_iter();
        Ok(services.map(|(id, of)| (id, (of.moved, of.flows))).collect())
    }

    fn resync(&mut self) -> Result<(), Error> {
        Self::resync(self)
    }
}

impl From<Attached> for AttachedView {
    fn from(attached: Attached) -> Self {
        let Attached { ifname, ifindex, mode, note } = attached;
        Self { name: ifname, ifindex, mode: mode.name().to_owned(), note }
    }
}

/// What would change: slots that get another owner, and tracked flows in them, by service id.
pub type Previews = BTreeMap<u32, (u32, u64)>;

/// What was last seen of the packet path.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Where packets are taken from.
    pub attached: Vec<AttachedView>,
    /// State of the slots by service id.
    pub slots: BTreeMap<u32, SlotsView>,
    /// Slots owned, by backend id.
    pub owners: BTreeMap<u32, u32>,
    /// Backends that a table names: owners, and former owners of moving slots.
    pub named: BTreeSet<u32>,
    /// Whether a snapshot was published since the agent started.
    pub published: bool,
    /// Tracked flows by backend id.
    pub flows: BTreeMap<u32, u64>,
    /// Whether the flow table has been walked since the agent's start.
    pub walked: bool,
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
    Resync,
    Preview(Box<Snapshot>, oneshot::Sender<Result<Previews, Error>>),
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

    /// What a snapshot would change.
    pub(super) async fn preview(&self, snapshot: Snapshot) -> Result<Previews, Error> {
        let (answer, answered) = oneshot::channel();
        self.orders.send(Order::Preview(Box::new(snapshot), answer)).map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }

    /// Has everything compared anew before the next snapshot.
    pub(super) fn resync(&self) -> Result<(), Error> {
        self.orders.send(Order::Resync).map_err(|_| gone())
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
    plane: impl Plane,
    orders: &blocking::Receiver<Order>,
    done: &mpsc::Sender<Done>,
    look: &watch::Sender<Seen>,
) {
    let mut upkeep = Upkeep { plane, services: None, backends: Vec::new(), walked: false, problem: None };
    let mut next_tick = Instant::now() + config::TICK;
    loop {
        match orders.recv_timeout(next_tick.saturating_duration_since(Instant::now())) {
            Ok(order) => upkeep.obey(order, done, look),
            Err(blocking::RecvTimeoutError::Timeout) => {}
            Err(blocking::RecvTimeoutError::Disconnected) => return,
        }
        if Instant::now() >= next_tick {
            upkeep.tick();
            look.send_replace(upkeep.see());
            next_tick = Instant::now() + config::TICK;
        }
    }
}

/// What the thread knows.
struct Upkeep<P> {
    plane: P,
    /// Ids of what was published last; no services: nothing was yet.
    services: Option<Vec<u32>>,
    backends: Vec<u32>,
    walked: bool,
    problem: Option<String>,
}

impl<P: Plane> Upkeep<P> {
    fn obey(&mut self, order: Order, done: &mpsc::Sender<Done>, look: &watch::Sender<Seen>) {
        match order {
            Order::Apply(generation, snapshot) => {
                let result = self.plane.apply(&snapshot);
                self.services = Some(snapshot.services.keys().copied().collect());
                self.backends = snapshot.backends.keys().copied().collect();
                look.send_replace(self.see());
                // The core waits for each; it is gone if this fails.
                let _ = done.blocking_send(Done { generation, snapshot, result });
            }
            Order::Preview(snapshot, answer) => {
                // The client may have gone.
                let _ = answer.send(self.plane.preview(&snapshot));
            }
            Order::Resync => self.problem = self.plane.resync().err().map(|error| error.message),
            Order::Attach(interface, mode, answer) => {
                let result = self.plane.attach(&interface, mode);
                look.send_replace(self.see());
                let _ = answer.send(result);
            }
            Order::Detach(interface, answer) => {
                let result = self.plane.detach(&interface);
                look.send_replace(self.see());
                let _ = answer.send(result);
            }
        }
    }

    fn tick(&mut self) {
        let result = self.plane.tick();
        self.walked |= result.is_ok();
        self.problem = result.err().map(|error| error.message);
    }

    fn see(&self) -> Seen {
        let Self { plane, services, backends, walked, problem } = self;
        let ids = services.as_deref().unwrap_or_default();
        Seen {
            attached: plane.attached(),
            slots: ids.iter().filter_map(|id| Some((*id, plane.slots(*id)?))).collect(),
            owners: ids.iter().flat_map(|id| plane.owners(*id)).collect(),
            named: ids.iter().flat_map(|id| plane.named(*id)).collect(),
            flows: backends
                .iter()
                .map(|id| (*id, plane.flows(*id)))
                .filter(|(_, flows)| *flows > 0)
                .collect(),
            published: services.is_some(),
            walked: *walked,
            problem: problem.clone(),
        }
    }
}
