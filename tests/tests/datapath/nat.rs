//! Translated services: exact bytes both ways, and what ends a packet's way.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lb_common::{
    backend::Backend,
    mode,
    nat::{Pool, candidate},
    service::{SERVICE_TRANSLATED, Service},
    slot::Slot,
    verdict::Reason,
};
use lb_tests::{
    netns::Netns,
    packet::{self, ACK, FIN, Frame, RST, SYN, Segment},
    runner::{self, Action, Balancer, SOURCE, Slots, World, WorldService, raw},
    unique,
};

use crate::world::{
    CLIENT_PORT, CLIENT_V4, CLIENT_V6, LB_V4, LB_V6, TCP, UDP, backend4, backend6, ends, hash_v4, hash_v6,
    once, service, vip4, vip6, world,
};

const POOL: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 77);

fn translated(id: u8, address: IpAddr, protocol: u8, mode: u8, owner: u32) -> WorldService {
    let mut service = service(id, address, 80, protocol, mode, Slots::steady(owner));
    service.service.flags = SERVICE_TRANSLATED;
    service
}

fn marker(address: IpAddr, protocol: u8, prefix: Option<u8>) -> WorldService {
    let service = Service { id: 0, mode: mode::REPLIES, class: 0, flags: SERVICE_TRANSLATED };
    WorldService { address, port: 0, protocol, service, slots: Slots::Missing, prefix }
}

/// Services 70 (IPv4), 71 (IPv6), 72 (UDP), 73 with a pool of one port, 75 that keeps the client's address. Backends listen
/// on 8080.
fn nat_world() -> World {
    let mut world = world();
    let port = 8080u16.to_be_bytes();
    let v4 = |id| Backend { port, ..runner::backend(id, backend4(id).into(), LB_V4.into()) };
    let v6 = |id| Backend { port, ..runner::backend(id, backend6(id).into(), LB_V6.into()) };
    world.backends.extend([
        (70, v4(70)),
        (71, v6(71)),
        (72, v4(72)),
        (73, v4(73)),
        (75, v4(75)),
        (76, v4(76)),
    ]);
    world.services.extend([
        translated(70, vip4(70).into(), TCP, mode::NAT, 70),
        translated(71, vip6(71).into(), TCP, mode::NAT, 71),
        translated(72, vip4(72).into(), UDP, mode::NAT, 72),
        translated(73, vip4(73).into(), TCP, mode::NAT, 73),
        translated(75, vip4(75).into(), TCP, mode::DNAT, 75),
        marker(LB_V4.into(), TCP, None),
        marker(LB_V4.into(), UDP, None),
        marker(LB_V6.into(), TCP, None),
        marker(POOL.into(), TCP, None),
        marker(backend4(75).into(), TCP, Some(SOURCE)),
    ]);
    let mut pool = Pool { count: 1, first_port: 5000, last_port: 5000, ..Pool::default() };
    pool.addresses[0] = raw(POOL.into());
    world.pools.insert(73, pool);
    world
}

fn balancer() -> Balancer {
    Balancer::load(&nat_world()).unwrap()
}

/// The port that a flow of the client gets at its first attempt.
fn port_of(hash: u64) -> u16 {
    candidate(hash, 0, 0, 1024, 32_767).1
}

fn to(backend: u32, frame: Frame) -> Vec<u8> {
    frame.macs([2, 0, 0, 1, 0, backend as u8], [2, 0, 0, 2, 0, backend as u8]).bytes()
}

/// The packet goes to the backend, with exactly these bytes.
fn goes(balancer: &mut Balancer, backend: u32, packet: Frame, out: Frame) {
    let packet = packet.bytes();
    let outcome = balancer.run(&packet).unwrap();
    assert_eq!(outcome.counted, once(runner::Label::Forwarded(backend), packet.len()), "{outcome:?}");
    assert_eq!(outcome.action, Action::Transmit);
    assert_eq!(outcome.bytes, to(backend, out));
}

/// The packet ends for a reason, as it came in.
fn is_left(balancer: &mut Balancer, packet: &Frame, reason: Reason) {
    let row = ends("", packet, reason);
    let outcome = balancer.run(&row.packet).unwrap();
    assert_eq!(outcome.counted, once(reason.into(), row.packet.len()), "{outcome:?}");
    assert_eq!((outcome.action, outcome.bytes), (row.action, row.out));
}

fn request_v4(segment: Segment, id: u8) -> Frame {
    segment.v4(CLIENT_V4, vip4(id)).frame()
}

