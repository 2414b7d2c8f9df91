//! Echo requests: to a service address they are answered, to any other address they are the host's.

use lb_common::{mode, service::Service, verdict::Reason};
use lb_tests::{
    packet::{self, Frame, checksum},
    runner::{Action, Balancer, Label, Slots, World, WorldService},
};

use crate::world::{
    CLIENT_V4, CLIENT_V6, LB_V4, Row, check, data, ends, once, to, v4, v6, vip4, vip6, world,
};

const NOW_S: u32 = 1_000;

/// A marker for each service address of the world.
fn with_markers(mut world: World) -> World {
    let addresses: std::collections::BTreeSet<_> =
        world.services.iter().map(|service| service.address).collect();
    world.services.extend(addresses.into_iter().map(|address| WorldService {
        prefix: None,
        address,
        port: 0,
        protocol: if address.is_ipv4() { 1 } else { 58 },
        service: Service { mode: mode::ECHO, ..Service::default() },
        slots: Slots::Missing,
    }));
    world
}

fn balancer() -> Balancer {
    Balancer::load(&with_markers(world())).unwrap()
}

/// Identifier, sequence number and data.
fn rest(data: &[u8]) -> Vec<u8> {
    [&[0x12, 0x34, 0, 7], data].concat()
}

fn request_v4(data: &[u8], id: u8) -> packet::V4 {
    v4(packet::icmp(8, 0, &rest(data)), id)
}

fn request_v6(data: &[u8], id: u8) -> packet::V6 {
    v6(packet::icmpv6(128, 0, &rest(data)), id)
}

/// The answer to a request, with the MAC addresses the other way round.
fn reply_v4(request: &packet::V4, data: &[u8], id: u8) -> Frame {
    let mut reply = packet::icmp(0, 0, &rest(data)).v4(vip4(id), CLIENT_V4);
    (reply.tos, reply.id, reply.fragment, reply.ttl) = (request.tos, request.id, request.fragment, 64);
    back(reply.frame())
}

fn reply_v6(request: &packet::V6, data: &[u8], id: u8) -> Frame {
    let mut reply = packet::icmpv6(129, 0, &rest(data)).v6(vip6(id), CLIENT_V6);
    (reply.traffic_class, reply.flow_label, reply.hop_limit) =
        (request.traffic_class, request.flow_label, 64);
    back(reply.frame())
}

/// To where frames of the tests come from.
fn back(frame: Frame) -> Frame {
    frame.macs([2, 0, 0, 0, 0, 0xbb], [2, 0, 0, 0, 0, 0xaa])
}

fn answered(description: &'static str, request: &Frame, reply: &Frame) -> Row {
    Row {
        description,
        packet: request.bytes(),
        action: Action::Transmit,
        out: reply.bytes(),
        counted: Reason::EchoAnswered.into(),
    }
}

#[test]
fn requests_to_service_addresses_are_answered() {
    let mut rows = Vec::new();
    for length in [0, 1, 2, 7, 56, 1000, 1472] {
        let data: Vec<u8> = (0..length).map(|at| at as u8).collect();
        let (v4, v6) = (request_v4(&data, 1), request_v6(&data, 5));
        rows.push(answered("v4", &v4.frame(), &reply_v4(&v4, &data, 1)));
        rows.push(answered("v6", &v6.frame(), &reply_v6(&v6, &data, 5)));
    }
    let tags = |frame: Frame| frame.tag(0x88a8, 5).tag(0x8100, 6);
    let request = request_v4(b"tagged", 1);
    rows.push(answered("tagged", &tags(request.frame()), &tags(reply_v4(&request, b"tagged", 1))));
    let request = request_v4(b"", 1);
    let padded = reply_v4(&request, b"", 1).padding(18);
    rows.push(answered("padded", &request.frame().padding(18), &padded));
    let request = request_v4(b"x", 1).with(|ip| (ip.tos, ip.ttl, ip.fragment) = (0xb8, 1, 0));
    rows.push(answered("of another class, at its last hop", &request.frame(), &reply_v4(&request, b"x", 1)));
    let request = request_v4(b"x", 1).with(|ip| ip.ttl = 255);
    rows.push(answered("with the longest life", &request.frame(), &reply_v4(&request, b"x", 1)));
    let request = request_v6(b"x", 5).with(|ip| (ip.traffic_class, ip.flow_label) = (0xb8, 0x1_2345));
    rows.push(answered("v6, of another class", &request.frame(), &reply_v6(&request, b"x", 5)));
    let request = request_v4(b"x", 2);
    rows.push(answered("of a UDP service", &request.frame(), &reply_v4(&request, b"x", 2)));
    for id in [14, 15, 16] {
        let request = request_v4(b"x", id);
        rows.push(answered("no backend is up", &request.frame(), &reply_v4(&request, b"x", id)));
    }
    let mut balancer = balancer();
    check(rows, |frame| balancer.run(frame).unwrap());
}

