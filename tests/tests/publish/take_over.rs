//! What an agent finds when it starts: nothing, its own pins, damaged ones, or someone else's.

use std::fs;

use anyhow::{Result, ensure};
use aya::maps::{Array, MapData};
use lb_common::maps;
use lb_tests::bpffs::{Bpffs, TempDir};
use lb_userspace::{
    desired::model::AttachMode,
    error::Kind,
    publish::{Applied, Options},
};

use crate::support::{
    INTERFACE, Pair, SEED, Unmount, drain, map_ids, open, open_error, options, root, snapshot,
};

#[test]
fn the_next_agent_finds_everything_and_writes_nothing() -> Result<()> {
    let bpffs = Bpffs::mount()?;
    let options = options(&bpffs);
    let mut wanted = snapshot(1);
    wanted.targets.insert(13, false);
    drain(&mut wanted, 1, 13);
    let first = open(&options).apply(&wanted).unwrap();
    ensure!(first.slot_tables == 2 && first.service_tables == 2 && first.backends == 6, "{first:?}");
    let before = map_ids(&root(&options));
    ensure!(before.len() == maps_in_use(4), "{before:#?}");
    let mut second = open(&options);
    let known = second.known_liveness();
    ensure!(known.len() == 6 && known.iter().all(|(target, up)| *up == (*target != 13)), "{known:?}");
    ensure!(second.apply(&wanted).unwrap() == Applied::default());
    ensure!(map_ids(&root(&options)) == before, "nothing is made anew");
    Ok(())
}

/// Pinned maps when so many tables are published.
fn maps_in_use(tables: usize) -> usize {
    20 + maps::SLOTS.len() + tables
}

#[test]
fn a_transition_goes_on_under_the_next_agent() -> Result<()> {
    let bpffs = Bpffs::mount()?;
    let options = options(&bpffs);
    let mut wanted = snapshot(1);
    let mut first = open(&options);
    first.apply(&wanted).unwrap();
    drain(&mut wanted, 1, 11);
    first.apply(&wanted).unwrap();
    let states = first.slot_states(1);
    ensure!(states.is_some_and(|states| states.moving > 300), "{states:?}");
    drop(first);
    let mut second = open(&options);
    ensure!(second.apply(&wanted).unwrap() == Applied::default());
    ensure!(second.slot_states(1) == states);
    Ok(())
}

#[test]
fn removed_services_leave_nothing_behind() -> Result<()> {
    let bpffs = Bpffs::mount()?;
    let options = options(&bpffs);
    let mut publisher = open(&options);
    publisher.apply(&snapshot(1)).unwrap();
    publisher.apply(&Default::default()).unwrap();
    // The two service tables stay, empty.
    ensure!(map_ids(&root(&options)).len() == maps_in_use(2));
    drop(publisher);
    ensure!(open(&options).apply(&Default::default()).unwrap() == Applied::default());
    Ok(())
}

#[test]
fn only_one_agent_at_a_time() -> Result<()> {
    let bpffs = Bpffs::mount()?;
    let options = options(&bpffs);
    let first = open(&options);
    let error = open_error(&options);
    ensure!(error.kind == Kind::Conflict && error.message.contains("another agent"), "{error}");
    drop(first);
    open(&options);
    Ok(())
}

#[test]
fn pins_of_another_seed_are_left_alone() -> Result<()> {
    let bpffs = Bpffs::mount()?;
    let options = options(&bpffs);
    open(&options).apply(&snapshot(1)).unwrap();
    let before = map_ids(&root(&options));
    let error = open_error(&Options { seed: SEED + 1, ..options.clone() });
    ensure!(error.kind == Kind::InvalidConfiguration, "{error}");
    ensure!(error.message.contains("seed") && error.message.contains("rm -r"), "{error}");
    ensure!(map_ids(&root(&options)) == before);
    Ok(())
}

#[test]
fn a_foreign_map_is_named_and_left_alone() -> Result<()> {
    let bpffs = Bpffs::mount()?;
    let options = options(&bpffs);
    open(&options);
    let path = root(&options).join(maps::BACKENDS);
    fs::remove_file(&path)?;
    Array::<MapData, u32>::create(3, 0)?.pin(&path)?;
    let before = map_ids(&root(&options));
    let error = open_error(&options);
    ensure!(error.kind == Kind::InvalidConfiguration, "{error}");
    ensure!(error.message.contains(&path.display().to_string()), "{error}");
    ensure!(map_ids(&root(&options)) == before);
    Ok(())
}

