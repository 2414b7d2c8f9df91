//! The publisher against a data plane in memory.

use std::net::IpAddr;

use lb_common::{
    backend::BACKEND_PRESENT,
    maps::MAX_BACKENDS,
    mode,
    slot::{CLASS_SMALL, CLASS_TINY, SIZE_TINY},
};

use super::*;
use crate::{
    error::Kind,
    publish::fake::Fake,
    table::{
        snapshot::{Member, ServiceInput},
        transition::Slots,
    },
};

pub(super) const SEED: u64 = 7;

fn options() -> Options {
    Options::new("/nowhere", SEED)
}

pub(super) fn open(fake: &Fake) -> Publisher<Fake> {
    Publisher::with(fake.clone(), &options()).unwrap()
}

/// One service, id 1, of these backends; a backend's target has its number.
pub(super) fn snapshot(members: &[u32]) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for id in members {
        let backend = Backend { flags: BACKEND_PRESENT, target: *id, ..Backend::default() };
        snapshot.backends.insert(*id, backend);
        snapshot.targets.insert(*id, true);
    }
    snapshot.tx_ports.insert(1, 2);
    let input = ServiceInput {
        vip: "192.0.2.1:80/tcp".parse().unwrap(),
        mode: mode::L2,
        class: CLASS_TINY,
        flags: 0,
        quiet_period: None,
        members: members.iter().map(|id| member(*id)).collect(),
    };
    snapshot.services.insert(1, input);
    snapshot
}

fn member(id: u32) -> Member {
    Member { id, address: IpAddr::from([10, 0, 0, id as u8]), weight: 1 }
}

/// Takes a backend out of rotation; it still serves what it has.
pub(super) fn drain(snapshot: &mut Snapshot, id: u32) {
    let input = snapshot.services.get_mut(&1).unwrap();
    input.members.retain(|member| member.id != id);
}

pub(super) fn writes(fake: &Fake) -> Vec<String> {
    std::mem::take(&mut fake.state().writes)
}

pub(super) fn slots(fake: &Fake) -> Slots {
    fake.state().slots[&(1, CLASS_TINY)].clone()
}

pub(super) fn pass(fake: &Fake, publisher: &mut Publisher<Fake>, seconds: u32) {
    fake.state().now_s += seconds;
    publisher.tick().unwrap();
}

#[test]
fn everything_is_there_before_what_refers_to_it() {
    let fake = Fake::default();
    let applied = open(&fake).apply(&snapshot(&[1, 2])).unwrap();
    assert_eq!(writes(&fake), ["tx port 1", "backend 1", "backend 2", "slots 1", "services v4"]);
    let expected =
        Applied { tx_ports: 1, backends: 2, slot_tables: 1, service_tables: 1, ..Applied::default() };
    assert_eq!(applied, expected);
    assert_eq!(slots(&fake).counts().steady, SIZE_TINY as u32);
}

#[test]
fn everything_goes_after_what_refers_to_it() {
    let fake = Fake::default();
    let mut publisher = open(&fake);
    publisher.apply(&snapshot(&[1, 2])).unwrap();
    writes(&fake);
    publisher.apply(&Snapshot::default()).unwrap();
    let expected =
        ["services v4", "remove slots 1 of class 0", "vacate backend 1", "vacate backend 2", "tx port 1"];
    assert_eq!(writes(&fake)[..5], expected);
    assert_eq!(publisher.slot_states(1), None);
}

#[test]
fn the_same_again_writes_nothing() {
    let fake = Fake::default();
    let mut publisher = open(&fake);
    publisher.apply(&snapshot(&[1, 2])).unwrap();
    writes(&fake);
    assert_eq!(publisher.apply(&snapshot(&[1, 2])).unwrap(), Applied::default());
    assert_eq!(writes(&fake), [""; 0]);
}

#[test]
fn a_take_over_of_what_is_right_writes_nothing() {
    let fake = Fake::default();
    let mut with_dead = snapshot(&[1, 2, 3]);
    with_dead.targets.insert(3, false);
    drain(&mut with_dead, 3);
    let mut first = open(&fake);
    first.apply(&with_dead).unwrap();
    let before = slots(&fake);
    writes(&fake);
    let mut second = open(&fake);
    assert_eq!(second.known_liveness(), BTreeMap::from([(1, true), (2, true), (3, false)]));
    assert_eq!(second.apply(&with_dead).unwrap(), Applied::default());
    assert_eq!(writes(&fake), [""; 0]);
    assert_eq!(slots(&fake), before);
}

