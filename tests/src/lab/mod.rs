//! The packet path in a lab: the real program, run packet by packet, with a clock that stands still until it is set.
//!
//! [`Lab`] runs packets; [`Plane`] is the same kernel maps as the agent's publisher sees them, so that the real
//! publisher, its transitions and its collector work on them in virtual time.

mod plane;
pub(crate) mod sys;

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    rc::Rc,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context as _, Result, anyhow};
use aya::{
    EbpfLoader,
    maps::{Map, MapData},
    programs::Xdp,
};
use aya_obj::generated::bpf_map_type::BPF_MAP_TYPE_LRU_HASH;
use lb_common::{
    addr::FAMILY_V4,
    backend::{BACKEND_PRESENT, BACKEND_RESOLVED, Backend, TARGET_UP},
    connections::Connections,
    event::Event,
    flow::{FlowEntry, FlowKey},
    hash::Keys,
    maps,
    slot::Slot,
};
use lb_userspace::{objects, table::transition::Slots};

use crate::bpffs::Bpffs;
pub use plane::Plane;

/// How connections are kept on their backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Design {
    /// Slots in transition are tracked, all others are not.
    Transitions,
    /// Every flow is recorded in a table of this many entries, where the least recently used gives way.
    Lru(u32),
    /// Nothing is recorded: a flow goes where the newest table says.
    Stateless,
}

/// What to load.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Seed of the hashes.
    pub seed: u64,
    /// How connections are kept.
    pub design: Design,
    /// Room of the flow table, unless the design has one of its own.
    pub max_flows: u32,
    /// Flows that the packet path may record per second.
    pub new_flows_per_second: u32,
    /// The same for each prefix of client addresses.
    pub new_flows_per_source_per_second: u32,
}

/// Backends that the maps of a lab have room for.
pub const MAX_BACKENDS: u32 = 8192;
/// Frames that a program may return, in bytes.
const OUT_BYTES: usize = 256;
/// Longer than anything is remembered.
const DAY_S: u32 = 20_000;
const XDP_TX: u32 = 3;

/// The loaded packet path.
pub struct Lab {
    settings: Settings,
    program: OwnedFd,
    clock: OwnedFd,
    clock_bytes: usize,
    flows: OwnedFd,
    events: OwnedFd,
    backends: OwnedFd,
    liveness: Arc<OwnedFd>,
    /// Where round-robin services are, per CPU; live connections; those given up.
    turns: OwnedFd,
    connections: OwnedFd,
    expired: OwnedFd,
    cpus: usize,
    outer: BTreeMap<&'static str, OwnedFd>,
    down: Arc<Mutex<BTreeSet<u32>>>,
    now_s: Cell<u32>,
    state: RefCell<State>,
}

