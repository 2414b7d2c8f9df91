//! What the sender of a packet that is too big is told: bytes, sizes, and when it is told nothing.

use std::net::{Ipv4Addr, Ipv6Addr};

use lb_common::verdict::Reason;
use lb_tests::{
    packet::{self, Frame, Ip, Segment, V4, V6, checksum, other},
    runner::{Action, Balancer, World},
};

use crate::world::{CLIENT_PORT, CLIENT_V4, CLIENT_V6, Row, check, data, ends, v4, v6, vip4, vip6, world};

/// A segment that makes an IPv4 packet of this length.
fn of_v4(length: usize) -> Segment {
    packet::tcp(CLIENT_PORT, 80, packet::ACK, &vec![7; length - 40])
}

/// A segment that makes an IPv6 packet of this length.
fn of_v6(length: usize) -> Segment {
    packet::tcp(CLIENT_PORT, 80, packet::ACK, &vec![7; length - 60])
}

/// "Fragmentation needed" about a packet to a service.
fn needed(packet: &Ip, service: Ipv4Addr, mtu: u16) -> V4 {
    let mut message = vec![3, 4, 0, 0, 0, 0];
    message.extend(mtu.to_be_bytes());
    message.extend(&packet.clone().frame().bytes()[14..][..548]);
    let sum = checksum(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let answer = other(1, &message).v4(service, CLIENT_V4);
    V4 { tos: 0xc0, ttl: 64, id: 0, ..answer }
}

/// "Packet too big" about a packet to a service.
fn too_big(packet: &Ip, service: Ipv6Addr, mtu: u32) -> V6 {
    let mut message = vec![2, 0, 0, 0];
    message.extend(mtu.to_be_bytes());
    message.extend(&packet.clone().frame().bytes()[14..][..1232]);
    let mut summed = [service.octets(), CLIENT_V6.octets()].concat();
    summed.extend((message.len() as u32).to_be_bytes());
    summed.extend([0, 0, 0, 58]);
    summed.extend(&message);
    message[2..4].copy_from_slice(&checksum(&summed).to_be_bytes());
    V6 { hop_limit: 64, ..other(58, &message).v6(service, CLIENT_V6) }
}

/// A packet that is sent back as an answer: the test frames go from ..:bb to ..:aa.
fn answered(description: &'static str, packet: &Frame, answer: Frame) -> Row {
    let out = answer.macs([2, 0, 0, 0, 0, 0xbb], [2, 0, 0, 0, 0, 0xaa]).bytes();
    let (packet, counted) = (packet.bytes(), Reason::TooBigAnswered.into());
    Row { description, packet, action: Action::Transmit, out, counted }
}

/// As large as the MTU of the interface, and too large with any outer header.
const MTU: usize = 1500;

#[test]
fn the_sender_is_told_what_fits() {
    let mut rows = Vec::new();
    let four = |id, length| v4(of_v4(length), id).ip();
    let six = |id, length| v6(of_v6(length), id).ip();
    for (description, id, length, mtu) in [
        ("l2", 1, MTU + 1, 1500),
        ("4in4", 3, MTU, 1480),
        ("4in6", 4, MTU, 1460),
        ("gue 4 over 4", 50, MTU, 1472),
        ("gue 4 over 6", 51, MTU, 1452),
        ("by one byte", 50, 1473, 1472),
    ] {
        let packet = four(id, length);
        let answer = needed(&packet, vip4(id), mtu);
        rows.push(answered(description, &packet.frame(), answer.frame()));
    }
    for (description, id, length, mtu) in [
        ("l2", 5, MTU + 1, 1500),
        ("6in6", 7, MTU, 1460),
        ("6in4", 8, MTU, 1480),
        ("gue 6 over 6", 52, MTU, 1452),
        ("gue 6 over 4", 53, MTU, 1472),
    ] {
        let packet = six(id, length);
        let answer = too_big(&packet, vip6(id), mtu);
        rows.push(answered(description, &packet.frame(), answer.frame()));
    }
    let mut balancer = Balancer::load(&world()).unwrap();
    check(rows, |frame| balancer.run(frame).unwrap());
}

#[test]
fn tags_padding_and_options_come_back() {
    let mut rows = Vec::new();
    let one = |frame: Frame| frame.tag(0x8100, 0x2064);
    let two = |frame: Frame| frame.tag(0x88a8, 0x1007).tag(0x8100, 0x2064);
    let packet = v4(of_v4(MTU), 50).with(|ip| ip.fragment = 0).ip();
    let answer = needed(&packet, vip4(50), 1472).frame();
    rows.push(answered("a tag, and may be fragmented", &one(packet.clone().frame()), one(answer.clone())));
    rows.push(answered("two tags", &two(packet.clone().frame()), two(answer.clone())));
    rows.push(answered("padding", &packet.frame().padding(9), answer));
    let packet = v4(of_v4(MTU), 3).with(|ip| ip.options = vec![1; 12]).ip();
    let answer = needed(&packet, vip4(3), 1480).frame();
    rows.push(answered("options", &packet.frame(), answer));
    let packet = v6(of_v6(MTU), 7).extension(60, 8).ip();
    let answer = too_big(&packet, vip6(7), 1460).frame();
    rows.push(answered("a tag and extension headers", &one(packet.clone().frame()), one(answer.clone())));
    rows.push(answered("two tags and extension headers", &two(packet.frame()), two(answer)));
    let mut balancer = Balancer::load(&world()).unwrap();
    check(rows, |frame| balancer.run(frame).unwrap());
}

#[test]
fn who_can_make_nothing_of_it_is_told_nothing() {
    let from = |source| of_v4(MTU).v4(source, vip4(3)).frame();
    let from_v6 = |source| of_v6(MTU).v6(source, vip6(7)).frame();
    let to_many = [1, 0, 0x5e, 0, 0, 1];
    let rows = vec![
        ends("a packet too small to quote", &v4(of_v4(547), 56).frame(), Reason::TooBig),
        ends("an IPv6 MTU below 1280", &v6(of_v6(1300), 33).frame(), Reason::TooBig),
        ends("sent to many", &v4(of_v4(MTU), 3).frame().macs(to_many, [2; 6]), Reason::TooBig),
        ends("from many", &from(Ipv4Addr::new(224, 0, 0, 1)), Reason::TooBig),
        ends("from all", &from(Ipv4Addr::BROADCAST), Reason::TooBig),
        ends("from nobody", &from(Ipv4Addr::UNSPECIFIED), Reason::TooBig),
        ends("from many, v6", &from_v6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1)), Reason::TooBig),
        ends("from nobody, v6", &from_v6(Ipv6Addr::UNSPECIFIED), Reason::TooBig),
    ];
    let mut balancer = Balancer::load(&world()).unwrap();
    check(rows, |frame| balancer.run(frame).unwrap());
}