#[test]
fn a_take_over_repairs_what_differs_and_keeps_transitions() {
    let fake = Fake::default();
    let mut wanted = snapshot(&[1, 2]);
    let mut first = open(&fake);
    first.apply(&wanted).unwrap();
    drain(&mut wanted, 2);
    first.apply(&wanted).unwrap();
    let moving = slots(&fake).counts().moving;
    assert!(moving > 0);
    fake.state().backends.remove(&1);
    fake.state().backends.insert(9, Backend { target: 9, ..Backend::default() });
    writes(&fake);
    let mut second = open(&fake);
    second.apply(&wanted).unwrap();
    assert_eq!(writes(&fake), ["backend 1", "vacate backend 9"]);
    assert_eq!(second.slot_states(1).unwrap().moving, moving);
    // The quiet period begins anew: since when the slots move is not known.
    pass(&fake, &mut second, 299);
    assert_eq!(slots(&fake).counts().moving, moving);
    pass(&fake, &mut second, 5);
    assert_eq!(slots(&fake).counts().moving, 0);
}

#[test]
fn a_foreign_change_is_repaired_after_a_resync() {
    let fake = Fake::default();
    let mut publisher = open(&fake);
    let mut wanted = snapshot(&[1, 2]);
    publisher.apply(&wanted).unwrap();
    drain(&mut wanted, 2);
    publisher.apply(&wanted).unwrap();
    let before = slots(&fake);
    pass(&fake, &mut publisher, 100);
    writes(&fake);
    publisher.resync().unwrap();
    assert_eq!(publisher.apply(&wanted).unwrap(), Applied::default());
    fake.state().backends.remove(&1);
    fake.state().tx_ports.clear();
    fake.state().services_v4 = None;
    publisher.resync().unwrap();
    publisher.apply(&wanted).unwrap();
    assert_eq!(writes(&fake), ["tx port 1", "backend 1", "services v4"]);
    fake.state().slots.clear();
    publisher.resync().unwrap();
    publisher.apply(&wanted).unwrap();
    assert_eq!(slots(&fake), Slots::steady(&[1; SIZE_TINY]));
    // A resync does not begin quiet periods anew.
    fake.state().slots.insert((1, CLASS_TINY), before);
    let mut other = open(&fake);
    other.apply(&wanted).unwrap();
    pass(&fake, &mut other, 200);
    other.resync().unwrap();
    other.apply(&wanted).unwrap();
    pass(&fake, &mut other, 101);
    assert_eq!(slots(&fake).counts().moving, 0);
}

#[test]
fn each_failure_is_made_good_by_the_next_call() {
    let complete = Fake::default();
    open(&complete).apply(&snapshot(&[1, 2])).unwrap();
    let mut steps = 0;
    loop {
        let fake = Fake::default();
        let mut publisher = open(&fake);
        publisher.apply(&snapshot(&[2, 3])).unwrap();
        fake.state().writes_left = Some(steps);
        let done = publisher.apply(&snapshot(&[1, 2])).is_ok();
        fake.state().writes_left = None;
        publisher.apply(&snapshot(&[1, 2])).unwrap();
        assert_eq!(fake.state().backends, complete.state().backends, "after {steps} writes");
        let owners: Vec<u32> = slots(&complete).curs().map(lb_common::slot::Slot::backend).collect();
        assert!(slots(&fake).have_owners(&owners), "after {steps} writes");
        if done {
            break;
        }
        steps += 1;
    }
    assert!(steps > 2, "{steps}");
}

#[test]
fn liveness_that_someone_else_changed_is_repaired_after_a_resync() {
    let fake = Fake::default();
    let mut publisher = open(&fake);
    let mut wanted = snapshot(&[1, 2]);
    wanted.targets.insert(2, false);
    drain(&mut wanted, 2);
    publisher.apply(&wanted).unwrap();
    fake.state().down = BTreeSet::from([1, 7]);
    publisher.resync().unwrap();
    publisher.apply(&wanted).unwrap();
    assert_eq!(fake.state().down, BTreeSet::from([2]));
}

#[test]
fn a_slot_table_that_someone_else_changed_is_repaired_by_its_turn() {
    let fake = Fake::default();
    let mut publisher = open(&fake);
    let mut wanted = snapshot(&[1, 2]);
    for id in 2..=40u16 {
        let vip = format!("192.0.2.1:{id}/tcp").parse().unwrap();
        let input = ServiceInput { vip, ..wanted.services[&1].clone() };
        wanted.services.insert(id.into(), input);
    }
    publisher.apply(&wanted).unwrap();
    fake.state().slots.insert((40, CLASS_TINY), Slots::steady(&[9; SIZE_TINY]));
    writes(&fake);
    for _ in 0..2 {
        publisher.resync().unwrap();
        publisher.apply(&wanted).unwrap();
    }
    assert_eq!(writes(&fake), ["slots 40"]);
}

