//! Each command, what it changes, and what it refuses.

use super::*;
use crate::{
    desired::{
        command::{CheckName, CheckSettings},
        model::{AttachMode, CheckKind},
    },
    error::Kind,
};

fn add(name: &str, vip: &str) -> Command {
    add_with(name, vip, |_| {})
}

fn add_with(name: &str, vip: &str, change: impl FnOnce(&mut Settings)) -> Command {
    let mut settings = Settings { vip: Some(vip.parse().unwrap()), ..Settings::default() };
    change(&mut settings);
    Command::ServiceAdd { name: name.to_owned(), settings: Box::new(settings) }
}

fn set(name: &str, change: impl FnOnce(&mut Settings)) -> Command {
    let mut settings = Settings::default();
    change(&mut settings);
    Command::ServiceSet { name: name.to_owned(), settings: Box::new(settings) }
}

fn addresses(list: &[&str]) -> BTreeSet<IpAddr> {
    list.iter().map(|address| address.parse().unwrap()).collect()
}

fn backends_of(service: &str, list: &[&str]) -> Command {
    Command::BackendAdd {
        service: service.to_owned(),
        addresses: addresses(list),
        weight: 100,
        quic_server_id: None,
    }
}

/// The state after commands that all succeed.
fn after(commands: &[Command]) -> Desired {
    let state = commands.iter().fold(Desired::new(7), |state, command| apply(&state, command).unwrap());
    validate(&state).unwrap();
    state
}

fn refused(state: &Desired, command: &Command, kind: Kind, part: &str) {
    let error = apply(state, command).unwrap_err();
    assert_eq!(error.kind, kind, "{error}");
    assert!(error.message.contains(part), "{part:?} is not in: {error}");
}

fn web() -> Desired {
    after(&[add("web", "192.0.2.1:80/tcp"), backends_of("web", &["10.0.0.2", "10.0.0.3"])])
}

#[test]
fn a_tcp_service_is_checked_on_its_port() {
    let service = &web().services["web"];
    assert_eq!((service.id, service.table_size, service.mode), (1, 65_537, Mode::L2));
    assert_eq!((&service.check.kind, service.check.port), (&CheckKind::Tcp, 80));
}

#[test]
fn udp_and_any_port_are_not_checked() {
    for vip in ["192.0.2.1:53/udp", "192.0.2.1:0/tcp"] {
        assert_eq!(after(&[add("x", vip)]).services["x"].check.kind, CheckKind::None, "{vip}");
    }
}

#[test]
fn service_addresses_and_names_are_unique() {
    let state = web();
    refused(&state, &add("other", "192.0.2.1:80/tcp"), Kind::Conflict, "belongs to service web");
    refused(&state, &add("web", "192.0.2.1:81/tcp"), Kind::Conflict, "exists already");
    after(&[add("a", "192.0.2.1:80/tcp"), add("b", "192.0.2.1:80/udp"), add("c", "192.0.2.1:0/tcp")]);
    let two = after(&[add("a", "192.0.2.1:80/tcp"), add("b", "192.0.2.1:81/tcp")]);
    let vip = Some("192.0.2.1:80/tcp".parse().unwrap());
    refused(&two, &set("b", |settings| settings.vip = vip), Kind::Conflict, "belongs to service a");
}

#[test]
fn names_that_are_none() {
    for name in ["", "-x", "a b", "a/b", "é", &"x".repeat(64)] {
        refused(&Desired::new(7), &add(name, "192.0.2.1:80/tcp"), Kind::InvalidConfiguration, "name");
    }
}

#[test]
fn unknown_names_are_not_found() {
    let state = web();
    let service = "nope".to_owned();
    let addresses = addresses(&["10.0.0.9"]);
    refused(&state, &Command::ServiceDel { name: service.clone() }, Kind::NotFound, "no service");
    refused(&state, &backends_of("nope", &["10.0.0.9"]), Kind::NotFound, "no service");
    for service in ["nope", "web"] {
        let (service, addresses) = (service.to_owned(), addresses.clone());
        refused(&state, &Command::BackendDel { service, addresses }, Kind::NotFound, "no ");
    }
    let drain =
        Command::BackendAdmin { service: "web".to_owned(), addresses, admin: Admin::Drain, drain: None };
    refused(&state, &drain, Kind::NotFound, "no backend 10.0.0.9");
    let detach = Command::Detach { interfaces: Some(BTreeSet::from(["eth9".to_owned()])) };
    refused(&state, &detach, Kind::NotFound, "eth9");
}

