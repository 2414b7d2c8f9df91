//! The rows' world, and with it what they have in worlds of their own or in one family only.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lb_common::{
    backend::{BACKEND_LOCAL, BACKEND_PRESENT, BACKEND_RESOLVED, Backend, hop_key},
    mode,
    quic::{Layout, ServerKey},
    service::{SERVICE_BY_ADDRESS, SERVICE_QUIC, SERVICE_QUIC_ID, Service},
    slot::Slot,
    wide::{self, PortRange},
};
use lb_tests::{
    runner::{self, Slots, World, WorldService},
    sctp,
};

use crate::world::{self, LB_V4, LB_V6, TCP, UDP, backend4, backend6, service, vip4, vip6};

const READY: u8 = BACKEND_PRESENT | BACKEND_RESOLVED;

/// The world.
pub fn world() -> World {
    let mut world = world::world();
    world.backends.extend(backends());
    for hop in 1..3 {
        let vlan = 10 * hop as u16 - 10;
        world.hops.insert(hop_key(60, hop), Backend { target: 60, vlan, ..v4(60 + hop) });
    }
    world.services.extend(transitions());
    world.services.extend(modes());
    wide_services(&mut world);
    quic_ids(&mut world);
    world.services.extend(markers(&world));
    // Where first fragments went is forgotten by time.
    world.now_s = Some(1_000);
    by_address(&mut world);
    world
}

fn v4(id: u32) -> Backend {
    runner::backend(id, backend4(id).into(), LB_V4.into())
}

fn v6(id: u32) -> Backend {
    runner::backend(id, backend6(id).into(), LB_V6.into())
}

/// On an address of either family that ends with its id.
fn on(id: u8, is_v6: bool, port: u16, protocol: u8, mode: u8, slots: Slots) -> WorldService {
    let address = if is_v6 { IpAddr::from(vip6(id)) } else { vip4(id).into() };
    service(id, address, port, protocol, mode, slots)
}

fn flagged(mut service: WorldService, flags: u16) -> WorldService {
    service.service.flags = flags;
    service
}

fn backends() -> Vec<(u32, Backend)> {
    let several = Backend::multipath_flags(4) | READY;
    let gue = |port: u16, backend| Backend { port: port.to_be_bytes(), ..backend };
    vec![
        (24, Backend { ifindex: 77, tx_port: 2, ..v6(24) }),
        // The fourth of its next hops is not written.
        (60, Backend { flags: several, ..v4(60) }),
        (66, Backend { flags: READY | BACKEND_LOCAL, mtu: u16::MAX, ifindex: 0, ..v4(66) }),
        (70, Backend { mtu: 700, ..v4(70) }),
        (71, Backend { mtu: 1400, ..v6(71) }),
        (72, gue(6080, Backend { mtu: 1400, ..v6(72) })),
        (73, gue(6081, Backend { mtu: 600, source_spread_bits: 16, ..v4(73) })),
        (74, gue(6081, Backend { vlan: 1, ..v4(74) })),
        (75, gue(6080, Backend { vlan: 0xfff, ..v6(75) })),
        (76, gue(6081, Backend { vlan: 0x234, ifindex: 77, tx_port: 2, ..v4(76) })),
    ]
}

/// Slots on the way from one owner to another, at rest, and settled.
fn moving(owner: u32, former: u32, bits: u32) -> Slots {
    let moving = Slot(owner | Slot::MOVING | bits);
    Slots::Cycle(vec![(moving, former), (Slot::steady(22), 22), (Slot(23 | Slot::SETTLED), 23)])
}

fn transitions() -> Vec<WorldService> {
    let shared = |owners: &[u32]| Slots::shared(owners);
    vec![
        flagged(on(60, true, 53, UDP, mode::L2, shared(&[11, 12, 13, 14])), Service::source_hash_flags(56)),
        flagged(on(61, false, 53, UDP, mode::IPIP, shared(&[11, 2, 5, 24])), Service::source_hash_flags(24)),
        flagged(on(62, false, 53, UDP, mode::L2, moving(20, 21, 0)), SERVICE_QUIC),
        flagged(on(63, true, 53, UDP, mode::IPIP, moving(20, 2, 0)), SERVICE_QUIC),
        on(64, false, 53, TCP, mode::IPIP, moving(20, 21, Slot::WAITING)),
        on(65, true, 53, TCP, mode::L2, moving(20, 21, Slot::WAITING)),
        on(66, true, 53, TCP, mode::IPIP, moving(5, 24, 0)),
        on(67, true, 53, TCP, mode::IPIP, shared(&[24, 2, 1, 10])),
        on(68, false, 53, UDP, mode::L2, shared(&[5, 15, 7, 4])),
        // Few find the one that is up within the slots that are tried.
        on(80, false, 80, TCP, mode::L2, shared(&[5, 5, 5, 15, 5, 5, 5, 1])),
        on(69, true, 0, TCP, mode::IPIP, shared(&[3, 6, 8, 16, 17])),
    ]
}

