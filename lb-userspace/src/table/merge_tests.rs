//! What becomes of desired state, health and next hops.

use lb_common::{addr::from_v4, backend::BACKEND_MULTIPATH};

use super::*;
use crate::{
    desired::{
        command::{Command, EncapSource, Settings},
        ops,
    },
    health::Target,
    net::Egress,
};

/// A state with some services, its indices, and a way to 10.0.0.0/24.
struct World {
    desired: Desired,
    assignments: Assignments,
    liveness: Liveness,
    hops: NextHops,
    held: BTreeMap<u32, Backend>,
    rising: BTreeMap<u32, Duration>,
}

impl World {
    fn new(commands: &[Command]) -> Self {
        let desired =
            commands.iter().fold(Desired::new(1), |state, command| ops::apply(&state, command).unwrap());
        let hops: NextHops = desired
            .services
            .values()
            .flat_map(|service| service.backends.keys())
            .map(|address| (*address, NextHop::Resolved(vec![egress(7)])))
            .collect();
        let mut assignments = Assignments::default();
        assert!(assignments.update(&desired, &hops));
        let liveness = assignments.targets().map(|(id, _)| (id, true)).collect();
        Self { desired, assignments, liveness, hops, held: BTreeMap::new(), rising: BTreeMap::new() }
    }

    fn merge(&self) -> Snapshot {
        let Self { desired, assignments, liveness, hops, held, rising } = self;
        merge(Inputs { desired, assignments, liveness, known_until: Moment::default(), hops, held, rising })
    }

    /// Addresses that own slots of a service.
    fn members(&self, name: &str) -> Vec<String> {
        let id = self.desired.services[name].id;
        self.merge().services[&id].members.iter().map(|member| member.address.to_string()).collect()
    }

    fn target(&self, name: &str, address: &str) -> Target {
        target_of(&self.desired.services[name], address.parse().unwrap())
    }

    fn change(&mut self, command: &Command) {
        let desired = ops::apply(&self.desired, command).unwrap();
        let before = std::mem::replace(&mut self.desired, desired);
        let old = self.assignments.clone();
        self.assignments.update(&self.desired, &self.hops);
        inherit(&before, &self.desired, &old, &self.assignments, &mut self.liveness);
    }
}

fn egress(ifindex: u32) -> Egress {
    Egress {
        ifindex,
        vlan: None,
        ifname: format!("eth{ifindex}"),
        source_mac: [2, 0, 0, 0, 0, 1],
        next_hop_mac: [2, 0, 0, 0, 0, 2],
        gateway: None,
        source: "10.0.0.1".parse().unwrap(),
        mtu: 1500,
    }
}

fn add(name: &str, vip: &str, change: impl FnOnce(&mut Settings)) -> Command {
    let mut settings = Settings { vip: Some(vip.parse().unwrap()), ..Settings::default() };
    change(&mut settings);
    Command::ServiceAdd { name: name.to_owned(), settings: Box::new(settings) }
}

fn backends(service: &str, addresses: &[&str], weight: u32) -> Command {
    let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
    Command::BackendAdd { service: service.to_owned(), addresses, weight, quic_server_id: None }
}

fn web() -> World {
    World::new(&[add("web", "192.0.2.1:80/tcp", |_| {}), backends("web", &["10.0.0.2", "10.0.0.3"], 100)])
}

#[test]
fn members_are_up_ready_and_weighted() {
    let mut world = web();
    assert_eq!(world.members("web"), ["10.0.0.2", "10.0.0.3"]);
    let down = world.assignments.target(&world.target("web", "10.0.0.2")).unwrap();
    world.liveness.insert(down, false);
    assert_eq!(world.members("web"), ["10.0.0.3"]);
    assert!(!world.merge().targets[&down]);
    world.liveness.insert(down, true);
    let addresses: BTreeSet<IpAddr> = BTreeSet::from(["10.0.0.3".parse().unwrap()]);
    let service = "web".to_owned();
    let drain =
        Command::BackendAdmin { service: service.clone(), addresses, admin: Admin::Drain, drain: None };
    world.change(&drain);
    assert_eq!(world.members("web"), ["10.0.0.2"]);
    let snapshot = world.merge();
    assert_eq!(snapshot.backends.len(), 2, "a drained backend keeps its entry");
    let up = snapshot.backends.values().all(|backend| snapshot.targets[&backend.target]);
    assert!(up, "and counts as up");
    let addresses = BTreeSet::from(["10.0.0.2".parse().unwrap()]);
    world.change(&Command::BackendSet { service, addresses, weight: Some(0), quic_server_id: None });
    assert!(world.members("web").is_empty());
}

