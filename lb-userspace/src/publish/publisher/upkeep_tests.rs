//! What time brings, against a data plane in memory: quiet periods, flows, deaths and returns.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use lb_common::{
    flow::{FLOW_CLOSED, FLOW_FIN, FLOW_OPENED, FlowEntry, FlowKey},
    hash::{Keys, slot_index},
    service::{SERVICE_LEAST_CONNECTIONS, SERVICE_QUIC, SERVICE_ROUND_ROBIN},
    slot::SIZE_TINY,
};

use super::tests::{SEED, drain, open, pass, slots, snapshot, writes};
use crate::{
    publish::{Applied, Preview, Publisher, ServicePreview, SlotStates, fake::Fake},
    table::{
        snapshot::{ServiceInput, Snapshot},
        transition::{Slots, StateCounts},
    },
};

/// A client whose slot belongs to a backend.
fn flow_of(slots: &Slots, backend: u32) -> FlowKey {
    (1u16..)
        .map(|port| FlowKey {
            source_port: port.to_be_bytes(),
            protocol: 6,
            family: lb_common::addr::FAMILY_V4,
            ..FlowKey::default()
        })
        .find(|key| slots.cur(slot_index(key.hash(&Keys::of(SEED)), slots.size())).backend() == backend)
        .unwrap()
}

#[test]
fn where_the_flows_of_a_dead_backend_went_holds_after_the_rebuilt_table() {
    let fake = Fake::default();
    let mut publisher = open(&fake);
    let mut wanted = snapshot(&[1, 2, 3]);
    publisher.apply(&wanted).unwrap();
    let key = flow_of(&slots(&fake), 2);
    wanted.liveness_known_until = publisher.liveness().set(2, false).unwrap();
    // The packet path finds another backend by probing, the rebuilt table may name a third one.
    let index = slot_index(key.hash(&Keys::of(SEED)), SIZE_TINY);
    wanted.targets.insert(2, false);
    drain(&mut wanted, 2);
    pass(&fake, &mut publisher, 10);
    fake.state().flows.insert(key, FlowEntry { backend: 3, service: 1, last_seen_s: 10, flags: 0 });
    fake.state().flows.insert(key, FlowEntry { backend: 1, service: 1, last_seen_s: 10, flags: 0 });
    pass(&fake, &mut publisher, 100);
    assert_eq!(fake.state().flows.len(), 1, "kept as long as the owner is down");
    publisher.apply(&wanted).unwrap();
    let owner = slots(&fake).cur(index);
    assert!(owner.is_settled());
    let other = 4 - owner.backend();
    fake.state().flows.insert(key, FlowEntry { backend: other, service: 1, last_seen_s: 110, flags: 0 });
    pass(&fake, &mut publisher, 100);
    let states = publisher.slot_states(1).unwrap();
    assert_eq!((states.settled, states.tracked_flows), (1, 1));
    fake.state().flows.clear();
    pass(&fake, &mut publisher, 10);
    assert_eq!(slots(&fake).counts().settled, 0);
}

#[test]
fn a_backend_that_is_back_before_the_table_changed_is_up_after_its_slots_settled() {
    let fake = Fake::default();
    let mut publisher = open(&fake);
    let mut wanted = snapshot(&[1, 2]);
    publisher.apply(&wanted).unwrap();
    let owned = publisher.owned_slots(1)[&2];
    publisher.liveness().set(2, false).unwrap();
    wanted.liveness_known_until = publisher.liveness().set(2, true).unwrap();
    assert_eq!(fake.state().down, BTreeSet::from([2]));
    writes(&fake);
    publisher.apply(&wanted).unwrap();
    assert_eq!(writes(&fake), ["slots 1", "target 2 up"]);
    assert_eq!(publisher.slot_states(1).unwrap().settled, owned);
    assert_eq!(publisher.apply(&wanted).unwrap(), Applied::default());
}

#[test]
fn a_quiet_period_begins_anew_when_flows_went_unrecorded() {
    let fake = Fake::default();
    let mut publisher = open(&fake);
    let mut wanted = snapshot(&[1, 2]);
    publisher.apply(&wanted).unwrap();
    drain(&mut wanted, 2);
    publisher.apply(&wanted).unwrap();
    pass(&fake, &mut publisher, 200);
    fake.state().unrecorded = 5;
    pass(&fake, &mut publisher, 1);
    assert_eq!(publisher.quiet_left(1), Some(Duration::from_secs(300)));
    pass(&fake, &mut publisher, 300);
    assert!(publisher.slot_states(1).unwrap().moving > 0);
    pass(&fake, &mut publisher, 5);
    assert_eq!(publisher.slot_states(1).unwrap().moving, 0);
}

