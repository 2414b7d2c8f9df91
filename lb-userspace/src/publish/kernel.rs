//! The real [`DataPlane`]: maps and links pinned in bpffs, created or taken over.

use std::{
    collections::BTreeMap,
    fs::File,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
};

use aya::{Ebpf, Pod};
use aya_log::EbpfLogger;
use lb_common::{
    abi::{ABI_VERSION, Meta},
    backend::{Backend, TARGET_DOWN, TARGET_UP},
    flow::{FlowEntry, FlowKey},
    hash::Keys,
    maps,
    quic::{Layout, ServerKey},
    rate,
    service::{ServiceTableV4, ServiceTableV6},
};

use super::{
    Attached, Liveness, Options, attach,
    dataplane::{DataPlane, ServiceTables},
    inner::InnerMaps,
    object::Object,
    pins::{self, Pins},
    quic::QuicMaps,
    sys,
    take_over::{check_pins, wipe},
    tracking::Tracking,
    walk::walk,
};
use crate::{
    desired::model::AttachMode,
    error::Error,
    table::{snapshot::QuicIds, transition::Slots},
};

/// The packet path. All its maps are pinned, and `META` beside them, which only agents read.
pub(crate) const OBJECT: Object = Object {
    bytes: crate::objects::LB_XDP,
    maps: &[
        maps::SERVICES_V4,
        maps::SERVICES_V6,
        maps::SLOTS[0],
        maps::SLOTS[1],
        maps::SLOTS[2],
        maps::SLOTS[3],
        maps::FLOWS,
        maps::FRAGMENTS,
        maps::BACKENDS,
        maps::HOPS,
        maps::LIVENESS,
        maps::TX_PORTS,
        maps::FORWARDED,
        maps::REASONS,
        maps::EVENTS,
        maps::CONNECTIONS,
        maps::EXPIRED,
        maps::NEXT,
        maps::RATE_GLOBAL,
        maps::RATE_SOURCE,
        maps::QUIC_LAYOUTS,
        maps::QUIC_IDS,
    ],
    program: "lb",
};

/// The packet path in the kernel.
pub struct Kernel {
    pins: Pins,
    program: OwnedFd,
    backends: OwnedFd,
    hops: OwnedFd,
    liveness: Arc<OwnedFd>,
    tx_ports: OwnedFd,
    tracking: Tracking,
    quic: QuicMaps,
    inner: InnerMaps,
    /// Lines from the packet path, if it logs.
    log: Option<EbpfLogger<&'static dyn log::Log>>,
    /// Holds the maps that are not pinned.
    _ebpf: Ebpf,
    /// Keeps other agents out.
    _lock: File,
}

impl Kernel {
    /// Loads the packet path over the pins that are there, or makes them; interfaces that are attached run the new
    /// program when this returns, and nothing else has changed for them.
    ///
    /// # Errors
    /// No rights, no bpffs, pins that are not ours or of another seed or shape, an old kernel, another agent.
    pub fn open(options: &Options) -> Result<Self, Error> {
        pins::ensure_bpffs(&options.pin_dir)?;
        let lock = pins::lock(&options.pin_dir)?;
        let pins = Pins::new(&options.pin_dir);
        let fresh = !check_pins(&pins, options.seed)?;
        if fresh {
            wipe(&pins)?;
        }
        for dir in [pins.root().to_owned(), pins.links(), pins.tables()] {
            pins::make_dir(&dir)?;
        }
        let log_level = [options.log_level];
        let keys: Vec<u8> = Keys::of(options.seed).0.iter().flat_map(|key| key.to_ne_bytes()).collect();
        let (mut ebpf, program) = OBJECT
            .load(
                &pins,
                &[
                    ("HASH_KEYS", &keys),
                    ("LOG_LEVEL", &log_level),
                    ("NEW_FLOWS_PER_SECOND", &per_cpu(rate::NEW_FLOWS_PER_SECOND)?.to_ne_bytes()),
                    ("TOO_BIG_PER_SECOND", &per_cpu(rate::TOO_BIG_PER_SECOND)?.to_ne_bytes()),
                    ("NEW_FLOWS_PER_SOURCE_PER_SECOND", &rate::NEW_FLOWS_PER_SOURCE_PER_SECOND.to_ne_bytes()),
                    ("ECHO_PER_SECOND", &per_cpu(options.echo_per_second)?.to_ne_bytes()),
                ],
            )
            .inspect_err(|_| drop(fresh.then(|| wipe(&pins))))?;
        let open = |name: &str| open_map(&pins, name);
        let kernel = Self {
            program,
            backends: open(maps::BACKENDS)?,
            hops: open(maps::HOPS)?,
            liveness: Arc::new(open(maps::LIVENESS)?),
            tx_ports: open(maps::TX_PORTS)?,
            tracking: Tracking::open(&pins)?,
            quic: QuicMaps::open(&pins)?,
            inner: InnerMaps::open(&pins)?,
            pins,
            log: if options.log_level == 0 { None } else { Some(open_log(&mut ebpf)?) },
            _ebpf: ebpf,
            _lock: lock,
        };
        if fresh {
            kernel.complete(options.seed)?;
        }
        kernel.renew_links()?;
        Ok(kernel)
    }