/// What a request has become: one hop less.
fn sent_v4(segment: Segment, source: Ipv4Addr, backend: u32) -> Frame {
    segment.v4(source, backend4(backend)).with(|ip| ip.ttl -= 1).frame()
}

#[test]
fn a_request_gets_a_source_of_the_pool_and_the_backends_address_and_port_v4() {
    let mut balancer = balancer();
    let port = port_of(hash_v4(70, TCP, CLIENT_PORT, 80));
    for (flags, payload) in [(SYN, &b""[..]), (ACK, b"GET /"), (ACK, b"odd"), (FIN | ACK, b"")] {
        let request = request_v4(packet::tcp(CLIENT_PORT, 80, flags, payload), 70);
        goes(&mut balancer, 70, request, sent_v4(packet::tcp(port, 8080, flags, payload), LB_V4, 70));
    }
    assert_eq!(balancer.translations().unwrap().len(), 2);
    // Options of IP and TCP, tags and padding stay.
    let options = [2, 4, 5, 0xb4];
    let with_options =
        |segment: Segment, from, to| segment.v4(from, to).with(|ip| ip.options = vec![0x94, 4, 0, 0]);
    let request = packet::tcp_with_options(CLIENT_PORT, 80, ACK, &options, b"x");
    let request = with_options(request, CLIENT_V4, vip4(70)).frame().tag(0x8100, 7).padding(9);
    let out = packet::tcp_with_options(port, 8080, ACK, &options, b"x");
    let out = with_options(out, LB_V4, backend4(70)).with(|ip| ip.ttl -= 1).frame().tag(0x8100, 7).padding(9);
    goes(&mut balancer, 70, request, out);
}

#[test]
fn a_request_gets_a_source_of_the_pool_and_the_backends_address_and_port_v6() {
    let mut balancer = balancer();
    let port = port_of(hash_v6(71, TCP, CLIENT_PORT, 80));
    for payload in [&b""[..], b"GET /", b"odd"] {
        let request = packet::tcp(CLIENT_PORT, 80, ACK, payload).v6(CLIENT_V6, vip6(71)).extension(0, 8);
        let out = packet::tcp(port, 8080, ACK, payload).v6(LB_V6, backend6(71)).extension(0, 8);
        goes(&mut balancer, 71, request.frame(), out.with(|ip| ip.hop_limit -= 1).frame());
    }
}

#[test]
fn a_datagram_without_a_checksum_stays_without() {
    let mut balancer = balancer();
    let port = port_of(hash_v4(72, UDP, CLIENT_PORT, 80));
    let request = request_v4(packet::udp(CLIENT_PORT, 80, b"ping"), 72);
    goes(&mut balancer, 72, request, sent_v4(packet::udp(port, 8080, b"ping"), LB_V4, 72));
    let none = |source: u16, destination: u16| {
        let header = [source, destination, 12, 0].map(u16::to_be_bytes).concat();
        packet::other(17, &[&header[..], b"ping"].concat())
    };
    goes(&mut balancer, 72, request_v4(none(CLIENT_PORT, 80), 72), sent_v4(none(port, 8080), LB_V4, 72));
}

/// Every checksum that a datagram can have, zero among them, which goes as all ones.
#[test]
fn a_computed_zero_goes_as_all_ones() {
    let mut balancer = balancer();
    let port = port_of(hash_v4(72, UDP, CLIENT_PORT, 80));
    let mut seen = false;
    for number in 0..=u16::MAX {
        let out = packet::udp(port, 8080, &number.to_be_bytes()).v4(LB_V4, backend4(72));
        if out.payload[6..8] != [0, 0] {
            continue;
        }
        seen = true;
        let out = out.with(|ip| {
            ip.ttl -= 1;
            ip.payload[6..8].copy_from_slice(&[0xff, 0xff]);
        });
        let request = request_v4(packet::udp(CLIENT_PORT, 80, &number.to_be_bytes()), 72);
        goes(&mut balancer, 72, request, out.frame());
    }
    assert!(seen);
}

#[test]
fn what_is_of_no_flow_is_the_hosts() {
    let mut balancer = balancer();
    for packet in [
        packet::tcp(443, 50_000, ACK, b"the host's own").v4(CLIENT_V4, LB_V4).frame(),
        packet::tcp(8080, 5000, SYN | ACK, b"").v4(backend4(70), POOL).frame(),
        packet::tcp(8080, CLIENT_PORT, ACK, b"").v4(backend4(75), CLIENT_V4).frame(),
    ] {
        is_left(&mut balancer, &packet, Reason::NotService);
    }
    assert!(balancer.translations().unwrap().is_empty());
}