#[test]
fn a_restart_goes_on_with_quiet_periods() {
    let fake = Fake::default();
    let mut wanted = snapshot(&[1, 2]);
    let mut first = open(&fake);
    first.apply(&wanted).unwrap();
    drain(&mut wanted, 2);
    first.apply(&wanted).unwrap();
    pass(&fake, &mut first, 200);
    let mut second = open(&fake);
    second.apply(&wanted).unwrap();
    assert_eq!(second.quiet_left(1), Some(Duration::from_secs(101)));
    // Flows may have gone unrecorded while no agent was there.
    fake.state().unrecorded = 1;
    let mut third = open(&fake);
    third.apply(&wanted).unwrap();
    third.tick().unwrap();
    assert_eq!(third.quiet_left(1), Some(Duration::from_secs(300)));
}

#[test]
fn each_service_has_its_quiet_period() {
    let fake = Fake::default();
    let mut publisher = open(&fake);
    let mut wanted = snapshot(&[1, 2]);
    let input = |vip: &str, flags, quiet_period| ServiceInput {
        vip: vip.parse().unwrap(),
        flags,
        quiet_period,
        ..snapshot(&[1, 2]).services[&1].clone()
    };
    wanted.services.insert(2, input("192.0.2.1:53/udp", 0, None));
    wanted.services.insert(3, input("192.0.2.1:443/udp", SERVICE_QUIC, None));
    wanted.services.insert(4, input("192.0.2.1:81/tcp", 0, Some(Duration::from_secs(7))));
    publisher.apply(&wanted).unwrap();
    for input in wanted.services.values_mut() {
        input.members.retain(|member| member.id != 2);
    }
    publisher.apply(&wanted).unwrap();
    let left =
        |publisher: &Publisher<Fake>| [1, 2, 3, 4].map(|id| publisher.quiet_left(id).unwrap().as_secs());
    assert_eq!(left(&publisher), [300, 60, 300, 7]);
    // It can be changed while slots move.
    wanted.services.get_mut(&4).unwrap().quiet_period = Some(Duration::from_secs(9));
    publisher.apply(&wanted).unwrap();
    assert_eq!(left(&publisher), [300, 60, 300, 9]);
    pass(&fake, &mut publisher, 10);
    assert_eq!(
        [1, 2, 3, 4].map(|id| publisher.slot_states(id).unwrap().moving > 0),
        [true, true, true, false]
    );
}

#[test]
fn tracked_services_keep_their_flows_at_rest_and_count_those_that_idle() {
    let fake = Fake::default();
    let mut publisher = open(&fake);
    let mut wanted = snapshot(&[1, 2]);
    wanted.services.get_mut(&1).unwrap().flags = SERVICE_LEAST_CONNECTIONS;
    publisher.apply(&wanted).unwrap();
    for (port, flags, last_seen_s) in [
        (1u16, FLOW_OPENED, 0),
        (2, FLOW_OPENED, 500),
        (3, FLOW_OPENED | FLOW_FIN | FLOW_CLOSED, 0),
        (4, FLOW_OPENED | FLOW_FIN | FLOW_CLOSED, 895),
    ] {
        let key = FlowKey { source_port: port.to_be_bytes(), protocol: 6, ..FlowKey::default() };
        fake.state().flows.insert(key, FlowEntry { backend: 1, service: 1, last_seen_s, flags });
    }
    pass(&fake, &mut publisher, 901);
    assert_eq!((publisher.tracked_flows(1), publisher.live_flows(1)), (2, 1));
    assert_eq!(fake.state().expired, BTreeMap::from([(1, 1)]));
}

#[test]
fn a_slot_rests_when_its_last_exception_is_gone() {
    let fake = Fake::default();
    let mut publisher = open(&fake);
    let mut wanted = snapshot(&[1, 2]);
    publisher.apply(&wanted).unwrap();
    let key = flow_of(&slots(&fake), 2);
    drain(&mut wanted, 2);
    publisher.apply(&wanted).unwrap();
    let see = |now_s| FlowEntry { backend: 2, service: 1, last_seen_s: now_s, flags: 0 };
    fake.state().flows.insert(key, see(299));
    pass(&fake, &mut publisher, 301);
    pass(&fake, &mut publisher, 1);
    let states = publisher.slot_states(1).unwrap();
    assert_eq!((states.moving, states.settled, states.tracked_flows), (0, 1, 1));
    assert_eq!((publisher.tracked_flows(2), publisher.live_flows(2)), (1, 1));
    // It idles, and is forgotten.
    pass(&fake, &mut publisher, 305);
    let states = publisher.slot_states(1).unwrap();
    assert_eq!((states.settled, states.tracked_flows, states.steady), (0, 0, SIZE_TINY as u32));
    assert!(fake.state().flows.is_empty());
}

