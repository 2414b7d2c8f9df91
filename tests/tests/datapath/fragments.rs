//! Fragments: those of a service's packets go where the first goes, the host's are passed.

use lb_common::{mode, service::SERVICE_BY_ADDRESS, verdict::Reason};
use lb_tests::{
    packet::{self, Frame, Ip, Segment, icmp, icmpv6},
    runner::{Action, Balancer, Label, Slots, World, WorldService},
    sctp,
};

use crate::world::{
    CLIENT_PORT, CLIENT_V4, LB_V4, LB_V6, Row, UDP, backend4, backend6, check, data, ends, hash_v4, hash_v6,
    label, sent, service, to, v4, v6, vip4, world,
};

/// "More fragments", IPv4.
const MORE: u16 = 0x2000;

/// The rows' world with the marks of its addresses, as the agent sets them.
fn marked() -> World {
    let mut world = world();
    let addresses: std::collections::BTreeSet<_> = world.services.iter().map(|at| at.address).collect();
    for address in addresses {
        let protocol = if address.is_ipv4() { 1 } else { 58 };
        world.services.push(service(0, address, 0, protocol, mode::ECHO, Slots::Missing));
    }
    world
}

fn balancer() -> Balancer {
    Balancer::load(&marked()).unwrap()
}

/// A datagram that fills a first fragment.
fn long() -> Segment {
    packet::udp(CLIENT_PORT, 53, &[7; 1_208])
}

fn first4(segment: Segment, id: u8) -> packet::V4 {
    v4(segment, id).with(|ip| ip.fragment = MORE)
}

/// Content without ports, at an offset in units of eight bytes.
fn later4(protocol: u8, id: u8, offset: u16) -> packet::V4 {
    v4(packet::other(protocol, &[9; 400]), id).with(|ip| ip.fragment = offset)
}

/// A part of an IPv6 packet: what stands in its fragment header.
fn part6(segment: Segment, id: u8, offset_and_more: u16, number: u32) -> Ip {
    let word = offset_and_more.to_be_bytes();
    let ip = v6(segment, id).extension(44, 8).ip().patch(42, &word);
    ip.patch(44, &number.to_be_bytes())
}

fn later6(protocol: u8, id: u8, number: u32) -> Ip {
    part6(packet::other(protocol, &[9; 400]), id, 1_216, number)
}

fn redirected(row: Row) -> Row {
    Row { action: Action::Redirect, ..row }
}

#[test]
fn later_fragments_follow_the_first_in_every_mode() {
    let mut rows = Vec::new();
    let mut direct = |description, frame: Frame, backend| {
        rows.push(sent(description, &frame, &to(backend, frame.clone().untagged()), backend));
    };
    direct("udp, the first", first4(long(), 2).frame(), 1);
    direct("udp, one of the middle", later4(UDP, 2, MORE | 152).frame(), 1);
    direct("udp, the last", later4(UDP, 2, 202).frame(), 1);
    direct("udp, the last, tagged", later4(UDP, 2, 202).frame().tag(0x88a8, 1).tag(0x8100, 2), 1);
    direct("udp, the last, with options", later4(UDP, 2, 202).with(|ip| ip.options = vec![1; 8]).frame(), 1);
    direct("tcp, the first", first4(data(), 9).frame(), 1);
    direct("tcp, the last", later4(6, 9, 3).frame(), 1);
    direct("v6, the first", part6(long(), 6, 1, 5).frame(), 2);
    direct("v6, the last", later6(UDP, 6, 5).frame(), 2);
    direct("v6, the last, of another header", later6(60, 6, 5).frame(), 2);
    direct("v6, tagged", later6(UDP, 6, 5).frame().tag(0x8100, 2), 2);
    direct("v6, whole (RFC 6946)", part6(long(), 6, 0, 9).frame(), 2);
    let mut row = |description, inner: Ip, outer: Frame, backend| {
        rows.push(sent(description, &inner.frame(), &to(backend, outer), backend));
    };
    for (name, ip) in [("4in4, the first", first4(long(), 30)), ("4in4, the last", later4(UDP, 30, 152))] {
        row(name, ip.ip(), ip.ip().in_v4(LB_V4, backend4(1), 0).frame(), 1);
    }
    let hash = hash_v4(4, 6, CLIENT_PORT, 80);
    for (name, ip) in [("4in6, the first", first4(data(), 4)), ("4in6, the last", later4(6, 4, 3))] {
        row(name, ip.ip(), ip.ip().in_v6(LB_V6, backend6(2), 0, label(hash)).frame(), 2);
    }
    let hash = hash_v6(31, UDP, CLIENT_PORT, 53);
    for (name, ip) in [("6in6, first", part6(long(), 31, 1, 6)), ("6in6, last", later6(UDP, 31, 6))] {
        row(name, ip.clone(), ip.in_v6(LB_V6, backend6(2), 0, label(hash)).frame(), 2);
    }
    let source = 0xc000 + (hash_v4(54, UDP, CLIENT_PORT, 53) >> 18) as u16 % 0x4000;
    for (name, ip) in [("gue, the first", first4(long(), 54)), ("gue, the last", later4(UDP, 54, 152))] {
        row(name, ip.ip(), ip.ip().in_udp(source, 6080).outer_v4(LB_V4, backend4(30), 0).frame(), 30);
    }
    let first = first4(data(), 11).frame();
    rows.push(redirected(sent("through another interface", &first, &to(3, first.clone()), 3)));
    let last = later4(6, 11, 3).frame();
    rows.push(redirected(sent("through another interface, the last", &last, &to(3, last.clone()), 3)));
    let mut balancer = balancer();
    check(rows, |frame| balancer.run(frame).unwrap());
    assert_eq!(balancer.flow_entries().unwrap().len(), 0);
}