#[test]
fn a_packet_at_its_last_hop_ends() {
    let mut balancer = balancer();
    for ttl in [0, 1] {
        let packet = packet::tcp(CLIENT_PORT, 80, ACK, b"").v4(CLIENT_V4, vip4(70)).with(|ip| ip.ttl = ttl);
        is_left(&mut balancer, &packet.frame(), Reason::HopLimit);
    }
    let packet = packet::tcp(CLIENT_PORT, 80, ACK, b"").v6(CLIENT_V6, vip6(71)).with(|ip| ip.hop_limit = 1);
    is_left(&mut balancer, &packet.frame(), Reason::HopLimit);
}

#[test]
fn a_pool_that_is_used_up_gives_nothing_until_one_is_free() {
    let mut balancer = balancer();
    let request = |port| request_v4(packet::tcp(port, 80, SYN, b""), 73);
    goes(&mut balancer, 73, request(1), sent_v4(packet::tcp(5000, 8080, SYN, b""), POOL, 73));
    is_left(&mut balancer, &request(2), Reason::NatExhausted);
    goes(&mut balancer, 73, request(1), sent_v4(packet::tcp(5000, 8080, SYN, b""), POOL, 73));
    assert_eq!(balancer.translations().unwrap().len(), 2);
}

#[test]
fn a_port_that_a_service_has_is_not_taken() {
    let mut world = nat_world();
    world.services.push(service(77, POOL.into(), 5000, TCP, mode::L2, Slots::steady(1)));
    let mut balancer = Balancer::load(&world).unwrap();
    is_left(&mut balancer, &request_v4(packet::tcp(1, 80, SYN, b""), 73), Reason::NatExhausted);
}

#[test]
fn new_flows_are_capped_and_counted() {
    let world = World { new_flows: Some(1), now_s: Some(100), ..nat_world() };
    lb_tests::cpu::pin_to(0).unwrap();
    let mut balancer = Balancer::load(&world).unwrap();
    let request = |port| request_v4(packet::tcp(port, 80, SYN, b""), 70);
    balancer.run(&request(1).bytes()).unwrap();
    balancer.counted().unwrap();
    is_left(&mut balancer, &request(2), Reason::NotTranslated);
    assert_eq!(balancer.events().unwrap().len(), 1);
    balancer.set_clock(101).unwrap();
    assert_eq!(balancer.run(&request(2).bytes()).unwrap().action, Action::Transmit);
}

#[test]
fn a_flow_whose_backend_dies_gets_another_and_leaves_nothing_behind() {
    let mut world = nat_world();
    let both = Slots::Cycle(vec![(Slot::steady(70), 70), (Slot::steady(76), 76)]);
    for service in &mut world.services {
        if service.service.id == 70 {
            service.slots = both.clone();
        }
    }
    let mut balancer = Balancer::load(&world).unwrap();
    let request = request_v4(packet::tcp(CLIENT_PORT, 80, ACK, b""), 70).bytes();
    let first = balancer.run(&request).unwrap().counted;
    let (dead, other) =
        if first == once(runner::Label::Forwarded(70), request.len()) { (70, 76) } else { (76, 70) };
    assert_eq!(balancer.connections(dead).unwrap().live(0), 1);
    balancer.set_liveness(dead, 1).unwrap();
    assert_eq!(balancer.run(&request).unwrap().counted, once(runner::Label::Forwarded(other), request.len()));
    assert_eq!(balancer.translations().unwrap().len(), 2);
    assert_eq!([dead, other].map(|id| balancer.connections(id).unwrap().live(0)), [0, 1]);
    // RST ends it.
    balancer.run(&request_v4(packet::tcp(CLIENT_PORT, 80, RST, b""), 70).bytes()).unwrap();
    assert_eq!(balancer.connections(other).unwrap().live(0), 0);
}

/// Replies need a kernel that knows the way: a namespace with one neighbour.
#[test]
fn a_reply_goes_back_from_the_service_to_the_client() {
    let netns = Netns::new(&unique::name()).unwrap();
    netns.sysctl("net/ipv4/ip_forward", "1").unwrap();
    netns.sysctl("net/ipv6/conf/all/forwarding", "1").unwrap();
    netns
        .ip(&[
            "link add here type veth peer name there",
            "link set here address 02:00:00:00:00:01",
            "link set here up",
            "link set there up",
            "addr add 192.0.2.1/24 dev here",
            "addr add 2001:db8:c::1/64 dev here nodad",
            "neigh add 192.0.2.7 lladdr 02:00:00:00:00:07 dev here nud permanent",
            "neigh add 2001:db8:c::7 lladdr 02:00:00:00:00:07 dev here nud permanent",
        ])
        .unwrap();
    netns.enter(replies).unwrap();
}

