//! ICMP errors: those about a flow of a service go to the backend that has it, all others to the host.

use std::net::{Ipv4Addr, Ipv6Addr};

use lb_common::{
    mode,
    service::{SERVICE_LEAST_CONNECTIONS, SERVICE_ROUND_ROBIN, Service},
    verdict::Reason,
};
use lb_tests::{
    packet::{self, ACK, Frame, Ip, SYN, Segment},
    runner::{Balancer, Slots, WorldService},
};

use crate::world::{
    CLIENT_PORT, CLIENT_V4, CLIENT_V6, LB_V4, LB_V6, Row, TCP, backend4, backend6, balancer, check, ends,
    forwarded_to, hash_v6, label, sent, service, to, v4, vip4, vip6, world,
};

/// Who makes the errors: a router on the way to the client.
const ROUTER_V4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
const ROUTER_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xe, 0, 0, 0, 0, 1);

/// A segment of a service to the client.
fn answer(port: u16) -> Segment {
    packet::tcp(port, CLIENT_PORT, ACK, &[3; 1400])
}

/// The answer of the IPv4 service with an id.
fn answer_v4(id: u8) -> Ip {
    answer(80).v4(vip4(id), CLIENT_V4).ip()
}

/// The answer of the IPv6 service with an id.
fn answer_v6(id: u8) -> Ip {
    answer(80).v6(vip6(id), CLIENT_V6).ip()
}

/// Everything after the checksum of "fragmentation needed" or "packet too big": an MTU of 1,400, and a quote.
fn rest(quoted: &[u8]) -> Vec<u8> {
    [&[0, 0, 5, 120], quoted].concat()
}

/// "Fragmentation needed" with the first bytes of a packet.
fn too_big_v4(quoted: &Ip, bytes: usize, id: u8) -> packet::V4 {
    packet::icmp(3, 4, &rest(&quoted.bytes()[..bytes])).v4(ROUTER_V4, vip4(id))
}

/// "Packet too big" with the first bytes of a packet.
fn too_big_v6(quoted: &Ip, bytes: usize, id: u8) -> packet::V6 {
    packet::icmpv6(2, 0, &rest(&quoted.bytes()[..bytes])).v6(ROUTER_V6, vip6(id))
}

#[test]
fn an_error_about_a_flow_goes_to_its_backend() {
    let mut rows = Vec::new();
    let mut row = |description, frame: Frame, backend| {
        rows.push(sent(description, &frame, &to(backend, frame.clone().untagged()), backend));
    };
    row("v4, eight bytes of the segment", too_big_v4(&answer_v4(1), 28, 1).frame(), 1);
    row("v4, the whole segment", too_big_v4(&answer_v4(1), 548, 1).frame(), 1);
    row("v4, tagged", too_big_v4(&answer_v4(1), 28, 1).frame().tag(0x88a8, 1).tag(0x8100, 2), 1);
    row("v4, with options", too_big_v4(&answer_v4(1), 28, 1).with(|ip| ip.options = vec![1; 8]).frame(), 1);
    for (kind, code) in [(3, 0), (3, 1), (3, 3), (3, 13), (11, 0), (11, 1), (12, 0)] {
        let error = packet::icmp(kind, code, &rest(&answer_v4(1).bytes()[..28])).v4(ROUTER_V4, vip4(1));
        row("v4, each kind", error.frame(), 1);
    }
    let options = answer(80).v4(vip4(1), CLIENT_V4).with(|ip| ip.options = vec![1; 40]).ip();
    row("v4, a quote with all options", too_big_v4(&options, 68, 1).frame(), 1);
    let first = answer(80).v4(vip4(1), CLIENT_V4).with(|ip| ip.fragment = 0x2000).ip();
    row("v4, a quote of a first fragment", too_big_v4(&first, 28, 1).frame(), 1);
    let udp = packet::udp(53, CLIENT_PORT, b"answer").v4(vip4(2), CLIENT_V4).ip();
    row("v4, udp", too_big_v4(&udp, 28, 2).frame(), 1);
    let any = answer(8080).v4(vip4(9), CLIENT_V4).ip();
    row("v4, any port", too_big_v4(&any, 28, 9).frame(), 1);
    row("v6, eight bytes of the segment", too_big_v6(&answer_v6(5), 48, 5).frame(), 2);
    row("v6, all that fits", too_big_v6(&answer_v6(5), 1192, 5).frame(), 2);
    row("v6, tagged", too_big_v6(&answer_v6(5), 48, 5).frame().tag(0x8100, 2), 2);
    row("v6, behind a header", too_big_v6(&answer_v6(5), 48, 5).extension(0, 8).frame(), 2);
    for (kind, code) in [(1, 0), (1, 4), (2, 0), (3, 0), (3, 1), (4, 0), (4, 2)] {
        let error = packet::icmpv6(kind, code, &rest(&answer_v6(5).bytes()[..48])).v6(ROUTER_V6, vip6(5));
        row("v6, each kind", error.frame(), 2);
    }
    let extended =
        answer(80).v6(vip6(5), CLIENT_V6).extension(60, 16).extension(44, 8).extension(51, 12).ip();
    row("v6, a quote with extension headers", too_big_v6(&extended, 40 + 36 + 8, 5).frame(), 2);
    let udp = packet::udp(53, CLIENT_PORT, b"answer").v6(vip6(6), CLIENT_V6).ip();
    row("v6, udp", too_big_v6(&udp, 48, 6).frame(), 2);
    let mut balancer = balancer();
    check(rows, |frame| balancer.run(frame).unwrap());
    assert_eq!(balancer.flow_entries().unwrap().len(), 0);
}