    /// The loaded program, for who runs it without an interface (BPF_PROG_TEST_RUN).
    pub fn program(&self) -> BorrowedFd<'_> {
        self.program.as_fd()
    }

    /// Marks a new set of pins as complete: this is the last thing that makes it one.
    fn complete(&self, seed: u64) -> Result<(), Error> {
        let meta = Meta { abi_version: ABI_VERSION, reserved: 0, seed };
        let map = sys::create_array(maps::META, size_of::<Meta>(), 1)
            .map_err(|error| pins::failed("make the map META", &error))?;
        write(&map, maps::META, &0u32, &[meta])?;
        let path = self.pins.map(maps::META);
        sys::object_pin(map.as_fd(), &path)
            .map_err(|error| pins::failed(&format!("pin {}", path.display()), &error))
    }

    /// Gives the new program to the links that are there, and drops those of interfaces that are gone.
    fn renew_links(&self) -> Result<(), Error> {
        for pinned in attach::pinned(&self.pins.links())? {
            if pinned.attached.ifindex == 0 {
                pins::remove(&pinned.path)?;
                continue;
            }
            pinned.replace_program(self.program.as_fd())?;
        }
        Ok(())
    }
}

fn open_log(ebpf: &mut Ebpf) -> Result<EbpfLogger<&'static dyn log::Log>, Error> {
    EbpfLogger::init(ebpf).map_err(|error| Error::failed(format!("read the packet path's log: {error}")))
}

/// Each CPU's share of a cap per second.
fn per_cpu(cap: u32) -> Result<u32, Error> {
    let cpus =
        aya::util::online_cpus().map_err(|(path, error)| pins::failed(&format!("read {path}"), &error))?;
    Ok(cap.div_ceil(cpus.len().max(1) as u32))
}

/// Opens a pinned map.
pub(crate) fn open_map(pins: &Pins, name: &str) -> Result<OwnedFd, Error> {
    let path = pins.map(name);
    sys::object_get(&path).map_err(|error| pins::failed(&format!("open {}", path.display()), &error))
}

/// Writes an element of a map.
pub(crate) fn write<K: Pod, V: Pod>(map: &impl AsFd, name: &str, key: &K, value: &[V]) -> Result<(), Error> {
    sys::map_update(map.as_fd(), key, value)
        .map_err(|error| pins::failed(&format!("write the map {name}"), &error))
}