fn modes() -> Vec<WorldService> {
    vec![
        on(70, false, 80, TCP, mode::L2, Slots::shared(&[60, 66, 1])),
        on(71, true, 80, TCP, mode::IPIP, Slots::shared(&[60, 66, 2])),
        on(72, false, 80, TCP, mode::L2, Slots::steady(70)),
        on(73, true, 80, TCP, mode::L2, Slots::steady(71)),
        on(74, false, 80, TCP, mode::IPIP, Slots::shared(&[70, 71])),
        on(75, true, 80, TCP, mode::IPIP, Slots::shared(&[70, 71])),
        on(76, false, 80, TCP, mode::GUE, Slots::shared(&[72, 73, 30, 32])),
        on(77, true, 53, UDP, mode::GUE, Slots::shared(&[72, 73, 31])),
        on(78, false, 5060, sctp::PROTOCOL, mode::L2, Slots::shared(&[11, 12])),
        on(81, false, 80, TCP, mode::L2, Slots::shared(&[74, 76])),
        on(82, true, 80, TCP, mode::L2, Slots::shared(&[75, 76])),
        on(83, false, 80, TCP, mode::IPIP, Slots::shared(&[74, 75, 76])),
        on(84, true, 80, TCP, mode::IPIP, Slots::shared(&[74, 75, 76])),
        on(85, false, 53, UDP, mode::GUE, Slots::shared(&[74, 75, 76])),
        on(86, true, 53, UDP, mode::GUE, moving(74, 75, 0)),
        on(79, true, 5060, sctp::PROTOCOL, mode::GUE, moving(30, 31, 0)),
    ]
}

/// Services whose QUIC connection ids name servers of all sorts: bytes of 1 to 3, of which 3 and 3 is nobody's.
fn quic_ids(world: &mut World) {
    let flags = SERVICE_QUIC | SERVICE_QUIC_ID;
    world.backends.insert(75, Backend { weight: 0, ..v4(75) });
    world.backends.insert(76, Backend { weight: 0, ..v6(76) });
    let of_two_bytes =
        [([1, 1], 12), ([1, 2], 75), ([1, 3], 5), ([2, 1], 15), ([2, 2], 4), ([2, 3], 7), ([3, 1], 13)];
    for (id, is_v6, layout, slots) in [
        (81, false, (1, 2), Slots::shared(&[11, 12, 13, 14])),
        (82, false, (0, 2), moving(20, 21, 0)),
        (83, true, (2, 1), moving(20, 2, Slot::WAITING)),
    ] {
        world
            .services
            .push(flagged(on(id, is_v6, 443, UDP, if is_v6 { mode::IPIP } else { mode::L2 }, slots), flags));
        let (offset, length) = layout;
        world.quic_layouts.insert(id.into(), Layout { offset, length, reserved: [0; 2] });
        for (bytes, backend) in of_two_bytes {
            let mut key = ServerKey { service: id.into(), length: length.into(), id: [0; 8] };
            key.id[..length.into()].copy_from_slice(&bytes[..length.into()]);
            world.quic_ids.insert(key, if is_v6 { 76 } else { backend });
        }
    }
}

/// Port ranges and prefixes, some inside others.
fn wide_services(world: &mut World) {
    let net4 = |end: [u8; 2]| IpAddr::from(Ipv4Addr::new(10, 7, end[0], end[1]));
    let net6 = IpAddr::from(Ipv6Addr::new(0x2001, 0xdb8, 7, 0, 0, 0, 0, 0));
    let at = |id, address, prefix, port, protocol, backend| WorldService {
        prefix: Some(prefix),
        ..service(id, address, port, protocol, mode::L2, Slots::steady(backend))
    };
    // Found by their ranges alone: where their keys are, no packet goes.
    let ranged: Vec<_> = [(90, 11), (91, 12), (92, 13)]
        .map(|(id, backend)| {
            service(id, Ipv4Addr::new(127, 0, 0, id).into(), 1, TCP, mode::IPIP, Slots::steady(backend))
        })
        .into();
    let range = |first, last, nth: usize| PortRange { first, last, service: ranged[nth].service };
    world.ranges = vec![range(60, 100, 0), range(40, 30_000, 1), range(0, 79, 2), range(10, 500, 0)];
    let list = |address, prefix, protocol, first, count| WorldService {
        service: wide::list(first, count),
        ..at(0, address, prefix, 0, protocol, 0)
    };
    world.services.extend([
        list(net4([0, 1]), 32, TCP, 0, 2),
        at(93, net4([0, 0]), 24, 443, TCP, 14),
        list(net4([0, 0]), 24, TCP, 2, 1),
        at(94, net4([0, 0]), 16, 0, TCP, 21),
        at(95, net4([0, 0]), 25, 53, UDP, 22),
        at(96, net6, 48, 0, UDP, 2),
        list(net6, 128, UDP, 3, 1),
        list(net6, 64, TCP, 0, 4),
    ]);
    world.services.extend(ranged);
}

/// An echo marker for each third address.
fn markers(world: &World) -> Vec<WorldService> {
    let addresses: std::collections::BTreeSet<_> =
        world.services.iter().map(|at| (at.address, at.prefix)).collect();
    let marker = |(address, prefix): (IpAddr, Option<u8>)| {
        let protocol = if address.is_ipv4() { 1 } else { 58 };
        WorldService { prefix, ..service(0, address, 0, protocol, mode::ECHO, Slots::Missing) }
    };
    addresses.into_iter().step_by(3).map(marker).collect()
}

/// A service of either family whose fragments go by their addresses.
fn by_address(world: &mut World) {
    for (id, is_v6, mode) in [(81, false, mode::L2), (82, true, mode::IPIP)] {
        let shared = Slots::shared(&if is_v6 { [2, 1, 10, 24] } else { [11, 12, 13, 14] });
        let own = flagged(on(id, is_v6, 53, UDP, mode, shared), SERVICE_BY_ADDRESS);
        let without_ports = WorldService { port: UDP.into(), protocol: 44, ..own.clone() };
        let icmp = if is_v6 { 58 } else { 1 };
        let marker = service(0, own.address, 0, icmp, mode::ECHO, Slots::Missing);
        world.services.extend([own, without_ports, marker]);
    }
}