/// What was written to the maps, and is not read back.
#[derive(Default)]
struct State {
    backends: BTreeMap<u32, Backend>,
    hops: BTreeMap<u32, Backend>,
    tx_ports: BTreeMap<u32, u32>,
    quic: lb_userspace::table::snapshot::QuicIds,
    slots: BTreeMap<(u32, u8), Slots>,
    services: lb_userspace::publish::dataplane::ServiceTables,
    /// Inner maps by outer map and index. They stay where they are and are overwritten: no packet runs meanwhile.
    inner: BTreeMap<(&'static str, u32), OwnedFd>,
    /// What publishers noted for their successors.
    moving_since_s: BTreeMap<u32, u32>,
    attached: BTreeMap<String, lb_userspace::publish::Attached>,
}

impl Lab {
    /// Loads the program.
    pub fn load(settings: Settings) -> Result<Rc<Self>> {
        let bpffs = Bpffs::mount()?;
        let lru_path = bpffs.path().join(maps::FLOWS);
        let keys = Keys::of(settings.seed);
        let mut loader = EbpfLoader::new();
        loader
            .override_global("HASH_KEYS", &keys, true)
            .override_global("LOG_LEVEL", &0u8, true)
            .override_global("VIRTUAL_CLOCK", &1u8, true)
            .override_global("NEW_FLOWS_PER_SECOND", &settings.new_flows_per_second, false)
            .override_global(
                "NEW_FLOWS_PER_SOURCE_PER_SECOND",
                &settings.new_flows_per_source_per_second,
                false,
            );
        for name in [maps::BACKENDS, maps::LIVENESS, maps::FORWARDED] {
            loader.map_max_entries(name, MAX_BACKENDS);
        }
        loader.map_max_entries(maps::FLOWS, settings.max_flows);
        if let Design::Lru(entries) = settings.design {
            // A map that is there takes the place of the program's own, whose type it does not share.
            let kind = BPF_MAP_TYPE_LRU_HASH as u32;
            let map = sys::create_map(kind, size_of::<FlowKey>(), size_of::<FlowEntry>(), entries)?;
            MapData::from_fd(map)?.pin(&lru_path)?;
            loader.map_pin_path(maps::FLOWS, &*lru_path);
        }
        let mut ebpf = loader.load(objects::LB_XDP).context("lb-xdp")?;
        let program: &mut Xdp = ebpf.program_mut("lb").context("no program lb")?.try_into()?;
        program.load().map_err(|error| anyhow!("the verifier refuses lb: {error:?}"))?;
        let program = program.fd()?.as_fd().try_clone_to_owned()?;
        let mut named = BTreeMap::new();
        for (name, map) in ebpf.maps() {
            if let Some(data) = data_of(map) {
                named.insert(name.to_owned(), data.fd().as_fd().try_clone_to_owned()?);
            }
        }
        let mut take = |name: &str| named.remove(name).with_context(|| format!("no map {name}"));
        let outer = [maps::SERVICES_V4, maps::SERVICES_V6].into_iter().chain(maps::SLOTS);
        let clock = take("CLOCK")?;
        Ok(Rc::new(Self {
            settings,
            program,
            clock_bytes: value_size(&clock)?,
            clock,
            flows: take(maps::FLOWS)?,
            events: take(maps::EVENTS)?,
            backends: take(maps::BACKENDS)?,
            liveness: Arc::new(take(maps::LIVENESS)?),
            turns: take(maps::NEXT)?,
            connections: take(maps::CONNECTIONS)?,
            expired: take(maps::EXPIRED)?,
            cpus: aya::util::nr_cpus().map_err(|(path, error)| anyhow!("{path}: {error}"))?,
            outer: outer.map(|name| Ok((name, take(name)?))).collect::<Result<_>>()?,
            down: Arc::default(),
            now_s: Cell::new(0),
            state: RefCell::default(),
        }))
    }

    /// What it was loaded with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The kernel's maps as a data plane to publish to.
    pub fn plane(self: &Rc<Self>) -> Plane {
        Plane::new(Rc::clone(self))
    }

    /// Sets the clock.
    pub fn set_now(&self, now_s: u32) -> Result<()> {
        if self.now_s.replace(now_s) == now_s {
            return Ok(());
        }
        let bytes = u64::from(now_s).to_le_bytes();
        Ok(sys::update(self.clock.as_fd(), &0u32, &bytes[..self.clock_bytes])?)
    }

    /// The clock.
    pub fn now_s(&self) -> u32 {
        self.now_s.get()
    }

    /// Runs the program on a frame. The backend that it was sent to, none if it was not forwarded.
    pub fn send(&self, frame: &[u8]) -> Result<Option<u32>> {
        let mut out = [0; OUT_BYTES];
        let action = sys::test_run(self.program.as_fd(), frame, &mut out)?;
        let [_, _, id @ ..] = [out[0], out[1], out[2], out[3], out[4], out[5]];
        Ok((action == XDP_TX).then_some(u32::from_be_bytes(id)))
    }

    /// All recorded flows.
    pub fn flows(&self) -> Result<Vec<(FlowKey, FlowEntry)>> {
        Ok(sys::walk(self.flows.as_fd())?)
    }