#[test]
fn a_new_backend_waits_for_its_first_success() {
    let mut world = web();
    world.hops.insert("10.0.0.4".parse().unwrap(), NextHop::Resolved(vec![egress(7)]));
    world.change(&backends("web", &["10.0.0.4"], 100));
    assert_eq!(world.members("web").len(), 2);
    let target = world.assignments.target(&world.target("web", "10.0.0.4")).unwrap();
    assert!(!world.merge().targets[&target]);
    world.liveness.insert(target, true);
    assert_eq!(world.members("web").len(), 3);
}

#[test]
fn a_changed_check_takes_nothing_out() {
    let mut world = web();
    let down = world.assignments.target(&world.target("web", "10.0.0.2")).unwrap();
    world.liveness.insert(down, false);
    let mut settings = Settings::default();
    settings.check.interval_ms = Some(300);
    world.change(&Command::ServiceSet { name: "web".to_owned(), settings: Box::new(settings) });
    assert_eq!(world.members("web"), ["10.0.0.3"], "what was up stays, what was down waits");
    assert_eq!(world.liveness.len(), 1, "freed indices are forgotten");
}

#[test]
fn services_with_the_same_check_share_targets() {
    let world = World::new(&[
        add("a", "192.0.2.1:80/tcp", |_| {}),
        add("b", "192.0.2.2:80/tcp", |_| {}),
        add("c", "192.0.2.2:53/udp", |_| {}),
        backends("a", &["10.0.0.2"], 100),
        backends("b", &["10.0.0.2"], 100),
        backends("c", &["10.0.0.2"], 100),
    ]);
    let snapshot = world.merge();
    let targets: Vec<u32> = snapshot.backends.values().map(|backend| backend.target).collect();
    assert_eq!(targets[0], targets[1]);
    assert_ne!(targets[0], targets[2]);
    assert_eq!(snapshot.targets.len(), 3, "and the one of backends in maintenance");
    assert_eq!(world.assignments.checked().len(), 1, "what has no check is not checked");
}

#[test]
fn indices_survive_a_restart_and_changes() {
    let mut world = web();
    let before = world.merge();
    let mut found = Assignments::found(&world.desired, &before.backends);
    assert_eq!(found, world.assignments);
    assert!(!found.update(&world.desired, &world.hops));
    world.change(&add("other", "192.0.2.1:81/tcp", |_| {}));
    world.change(&backends("other", &["10.0.0.2"], 1));
    let after = world.merge();
    for (id, backend) in before.backends {
        assert_eq!(after.backends[&id], backend);
    }
}

#[test]
fn an_unresolved_backend_has_an_entry_without_a_way() {
    let mut world = web();
    world.hops.insert("10.0.0.2".parse().unwrap(), NextHop::Unresolved("no route".to_owned()));
    assert_eq!(world.members("web"), ["10.0.0.3"]);
    let snapshot = world.merge();
    let flags: Vec<u8> = snapshot.backends.values().map(|backend| backend.flags).collect();
    assert_eq!(flags, [BACKEND_PRESENT, BACKEND_PRESENT | BACKEND_RESOLVED]);
    world.hops.clear();
    assert_eq!(
        world.members("web").len(),
        2,
        "packets are then counted as unresolved, not as without backend"
    );
    assert!(world.merge().tx_ports.is_empty());
}

#[test]
fn what_is_not_looked_up_yet_keeps_the_entry_that_the_packet_path_holds() {
    let mut world = web();
    let before = world.merge();
    world.held = before.backends.clone();
    world.hops.clear();
    assert_eq!(world.merge(), before, "a restarted agent takes no way away");
    world.hops.insert("10.0.0.2".parse().unwrap(), NextHop::Unresolved("no route".to_owned()));
    assert_eq!(world.members("web"), ["10.0.0.3"], "what is known to have no way is left out");
    let snapshot = world.merge();
    assert_eq!((snapshot.backends.len(), snapshot.tx_ports), (2, before.tx_ports));
    // The id was given to another address meanwhile.
    world.held.values_mut().for_each(|held| held.address[0] ^= 1);
    assert!(world.merge().tx_ports.is_empty());
}

