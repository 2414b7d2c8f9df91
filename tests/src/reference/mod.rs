//! The packet path written a second time, for the host: slowly, plainly and apart from the first, to be compared with it.
//!
//! Nothing is shared with the packet path but constants and the published hash functions. Tracked services are left out:
//! whom they give a new connection hangs on the CPU and on chance. So are caps of new flows.

mod parse;
mod lookup;
mod choose;
mod quic;
mod forward;
mod too_big;
mod icmp;
mod fragment;

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
};

use lb_common::{
    backend::{BACKEND_LOCAL, BACKEND_MULTIPATH, Backend, hop_key},
    hash::{self, Keys},
    service::Service,
    stats::Counter,
    verdict::Reason,
};

use crate::{
    runner::{Action, Counters, Label},
    world::{Slots, World},
};
use parse::Packet;

/// Interface that test packets come in on: the loopback's.
const INGRESS: u32 = 1;

/// Addresses, ports and protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Flow {
    source: IpAddr,
    destination: IpAddr,
    source_port: u16,
    destination_port: u16,
    protocol: u8,
}

/// What ought to become of one packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// The verdict.
    pub action: Action,
    /// The frame afterwards.
    pub bytes: Vec<u8>,
    /// What the packet is counted as.
    pub label: Label,
}

/// What parsing finds in a packet of a flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Client.
    pub source: IpAddr,
    /// Service.
    pub destination: IpAddr,
    /// Port of the client.
    pub source_port: u16,
    /// Port of the service.
    pub destination_port: u16,
    /// Protocol number of the transport header.
    pub protocol: u8,
    /// VLAN tags before the IP header.
    pub tags: usize,
    /// Length of the IP packet in bytes.
    pub length: usize,
    /// DSCP and ECN.
    pub traffic_class: u8,
    /// Whether it opens a connection of TCP or an association of SCTP.
    pub opens: bool,
}

/// Parses a frame and does nothing else.
///
/// # Errors
/// The reason why it is no packet of a flow.
pub fn parse(frame: &[u8]) -> Result<Found, Reason> {
    let packet = parse::parse(frame)?;
    let Flow { source, destination, source_port, destination_port, protocol } = packet.flow;
    Ok(Found {
        source,
        destination,
        source_port,
        destination_port,
        protocol,
        tags: (packet.ip_at - 14) / 4,
        length: packet.length,
        traffic_class: packet.traffic_class,
        // SYN without ACK and RST.
        opens: packet.tcp_flags & 0b1_0110 == 0b10,
    })
}

/// The packet path in a world, with the flows that it has recorded.
pub struct Reference {
    keys: Keys,
    world: World,
    /// Slots by class and id of their service.
    tables: HashMap<(u8, u32), Slots>,
    flows: HashMap<Flow, u32>,
    /// Where first fragments went.
    fragments: HashMap<fragment::Key, fragment::To>,
    counted: Counters,
    unknown_server_ids: u64,
}

impl Reference {
    /// The packet path before its first packet.
    pub fn new(world: &World) -> Self {
        let table = |at: &crate::world::WorldService| ((at.service.class, at.service.id), at.slots.clone());
        Self {
            keys: Keys::of(world.seed),
            tables: world.services.iter().map(table).collect(),
            world: world.clone(),
            flows: HashMap::new(),
            fragments: HashMap::new(),
            counted: BTreeMap::new(),
            unknown_server_ids: 0,
        }
    }

    /// Takes a frame, in the order of all frames.
    pub fn run(&mut self, frame: &[u8]) -> Expected {
        let verdict = match parse::parse(frame) {
            Ok(packet) => self.balance(frame, &packet),
            Err(Reason::OtherProtocol) => self.icmp(frame),
            Err(Reason::Fragment) => self.fragment(frame),
            Err(reason) => Err(reason),
        };
        let expected = match verdict {
            Ok(expected) => expected,
            Err(reason) => Expected {
                action: if reason.is_drop() { Action::Drop } else { Action::Pass },
                bytes: frame.to_vec(),
                label: reason.into(),
            },
        };
        let counter = self.counted.entry(expected.label).or_default();
        *counter = *counter + Counter { packets: 1, bytes: frame.len() as u64 };
        expected
    }