    /// Flows that could not be recorded so far: over a cap, or no room.
    pub fn unrecorded(&self) -> Result<u64> {
        let mut counts = vec![0u64; self.cpus];
        let mut sum = 0;
        for event in Event::ALL.into_iter().filter(|event| event.is_unrecorded()) {
            sys::lookup(self.events.as_fd(), &(event as u32), &mut counts)?;
            sum += counts.iter().sum::<u64>();
        }
        Ok(sum)
    }

    /// Connections of a backend that are live, as tracked services count them.
    pub fn live(&self, backend: u32) -> Result<u64> {
        let (mut connections, mut expired) = ([Connections::default()], [0u64]);
        sys::lookup(self.connections.as_fd(), &backend, &mut connections)?;
        sys::lookup(self.expired.as_fd(), &backend, &mut expired)?;
        Ok(connections[0].live(expired[0]))
    }

    fn clear_connections(&self, backend: u32) -> std::io::Result<()> {
        sys::update(self.connections.as_fd(), &backend, &[Connections::default()])?;
        sys::update(self.expired.as_fd(), &backend, &[0u64])
    }

    /// The slots of a service.
    pub fn slots(&self, service: u32, class: u8) -> Option<Slots> {
        self.state.borrow().slots.get(&(service, class)).cloned()
    }

    /// As newly loaded: no flows, no backends, all targets up. The tables of services stay, but no one knows of them.
    pub fn reset(&self) -> Result<()> {
        for (key, _) in self.flows()? {
            sys::delete(self.flows.as_fd(), &key)?;
        }
        let state = std::mem::take(&mut *self.state.borrow_mut());
        for id in state.backends.keys() {
            sys::update(self.backends.as_fd(), id, &[Backend::default()])?;
            self.clear_connections(*id)?;
        }
        for (service, _) in state.slots.keys() {
            sys::update(self.turns.as_fd(), service, &vec![0u64; self.cpus])?;
        }
        for target in std::mem::take(&mut *lock(&self.down)) {
            sys::update(self.liveness.as_fd(), &target, &[TARGET_UP])?;
        }
        let mut fresh = self.state.borrow_mut();
        (fresh.inner, fresh.services) = (state.inner, state.services);
        // A later day, so that the caps count from zero.
        self.set_now(self.now_s() + DAY_S)
    }

    /// The words that the packet path gets for a table of the publisher's.
    fn words(&self, slots: &Slots) -> Vec<u32> {
        let owners = || slots.curs().map(Slot::backend);
        match self.settings.design {
            Design::Transitions => slots.words().to_vec(),
            // Moving, but from the owner to itself: each flow is looked up and recorded.
            Design::Lru(_) => owners().map(|owner| owner | Slot::MOVING).chain(owners()).collect(),
            Design::Stateless => owners().chain(owners()).collect(),
        }
    }
}

/// A resolved IPv4 backend whose id can be read off the packets that it gets.
pub fn backend(id: u32, target: u32) -> Backend {
    let [a, b, c, d] = id.to_be_bytes();
    Backend {
        next_hop_mac: [2, 0, a, b, c, d],
        source_mac: [2, 0, 0, 2, 0, 0],
        // The loopback, which test packets come in on.
        ifindex: 1,
        target,
        flags: BACKEND_PRESENT | BACKEND_RESOLVED,
        family: FAMILY_V4,
        mtu: 1500,
        ..Backend::default()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whoever panicked with it has failed the test anyway.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn value_size(map: &OwnedFd) -> Result<usize> {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", map.as_raw_fd()))?;
    let size = info.lines().find_map(|line| line.strip_prefix("value_size:")).context("no value_size")?;
    Ok(size.trim().parse()?)
}

fn data_of(map: &Map) -> Option<&MapData> {
    match map {
        Map::Array(data)
        | Map::ArrayOfMaps(data)
        | Map::HashMap(data)
        | Map::LruHashMap(data)
        | Map::PerCpuArray(data)
        | Map::DevMap(data) => Some(data),
        _ => None,
    }
}