#[test]
fn errors_go_through_tunnels_as_flows_do() {
    let mut rows = Vec::new();
    let mut row = |description, inner: Frame, outer: Frame, backend| {
        rows.push(sent(description, &inner, &to(backend, outer), backend));
    };
    let error = too_big_v4(&answer_v4(3), 28, 3);
    row("4in4", error.frame(), error.ip().in_v4(LB_V4, backend4(1), 0).frame(), 1);
    let outer = error.ip().in_v4(LB_V4, backend4(1), 0).frame();
    row("4in4, tagged", error.frame().tag(0x8100, 4), outer, 1);
    let error = too_big_v4(&answer_v4(4), 28, 4).with(|ip| ip.tos = 0xc0);
    let hash = crate::world::hash_v4(4, TCP, CLIENT_PORT, 80);
    row("4in6", error.frame(), error.ip().in_v6(LB_V6, backend6(2), 0xc0, label(hash)).frame(), 2);
    let error = too_big_v6(&answer_v6(7), 1192, 7).with(|ip| ip.traffic_class = 0xc0);
    let hash = hash_v6(7, TCP, CLIENT_PORT, 80);
    row("6in6", error.frame(), error.ip().in_v6(LB_V6, backend6(2), 0xc0, label(hash)).frame(), 2);
    let error = too_big_v6(&answer_v6(8), 48, 8);
    row("6in4", error.frame(), error.ip().in_v4(LB_V4, backend4(1), 0).frame(), 1);
    let error = too_big_v4(&answer_v4(12), 28, 12);
    let redirected = to(3, error.ip().in_v4(LB_V4, backend4(3), 0).frame());
    let row = sent("through another interface", &error.frame(), &redirected, 3);
    rows.push(Row { action: lb_tests::runner::Action::Redirect, ..row });
    let mut balancer = balancer();
    check(rows, |frame| balancer.run(frame).unwrap());
}

#[test]
fn errors_that_no_backend_takes_are_dropped_as_flows_are() {
    let row =
        |description, id, reason| ends(description, &too_big_v4(&answer_v4(id), 28, id).frame(), reason);
    let rows = vec![
        row("every backend down", 14, Reason::NoBackend),
        row("no backends", 15, Reason::NoBackend),
        row("next hop unknown", 13, Reason::NextHopUnresolved),
        row("no slots published", 16, Reason::TableMissing),
        row("a vacant backend", 18, Reason::BackendMissing),
        row("an egress interface that is not known", 17, Reason::NoTxPort),
    ];
    let mut balancer = balancer();
    check(rows, |frame| balancer.run(frame).unwrap());
}

