//! What a restarted agent finds in the packet path.

use std::{path::PathBuf, time::Duration};

use super::*;
use crate::{
    desired::{
        command::{Command, Settings},
        ops,
    },
    net::{Egress, NextHop},
    publish::{self, fake::Fake},
    table::merge::{Inputs, merge},
};

fn options() -> Options {
    let nowhere = PathBuf::from("/nonexistent");
    Options {
        socket: nowhere.clone(),
        state_dir: nowhere.clone(),
        pin_dir: nowhere,
        quiet_period: Duration::ZERO,
        udp_idle: Duration::ZERO,
        closed_idle: Duration::from_secs(30),
        ping_rate: 0,
        packet_log: 0,
    }
}

fn open(fake: &Fake) -> Publisher<Fake> {
    Publisher::with(fake.clone(), &publish::Options::new("/nonexistent", 1)).unwrap()
}

/// Two services on two backends.
fn desired() -> Desired {
    let add = |name: &str, vip: &str| {
        let settings = Settings { vip: Some(vip.parse().unwrap()), ..Settings::default() };
        Command::ServiceAdd { name: name.to_owned(), settings: Box::new(settings) }
    };
    let backends = |service: &str| Command::BackendAdd {
        service: service.to_owned(),
        addresses: ["10.0.0.2", "10.0.0.3"].map(|address| address.parse().unwrap()).into(),
        weight: 1,
        quic_server_id: None,
    };
    let commands = [add("a", "192.0.2.1:80/tcp"), add("b", "192.0.2.1:81/tcp"), backends("a"), backends("b")];
    commands.iter().fold(Desired::new(1), |state, command| ops::apply(&state, command).unwrap())
}

fn egress() -> NextHop {
    NextHop::Resolved(vec![Egress {
        ifindex: 7,
        vlan: None,
        ifname: "eth7".to_owned(),
        source_mac: [2, 0, 0, 0, 0, 1],
        next_hop_mac: [2, 0, 0, 0, 0, 2],
        gateway: None,
        source: "10.0.0.1".parse().unwrap(),
        mtu: 1500,
    }])
}

fn snapshot(state: &State) -> crate::table::snapshot::Snapshot {
    let State { desired, assignments, liveness, known_until, hops, held, .. } = state;
    let rising = &BTreeMap::new();
    merge(Inputs { desired, assignments, liveness, known_until: *known_until, hops, held, rising })
}

#[test]
fn the_pins_and_the_desired_state_are_all_that_a_restart_needs() {
    let fake = Fake::default();
    let mut publisher = open(&fake);
    let mut state = State::resume(&options(), desired(), &publisher);
    assert!(state.liveness.is_empty(), "nothing is pinned, nothing is known");
    // Indices that nobody would give by chance.
    for ids in 0..5 {
        let mut fewer = state.desired.clone();
        fewer.services.values_mut().for_each(|service| service.check.rise = ids + 3);
        state.assignments.update(&fewer, &state.hops);
    }
    state.hops = state.addresses().into_iter().map(|address| (address, egress())).collect();
    state.assignments.update(&state.desired, &state.hops);
    for (id, target) in state.assignments.targets() {
        state.liveness.insert(id, target.address.to_string() == "10.0.0.2");
    }
    let before = snapshot(&state);
    publisher.apply(&before).unwrap();

    let mut second = open(&fake);
    let resumed = State::resume(&options(), desired(), &second);
    assert_eq!(resumed.liveness, state.liveness);
    assert_eq!(snapshot(&resumed), before);
    assert_eq!(second.apply(&snapshot(&resumed)).unwrap(), publish::Applied::default());
}

#[test]
fn a_check_that_was_edited_but_not_published_takes_nothing_out() {
    let fake = Fake::default();
    let mut publisher = open(&fake);
    let mut state = State::resume(&options(), desired(), &publisher);
    state.liveness = state.assignments.targets().map(|(id, _)| (id, true)).collect();
    publisher.apply(&snapshot(&state)).unwrap();
    let mut edited = desired();
    edited.services.get_mut("b").unwrap().check.fall += 1;
    let resumed = State::resume(&options(), edited, &open(&fake));
    assert_eq!(resumed.liveness.len(), 4, "each backend has a target per service now");
    assert!(resumed.liveness.values().all(|up| *up));
}