#[test]
fn a_half_made_set_is_made_anew() -> Result<()> {
    let bpffs = Bpffs::mount()?;
    let options = options(&bpffs);
    for gone in [maps::META, maps::BACKENDS, maps::SLOTS[2]] {
        open(&options).apply(&snapshot(1)).unwrap();
        fs::remove_file(root(&options).join(gone))?;
        let mut publisher = open(&options);
        let applied = publisher.apply(&snapshot(1)).unwrap();
        ensure!(applied.slot_tables == 2 && applied.backends == 6, "without {gone}: {applied:?}");
    }
    Ok(())
}

#[test]
fn a_half_made_set_under_traffic_is_left_alone() -> Result<()> {
    let bpffs = Bpffs::mount()?;
    let options = options(&bpffs);
    let pair = Pair::new()?;
    pair.inside(|| open(&options).attach(INTERFACE, AttachMode::Native).map(drop)).unwrap();
    fs::remove_file(root(&options).join(maps::META))?;
    let before = map_ids(&root(&options));
    let error = open_error(&options);
    ensure!(error.kind == Kind::InvalidConfiguration && error.message.contains(maps::META), "{error}");
    ensure!(map_ids(&root(&options)) == before);
    Ok(())
}

#[test]
fn a_table_that_was_swapped_in_but_not_renamed_is_kept() -> Result<()> {
    let bpffs = Bpffs::mount()?;
    let options = options(&bpffs);
    open(&options).apply(&snapshot(1)).unwrap();
    let tables = root(&options).join("tables");
    fs::rename(tables.join("1"), tables.join("1-next"))?;
    fs::rename(tables.join("services_v4"), tables.join("services_v4-next"))?;
    // What the outer map held before the swap.
    Array::<MapData, [u32; 2042]>::create(1, 0)?.pin(tables.join("1"))?;
    ensure!(open(&options).apply(&snapshot(1)).unwrap() == Applied::default());
    ensure!(!tables.join("1-next").exists() && tables.join("1").exists());
    Ok(())
}

#[test]
fn a_table_that_was_not_swapped_in_is_removed() -> Result<()> {
    let bpffs = Bpffs::mount()?;
    let options = options(&bpffs);
    open(&options).apply(&snapshot(1)).unwrap();
    let tables = root(&options).join("tables");
    Array::<MapData, [u32; 2042]>::create(1, 0)?.pin(tables.join("1-next"))?;
    Array::<MapData, [u32; 2042]>::create(1, 0)?.pin(tables.join("77"))?;
    let mut publisher = open(&options);
    ensure!(publisher.apply(&snapshot(1)).unwrap() == Applied::default());
    ensure!(!tables.join("1-next").exists() && !tables.join("77").exists());
    Ok(())
}

#[test]
fn a_bpffs_is_mounted_on_a_directory_without_one() -> Result<()> {
    let directory = TempDir::new()?;
    let pin_dir = directory.path().join("pins");
    let _unmount = Unmount(pin_dir.clone());
    let options = Options::new(&pin_dir, SEED);
    drop(open(&options));
    ensure!(root(&options).join(maps::META).exists());
    // The second one finds it mounted.
    drop(open(&options));
    Ok(())
}

#[test]
fn a_directory_with_files_is_not_hidden_by_a_mount() -> Result<()> {
    let directory = TempDir::new()?;
    fs::write(directory.path().join("file"), "")?;
    let error = open_error(&Options::new(directory.path(), SEED));
    ensure!(error.kind == Kind::InvalidConfiguration && error.message.contains("--pin-dir"), "{error}");
    Ok(())
}

/// Runs on a thread that has lost root; the rest of the process keeps it.
fn without_root<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    const NOBODY: libc::uid_t = 65_534;
    let run = move || {
        // SAFETY: a system call without pointers. Called directly it changes this thread alone.
        let result = unsafe { libc::syscall(libc::SYS_setresuid, NOBODY, NOBODY, NOBODY) };
        assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
        work()
    };
    std::thread::scope(|scope| scope.spawn(run).join().expect("the thread does not panic"))
}

#[test]
fn without_root_the_fix_is_told() -> Result<()> {
    let bpffs = Bpffs::mount()?;
    let mounted = options(&bpffs);
    let directory = TempDir::new()?;
    let unmounted = Options::new(directory.path().join("pins"), SEED);
    for options in [mounted, unmounted] {
        let error = without_root(|| open_error(&options));
        ensure!(error.kind == Kind::Permission && error.message.contains("root"), "{error}");
        ensure!(map_ids(&options.pin_dir).is_empty());
    }
    Ok(())
}

#[test]
fn a_log_can_be_switched_on_over_pins_without_one() -> Result<()> {
    let bpffs = Bpffs::mount()?;
    let silent = options(&bpffs);
    open(&silent).apply(&snapshot(1)).unwrap();
    let mut publisher = open(&Options { log_level: 2, ..silent });
    ensure!(publisher.apply(&snapshot(1)).unwrap() == Applied::default());
    publisher.tick().unwrap();
    Ok(())
}