#[test]
fn a_later_change_does_not_shorten_the_quiet_period_of_its_slots() {
    let fake = Fake::default();
    let mut publisher = open(&fake);
    let mut wanted = snapshot(&[1, 2, 3]);
    publisher.apply(&wanted).unwrap();
    drain(&mut wanted, 3);
    publisher.apply(&wanted).unwrap();
    pass(&fake, &mut publisher, 200);
    drain(&mut wanted, 2);
    publisher.apply(&wanted).unwrap();
    pass(&fake, &mut publisher, 105);
    let after = slots(&fake);
    // What belonged to 3 has moved long enough, what belonged to 2 has not.
    assert!(after.counts().moving > 0);
    for index in 0..SIZE_TINY {
        assert!(!after.cur(index).is_moving() || after.prev(index) == 2);
    }
    pass(&fake, &mut publisher, 200);
    pass(&fake, &mut publisher, 1);
    assert_eq!(slots(&fake), Slots::steady(&[1; SIZE_TINY]));
}

#[test]
fn a_drained_backend_keeps_its_connections_for_a_quiet_period() {
    let fake = Fake::default();
    let mut publisher = open(&fake);
    let mut wanted = snapshot(&[1, 2]);
    publisher.apply(&wanted).unwrap();
    let before = slots(&fake);
    drain(&mut wanted, 2);
    publisher.apply(&wanted).unwrap();
    let after = slots(&fake);
    for index in 0..SIZE_TINY {
        assert_eq!(after.cur(index).backend(), 1);
        assert_eq!(after.prev(index), before.cur(index).backend());
    }
    let moved = before.curs().filter(|cur| cur.backend() == 2).count() as u32;
    let states = SlotStates { steady: SIZE_TINY as u32 - moved, moving: moved, ..SlotStates::default() };
    assert_eq!(publisher.slot_states(1), Some(states));
    pass(&fake, &mut publisher, 299);
    assert_eq!(publisher.slot_states(1), Some(states));
    assert_eq!(publisher.quiet_left(1), Some(Duration::from_secs(1)));
    pass(&fake, &mut publisher, 5);
    assert_eq!(publisher.slot_states(1).unwrap().settled, moved);
    assert_eq!(publisher.quiet_left(1), None);
    pass(&fake, &mut publisher, 1);
    assert_eq!(slots(&fake), Slots::steady(&[1; SIZE_TINY]));
}

#[test]
fn slots_whose_former_owner_stays_take_turns_over_restarts() {
    let fake = Fake::default();
    let mut publisher = open(&fake);
    publisher.apply(&snapshot(&[1, 2, 3, 4])).unwrap();
    publisher.apply(&snapshot(&[1, 2, 3, 4, 5])).unwrap();
    let begun = publisher.slot_states(1).unwrap();
    assert!(begun.moving >= publisher.owned_slots(1)[&5]);
    assert_eq!((begun.waiting, begun.turns_left), (begun.moving, 5));
    assert_eq!(publisher.quiet_left(1), None, "no quiet period has begun");
    for turns_left in (0..5).rev() {
        pass(&fake, &mut publisher, 10);
        let states = publisher.slot_states(1).unwrap();
        assert_eq!(states.turns_left, turns_left);
        // The one after goes on with the turn that it finds.
        publisher = open(&fake);
        publisher.apply(&snapshot(&[1, 2, 3, 4, 5])).unwrap();
        assert_eq!(publisher.slot_states(1).unwrap().waiting, states.waiting);
        let left = publisher.quiet_left(1).unwrap().as_secs();
        assert!((290..=301).contains(&left), "{left}");
        pass(&fake, &mut publisher, 289);
        assert_eq!(publisher.slot_states(1).unwrap().waiting, states.waiting, "not before it is over");
        pass(&fake, &mut publisher, 3);
    }
    pass(&fake, &mut publisher, 10);
    pass(&fake, &mut publisher, 1);
    assert_eq!(publisher.slot_states(1).unwrap().steady, SIZE_TINY as u32);
}