#[test]
fn later_fragments_that_follow_none_are_dropped() {
    let unmatched = Reason::FragmentUnmatched;
    let rows = vec![
        ends("before the first", &later4(UDP, 2, 152).frame(), unmatched),
        ends("v6, before the first", &later6(UDP, 6, 5).frame(), unmatched),
        sent("the first", &first4(long(), 2).frame(), &to(1, first4(long(), 2).frame()), 1),
        ends("of another packet", &later4(UDP, 2, 152).with(|ip| ip.id = 1).frame(), unmatched),
        ends("of another protocol", &later4(6, 2, 152).frame(), unmatched),
        ends("to another address", &later4(UDP, 30, 152).frame(), unmatched),
        ends(
            "from another",
            &packet::other(UDP, &[1; 8]).v4(LB_V4, vip4(2)).with(|ip| ip.fragment = 9).frame(),
            unmatched,
        ),
    ];
    let mut balancer = balancer();
    check(rows, |frame| balancer.run(frame).unwrap());
}

#[test]
fn fragments_that_deceive_are_dropped() {
    let malformed = Reason::FragmentMalformed;
    let cut =
        |segment: Segment, length: usize| first4(segment, 1).with(|ip| ip.payload.truncate(length)).frame();
    let chunk = packet::other(132, &sctp::packet(CLIENT_PORT, 80, sctp::INIT, b"init"));
    let mut rows = vec![
        ends("a first one that ends within TCP", &cut(data(), 16), malformed),
        ends("within UDP", &cut(long(), 7), malformed),
        ends("within SCTP", &cut(chunk, 15), malformed),
        ends("a later one that begins within TCP", &later4(6, 1, 1).frame(), malformed),
        ends("within SCTP, later", &later4(132, 1, 1).frame(), malformed),
        ends("the packet would be too long", &later4(UDP, 2, 0x1fff).frame(), malformed),
        ends("v6, too long", &part6(packet::other(UDP, &[9; 400]), 6, 0xfff8, 1).frame(), malformed),
        ends("v6, without UDP", &part6(packet::other(UDP, b""), 6, 1, 1).frame(), malformed),
        ends("v6, without its options", &part6(packet::other(60, &[17, 0]), 6, 1, 1).frame(), malformed),
    ];
    let twice = v6(long(), 6).extension(44, 8).extension(44, 8).frame();
    rows.push(ends("v6, two fragment headers", &twice, malformed));
    let mut balancer = balancer();
    check(rows, |frame| balancer.run(frame).unwrap());
}

#[test]
fn fragments_of_other_traffic_are_passed() {
    let passed = Reason::Fragment;
    let ping6 = part6(icmpv6(128, 0, &[1; 64]), 6, 1, 7);
    let rows = vec![
        ends("another address", &first4(long(), 200).frame(), passed),
        ends("another address, the last", &later4(UDP, 200, 152).frame(), passed),
        ends("another address, too short", &first4(packet::other(6, b""), 200).frame(), passed),
        ends("another address, v6", &part6(long(), 200, 1, 1).frame(), passed),
        ends("another address, v6, the last", &later6(UDP, 200, 1).frame(), passed),
        ends("another port of ours, whole", &part6(packet::udp(1, 99, b"x"), 6, 0, 3).frame(), passed),
        ends("what has its number", &later6(UDP, 6, 3).frame(), Reason::FragmentUnmatched),
        ends("another port of ours", &first4(packet::udp(1, 99, &[1; 32]), 2).frame(), passed),
        ends("another port of ours, the last", &later4(UDP, 2, 5).frame(), passed),
        ends("a ping's first", &first4(icmp(8, 0, &[1; 64]), 2).frame(), passed),
        ends("a ping's last", &later4(1, 2, 8).frame(), passed),
        ends("v6, a ping's first", &ping6.frame(), passed),
        ends("v6, a ping's last", &later6(58, 6, 7).frame(), passed),
    ];
    let mut balancer = balancer();
    check(rows, |frame| balancer.run(frame).unwrap());
}