#[test]
fn each_egress_has_a_port() {
    let mut world = web();
    world.hops.insert("10.0.0.3".parse().unwrap(), NextHop::Resolved(vec![egress(9)]));
    world.assignments.update(&world.desired, &world.hops);
    let snapshot = world.merge();
    for backend in snapshot.backends.values() {
        assert_eq!(snapshot.tx_ports[&u32::from(backend.tx_port)], backend.ifindex);
    }
    assert_eq!(snapshot.tx_ports.len(), 2);
}

#[test]
fn each_way_to_a_backend_has_an_entry() {
    let mut world = web();
    let ways = vec![egress(7), egress(9), egress(11)];
    world.hops.insert("10.0.0.3".parse().unwrap(), NextHop::Resolved(ways));
    world.assignments.update(&world.desired, &world.hops);
    let snapshot = world.merge();
    let service = &world.desired.services["web"];
    let id = service.backends[&"10.0.0.3".parse::<IpAddr>().unwrap()].id;
    let first = snapshot.backends[&id];
    assert_eq!((first.ifindex, first.hops()), (7, 3));
    assert!(first.flags & BACKEND_MULTIPATH != 0);
    let more: Vec<(u32, u32)> = snapshot.hops.iter().map(|(key, entry)| (*key, entry.ifindex)).collect();
    assert_eq!(more, [(hop_key(id, 1), 9), (hop_key(id, 2), 11)]);
    assert_eq!(snapshot.tx_ports.len(), 3, "each way out has its port");
}

#[test]
fn each_way_has_its_own_vlan_and_vlans_of_one_interface_share_its_port() {
    let mut world = web();
    let ways =
        vec![egress(7), Egress { vlan: Some(10), ..egress(7) }, Egress { vlan: Some(20), ..egress(9) }];
    world.hops.insert("10.0.0.3".parse().unwrap(), NextHop::Resolved(ways));
    world.assignments.update(&world.desired, &world.hops);
    let snapshot = world.merge();
    let ports: Vec<u32> = snapshot.tx_ports.values().copied().collect();
    assert_eq!(ports, [7, 9]);
    let entries = snapshot.hops.values().map(|entry| (entry.ifindex, entry.vlan));
    assert_eq!(entries.collect::<Vec<_>>(), [(7, 10), (9, 20)]);
    assert!(snapshot.backends.values().all(|entry| entry.vlan == 0));
}

#[test]
fn a_backend_that_is_this_host_needs_no_way_out() {
    let mut world = web();
    for address in ["10.0.0.2", "10.0.0.3"] {
        world.hops.insert(address.parse().unwrap(), NextHop::Local);
    }
    let snapshot = world.merge();
    assert_eq!(snapshot.services.values().map(|service| service.members.len()).sum::<usize>(), 2);
    assert!(snapshot.backends.values().all(|entry| entry.flags & BACKEND_LOCAL != 0));
    assert!(snapshot.tx_ports.is_empty());
    world.held = snapshot.backends.clone();
    world.hops.clear();
    assert_eq!(world.merge().backends, snapshot.backends, "nor after a restart");
}

#[test]
fn the_outer_source_is_the_egress_or_spread_over_a_prefix() {
    let ipip = |source: Option<&str>| {
        let source = source.map(|prefix| EncapSource::Prefix(prefix.parse().unwrap()));
        let world = World::new(&[
            add("t", "192.0.2.1:80/tcp", |settings| {
                settings.mode = Some(Mode::Ipip);
                settings.encap_source = source;
            }),
            backends("t", &["10.0.0.2"], 1),
        ]);
        *world.merge().backends.values().next().unwrap()
    };
    assert_eq!((ipip(None).source, ipip(None).source_spread_bits), (from_v4([10, 0, 0, 1]), 0));
    let spread = ipip(Some("10.9.0.0/16"));
    assert_eq!((spread.source, spread.source_spread_bits), (from_v4([10, 9, 0, 0]), 16));
}

