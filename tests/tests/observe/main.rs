//! Reading pinned counters, without an agent.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result, ensure};
use aya::{
    maps::{Array, MapData, PerCpuArray, PerCpuValues},
    util::nr_cpus,
};
use lb_common::{
    abi::{ABI_VERSION, Meta},
    maps::{FORWARDED, META, REASONS},
    mode, slot,
    stats::Counter,
    verdict::Reason,
};
use lb_tests::{bpffs::Bpffs, netns::Netns, unique};
use lb_userspace::{
    desired::model::{AttachMode, Protocol, Vip},
    error::{Error, Kind},
    observe::{Counters, map_memory},
    publish::{Options, Publisher},
    table::snapshot::{ServiceInput, Snapshot},
};

/// Pins as the agent leaves them, with counters set by hand.
struct Pins {
    bpffs: Bpffs,
    forwarded: PerCpuArray<MapData, Counter>,
    reasons: PerCpuArray<MapData, Counter>,
}

impl Pins {
    fn new(abi_version: u32) -> Result<Self> {
        let bpffs = Bpffs::mount()?;
        let root = bpffs.path().join(ABI_VERSION.to_string());
        fs::create_dir(&root)?;
        let mut meta = Array::<MapData, Meta>::create(1, 0)?;
        meta.set(0, Meta { abi_version, reserved: 0, seed: 42 }, 0)?;
        meta.pin(root.join(META))?;
        let counters = |name: &str, entries| -> Result<PerCpuArray<MapData, Counter>> {
            PerCpuArray::<MapData, Counter>::create(entries, 0)?.pin(root.join(name))?;
            let map = aya::maps::Map::from_map_data(MapData::from_pin(root.join(name))?)?;
            Ok(map.try_into()?)
        };
        let (forwarded, reasons) = (counters(FORWARDED, 16)?, counters(REASONS, 64)?);
        Ok(Self { bpffs, forwarded, reasons })
    }

    fn path(&self) -> PathBuf {
        self.bpffs.path().to_owned()
    }
}

/// One packet on the first CPU, two on the second, and so on, of 100 bytes each; and the sum.
fn some() -> Result<(PerCpuValues<Counter>, Counter)> {
    let cpus = nr_cpus().map_err(|(_, error)| error).context("CPUs")?;
    let each: Vec<Counter> =
        (1..=cpus as u64).map(|packets| Counter { packets, bytes: packets * 100 }).collect();
    let sum = each.iter().copied().sum();
    Ok((PerCpuValues::try_from(each)?, sum))
}

#[test]
fn counters_are_summed_over_the_cpus() -> Result<()> {
    let mut pins = Pins::new(ABI_VERSION)?;
    let (values, sum) = some()?;
    pins.forwarded.set(7, values, 0)?;
    pins.reasons.set(Reason::NoBackend as u32, some()?.0, 0)?;
    let counters = Counters::open(&pins.path())?;
    ensure!(counters.meta().seed == 42);
    ensure!(counters.forwarded(7) == sum, "{:?}", counters.forwarded(7));
    ensure!(counters.forwarded(8) == Counter::default());
    ensure!(counters.forwarded(1_000_000) == Counter::default());
    for (reason, counter) in counters.reasons() {
        let expected = if reason == Reason::NoBackend { sum } else { Counter::default() };
        ensure!(counter == expected, "{}: {counter:?}", reason.name());
    }
    Ok(())
}

#[test]
fn without_pins_it_says_to_attach() -> Result<()> {
    let bpffs = Bpffs::mount()?;
    let error = Counters::open(bpffs.path()).err().context("opened")?;
    ensure!(error.kind == Kind::NotFound && error.message.contains("lb attach"), "{error}");
    ensure!(map_memory(bpffs.path())?.is_empty());
    Ok(())
}

#[test]
fn pins_of_another_version_are_refused() -> Result<()> {
    let pins = Pins::new(ABI_VERSION + 1)?;
    let error = Counters::open(&pins.path()).err().context("opened")?;
    ensure!(error.kind == Kind::Conflict && error.message.contains("version"), "{error}");
    Ok(())
}

#[test]
fn a_map_of_another_shape_is_an_error() -> Result<()> {
    let pins = Pins::new(ABI_VERSION)?;
    let path = pins.path().join(ABI_VERSION.to_string()).join(FORWARDED);
    fs::remove_file(&path)?;
    Array::<MapData, u32>::create(4, 0)?.pin(&path)?;
    let error = Counters::open(&pins.path()).err().context("opened")?;
    ensure!(error.message.contains(FORWARDED), "{error}");
    Ok(())
}

#[test]
fn memory_is_counted_once_per_map() -> Result<()> {
    let pins = Pins::new(ABI_VERSION)?;
    let root = pins.path().join(ABI_VERSION.to_string());
    let before = map_memory(&pins.path())?;
    ensure!(before.iter().map(|map| map.name.as_str()).eq([FORWARDED, META, REASONS]), "{before:?}");
    ensure!(before.iter().all(|map| map.bytes > 0), "{before:?}");
    fs::create_dir(root.join("tables"))?;
    let table = Array::<MapData, [u8; 4096]>::create(64, 0)?;
    table.pin(root.join("tables/1"))?;
    MapData::from_pin(root.join("tables/1"))?.pin(root.join("tables/1-next"))?;
    let after = map_memory(&pins.path())?;
    ensure!(after.len() == before.len() + 1, "{after:?}");
    let table = after.iter().find(|map| map.name.starts_with("tables/1")).context("no table")?;
    ensure!((64 * 4096..64 * 4096 + 65_536).contains(&table.bytes), "{table:?}");
    Ok(())
}

/// One service of the default size.
fn one_service() -> Snapshot {
    let vip = Vip::new([192, 0, 2, 1].into(), 80, Protocol::Tcp);
    let service = ServiceInput {
        vip,
        mode: mode::L2,
        class: slot::CLASS_DEFAULT,
        flags: 0,
        quiet_period: None,
        members: Vec::new(),
    };
    Snapshot { services: [(1, service)].into(), ..Snapshot::default() }
}

#[test]
fn what_the_publisher_pins_can_be_read() -> Result<()> {
    let bpffs = Bpffs::mount()?;
    let netns = Netns::new(&unique::name())?;
    netns.ip(&["link add v0 type veth peer name v1"])?;
    let publisher = netns.enter(|| -> Result<_, Error> {
        let mut publisher = Publisher::open(&Options::new(bpffs.path(), 42))?;
        publisher.attach("v0", AttachMode::Generic)?;
        publisher.apply(&one_service())?;
        Ok(publisher)
    })??;
    drop(publisher);
    let counters = Counters::open(bpffs.path())?;
    ensure!(counters.meta() == Meta { abi_version: ABI_VERSION, reserved: 0, seed: 42 });
    ensure!(counters.forwarded(1) == Counter::default());
    let memory = map_memory(bpffs.path())?;
    let total: u64 = memory.iter().map(|map| map.bytes).sum();
    println!("{total} bytes with one service");
    ensure!(total <= 128 << 20, "{total} bytes: {memory:#?}");
    for name in ["BACKENDS", "FLOWS", "tables/1", "tables/services_v4"] {
        ensure!(memory.iter().any(|map| map.name == name), "no {name}: {memory:#?}");
    }
    ensure!(memory.iter().all(|map| !map.name.starts_with("links")), "links are no maps: {memory:#?}");
    Ok(())
}