#[test]
fn errors_about_anything_else_are_the_hosts() {
    let mut rows = Vec::new();
    let mut row = |description, frame: Frame| rows.push(ends(description, &frame, Reason::OtherProtocol));
    let of = |quoted: &Ip| too_big_v4(quoted, 28, 1).frame();
    row("another port", of(&answer(81).v4(vip4(1), CLIENT_V4).ip()));
    row("the host's own traffic", {
        let quoted = answer(80).v4(LB_V4, CLIENT_V4).ip();
        packet::icmp(3, 4, &rest(&quoted.bytes()[..28])).v4(ROUTER_V4, LB_V4).frame()
    });
    row("sent to another address than the quoted packet is from", too_big_v4(&answer_v4(1), 28, 2).frame());
    row("a packet to the service", of(&v4(packet::tcp(CLIENT_PORT, 80, ACK, b"data"), 1).ip()));
    row("the other protocol", of(&packet::udp(80, CLIENT_PORT, b"1").v4(vip4(1), CLIENT_V4).ip()));
    row("an echo reply", of(&packet::icmp(0, 0, &[0; 4]).v4(vip4(1), CLIENT_V4).ip()));
    let later = answer(80).v4(vip4(1), CLIENT_V4).with(|ip| ip.fragment = 100);
    row("a later fragment", of(&later.ip()));
    row("a quote of version 6", of(&answer_v4(1).patch(0, &[0x65])));
    row("a quote with a header of 16 bytes", of(&answer_v4(1).patch(0, &[0x44])));
    for kind in [0, 4, 5, 9, 13, 17, 42] {
        let message = packet::icmp(kind, 0, &rest(&answer_v4(1).bytes()[..28]));
        row("no error", message.v4(ROUTER_V4, vip4(1)).frame());
    }
    let of = |quoted: &Ip, bytes| too_big_v6(quoted, bytes, 5).frame();
    row("v6, another port", of(&answer(81).v6(vip6(5), CLIENT_V6).ip(), 48));
    row("v6, sent to another address", too_big_v6(&answer_v6(5), 48, 6).frame());
    let later = answer(80).v6(vip6(5), CLIENT_V6).extension(44, 8).ip().patch(42, &[0x10]);
    row("v6, a later fragment", of(&later, 56));
    let six = (0..6).fold(answer(80).v6(vip6(5), CLIENT_V6), |ip, _| ip.extension(60, 8)).ip();
    row("v6, a quote with too many headers", of(&six, 40 + 48 + 8));
    row("v6, a quote of version 4", of(&answer_v6(5).patch(0, &[0x45]), 48));
    for kind in [0, 5, 100, 127, 129, 133, 134, 135, 136, 137, 143] {
        let message = packet::icmpv6(kind, 0, &rest(&answer_v6(5).bytes()[..48]));
        row("v6, no error", message.v6(ROUTER_V6, vip6(5)).frame());
    }
    let mut balancer = balancer();
    check(rows, |frame| balancer.run(frame).unwrap());
}

/// With lengths that agree: what is quoted may end anywhere, and padding is no part of it.
#[test]
fn a_quote_must_reach_the_ports() {
    let mut rows = Vec::new();
    for bytes in 0..24 {
        let frame = too_big_v4(&answer_v4(1), bytes, 1).frame();
        rows.push(ends("v4", &frame.clone().padding(30), Reason::OtherProtocol));
        rows.push(ends("v4", &frame, Reason::OtherProtocol));
    }
    for bytes in 0..44 {
        let frame = too_big_v6(&answer_v6(5), bytes, 5).frame();
        rows.push(ends("v6", &frame.clone().padding(30), Reason::OtherProtocol));
        rows.push(ends("v6", &frame, Reason::OtherProtocol));
    }
    for length in 0..8 {
        let frame = packet::icmp(3, 4, &[0; 8]).v4(ROUTER_V4, vip4(1)).with(|ip| ip.payload.truncate(length));
        rows.push(ends("v4, no header", &frame.frame().padding(40), Reason::OtherProtocol));
    }
    let shortest = too_big_v4(&answer_v4(1), 24, 1).frame();
    rows.push(sent("v4, the least", &shortest, &to(1, shortest.clone()), 1));
    let shortest = too_big_v6(&answer_v6(5), 44, 5).frame();
    rows.push(sent("v6, the least", &shortest, &to(2, shortest.clone()), 2));
    let mut balancer = balancer();
    check(rows, |frame| balancer.run(frame).unwrap());
}