#[test]
fn a_drain_does_not_wait() {
    let fake = Fake::default();
    let mut publisher = open(&fake);
    publisher.apply(&snapshot(&[1, 2])).unwrap();
    let mut wanted = snapshot(&[1, 2, 3]);
    publisher.apply(&wanted).unwrap();
    let waiting = publisher.slot_states(1).unwrap().waiting;
    drain(&mut wanted, 2);
    publisher.apply(&wanted).unwrap();
    let after = slots(&fake);
    for index in 0..SIZE_TINY {
        assert!(!after.cur(index).is_waiting() || after.prev(index) != 2, "slot {index}");
    }
    assert!((1..waiting).contains(&publisher.slot_states(1).unwrap().waiting));
    assert_eq!(publisher.quiet_left(1), Some(Duration::from_secs(300)));
}

#[test]
fn a_tick_does_nothing_at_rest() {
    let fake = Fake::default();
    let mut publisher = open(&fake);
    publisher.apply(&snapshot(&[1, 2])).unwrap();
    publisher.tick().unwrap();
    writes(&fake);
    pass(&fake, &mut publisher, Duration::from_secs(3600).as_secs() as u32);
    assert_eq!(writes(&fake), [""; 0]);
}

#[test]
fn round_robin_slots_take_turns() {
    let fake = Fake::default();
    let mut publisher = open(&fake);
    let mut wanted = snapshot(&[1, 2, 3]);
    wanted.services.get_mut(&1).unwrap().flags = SERVICE_ROUND_ROBIN;
    publisher.apply(&wanted).unwrap();
    let owners: Vec<u32> = slots(&fake).curs().map(lb_common::slot::Slot::backend).collect();
    assert!(owners.windows(3).all(|three| BTreeSet::from_iter(three).len() == 3));
}

#[test]
fn a_preview_tells_what_applying_does_and_changes_nothing() {
    let fake = Fake::default();
    let mut publisher = open(&fake);
    let mut wanted = snapshot(&[1, 2]);
    publisher.apply(&wanted).unwrap();
    assert_eq!(publisher.preview(&wanted).unwrap(), Preview::default());
    let owned = publisher.owned_slots(1)[&2];
    let of_two = flow_of(&slots(&fake), 2);
    let see = |backend| FlowEntry { backend, service: 1, last_seen_s: 0, flags: 0 };
    fake.state().flows.insert(of_two, see(2));
    let of_one = flow_of(&slots(&fake), 1);
    fake.state().flows.insert(of_one, see(1));
    writes(&fake);
    drain(&mut wanted, 2);
    let drained = publisher.preview(&wanted).unwrap().services[&1];
    let expected = ServicePreview {
        slots: SIZE_TINY as u32,
        moved: owned,
        after: StateCounts { steady: SIZE_TINY as u32 - owned, moving: owned, ..StateCounts::default() },
        flows: 1,
        flows_lost: 0,
    };
    assert_eq!(drained, expected);
    wanted.backends.remove(&2);
    let removed = publisher.preview(&wanted).unwrap().services[&1];
    let after = StateCounts { steady: SIZE_TINY as u32 - owned, settled: owned, ..StateCounts::default() };
    assert_eq!(removed, ServicePreview { after, flows: 1, flows_lost: 1, ..expected });
    let gone = publisher.preview(&Snapshot::default()).unwrap().services[&1];
    assert_eq!((gone.moved, gone.after.sum(), gone.flows, gone.flows_lost), (SIZE_TINY as u32, 0, 2, 2));
    assert_eq!(writes(&fake), [""; 0]);
}

#[test]
fn flows_of_removed_backends_are_forgotten() {
    let fake = Fake::default();
    let mut publisher = open(&fake);
    let mut wanted = snapshot(&[1, 2, 3]);
    publisher.apply(&wanted).unwrap();
    drain(&mut wanted, 2);
    publisher.apply(&wanted).unwrap();
    for (port, backend) in [(1u16, 1), (2, 2)] {
        let key = FlowKey { source_port: port.to_be_bytes(), protocol: 6, ..FlowKey::default() };
        fake.state().flows.insert(key, FlowEntry { backend, service: 1, last_seen_s: 0, flags: 0 });
    }
    wanted.backends.remove(&2);
    publisher.apply(&wanted).unwrap();
    assert!(fake.state().flows.values().all(|entry| entry.backend != 2));
    assert!(!fake.state().backends.contains_key(&2));
}
