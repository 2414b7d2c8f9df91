//! Tables swapped 50 times a second under the packets of a service.
//!
//! The agent makes both tables: for a weight of 99 of one backend, and for 100 again, with the slots that move. It
//! coalesces changes and stores each, so that it would not swap them at a steady rate; the bench does, as the agent
//! would: a new inner map is filled, and one update of the outer map puts it in place.

use std::{
    collections::BTreeMap,
    fs,
    os::{fd::AsFd as _, unix::fs::MetadataExt as _},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use aya::maps::MapData;
use aya_obj::generated::bpf_map_type::BPF_MAP_TYPE_ARRAY;
use lb_common::{
    abi::ABI_VERSION,
    maps,
    slot::{CLASS_DEFAULT, SIZE_DEFAULT},
};

use super::scene::Scene;
use crate::{lab::sys, wait};

/// Time between two swaps: 50 a second.
const PERIOD: Duration = Duration::from_millis(20);
/// Threads that swap in turn: an update returns only when no packet sees the former table any more, which may take
/// longer than a period.
const THREADS: u32 = 8;
/// Weights that the first backend has in turn.
const WEIGHTS: [u32; 2] = [99, 100];

/// Runs `work` while tables of a service are swapped; its result, and swaps per second.
pub fn during<T>(scene: &Scene, service: &str, work: impl FnOnce() -> Result<T>) -> Result<(T, f64)> {
    let tables = Tables::make(scene, service)?;
    let (stop, swaps, started) = (AtomicBool::new(false), AtomicU32::new(0), Instant::now());
    thread::scope(|scope| {
        let swap = |nth| tables.swap_every_nth(nth, started, &stop, &swaps);
        let threads: Vec<_> = (0..THREADS).map(|nth| scope.spawn(move || swap(nth))).collect();
        let result = work();
        let (count, took) = (swaps.load(Ordering::Relaxed), started.elapsed());
        stop.store(true, Ordering::Relaxed);
        for thread in threads {
            thread.join().map_err(|_| anyhow!("who swaps tables panicked"))??;
        }
        tables.put_back()?;
        Ok((result?, f64::from(count) / took.as_secs_f64()))
    })
}

/// The two tables of a service, and where they go.
struct Tables {
    outer: MapData,
    service: u32,
    words: [Vec<u32>; 2],
    pin: PathBuf,
}

impl Tables {
    fn make(scene: &Scene, service: &str) -> Result<Self> {
        let agent = scene.agent()?;
        let pins = agent.instance().pin_dir().join(ABI_VERSION.to_string());
        let address = scene.topology.backends[0].v4.to_string();
        let directory = pins.join("tables");
        let mut words = [Vec::new(), Vec::new()];
        let mut pin = PathBuf::new();
        for (words, weight) in words.iter_mut().zip(WEIGHTS) {
            let before = inodes(&directory)?;
            agent.lb(&["backend", "set", service, &address, "--weight", &weight.to_string()])?;
            pin = wait::until("another table", || changed(&before, &inodes(&directory)?))?;
            words.resize(2 * SIZE_DEFAULT, 0);
            let map = MapData::from_pin(&pin)?;
            ensure!(sys::lookup(map.fd().as_fd(), &0u32, words)?, "an empty table");
        }
        ensure!(words[0] != words[1], "both tables of {service} are the same");
        let service = pin.file_name().and_then(|name| name.to_str()?.parse().ok());
        let service = service.with_context(|| format!("{} is no table of slots", pin.display()))?;
        let outer = MapData::from_pin(pins.join(maps::SLOTS[usize::from(CLASS_DEFAULT)]))?;
        Ok(Self { outer, service, words, pin })
    }

    /// Each table is a new map, as the agent makes one: its memory is cold.
    fn swap_every_nth(&self, nth: u32, started: Instant, stop: &AtomicBool, swaps: &AtomicU32) -> Result<()> {
        for number in (nth..).step_by(THREADS as usize) {
            let due = started + PERIOD * number;
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let words = &self.words[number as usize % 2];
            let inner =
                sys::create_map(BPF_MAP_TYPE_ARRAY as u32, size_of::<u32>(), size_of_val(&**words), 1)?;
            sys::update(inner.as_fd(), &0u32, words)?;
            // It is in use at once; the call returns when nothing uses the former one.
            swaps.fetch_add(1, Ordering::Relaxed);
            self.put(std::os::fd::AsRawFd::as_raw_fd(&inner))?;
        }
        Ok(())
    }

    /// What the agent published last: it knows of no other.
    fn put_back(&self) -> Result<()> {
        let map = MapData::from_pin(&self.pin)?;
        self.put(std::os::fd::AsRawFd::as_raw_fd(&map.fd().as_fd()))
    }

    fn put(&self, inner: i32) -> Result<()> {
        sys::update(self.outer.fd().as_fd(), &self.service, &[inner]).context("can't swap a table")
    }
}

/// Pins of slot tables with their inodes: a table that takes over a name brings its own.
fn inodes(directory: &Path) -> Result<BTreeMap<PathBuf, u64>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit()) {
            // A name may be taken over in between.
            found.extend(entry.metadata().ok().map(|metadata| (entry.path(), metadata.ino())));
        }
    }
    Ok(found)
}

fn changed(before: &BTreeMap<PathBuf, u64>, now: &BTreeMap<PathBuf, u64>) -> Result<PathBuf> {
    let other = now.iter().find(|(path, inode)| before.get(*path).is_some_and(|old| old != *inode));
    other.map(|(path, _)| path.clone()).context("no table has changed")
}