#[test]
fn l2_needs_backends_of_the_family_of_its_address() {
    let command = backends_of("web", &["2001:db8::2"]);
    refused(&web(), &command, Kind::InvalidConfiguration, "another family");
    let ipip = add_with("tunnel", "192.0.2.1:80/tcp", |settings| settings.mode = Some(Mode::Ipip));
    let mixed = after(&[ipip, backends_of("tunnel", &["2001:db8::2", "10.0.0.2"])]);
    let to_l2 = set("tunnel", |settings| settings.mode = Some(Mode::L2));
    refused(&mixed, &to_l2, Kind::InvalidConfiguration, "another family");
}

#[test]
fn backends_that_nothing_can_be_sent_to() {
    for address in ["0.0.0.0", "127.0.0.1", "224.0.0.1", "192.0.2.1", "::ffff:10.0.0.1"] {
        refused(&web(), &backends_of("web", &[address]), Kind::InvalidConfiguration, address);
    }
}

#[test]
fn a_refused_addition_adds_none() {
    let state = web();
    refused(&state, &backends_of("web", &["10.0.0.9", "10.0.0.2"]), Kind::Conflict, "10.0.0.2 already");
    assert_eq!(state.services["web"].backends.len(), 2);
}

#[test]
fn weights_end_at_65535() {
    let weigh = |weight| Command::BackendSet {
        service: "web".to_owned(),
        addresses: addresses(&["10.0.0.2"]),
        weight: Some(weight),
        quic_server_id: None,
    };
    let state = apply(&web(), &weigh(65_535)).unwrap();
    assert_eq!(state.services["web"].backends[&"10.0.0.2".parse::<IpAddr>().unwrap()].weight, 65_535);
    refused(&state, &weigh(65_536), Kind::InvalidConfiguration, "0 to 65535");
}

#[test]
fn a_table_has_a_known_size_and_room_for_each_backend() {
    let sized = |size| add_with("web", "192.0.2.1:80/tcp", |settings| settings.table_size = Some(size));
    refused(&Desired::new(7), &sized(1000), Kind::InvalidConfiguration, "1021, 8191, 65537, 524287");
    let state = after(&[sized(1021)]);
    let many: Vec<String> = (0..1022).map(|n| format!("10.0.{}.{}", n / 250, n % 250 + 1)).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    apply(&state, &backends_of("web", &many[..1021])).unwrap();
    refused(&state, &backends_of("web", &many), Kind::InvalidConfiguration, "1022 backends");
}

#[test]
fn backends_end_where_the_map_does() {
    let mut state = after(&[add_with("web", "192.0.2.1:80/tcp", |settings| {
        settings.table_size = Some(524_287);
    })]);
    let all: BTreeSet<IpAddr> = (0..MAX_BACKENDS).map(|n| IpAddr::V4((0x0a00_0001 + n).into())).collect();
    let service = "web".to_owned();
    let command =
        Command::BackendAdd { service: service.clone(), addresses: all, weight: 1, quic_server_id: None };
    refused(&state, &command, Kind::InvalidConfiguration, "65535 backends");
    let fitting: BTreeSet<IpAddr> = (1..MAX_BACKENDS).map(|n| IpAddr::V4((0x0a00_0001 + n).into())).collect();
    state =
        apply(&state, &Command::BackendAdd { service, addresses: fitting, weight: 1, quic_server_id: None })
            .unwrap();
    refused(&state, &backends_of("web", &["10.255.0.1"]), Kind::InvalidConfiguration, "65535 backends");
}

#[test]
fn ids_are_reused_as_late_as_possible() {
    let del = Command::BackendDel { service: "web".to_owned(), addresses: addresses(&["10.0.0.3"]) };
    let state = apply(&apply(&web(), &del).unwrap(), &backends_of("web", &["10.0.0.3"])).unwrap();
    assert_eq!(state.services["web"].backends[&"10.0.0.3".parse::<IpAddr>().unwrap()].id, 3);
    let used = BTreeSet::from([1, 4]);
    assert_eq!(next_id(3, 5, &used), Some(2), "goes round past the end and over what is used");
    assert_eq!(next_id(3, 5, &BTreeSet::from([1, 2, 3, 4])), None);
}

#[test]
fn encap_source_is_for_ipip_and_of_the_backends_family() {
    let source = |prefix: &str| Some(EncapSource::Prefix(prefix.parse().unwrap()));
    let l2 = add_with("x", "192.0.2.1:80/tcp", |settings| settings.encap_source = source("10.9.0.0/16"));
    refused(&Desired::new(7), &l2, Kind::InvalidConfiguration, "--mode ipip");
    let state = after(&[
        add_with("x", "192.0.2.1:80/tcp", |settings| {
            settings.mode = Some(Mode::Ipip);
            settings.encap_source = source("10.9.0.0/16");
        }),
        backends_of("x", &["10.0.0.2"]),
    ]);
    refused(&state, &backends_of("x", &["2001:db8::2"]), Kind::InvalidConfiguration, "another family");
    let none = set("x", |settings| settings.encap_source = Some(EncapSource::Interface));
    assert_eq!(apply(&state, &none).unwrap().services["x"].encap_source, None);
}