#[test]
fn answers_are_so_many_a_second() {
    let mut balancer = Balancer::load(&World { too_big: Some(2), now_s: Some(100), ..world() }).unwrap();
    lb_tests::cpu::pin_to_last().unwrap();
    let frame = v4(of_v4(MTU), 3).frame().bytes();
    let mut run = || balancer.run(&frame).unwrap();
    let actions = [run().action, run().action, run().action];
    assert_eq!(actions, [Action::Transmit, Action::Transmit, Action::Drop]);
    let last = run();
    assert_eq!((last.action, &last.bytes), (Action::Drop, &frame));
    assert_eq!(last.counted, crate::world::once(Reason::TooBig.into(), frame.len()));
    balancer.set_clock(101).unwrap();
    assert_eq!(balancer.run(&frame).unwrap().action, Action::Transmit);
    // What fits is not among them.
    assert_eq!(balancer.run(&v4(data(), 3).frame().bytes()).unwrap().action, Action::Transmit);
}

/// Metadata stands where the answer's headers would go.
#[test]
fn no_room_for_an_answer() {
    let frame = v4(of_v4(MTU), 3).frame().bytes();
    let mut balancer = Balancer::load(&world()).unwrap();
    let outcome = balancer.run_with(&frame, Some(216)).unwrap();
    assert_eq!((outcome.action, outcome.bytes), (Action::Drop, frame));
}
