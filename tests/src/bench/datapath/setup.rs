//! The world and the packets of a case.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Result;
use lb_common::{
    bench::{HEADER_LEN, Template},
    flow::FlowKey,
    hash::{self, Keys},
    maps,
    slot::{SIZES, Slot},
};

use super::case::{Case, State};
use crate::{
    packet::{self, Ip},
    runner::{Slots, World, WorldService, backend, raw},
};

const SEED: u64 = 0x1234_5678_9abc_def0;
/// Source address of the outer headers.
const BALANCER: u32 = 0x0a03_0001;
const PORT: u16 = 80;
/// Port of the backends for GUE.
pub const GUE_PORT: u16 = 6080;
const TCP: u8 = 6;
/// Length of an Ethernet header.
const ETHERNET: usize = 14;

/// What a case is measured with.
pub struct Setup {
    /// The case.
    pub case: Case,
    /// What the balancer's maps hold.
    pub world: World,
    /// The packet as it comes in, of the flow with number 0.
    pub frame: Vec<u8>,
    /// The same without its Ethernet header.
    pub ip: Ip,
    /// How it varies.
    pub template: Template,
}

impl Setup {
    /// Of a case.
    ///
    /// # Errors
    /// If the packet is shorter than what the wrapper restores.
    pub fn new(case: Case) -> Result<Self> {
        let flags = if case.is_new() { packet::SYN } else { packet::ACK };
        let ip = ip(&case, flags);
        let frame = ip.clone().frame().bytes();
        let template = template(&case, &frame)?;
        Ok(Self { case, world: world(&case), frame, ip, template })
    }

    /// The template of the packets that open the connections of all flows, in another order than the measured one: as
    /// entries are made one after another in memory, they must not be looked up in that order.
    ///
    /// # Errors
    /// As of [`Setup::new`].
    pub fn priming(&self) -> Result<Template> {
        let frame = ip(&self.case, packet::SYN).frame().bytes();
        Ok(Template { multiplier: lb_common::bench::IN_ORDER, ..template(&self.case, &frame)? })
    }

    /// The flow of a round.
    pub fn flow(&self, round: u32) -> FlowKey {
        let variation = self.template.variation(round);
        let (source, destination) = addresses(&self.case, variation.source, variation.destination);
        FlowKey {
            source: raw(source),
            destination: raw(destination),
            source_port: variation.port.to_be_bytes(),
            destination_port: PORT.to_be_bytes(),
            protocol: TCP,
            family: self.case.family,
            reserved: [0; 2],
        }
    }

    /// The packet of a round as it comes in, without its Ethernet header.
    pub fn ip_of(&self, round: u32) -> Ip {
        let (template, variation) = (&self.template, self.template.variation(round));
        let at = |place: u32| place as usize - ETHERNET;
        let ip = self.ip.clone().patch(at(template.source_at), &variation.source.to_be_bytes());
        let ip = ip.patch(at(template.destination_at), &variation.destination.to_be_bytes());
        ip.patch(at(template.port_at), &variation.port.to_be_bytes())
    }
    /// The slot of a flow.
    pub fn slot(&self, flow: &FlowKey) -> Slot {
        let service = self.case.service(0);
        let hash = match service.source_prefix() {
            0 => flow.hash(&Keys::of(SEED)),
            prefix => flow.source_hash(&Keys::of(SEED), prefix),
        };
        let index = hash::slot_index(hash, SIZES[usize::from(service.class)]);
        match self.world.services.first().map(|service| &service.slots) {
            Some(Slots::Cycle(cycle)) => cycle[index % cycle.len()].0,
            _ => Slot::default(),
        }
    }
}