#[test]
fn a_gue_port_is_for_gue_and_goes_with_it() {
    let gue = |port| {
        add_with("x", "192.0.2.1:80/tcp", move |settings| {
            (settings.mode, settings.gue_port) = (Some(Mode::Gue), Some(port));
        })
    };
    let l2 = add_with("y", "192.0.2.1:80/tcp", |settings| settings.gue_port = Some(6081));
    refused(&Desired::new(7), &l2, Kind::InvalidConfiguration, "--mode gue");
    refused(&Desired::new(7), &gue(0), Kind::InvalidConfiguration, "not a port");
    let state = after(&[gue(6081)]);
    let check = set("x", |settings| settings.check.rise = Some(5));
    assert_eq!(apply(&state, &check).unwrap().services["x"].gue_port, Some(6081));
    let ipip = set("x", |settings| settings.mode = Some(Mode::Ipip));
    assert_eq!(apply(&state, &ipip).unwrap().services["x"].gue_port, None);
}

#[test]
fn checks_that_contradict_themselves() {
    type Case = (fn(&mut CheckSettings), &'static str);
    let cases: [Case; 8] = [
        (|check| (check.interval_ms, check.timeout_ms) = (Some(1000), Some(2000)), "exceeds the interval"),
        (|check| check.interval_ms = Some(1), "not within 10ms to 1h"),
        (|check| check.timeout_ms = Some(0), "below 1ms"),
        (|check| check.rise = Some(0), "rise of 0"),
        (|check| check.fall = Some(101), "fall of 101"),
        (|check| check.path = Some("/".to_owned()), "--check http"),
        (
            |check| (check.kind, check.path) = (Some(CheckName::Http), Some("/a b\r\nX: y".to_owned())),
            "plain ASCII",
        ),
        (|check| (check.kind, check.status) = (Some(CheckName::Http), Some((399, 200))), "399-200"),
    ];
    for (change, part) in cases {
        let command = set("web", |settings| change(&mut settings.check));
        refused(&web(), &command, Kind::InvalidConfiguration, part);
    }
}

#[test]
fn check_settings_keep_what_is_not_named() {
    let http = set("web", |settings| {
        settings.check.kind = Some(CheckName::Http);
        settings.check.path = Some("/healthz".to_owned());
    });
    let faster = set("web", |settings| settings.check.interval_ms = Some(200));
    let state = apply(&apply(&web(), &http).unwrap(), &faster).unwrap();
    let check = &state.services["web"].check;
    let kind = CheckKind::Http { path: "/healthz".to_owned(), status: (200, 399), host: None };
    assert_eq!((&check.kind, check.interval.as_millis(), check.timeout.as_millis()), (&kind, 200, 133));
}

#[test]
fn a_check_timeout_that_was_asked_for_stays() {
    let slow = set("web", |settings| settings.check.timeout_ms = Some(1_900));
    let state = apply(&web(), &slow).unwrap();
    let other = set("web", |settings| settings.check.rise = Some(5));
    let state = apply(&state, &other).unwrap();
    assert_eq!(state.services["web"].check.timeout.as_millis(), 1_900);
    let fall = set("web", |settings| settings.check.fall = Some(2));
    let state = apply(&state, &fall).unwrap();
    assert_eq!(
        state.services["web"].check.timeout.as_millis(),
        1_000,
        "so that it is down within 2 intervals"
    );
}

#[test]
fn an_empty_check_host_is_the_default() {
    let host = |host: &str| {
        let host = Some(host.to_owned());
        set("web", |settings| {
            (settings.check.kind, settings.check.host) = (Some(CheckName::Http), host.clone())
        })
    };
    let state = apply(&apply(&web(), &host("example.org")).unwrap(), &host("")).unwrap();
    assert!(matches!(state.services["web"].check.kind, CheckKind::Http { host: None, .. }));
}

#[test]
fn the_check_follows_the_port_of_the_service() {
    let vip = Some("192.0.2.1:8080/tcp".parse().unwrap());
    let state = apply(&web(), &set("web", |settings| settings.vip = vip)).unwrap();
    assert_eq!(state.services["web"].check.port, 8080);
}

#[test]
fn nothing_to_set_is_refused() {
    refused(&web(), &set("web", |_| {}), Kind::InvalidConfiguration, "nothing to set");
}

#[test]
fn interfaces_are_attached_and_detached() {
    let names = BTreeSet::from(["eth0".to_owned(), "eth1".to_owned()]);
    let attach = Command::Attach { interfaces: names, mode: AttachMode::Native };
    let state = after(&[attach]);
    assert_eq!(state.interfaces.len(), 2);
    let one = Command::Detach { interfaces: Some(BTreeSet::from(["eth0".to_owned()])) };
    assert_eq!(apply(&state, &one).unwrap().interfaces.len(), 1);
    assert!(apply(&state, &Command::Detach { interfaces: None }).unwrap().interfaces.is_empty());
    let odd = Command::Attach { interfaces: BTreeSet::from(["../x".to_owned()]), mode: AttachMode::Auto };
    refused(&state, &odd, Kind::InvalidConfiguration, "name of an interface");
}

#[test]
fn connections_do_not_choose_anew() {
    type Case = (fn(&mut Settings), &'static str);
    let cases: [Case; 3] = [
        (|settings| settings.algorithm = Some(Algorithm::RoundRobin), "algorithm"),
        (|settings| settings.table_size = Some(1021), "table size"),
        (
            |settings| {
                settings.algorithm = Some(Algorithm::SourceHash);
                settings.source_prefix4 = Some(24);
            },
            "algorithm",
        ),
    ];
    let empty = after(&[add("web", "192.0.2.1:80/tcp")]);
    for (change, part) in cases {
        refused(&web(), &set("web", change), Kind::Conflict, part);
        refused(&web(), &set("web", change), Kind::Conflict, "another service");
        apply(&empty, &set("web", change)).unwrap();
    }
    let by_source = after(&[
        add_with("x", "192.0.2.1:80/tcp", |settings| settings.algorithm = Some(Algorithm::SourceHash)),
        backends_of("x", &["10.0.0.2"]),
    ]);
    let wider = set("x", |settings| settings.source_prefix4 = Some(24));
    refused(&by_source, &wider, Kind::Conflict, "source prefix");
    let same = set("web", |settings| settings.table_size = Some(65_537));
    assert_eq!(apply(&web(), &same).unwrap(), web());
}

#[test]
fn choices_that_contradict_themselves() {
    type Case = (&'static str, fn(&mut Settings), &'static str);
    let cases: [Case; 5] = [
        ("192.0.2.1:80/tcp", |settings| settings.source_prefix4 = Some(24), "--algorithm source-hash"),
        (
            "192.0.2.1:80/tcp",
            |settings| {
                settings.algorithm = Some(Algorithm::SourceHash);
                settings.source_prefix6 = Some(24);
            },
            "--source-prefix4",
        ),
        (
            "192.0.2.1:80/tcp",
            |settings| {
                settings.algorithm = Some(Algorithm::SourceHash);
                settings.source_prefix4 = Some(33);
            },
            "0 to 32",
        ),
        ("192.0.2.1:80/tcp", |settings| settings.quic = Some(true), "UDP"),
        ("192.0.2.1:80/tcp", |settings| settings.slow_start_ms = Some(3_600_001), "exceeds 1h"),
    ];
    for (vip, change, part) in cases {
        refused(&Desired::new(7), &add_with("x", vip, change), Kind::InvalidConfiguration, part);
    }
}

#[test]
fn a_drain_has_an_end_and_nothing_else_has() {
    let admin = |admin, drain| Command::BackendAdmin {
        service: "web".to_owned(),
        addresses: addresses(&["10.0.0.2"]),
        admin,
        drain,
    };
    let end = Drain { deadline_unix_ms: Some(7), remove: true };
    let of = |state: &Desired| state.services["web"].backends[&"10.0.0.2".parse::<IpAddr>().unwrap()].clone();
    let drained = apply(&web(), &admin(Admin::Drain, Some(end))).unwrap();
    assert_eq!((of(&drained).admin, of(&drained).drain), (Admin::Drain, Some(end)));
    validate(&drained).unwrap();
    let ready = apply(&drained, &admin(Admin::Ready, None)).unwrap();
    assert_eq!(ready, web());
    let maint = apply(&drained, &admin(Admin::Maint, None)).unwrap();
    assert_eq!((of(&maint).admin, of(&maint).drain), (Admin::Maint, None));
    refused(&web(), &admin(Admin::Maint, Some(end)), Kind::InvalidConfiguration, "drain");
}

#[path = "ops_vips_tests.rs"]
mod vips;