#[test]
fn other_requests_are_the_hosts() {
    let mut rows = Vec::new();
    let mut row = |description, frame: Frame| rows.push(ends(description, &frame, Reason::OtherProtocol));
    let request = || packet::icmp(8, 0, &rest(b"x"));
    row("the host's address", request().v4(CLIENT_V4, LB_V4).frame());
    row("another address", request_v4(b"x", 200).frame());
    row("v6, another address", request_v6(b"x", 200).frame());
    row("with options", request_v4(b"x", 1).with(|ip| ip.options = vec![1; 4]).frame());
    row("v6, behind a header", request_v6(b"x", 5).extension(0, 8).frame());
    row("of another code", v4(packet::icmp(8, 1, &rest(b"x")), 1).frame());
    row("v6, of another code", v6(packet::icmpv6(128, 1, &rest(b"x")), 5).frame());
    row("a reply", v4(packet::icmp(0, 0, &rest(b"x")), 1).frame());
    row("v6, a reply", v6(packet::icmpv6(129, 0, &rest(b"x")), 5).frame());
    row("ICMPv6 in IPv4", v4(packet::other(58, &[128, 0, 0, 0, 0, 0, 0, 0]), 1).frame());
    row("ICMP in IPv6", v6(packet::other(1, &[8, 0, 0, 0, 0, 0, 0, 0]), 5).frame());
    row("a timestamp request", v4(packet::icmp(13, 0, &[0; 16]), 1).frame());
    row("from many", request().v4([224, 0, 0, 1].into(), vip4(1)).frame());
    row("from all", request().v4([255, 255, 255, 255].into(), vip4(1)).frame());
    row("from nobody", request().v4([0, 0, 0, 0].into(), vip4(1)).frame());
    row("v6, from many", packet::icmpv6(128, 0, &rest(b"x")).v6("ff02::1".parse().unwrap(), vip6(5)).frame());
    row("v6, from nobody", packet::icmpv6(128, 0, &rest(b"x")).v6("::".parse().unwrap(), vip6(5)).frame());
    row("a frame to many", request_v4(b"x", 1).frame().macs([0xff; 6], [2, 0, 0, 0, 0, 1]));
    row("a frame from many", request_v6(b"x", 5).frame().macs([2, 0, 0, 0, 0, 1], [0x33, 0x33, 0, 0, 0, 1]));
    for length in 0..8 {
        let short = request_v4(b"", 1).with(|ip| ip.payload.truncate(length));
        row("too short", short.frame().padding(26));
        let short = request_v6(b"", 5).with(|ip| ip.payload.truncate(length));
        row("v6, too short", short.frame().padding(6));
    }
    let mut balancer = balancer();
    check(rows, |frame| balancer.run(frame).unwrap());
}

/// A marker is for ICMP: a packet of a flow to its address finds services alone.
#[test]
fn a_marker_is_no_service() {
    let rows = vec![
        ends("another port", &v4(packet::tcp(1, 81, 2, b""), 1).frame(), Reason::NotService),
        ends("port 0", &v4(packet::tcp(1, 0, 2, b""), 1).frame(), Reason::NotService),
        Row {
            description: "the service's port",
            packet: v4(data(), 1).frame().bytes(),
            action: Action::Transmit,
            out: to(1, v4(data(), 1).frame()).bytes(),
            counted: Label::Forwarded(1),
        },
    ];
    let mut balancer = balancer();
    check(rows, |frame| balancer.run(frame).unwrap());
}

/// The checksum is updated, not made anew, so that it must come out right from each value that it can have.
#[test]
fn every_checksum_stays_right() {
    let balancer = balancer();
    for sequence in 0..=u16::MAX {
        let rest = [0, 0, (sequence >> 8) as u8, sequence as u8];
        let out = balancer.run_only(&v4(packet::icmp(8, 0, &rest), 1).frame().bytes()).unwrap().1;
        assert_eq!(out[14 + 20], 0, "not answered: {sequence:#x}");
        assert_eq!(checksum(&out[14 + 20..]), 0, "{sequence:#x}");
        assert_eq!(checksum(&out[14..14 + 20]), 0, "{sequence:#x}");
    }
    for sequence in 0..=u16::MAX {
        let rest = [0, 0, (sequence >> 8) as u8, sequence as u8];
        let out = balancer.run_only(&v6(packet::icmpv6(128, 0, &rest), 5).frame().bytes()).unwrap().1;
        let pseudo = [&out[14 + 8..14 + 40], &[0, 8, 0, 58], &out[14 + 40..]].concat();
        assert_eq!((out[14 + 40], checksum(&pseudo)), (129, 0), "{sequence:#x}");
    }
}

#[test]
fn no_more_are_answered_in_a_second_than_allowed() {
    // The rate is per CPU.
    lb_tests::cpu::pin_to(0).unwrap();
    let world = World { now_s: Some(NOW_S), echo_per_second: Some(3), ..with_markers(world()) };
    let mut balancer = Balancer::load(&world).unwrap();
    let request = request_v4(b"x", 1).frame().bytes();
    let counted = |balancer: &mut Balancer| balancer.run(&request).unwrap().counted;
    for second in [NOW_S, NOW_S + 1] {
        balancer.set_clock(second).unwrap();
        for _ in 0..3 {
            assert_eq!(counted(&mut balancer), once(Reason::EchoAnswered.into(), request.len()));
        }
        assert_eq!(counted(&mut balancer), once(Reason::EchoLimited.into(), request.len()));
    }
    let rows = vec![
        ends("over the rate, as it came in", &request_v6(b"x", 5).frame(), Reason::EchoLimited),
        ends("the host has no limit", &request_v4(b"x", 200).frame(), Reason::OtherProtocol),
    ];
    check(rows, |frame| balancer.run(frame).unwrap());
}

#[test]
fn a_rate_of_0_leaves_all_to_the_host() {
    let world = World { echo_per_second: Some(0), ..with_markers(world()) };
    let rows = vec![
        ends("v4", &request_v4(b"x", 1).frame(), Reason::OtherProtocol),
        ends("v6", &request_v6(b"x", 5).frame(), Reason::OtherProtocol),
    ];
    let mut balancer = Balancer::load(&world).unwrap();
    check(rows, |frame| balancer.run(frame).unwrap());
}