fn replies() {
    let mut balancer = balancer();
    let macs = |frame: Frame| frame.macs([2, 0, 0, 0, 0, 7], [2, 0, 0, 0, 0, 1]);
    let port = port_of(hash_v4(70, TCP, CLIENT_PORT, 80));
    balancer.run(&request_v4(packet::tcp(CLIENT_PORT, 80, SYN, b""), 70).bytes()).unwrap();
    let reply =
        |ttl: u8| packet::tcp(8080, port, SYN | ACK, b"odd").v4(backend4(70), LB_V4).with(|ip| ip.ttl = ttl);
    let out = packet::tcp(80, CLIENT_PORT, SYN | ACK, b"odd").v4(vip4(70), CLIENT_V4).with(|ip| ip.ttl = 63);
    is_replied(&mut balancer, &reply(64).frame(), &macs(out.frame()));
    is_left(&mut balancer, &reply(1).frame(), Reason::HopLimit);

    let port = port_of(hash_v6(71, TCP, CLIENT_PORT, 80));
    balancer.run(&packet::tcp(CLIENT_PORT, 80, SYN, b"").v6(CLIENT_V6, vip6(71)).frame().bytes()).unwrap();
    let reply = packet::tcp(8080, port, ACK, b"page").v6(backend6(71), LB_V6);
    let out = packet::tcp(80, CLIENT_PORT, ACK, b"page").v6(vip6(71), CLIENT_V6).with(|ip| ip.hop_limit -= 1);
    is_replied(&mut balancer, &reply.frame(), &macs(out.frame()));

    // The client's address is kept, and replies are known by where they come from.
    let request = request_v4(packet::tcp(CLIENT_PORT, 80, SYN, b""), 75);
    goes(&mut balancer, 75, request, sent_v4(packet::tcp(CLIENT_PORT, 8080, SYN, b""), CLIENT_V4, 75));
    let reply = packet::tcp(8080, CLIENT_PORT, ACK, b"page").v4(backend4(75), CLIENT_V4);
    let out = packet::tcp(80, CLIENT_PORT, ACK, b"page").v4(vip4(75), CLIENT_V4).with(|ip| ip.ttl -= 1);
    is_replied(&mut balancer, &reply.frame(), &macs(out.frame()));

    // To a client that the kernel knows no way to.
    let far = Ipv4Addr::new(100, 64, 0, 1);
    balancer.run(&packet::tcp(CLIENT_PORT, 80, SYN, b"").v4(far, vip4(73)).frame().bytes()).unwrap();
    balancer.counted().unwrap();
    let reply = packet::tcp(8080, 5000, SYN | ACK, b"").v4(backend4(73), POOL);
    is_left(&mut balancer, &reply.frame(), Reason::NoRouteToClient);
}

fn is_replied(balancer: &mut Balancer, packet: &Frame, out: &Frame) {
    balancer.counted().unwrap();
    let packet = packet.bytes();
    let outcome = balancer.run(&packet).unwrap();
    assert_eq!(outcome.counted, once(Reason::Replied.into(), packet.len()), "{outcome:?}");
    assert_eq!((outcome.action, outcome.bytes), (Action::Redirect, out.bytes()));
}

#[test]
fn ipv6_sources_are_told_from_services() {
    let mut world = nat_world();
    world.services.push(translated(78, vip6(78).into(), TCP, mode::DNAT, 78));
    world.services.push(marker(IpAddr::V6(backend6(78)), TCP, Some(SOURCE)));
    world.backends.insert(78, runner::backend(78, backend6(78).into(), LB_V6.into()));
    let mut balancer = Balancer::load(&world).unwrap();
    let to_backend = |source: Ipv6Addr, to| packet::tcp(CLIENT_PORT, 80, SYN, b"").v6(source, to);
    let out = to_backend(CLIENT_V6, backend6(78)).with(|ip| ip.hop_limit -= 1).frame();
    goes(&mut balancer, 78, to_backend(CLIENT_V6, vip6(78)).frame(), out);
    is_left(&mut balancer, &to_backend(backend6(78), CLIENT_V6).frame(), Reason::NotService);
}