#[test]
fn an_older_snapshot_does_not_revive_a_target() {
    let fake = Fake::default();
    let mut publisher = open(&fake);
    publisher.apply(&snapshot(&[1, 2])).unwrap();
    publisher.liveness().set(2, false).unwrap();
    let mut on_its_way = snapshot(&[1, 2]);
    drain(&mut on_its_way, 1);
    publisher.apply(&on_its_way).unwrap();
    assert_eq!(fake.state().down, BTreeSet::from([2]));
}

#[test]
fn the_latest_decision_on_a_target_wins() {
    let fake = Fake::default();
    let mut publisher = open(&fake);
    let mut wanted = snapshot(&[1, 2]);
    wanted.targets.insert(2, false);
    publisher.apply(&wanted).unwrap();
    wanted.targets.insert(2, true);
    wanted.liveness_known_until = publisher.liveness().set(2, true).unwrap();
    publisher.liveness().set(2, false).unwrap();
    publisher.apply(&wanted).unwrap();
    assert_eq!(fake.state().down, BTreeSet::from([2]));
}

#[test]
fn a_backend_leaves_its_maintenance_after_its_slots_settled() {
    let fake = Fake::default();
    let mut publisher = open(&fake);
    let wanted = snapshot(&[1, 2]);
    publisher.apply(&wanted).unwrap();
    let owned = publisher.owned_slots(1)[&2];
    let mut out = wanted.clone();
    out.targets.insert(9, false);
    out.backends.get_mut(&2).unwrap().target = 9;
    publisher.apply(&out).unwrap();
    writes(&fake);
    // The slots still name it.
    let back = Snapshot { targets: BTreeMap::from([(1, true), (2, true), (9, false)]), ..wanted };
    publisher.apply(&back).unwrap();
    assert_eq!(writes(&fake), ["slots 1", "backend 2"]);
    assert_eq!(publisher.slot_states(1).unwrap().settled, owned);
    assert_eq!(publisher.apply(&back).unwrap(), Applied::default());
}

#[test]
fn a_dead_target_is_marked_before_a_backend_refers_to_it() {
    let fake = Fake::default();
    let mut wanted = snapshot(&[1]);
    wanted.targets.insert(1, false);
    open(&fake).apply(&wanted).unwrap();
    assert_eq!(writes(&fake)[1..3], ["target 1 down", "backend 1"]);
}

#[test]
fn a_service_without_backends_has_vacant_slots() {
    let fake = Fake::default();
    open(&fake).apply(&snapshot(&[])).unwrap();
    assert_eq!(slots(&fake), Slots::steady(&[0; SIZE_TINY]));
}

#[test]
fn another_table_size_leaves_the_former_table_until_nothing_names_it() {
    let fake = Fake::default();
    let mut publisher = open(&fake);
    let mut wanted = snapshot(&[1, 2]);
    publisher.apply(&wanted).unwrap();
    writes(&fake);
    wanted.services.get_mut(&1).unwrap().class = CLASS_SMALL;
    publisher.apply(&wanted).unwrap();
    assert_eq!(writes(&fake), ["slots 1", "services v4", "remove slots 1 of class 0"]);
}

#[test]
fn what_does_not_fit_is_refused_and_nothing_is_written() {
    let fake = Fake::default();
    let mut publisher = open(&fake);
    let with = |change: &dyn Fn(&mut Snapshot)| {
        let mut wanted = snapshot(&[1, 2]);
        change(&mut wanted);
        wanted
    };
    let many = |s: &mut Snapshot| {
        let members = (1..=1022)
            .map(|n| Member { address: IpAddr::from([10, 0, (n >> 8) as u8, n as u8]), ..member(n) });
        s.services.get_mut(&1).unwrap().members = members.collect();
    };
    let twice = |s: &mut Snapshot| s.services.get_mut(&1).unwrap().members.push(member(1));
    let vip_twice = |s: &mut Snapshot| drop(s.services.insert(2, s.services[&1].clone()));
    let beyond = |s: &mut Snapshot| s.backends.extend([(MAX_BACKENDS, Backend::default())]);
    for (wanted, kind) in [
        (with(&many), Kind::InvalidConfiguration),
        (with(&twice), Kind::InvalidConfiguration),
        (with(&vip_twice), Kind::Conflict),
        (with(&beyond), Kind::InvalidConfiguration),
    ] {
        assert_eq!(publisher.apply(&wanted).unwrap_err().kind, kind);
        assert_eq!(writes(&fake), [""; 0]);
    }
}
