//! Runs the packet path on single packets (BPF_PROG_TEST_RUN) in a described world of services and backends.

mod run;
mod decap;

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    os::fd::{AsFd as _, AsRawFd as _},
};

use anyhow::{Context as _, Result, anyhow, bail};
use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, ArrayOfMaps, HashMap, Map, MapData, MapInfo, PerCpuArray, xdp::DevMap},
    programs::{ProgramFd, Xdp, xdp::XdpMode},
};
use lb_common::{
    backend::{Backend, TARGET_DOWN},
    connections::Connections,
    cuckoo,
    event::Event,
    flow::{FlowEntry, FlowKey},
    hash::Keys,
    maps,
    nat::{Pool, Translation},
    quic::{Layout, ServerKey},
    service::{KeyV4, KeyV6, Service, ServiceTableV4, ServiceTableV6},
    slot::{SIZES, Slot},
    stats::Counter,
    verdict::Reason,
    wide::PortRange,
};
use lb_userspace::objects;

pub use self::decap::{DECAP_GUE_PORT, Decap};
use self::run::{counters_of, delta, fill_stages, load_program, run};
use crate::batch;
pub use crate::world::{SOURCE, Slots, World, WorldService, backend, raw};

/// What a program decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// XDP_ABORTED; never wanted.
    Aborted,
    /// XDP_DROP
    Drop,
    /// XDP_PASS
    Pass,
    /// XDP_TX
    Transmit,
    /// XDP_REDIRECT
    Redirect,
}

/// Which counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Label {
    /// Forwarded to the backend of this id.
    Forwarded(u32),
    /// Ended for the reason of this number.
    Reason(u32),
}

impl From<Reason> for Label {
    fn from(reason: Reason) -> Self {
        Self::Reason(reason as u32)
    }
}

/// Counters that are not zero.
pub type Counters = BTreeMap<Label, Counter>;

/// What became of one packet.
#[derive(Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The program's verdict.
    pub action: Action,
    /// The frame afterwards.
    pub bytes: Vec<u8>,
    /// What all counters grew by; those that did not are absent.
    pub counted: Counters,
}

/// Backends that the runner's counter map has room for.
pub const BACKENDS: u32 = 256;

/// Services whose tables are open at the same time: fewer than a process may have files.
const SERVICES_AT_ONCE: usize = 256;

/// The balancer, loaded with a world.
pub struct Balancer {
    ebpf: Ebpf,
    before: Counters,
    /// Size of the values of all inner maps.
    inner_bytes: u64,
}

impl Balancer {
    /// Loads the program and fills its maps.
    pub fn load(world: &World) -> Result<Self> {
        let mut loader = EbpfLoader::new();
        // Fewer counters to compare after each packet.
        loader.map_max_entries(maps::FORWARDED, BACKENDS);
        // The index of an empty one takes 32 MB.
        loader.map_max_entries(maps::TRANSLATIONS, world.max_translations.unwrap_or(4_096));
        Self::load_by(loader, objects::LB_XDP, world, &Keys::of(world.seed))
    }

    /// Loads a program, this build's or another's, with every map as large as in service.
    pub fn load_object(object: &[u8], world: &World) -> Result<Self> {
        Self::load_by(EbpfLoader::new(), object, world, &Keys::of(world.seed))
    }