impl DataPlane for Kernel {
    fn now_s(&self) -> u32 {
        let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the kernel fills the struct. This clock exists on every kernel that runs the packet path.
        unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut now) };
        u32::try_from(now.tv_sec).unwrap_or(u32::MAX)
    }

    fn write_log(&mut self) {
        if let Some(log) = &mut self.log {
            log.flush();
        }
    }

    fn backends(&self) -> Result<BTreeMap<u32, Backend>, Error> {
        let mut found = BTreeMap::new();
        walk(self.backends.as_fd(), maps::BACKENDS, |id: &u32, backend: &Backend| {
            if *backend != Backend::default() {
                found.insert(*id, *backend);
            }
        })?;
        Ok(found)
    }

    fn set_backend(&mut self, id: u32, backend: &Backend) -> Result<(), Error> {
        write(&self.backends, maps::BACKENDS, &id, std::slice::from_ref(backend))
    }

    fn hops(&self) -> Result<BTreeMap<u32, Backend>, Error> {
        let mut found = BTreeMap::new();
        walk(self.hops.as_fd(), maps::HOPS, |key: &u32, entry: &Backend| {
            found.insert(*key, *entry);
        })?;
        Ok(found)
    }

    fn set_hop(&mut self, key: u32, entry: Option<&Backend>) -> Result<(), Error> {
        match entry {
            Some(entry) => write(&self.hops, maps::HOPS, &key, std::slice::from_ref(entry)),
            None => sys::map_delete(self.hops.as_fd(), &key)
                .map_err(|error| pins::failed("write the map HOPS", &error)),
        }
    }

    fn clear_counters(&mut self, id: u32) -> Result<(), Error> {
        self.tracking.clear_counters(id)
    }

    fn targets_down(&self) -> Result<Vec<u32>, Error> {
        let mut down = Vec::new();
        walk(self.liveness.as_fd(), maps::LIVENESS, |target: &u32, state: &u32| {
            if *state != TARGET_UP {
                down.push(*target);
            }
        })?;
        Ok(down)
    }

    fn liveness(&self) -> Result<Liveness, Error> {
        let map = Arc::clone(&self.liveness);
        let store = move |target, up| {
            write(&*map, maps::LIVENESS, &target, &[if up { TARGET_UP } else { TARGET_DOWN }])
        };
        Ok(Liveness::new(store, self.targets_down()?))
    }

    fn tx_ports(&self) -> Result<BTreeMap<u32, u32>, Error> {
        let mut found = BTreeMap::new();
        for port in 0..maps::MAX_TX_PORTS {
            // Interface and program. An empty entry is not found.
            let mut value = [0u32; 2];
            let there = sys::map_lookup(self.tx_ports.as_fd(), &port, &mut value)
                .map_err(|error| pins::failed("read the map TX_PORTS", &error))?;
            if there && value[0] != 0 {
                found.insert(port, value[0]);
            }
        }
        Ok(found)
    }

    fn set_tx_port(&mut self, port: u32, ifindex: Option<u32>) -> Result<(), Error> {
        match ifindex {
            Some(ifindex) => write(&self.tx_ports, maps::TX_PORTS, &port, &[ifindex, 0]),
            None => sys::map_delete(self.tx_ports.as_fd(), &port)
                .map_err(|error| pins::failed("write the map TX_PORTS", &error)),
        }
    }

    fn quic_ids(&self) -> Result<QuicIds, Error> {
        self.quic.read()
    }

    fn set_quic_layout(&mut self, service: u32, layout: Layout) -> Result<(), Error> {
        self.quic.set_layout(service, layout)
    }

    fn set_quic_server(&mut self, key: ServerKey, backend: Option<u32>) -> Result<(), Error> {
        self.quic.set_server(key, backend)
    }

    fn slot_tables(&mut self) -> Result<BTreeMap<u32, u8>, Error> {
        self.inner.slot_tables()
    }

    fn read_slots(&self, service: u32) -> Result<Option<Slots>, Error> {
        self.inner.read_slots(service)
    }

    fn publish_slots(&mut self, service: u32, class: u8, slots: &Slots) -> Result<(), Error> {
        self.inner.publish_slots(service, class, slots)
    }

    fn remove_slots(&mut self, service: u32, class: u8) -> Result<(), Error> {
        self.inner.remove_slots(service, class)
    }

    fn services(&self) -> Result<ServiceTables, Error> {
        self.inner.services()
    }

    fn publish_services_v4(&mut self, table: Box<ServiceTableV4>) -> Result<(), Error> {
        self.inner.publish_services_v4(&table)
    }

    fn publish_services_v6(&mut self, table: Box<ServiceTableV6>) -> Result<(), Error> {
        self.inner.publish_services_v6(&table)
    }

    fn each_flow(&self, visit: &mut dyn FnMut(&FlowKey, &FlowEntry)) -> Result<(), Error> {
        self.tracking.each_flow(visit)
    }

    fn remove_flow(
        &mut self,
        key: &FlowKey,
        gone: &dyn Fn(&FlowEntry) -> bool,
    ) -> Result<Option<FlowEntry>, Error> {
        self.tracking.remove_flow(key, gone)
    }

    fn add_expired(&mut self, backend: u32, connections: u64) -> Result<(), Error> {
        self.tracking.add_expired(backend, connections)
    }

    fn unrecorded(&self) -> Result<u64, Error> {
        self.tracking.unrecorded()
    }

    fn moving_since_s(&self, service: u32) -> Result<Option<u32>, Error> {
        self.tracking.moving_since_s(service)
    }

    fn set_moving_since_s(&mut self, service: u32, since_s: u32) -> Result<(), Error> {
        self.tracking.set_moving_since_s(service, since_s)
    }

    fn attach(&mut self, ifname: &str, mode: AttachMode) -> Result<Attached, Error> {
        attach::attach(self.program.as_fd(), &self.pins.links(), ifname, mode)
    }

    fn detach(&mut self, ifname: &str) -> Result<(), Error> {
        attach::detach(&self.pins.links(), ifname)
    }

    fn attached(&self) -> Vec<Attached> {
        attach::list(&self.pins.links()).unwrap_or_default()
    }
}