#[test]
fn a_first_fragment_that_does_not_fit_is_answered_and_a_later_one_dropped() {
    let mut world = marked();
    world.backends.get_mut(&1).unwrap().mtu = 1_250;
    world.backends.get_mut(&2).unwrap().mtu = 1_310;
    let mut balancer = Balancer::load(&world).unwrap();
    let first = first4(long(), 30).ip();
    let rest = [&1_230u32.to_be_bytes(), &first.bytes()[..548]].concat();
    let answer = icmp(3, 4, &rest).v4(vip4(30), CLIENT_V4).with(|ip| (ip.tos, ip.ttl, ip.id) = (0xc0, 64, 0));
    let back = |ip: Ip| ip.frame().macs([2, 0, 0, 0, 0, 0xbb], [2, 0, 0, 0, 0, 0xaa]);
    let answered = |description, ip: &Ip, answer: Ip| Row {
        description,
        packet: ip.clone().frame().bytes(),
        action: Action::Transmit,
        out: back(answer).bytes(),
        counted: Reason::TooBigAnswered.into(),
    };
    let big = packet::other(UDP, &[9; 1_216]).v4(CLIENT_V4, vip4(30)).with(|ip| ip.fragment = MORE | 152);
    let first6 = part6(packet::udp(CLIENT_PORT, 53, &[7; 1_256]), 31, 1, 6);
    let rows = vec![
        answered("v4", &first, answer.ip()),
        ends("a later one", &big.frame(), Reason::TooBig),
        // Its sender would not heed less than 1,280.
        ends("v6", &first6.frame(), Reason::TooBig),
    ];
    check(rows, |frame| balancer.run(frame).unwrap());
}

#[test]
fn where_the_first_went_holds_for_a_while_and_while_its_backend_is_up() {
    let mut balancer = Balancer::load(&World { now_s: Some(100), ..marked() }).unwrap();
    let last = later4(UDP, 2, 152).frame();
    let reasons = |balancer: &mut Balancer| {
        let counted = balancer.run(&last.bytes()).unwrap().counted;
        counted.into_keys().next().unwrap()
    };
    balancer.run(&first4(long(), 2).frame().bytes()).unwrap();
    balancer.set_clock(130).unwrap();
    assert_eq!(reasons(&mut balancer), Label::Forwarded(1));
    balancer.set_clock(131).unwrap();
    assert_eq!(reasons(&mut balancer), Reason::FragmentUnmatched.into());
    balancer.run(&first4(long(), 2).frame().bytes()).unwrap();
    assert_eq!(reasons(&mut balancer), Label::Forwarded(1));
    balancer.set_liveness(1, 1).unwrap();
    assert_eq!(reasons(&mut balancer), Reason::FragmentUnmatched.into());
}

/// A slot that moves records the flow at its first fragment, and later ones go with it.
#[test]
fn a_first_fragment_is_recorded_in_a_moving_slot() {
    let mut balancer = balancer();
    let first = first4(long(), 45).frame();
    assert_eq!(crate::world::forwarded_to(&mut balancer, &first), 20);
    assert_eq!(balancer.flow_entries().unwrap().len(), 1);
    assert_eq!(crate::world::forwarded_to(&mut balancer, &later4(UDP, 45, 152).frame()), 20);
    assert_eq!(balancer.flow_entries().unwrap().len(), 1);
}

#[test]
fn by_address_needs_no_first() {
    let mut world = marked();
    let mut own = service(81, vip4(81).into(), 53, UDP, mode::L2, Slots::shared(&[11, 12, 13, 14]));
    own.service.flags = SERVICE_BY_ADDRESS;
    let without_ports = WorldService { port: UDP.into(), protocol: 44, ..own.clone() };
    let marker = service(0, own.address, 0, 1, mode::ECHO, Slots::Missing);
    world.services.extend([own, without_ports, marker]);
    let mut balancer = Balancer::load(&world).unwrap();
    let later = crate::world::forwarded_to(&mut balancer, &later4(UDP, 81, 152).frame());
    for port in 0..20 {
        let first = first4(packet::udp(CLIENT_PORT + port, 53, &[7; 64]), 81).with(|ip| ip.id = port);
        assert_eq!(crate::world::forwarded_to(&mut balancer, &first.frame()), later);
    }
    let tcp = ends("of another protocol", &later4(6, 81, 152).frame(), Reason::FragmentUnmatched);
    check(vec![tcp], |frame| balancer.run(frame).unwrap());
}