/// Addresses of client and service; both families vary in two bytes each.
fn addresses(case: &Case, source: u16, destination: u16) -> (IpAddr, IpAddr) {
    if case.family == 4 {
        let other = if case.state == State::OtherAddress { 1 << 16 } else { 0 };
        let destination = 0x0a09_0000 + other + u32::from(destination);
        (Ipv4Addr::from(0xc000_0000 + u32::from(source)).into(), Ipv4Addr::from(destination).into())
    } else {
        let other = if case.state == State::OtherAddress { 1 } else { 0 };
        (
            // Clients differ in their /48, as those of different networks do.
            Ipv6Addr::new(0x2001, 0xdb8, source, 0, 0, 0, 0, 1).into(),
            Ipv6Addr::new(0x2001, 0xdb8, 9, other, 0, 0, 0, destination).into(),
        )
    }
}

/// The packet of flow 0 with some TCP flags.
fn ip(case: &Case, flags: u8) -> Ip {
    let port = if case.state == State::OtherPort { PORT + 1 } else { PORT };
    let segment = packet::tcp(1024, port, flags, &[0; 32]);
    match addresses(case, 0, first_hit(case)) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => segment.v4(source, destination).ip(),
        (IpAddr::V6(source), IpAddr::V6(destination)) => segment.v6(source, destination).ip(),
        _ => unreachable!("both addresses are of the case's family"),
    }
}

/// Last two bytes of the address of the first service that gets packets: where not all do, one in the middle.
fn first_hit(case: &Case) -> u16 {
    1 + if case.services_hit == case.services { 0 } else { case.services as u16 / 2 }
}

fn template(case: &Case, frame: &[u8]) -> Result<Template> {
    let mut header = [0u64; HEADER_LEN / 8];
    for (word, bytes) in header.iter_mut().zip(frame.chunks_exact(8)) {
        *word = u64::from_ne_bytes(bytes.try_into()?);
    }
    let (source_at, destination_at, port_at) = if case.family == 4 { (28, 32, 34) } else { (26, 52, 54) };
    Ok(Template {
        header,
        length: frame.len() as u32,
        flow_mask: case.flows - 1,
        multiplier: lb_common::bench::SCATTERED,
        services: case.services_hit,
        destination: first_hit(case).into(),
        destination_at,
        source_at,
        port_at,
    })
}

/// Services on successive addresses that share their backends.
fn world(case: &Case) -> World {
    let slots = slots(case);
    let services = (1..=case.services).map(|id| WorldService {
        prefix: None,
        address: addresses(&Case { state: State::Steady, ..*case }, 0, id as u16).1,
        port: PORT,
        protocol: TCP,
        service: case.service(id),
        slots: Slots::Cycle(slots.clone()),
    });
    World {
        seed: SEED,
        services: services.collect(),
        backends: (1..=case.backends).map(|id| (id, entry(case, id))).collect(),
        max_flows: (case.flows > maps::MAX_FLOWS && case.is_primed()).then_some(case.flows),
        ..World::default()
    }
}

/// A backend whose MAC addresses say which one it is.
fn entry(case: &Case, id: u32) -> lb_common::backend::Backend {
    let address = |number: u32| -> IpAddr {
        if case.family == 4 {
            Ipv4Addr::from(number).into()
        } else {
            Ipv6Addr::from((0xfd00 << 112) + u128::from(number)).into()
        }
    };
    let [_, a, b, c] = id.to_be_bytes();
    lb_common::backend::Backend {
        next_hop_mac: [2, 0, 1, a, b, c],
        source_mac: [2, 0, 2, a, b, c],
        port: GUE_PORT.to_be_bytes(),
        ..backend(id, address(0x0a01_0000 + id), address(BALANCER))
    }
}

/// Slots whose owners follow each other in no order, as in tables by hash.
fn slots(case: &Case) -> Vec<(Slot, u32)> {
    let owner = |index: u32| 1 + (hash::mix(index.into()) % u64::from(case.backends)) as u32;
    let slot = |index: u32| {
        // With two backends or more another one.
        let (owner, former) = (owner(index), 1 + owner(index) % case.backends);
        let moves = match case.state {
            State::MovingFew => index % 100 == 50,
            State::Tracked | State::NewMoving => true,
            _ => false,
        };
        if moves { (Slot(owner | Slot::MOVING), former) } else { (Slot::steady(owner), owner) }
    };
    (0..SIZES[usize::from(case.class)] as u32).map(slot).collect()
}