    fn load_by<'a>(
        mut loader: EbpfLoader<'a>,
        object: &[u8],
        world: &'a World,
        keys: &'a Keys,
    ) -> Result<Self> {
        loader.override_global("HASH_KEYS", keys, true).override_global("LOG_LEVEL", &world.log_level, true);
        for (name, rate) in [
            ("NEW_FLOWS_PER_SECOND", &world.new_flows),
            ("NEW_FLOWS_PER_SOURCE_PER_SECOND", &world.new_flows_per_source),
            ("TOO_BIG_PER_SECOND", &world.too_big),
            ("ECHO_PER_SECOND", &world.echo_per_second),
        ] {
            rate.as_ref().map(|rate| loader.override_global(name, rate, true));
        }
        world.now_s.map(|_| loader.override_global("VIRTUAL_CLOCK", &1u8, true));
        if let Some(room) = world.max_flows {
            loader.map_max_entries(maps::FLOWS, room);
        }
        let mut ebpf = loader.load(object).context("lb-xdp")?;
        load_program(&mut ebpf, "lb")?;
        fill_stages(&mut ebpf)?;
        let mut balancer = Self { ebpf, before: Counters::new(), inner_bytes: 0 };
        balancer.fill(world)?;
        Ok(balancer)
    }

    fn fill(&mut self, world: &World) -> Result<()> {
        let mut backends: Array<_, Backend> = Array::try_from(self.map(maps::BACKENDS)?)?;
        for (id, backend) in &world.backends {
            backends.set(*id, backend, 0)?;
        }
        if !world.hops.is_empty() {
            let mut hops: HashMap<_, u32, Backend> = HashMap::try_from(self.map(maps::HOPS)?)?;
            for (key, entry) in &world.hops {
                hops.insert(key, entry, 0)?;
            }
        }
        if !world.pools.is_empty() {
            let mut pools: HashMap<_, u32, Pool> = HashMap::try_from(self.map(maps::POOLS)?)?;
            for (service, pool) in &world.pools {
                pools.insert(service, pool, 0)?;
            }
        }
        for target in &world.down {
            self.set_liveness(*target, TARGET_DOWN)?;
        }
        let mut ports = DevMap::try_from(self.map(maps::TX_PORTS)?)?;
        for (port, ifindex) in &world.tx_ports {
            ports.set(*port, *ifindex, None, 0)?;
        }
        let mut layouts: Array<_, Layout> = Array::try_from(self.map(maps::QUIC_LAYOUTS)?)?;
        for (service, layout) in &world.quic_layouts {
            layouts.set(*service, *layout, 0)?;
        }
        let mut servers: HashMap<_, ServerKey, u32> = HashMap::try_from(self.map(maps::QUIC_IDS)?)?;
        for (key, backend) in &world.quic_ids {
            servers.insert(key, backend, 0)?;
        }
        if let Some(now_s) = world.now_s {
            self.set_clock(now_s)?;
        }
        for services in world.services.chunks(SERVICES_AT_ONCE) {
            for class in 0..SIZES.len() as u8 {
                let of_class = services.iter().filter(|service| service.service.class == class);
                let tables = of_class.filter_map(|service| match &service.slots {
                    Slots::Cycle(cycle) => Some((service.service.id, &cycle[..])),
                    Slots::Missing => None,
                });
                self.publish_tables(class, &tables.collect::<Vec<_>>())?;
            }
        }
        self.publish_services(&world.services, &world.ranges)
    }

    /// A map by name.
    pub fn map(&mut self, name: &str) -> Result<&mut Map> {
        self.ebpf.map_mut(name).ok_or_else(|| anyhow!("no map {name}"))
    }

    /// Marks a target as up (0) or down (1).
    pub fn set_liveness(&mut self, target: u32, state: u32) -> Result<()> {
        let mut liveness: Array<_, u32> = Array::try_from(self.map(maps::LIVENESS)?)?;
        Ok(liveness.set(target, state, 0)?)
    }

    /// Sets the time, in a world that has one of its own.
    pub fn set_clock(&mut self, now_s: u32) -> Result<()> {
        let mut clock: Array<_, u32> = Array::try_from(self.map(maps::CLOCK)?)?;
        Ok(clock.set(0, now_s, 0)?)
    }

    /// Live connections of a backend as the packet path counts them: opened and closed.
    pub fn connections(&self, backend: u32) -> Result<Connections> {
        let map = self.ebpf.map(maps::CONNECTIONS).context("no CONNECTIONS")?;
        Ok(Array::<_, Connections>::try_from(map)?.get(&backend, 0)?)
    }

    /// What all events have been counted to.
    pub fn events(&self) -> Result<BTreeMap<Event, u64>> {
        let map = self.ebpf.map(maps::EVENTS).context("no EVENTS")?;
        let counters: PerCpuArray<_, u64> = PerCpuArray::try_from(map)?;
        let mut sums = BTreeMap::new();
        for event in Event::ALL {
            let sum: u64 = counters.get(&(event as u32), 0)?.iter().sum();
            if sum != 0 {
                sums.insert(event, sum);
            }
        }
        Ok(sums)
    }

    /// Replaces the slots of a service.
    pub fn publish_slots(&mut self, service: Service, cycle: &[(Slot, u32)]) -> Result<()> {
        self.publish_tables(service.class, &[(service.id, cycle)])
    }

    /// Replaces the slots of several services of one class, by id.
    fn publish_tables(&mut self, class: u8, services: &[(u32, &[(Slot, u32)])]) -> Result<()> {
        if services.is_empty() {
            return Ok(());
        }
        let size = SIZES[usize::from(class)];
        let mut inner = Vec::new();
        for (id, cycle) in services {
            let (current, former): (Vec<u32>, Vec<u32>) =
                cycle.iter().cycle().take(size).map(|(slot, former)| (slot.0, *former)).unzip();
            let table = [current, former].concat();
            self.inner_bytes += size_of_val(&table[..]) as u64;
            inner.push((*id, batch::inner_array(&table)?));
        }
        let Map::ArrayOfMaps(outer) = self.map(maps::SLOTS[usize::from(class)])? else {
            bail!("no map of maps for slots");
        };
        Ok(batch::put_inner(outer.fd().as_fd(), &inner)?)
    }

    fn publish_services(&mut self, services: &[WorldService], ranges: &[PortRange]) -> Result<()> {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for service in services {
            let port = service.port.to_be_bytes();
            match service.address {
                IpAddr::V4(address) => {
                    let key = KeyV4::new(address.octets(), port, service.protocol);
                    let key = match service.prefix {
                        Some(SOURCE) => key.source(),
                        Some(length) => key.prefix(length),
                        None => key,
                    };
                    v4.push((key, service.service));
                }
                IpAddr::V6(address) => {
                    let key = KeyV6::new(words(address), port, service.protocol);
                    let key = match service.prefix {
                        Some(SOURCE) => key.source(),
                        Some(length) => key.prefix(length),
                        None => key,
                    };
                    v6.push((key, service.service));
                }
            }
        }
        self.publish::<ServiceTableV4>(maps::SERVICES_V4, 0, &*cuckoo::build_v4(3, &v4, ranges)?)?;
        self.publish::<ServiceTableV6>(maps::SERVICES_V6, 0, &*cuckoo::build_v6(3, &v6, ranges)?)
    }

    fn publish<T: aya::Pod>(&mut self, outer: &str, index: u32, value: &T) -> Result<()> {
        let mut inner: Array<MapData, T> = Array::create(1, 0)?;
        inner.set(0, value, 0)?;
        self.inner_bytes += size_of::<T>() as u64;
        let mut outer: ArrayOfMaps<_, Array<MapData, T>> = ArrayOfMaps::try_from(self.map(outer)?)?;
        Ok(outer.set(index, &inner, 0)?)
    }

    /// Runs the program on a frame.
    pub fn run(&mut self, frame: &[u8]) -> Result<Outcome> {
        self.run_with(frame, None)
    }

    /// Runs the program on a frame that has `metadata` bytes before it, which leave less headroom.
    pub fn run_with(&mut self, frame: &[u8], metadata: Option<u32>) -> Result<Outcome> {
        let (action, bytes) = run(&self.ebpf, "lb", frame, metadata)?;
        Ok(Outcome { action, bytes, counted: self.counted()? })
    }

    /// Runs the program on a frame and leaves its counters for [`Self::counted`] to read, once for very many.
    pub fn run_only(&self, frame: &[u8]) -> Result<(Action, Vec<u8>)> {
        run(&self.ebpf, "lb", frame, None)
    }

    /// What all counters grew by since they were last read.
    pub fn counted(&mut self) -> Result<Counters> {
        let after = self.counters()?;
        let counted = delta(&self.before, &after);
        self.before = after;
        Ok(counted)
    }

    /// Attaches the program to an interface, natively or in the generic mode. It goes with the balancer.
    pub fn attach(&mut self, interface: &str, natively: bool) -> Result<()> {
        let program: &mut Xdp = self.ebpf.program_mut("lb").context("no program lb")?.try_into()?;
        let mode = if natively { XdpMode::Driver } else { XdpMode::Skb };
        program.attach(interface, mode).with_context(|| format!("can't attach to {interface}"))?;
        Ok(())
    }

    /// The loaded program, to be called by another.
    pub fn program_fd(&self) -> Result<ProgramFd> {
        let program: &Xdp = self.ebpf.program("lb").context("no program lb")?.try_into()?;
        Ok(program.fd()?.try_clone()?)
    }

    /// Memory of all maps in bytes, as the kernel accounts for them, with the tables inside.
    pub fn map_bytes(&self) -> Result<u64> {
        let program: &Xdp = self.ebpf.program("lb").context("no program lb")?.try_into()?;
        let ids = program.info()?.map_ids()?.context("the kernel does not tell a program's maps")?;
        let mut bytes = self.inner_bytes;
        for id in ids {
            let fd = MapInfo::from_id(id)?.fd()?;
            let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd()))?;
            let memlock = info.lines().find_map(|line| line.strip_prefix("memlock:"));
            bytes += memlock.context("no memlock in fdinfo")?.trim().parse::<u64>()?;
        }
        Ok(bytes)
    }

    /// Entries of recorded flows, in no particular order.
    pub fn flow_entries(&self) -> Result<Vec<FlowEntry>> {
        let map = self.ebpf.map(maps::FLOWS).context("no FLOWS")?;
        let flows: HashMap<_, FlowKey, FlowEntry> = HashMap::try_from(map)?;
        flows.iter().map(|flow| Ok(flow?.1)).collect()
    }

    /// Translations by the packets that they are of.
    pub fn translations(&self) -> Result<std::collections::HashMap<FlowKey, Translation>> {
        let map = self.ebpf.map(maps::TRANSLATIONS).context("no TRANSLATIONS")?;
        let translations: HashMap<_, FlowKey, Translation> = HashMap::try_from(map)?;
        Ok(translations.iter().collect::<Result<_, _>>()?)
    }

    /// Changes every recorded flow.
    pub fn edit_flows(&mut self, change: impl Fn(&mut FlowEntry)) -> Result<()> {
        let mut flows: HashMap<_, FlowKey, FlowEntry> = HashMap::try_from(self.map(maps::FLOWS)?)?;
        for (key, mut entry) in flows.iter().collect::<Result<Vec<_>, _>>()? {
            change(&mut entry);
            flows.insert(key, entry, 0)?;
        }
        Ok(())
    }

    fn counters(&self) -> Result<Counters> {
        let mut counters = counters_of(&self.ebpf, maps::REASONS, maps::MAX_REASONS, Label::Reason)?;
        counters.extend(counters_of(&self.ebpf, maps::FORWARDED, BACKENDS, Label::Forwarded)?);
        Ok(counters)
    }
}

/// An IPv6 address as two words, as the packet path loads it.
pub fn words(address: Ipv6Addr) -> [u64; 2] {
    let bytes = u128::from_le_bytes(address.octets());
    [bytes as u64, (bytes >> 64) as u64]
}