    /// What was counted since the last call.
    pub fn counted(&mut self) -> Counters {
        std::mem::take(&mut self.counted)
    }

    /// Packets so far whose QUIC connection id names nobody that is registered.
    pub const fn unknown_server_ids(&self) -> u64 {
        self.unknown_server_ids
    }

    fn balance(&mut self, frame: &[u8], packet: &Packet) -> Result<Expected, Reason> {
        let service = self.service(&packet.flow).ok_or(Reason::NotService)?;
        let hash = self.flow_hash(&packet.flow);
        let id = self.choose(packet, service, hash)?;
        let backend = self.next_hop(id, hash);
        if !forward::fits(packet, service.mode, &backend) {
            let mtu = usize::from(backend.mtu).saturating_sub(forward::added(service.mode, &backend));
            let bytes = too_big::answer(frame, packet, mtu).ok_or(Reason::TooBig)?;
            return Ok(Expected { action: Action::Transmit, bytes, label: Reason::TooBigAnswered.into() });
        }
        self.send(frame, packet, service, (id, &backend), hash)
    }

    /// Sends a packet that fits.
    fn send(
        &self,
        frame: &[u8],
        packet: &Packet,
        service: Service,
        (id, backend): (u32, &Backend),
        hash: u64,
    ) -> Result<Expected, Reason> {
        let label = Label::Forwarded(id);
        let action = if backend.ifindex == INGRESS {
            Action::Transmit
        } else if backend.flags & BACKEND_LOCAL != 0 {
            return Ok(Expected { action: Action::Pass, bytes: frame.to_vec(), label });
        } else if self.world.tx_ports.contains_key(&backend.tx_port.into()) {
            Action::Redirect
        } else {
            return Err(Reason::NoTxPort);
        };
        Ok(Expected { action, bytes: forward::rewrite(frame, packet, service.mode, backend, hash), label })
    }

    /// A backend with the next hop of a flow: one of several, each with an equal part of the hashes' low halves.
    fn next_hop(&self, id: u32, hash: u64) -> Backend {
        let backend = self.world.backends[&id];
        if backend.flags & BACKEND_MULTIPATH == 0 {
            return backend;
        }
        let part = (u128::from(hash as u32) * u128::from(backend.hops()) / (1 << 32)) as u32;
        self.world.hops.get(&hop_key(id, part)).copied().unwrap_or(backend)
    }

    fn flow_hash(&self, flow: &Flow) -> u64 {
        let ports = [flow.source_port.to_be_bytes(), flow.destination_port.to_be_bytes()].concat();
        let ports = u32::from_le_bytes([ports[0], ports[1], ports[2], ports[3]]);
        match (flow.source, flow.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let addresses = u64::from(u32::from_le_bytes(source.octets()))
                    | u64::from(u32::from_le_bytes(destination.octets())) << 32;
                hash::flow_v4(&self.keys, addresses, ports, flow.protocol)
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let (source, destination) = (two_words(source.octets()), two_words(destination.octets()));
                hash::flow_v6(&self.keys, source, destination, ports, flow.protocol)
            }
            _ => unreachable!("both addresses stand in one header"),
        }
    }

    fn source_hash(&self, flow: &Flow, prefix: u32) -> u64 {
        match flow.source {
            IpAddr::V4(source) => hash::source_v4(&self.keys, u32::from_le_bytes(source.octets()), prefix),
            IpAddr::V6(source) => hash::source_v6(&self.keys, two_words(source.octets()), prefix),
        }
    }
}

fn two_words(address: [u8; 16]) -> [u64; 2] {
    let all = u128::from_le_bytes(address);
    [all as u64, (all >> 64) as u64]
}