#[test]
fn only_backends_of_gue_have_a_port() {
    let port = |mode, port| {
        let world = World::new(&[
            add("t", "192.0.2.1:80/tcp", |settings| {
                (settings.mode, settings.gue_port) = (Some(mode), port);
            }),
            backends("t", &["10.0.0.2"], 1),
        ]);
        world.merge().backends.values().next().unwrap().port
    };
    assert_eq!(port(Mode::Ipip, None), [0, 0]);
    assert_eq!(port(Mode::Gue, None), 6080u16.to_be_bytes());
    assert_eq!(port(Mode::Gue, Some(5555)), 5555u16.to_be_bytes());
}

#[test]
fn a_backend_in_maintenance_is_down_in_its_service_alone() {
    let mut world = World::new(&[
        add("a", "192.0.2.1:80/tcp", |_| {}),
        add("b", "192.0.2.2:80/tcp", |_| {}),
        backends("a", &["10.0.0.2", "10.0.0.3"], 100),
        backends("b", &["10.0.0.2"], 100),
    ]);
    let before = world.merge();
    world.change(&admin("a", "10.0.0.2", Admin::Maint));
    let snapshot = world.merge();
    let up: Vec<bool> = snapshot.backends.values().map(|backend| snapshot.targets[&backend.target]).collect();
    assert_eq!(up, [false, true, true]);
    assert_eq!((world.members("a"), world.members("b").len()), (vec!["10.0.0.3".to_owned()], 1));
    world.change(&admin("a", "10.0.0.2", Admin::Ready));
    assert_eq!(world.merge(), before);
}

fn admin(service: &str, address: &str, admin: Admin) -> Command {
    let addresses = BTreeSet::from([address.parse().unwrap()]);
    Command::BackendAdmin { service: service.to_owned(), addresses, admin, drain: None }
}

#[test]
fn entries_carry_the_weight_of_the_moment() {
    let mut world = web();
    let weights = |world: &World| -> Vec<u16> {
        world.merge().backends.values().map(|backend| backend.weight).collect()
    };
    assert_eq!(weights(&world), [100, 100]);
    world.change(&admin("web", "10.0.0.2", Admin::Drain));
    assert_eq!(weights(&world), [0, 100]);
    world.change(&admin("web", "10.0.0.2", Admin::Ready));
    let settings = Settings { slow_start_ms: Some(10_000), ..Settings::default() };
    world.change(&Command::ServiceSet { name: "web".to_owned(), settings: Box::new(settings) });
    let id = world.desired.services["web"].backends[&"10.0.0.2".parse::<IpAddr>().unwrap()].id;
    world.rising.insert(id, Duration::from_secs(4));
    assert_eq!(weights(&world), [50, 100]);
    let service = world.desired.services["web"].id;
    let members: Vec<u32> =
        world.merge().services[&service].members.iter().map(|member| member.weight).collect();
    assert_eq!(members, [50, 100]);
}

#[test]
fn flags_say_how_a_backend_is_chosen() {
    let of = |vip: &str, change: fn(&mut Settings)| {
        let backend = if vip.starts_with('[') { "2001:db8::2" } else { "10.0.0.2" };
        World::new(&[add("x", vip, change), backends("x", &[backend], 1)])
            .merge()
            .services
            .values()
            .next()
            .unwrap()
            .flags
    };
    type Case = (&'static str, fn(&mut Settings), u16);
    let cases: [Case; 8] = [
        ("192.0.2.1:80/tcp", |_| {}, 0),
        ("192.0.2.1:80/tcp", |set| set.algorithm = Some(Algorithm::RoundRobin), 2),
        ("192.0.2.1:80/tcp", |set| set.algorithm = Some(Algorithm::LeastConnections), 4),
        ("192.0.2.1:80/tcp", |set| set.algorithm = Some(Algorithm::SourceHash), 1 | 32 << 8),
        ("[2001:db8::1]:80/tcp", |set| set.algorithm = Some(Algorithm::SourceHash), 1 | 64 << 8),
        (
            "[2001:db8::1]:80/tcp",
            |set| (set.algorithm, set.source_prefix6) = (Some(Algorithm::SourceHash), Some(128)),
            1 | 128 << 8,
        ),
        ("192.0.2.1:443/udp", |set| set.quic = Some(true), 8),
        ("192.0.2.1:53/udp", |set| set.fragments = Some(Fragments::ByAddress), 128),
    ];
    for (vip, change, flags) in cases {
        assert_eq!(of(vip, change), flags, "{vip} {flags:#x}");
    }
}