/// An error about the flow of a client's port.
fn error_about(id: u8, port: u16) -> Frame {
    too_big_v4(&packet::tcp(80, port, ACK, b"data").v4(vip4(id), CLIENT_V4).ip(), 28, id).frame()
}

/// A segment of that flow.
fn segment(id: u8, port: u16, flags: u8) -> Frame {
    v4(packet::tcp(port, 80, flags, b""), id).frame()
}

#[test]
fn an_error_goes_where_its_flow_goes_and_leaves_nothing_behind() {
    // Moving, settled, with the former owner down, none or gone, the owner down, one of four down, by client.
    for id in [40, 41, 42, 43, 48, 28, 27, 29] {
        for flags in [ACK, SYN] {
            let mut balancer = balancer();
            for port in 1000..1020 {
                let own = |balancer: &mut Balancer| forwarded_to(balancer, &segment(id, port, flags));
                if flags == ACK {
                    let entries = balancer.flow_entries().unwrap().len();
                    let of_error = forwarded_to(&mut balancer, &error_about(id, port));
                    assert_eq!(balancer.flow_entries().unwrap().len(), entries, "service {id} port {port}");
                    assert_eq!(of_error, own(&mut balancer), "service {id} port {port}");
                }
                let backend = own(&mut balancer);
                let before = balancer.flow_entries().unwrap();
                assert_eq!(forwarded_to(&mut balancer, &error_about(id, port)), backend, "service {id}");
                assert_eq!(balancer.flow_entries().unwrap().len(), before.len());
            }
        }
    }
}

#[test]
fn an_error_does_not_keep_a_flow_alive() {
    let mut balancer = balancer();
    let backend = forwarded_to(&mut balancer, &segment(40, 1, SYN));
    balancer.edit_flows(|entry| entry.last_seen_s = 7).unwrap();
    assert_eq!(forwarded_to(&mut balancer, &error_about(40, 1)), backend);
    assert_eq!(balancer.flow_entries().unwrap()[0].last_seen_s, 7);
}

#[test]
fn an_error_follows_a_flow_whose_recorded_backend_died() {
    let mut balancer = balancer();
    assert_eq!(forwarded_to(&mut balancer, &segment(40, 1, ACK)), 20);
    balancer.set_liveness(20, 1).unwrap();
    assert_eq!(forwarded_to(&mut balancer, &error_about(40, 1)), 21);
    assert_eq!(balancer.flow_entries().unwrap()[0].backend, 20, "for the flow's next packet to change");
    assert_eq!(forwarded_to(&mut balancer, &segment(40, 1, ACK)), 21);
}

#[test]
fn errors_about_tracked_flows_find_them() {
    for flags in [SERVICE_ROUND_ROBIN, SERVICE_LEAST_CONNECTIONS] {
        let mut world = world();
        let tracked = service(240, vip4(240).into(), 80, TCP, mode::L2, Slots::shared(&[11, 12, 13, 14]));
        let tracked = WorldService { service: Service { flags, ..tracked.service }, ..tracked };
        world.services.push(tracked);
        let mut balancer = Balancer::load(&world).unwrap();
        for port in 1..30 {
            let before = forwarded_to(&mut balancer, &error_about(240, port));
            assert_eq!(forwarded_to(&mut balancer, &error_about(240, port)), before, "by its hash");
            assert_eq!(balancer.flow_entries().unwrap().len(), usize::from(port) - 1);
            let backend = forwarded_to(&mut balancer, &segment(240, port, SYN));
            assert_eq!(forwarded_to(&mut balancer, &error_about(240, port)), backend);
        }
    }
}
