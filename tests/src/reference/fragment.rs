//! Fragments: a first one is as a packet, and the others follow it, or all go by their addresses.

use std::net::IpAddr;

use etherparse::{Ipv4HeaderSlice, Ipv6HeaderSlice};
use lb_common::{
    mode,
    service::{SERVICE_BY_ADDRESS, Service},
    verdict::Reason,
};

use super::{Expected, Flow, Reference, forward, parse, parse::Packet, too_big};
use crate::runner::Action;

/// What the parts of a packet share: addresses, identification, protocol.
pub type Key = (IpAddr, IpAddr, u32, u8);

/// Where a first part went: service, backend, hash; none: to the host.
pub type To = Option<(Service, u32, u64)>;

/// A part of a packet.
struct Part<'a> {
    key: Key,
    protocol: u8,
    offset: usize,
    is_more: bool,
    /// Bytes before the parts that an IP packet's length counts.
    before: usize,
    content: &'a [u8],
    /// Headers that no sound sender makes.
    is_broken: bool,
    ip_at: usize,
    length: usize,
    traffic_class: u8,
}

impl Reference {
    /// What becomes of a packet with a fragment header.
    pub(super) fn fragment(&mut self, frame: &[u8]) -> Result<Expected, Reason> {
        let (at, is_v6) = parse::network(frame)?;
        let part = if is_v6 { part_v6(frame, at) } else { part_v4(frame, at) };
        let part = part.ok_or(Reason::Fragment)?;
        let (source, destination, ..) = part.key;
        let transport = parse::transport(part.content, part.protocol, (source, destination));
        if !part.is_broken && part.offset == 0 {
            return match transport {
                Ok(packet) => self.first(frame, &part, packet),
                Err(_) => Err(self.of_services(&part, Reason::FragmentMalformed)),
            };
        }
        let header = least_header(part.protocol).unwrap_or(0);
        let is_over = part.before + part.offset + part.content.len() > 65_535;
        if part.is_broken || is_over || part.offset < header {
            return Err(self.of_services(&part, Reason::FragmentMalformed));
        }
        self.later(frame, &part)
    }

    fn first(&mut self, frame: &[u8], part: &Part, packet: Packet) -> Result<Expected, Reason> {
        let packet = part.about(packet.flow, packet.tcp_flags, packet.after_udp, frame);
        let service = self.service(&packet.flow).filter(|service| service.mode < mode::MARKER);
        let Some(service) = service else {
            if part.is_more && self.of_services(part, Reason::FragmentUnmatched) != Reason::Fragment {
                self.fragments.insert(part.key, None);
            }
            return Err(Reason::Fragment);
        };
        if part.is_more && service.flags & SERVICE_BY_ADDRESS != 0 {
            return self.by_address(frame, part, service, true);
        }
        let hash = self.flow_hash(&packet.flow);
        let id = self.choose_any(&packet, service, hash)?;
        if part.is_more && id != 0 {
            self.fragments.insert(part.key, Some((service, id, hash)));
        }
        self.go(frame, &packet, service, (id, hash), true)
    }

    fn later(&mut self, frame: &[u8], part: &Part) -> Result<Expected, Reason> {
        match self.fragments.get(&part.key).copied() {
            Some(None) => Err(Reason::Fragment),
            Some(Some((service, id, hash))) => {
                let packet = part.about(part.flow(0), 0, Vec::new(), &[]);
                self.go(frame, &packet, service, (id, hash), false).map_err(|reason| match reason {
                    Reason::NoBackend | Reason::BackendMissing => Reason::FragmentUnmatched,
                    reason => reason,
                })
            }
            None => {
                let without_ports = Flow { protocol: 44, ..part.flow(part.protocol.into()) };
                match self.service(&without_ports).filter(|service| service.mode < mode::MARKER) {
                    Some(service) => self.by_address(frame, part, service, false),
                    None => Err(self.of_services(part, Reason::FragmentUnmatched)),
                }
            }
        }
    }

    fn by_address(
        &mut self,
        frame: &[u8],
        part: &Part,
        service: Service,
        is_first: bool,
    ) -> Result<Expected, Reason> {
        let packet = part.about(part.flow(0), 0, Vec::new(), &[]);
        let hash = self.flow_hash(&packet.flow);
        let id = self.choose_any(&packet, service, hash)?;
        self.go(frame, &packet, service, (id, hash), is_first)
    }

    fn go(
        &self,
        frame: &[u8],
        packet: &Packet,
        service: Service,
        (id, hash): (u32, u64),
        is_answered: bool,
    ) -> Result<Expected, Reason> {
        let backend = self.next_hop(self.sendable(id)?, hash);
        if forward::fits(packet, service.mode, &backend) {
            return self.send(frame, packet, service, (id, &backend), hash);
        }
        let mtu = usize::from(backend.mtu).saturating_sub(forward::added(service.mode, &backend));
        let bytes = if is_answered { too_big::answer(frame, packet, mtu) } else { None };
        let bytes = bytes.ok_or(Reason::TooBig)?;
        Ok(Expected { action: Action::Transmit, bytes, label: Reason::TooBigAnswered.into() })
    }

    /// The reason, if the part is to an address of services.
    fn of_services(&self, part: &Part, reason: Reason) -> Reason {
        let icmp = if part.key.0.is_ipv4() { 1 } else { 58 };
        let marker = self.service(&Flow { protocol: icmp, ..part.flow(0) });
        if marker.is_some() { reason } else { Reason::Fragment }
    }
}

impl Part<'_> {
    fn flow(&self, destination_port: u16) -> Flow {
        let (source, destination, ..) = self.key;
        Flow { source, destination, source_port: 0, destination_port, protocol: self.protocol }
    }

    fn about(&self, flow: Flow, tcp_flags: u8, mut after_udp: Vec<u8>, frame: &[u8]) -> Packet {
        // As for packets that are whole, padding included.
        after_udp.extend(frame.get(self.ip_at + self.length..).unwrap_or(&[]));
        let (ip_at, length, traffic_class) = (self.ip_at, self.length, self.traffic_class);
        Packet { flow, ip_at, length, traffic_class, tcp_flags, after_udp }
    }
}

/// Of protocols that services have.
fn least_header(protocol: u8) -> Option<usize> {
    match protocol {
        6 => Some(20),
        17 => Some(8),
        132 => Some(16),
        _ => None,
    }
}

fn part_v4(frame: &[u8], at: usize) -> Option<Part<'_>> {
    let header = Ipv4HeaderSlice::from_slice(&frame[at..]).ok()?;
    let (before, length) = (header.slice().len(), usize::from(header.total_len()));
    let protocol = header.protocol().0;
    least_header(protocol)?;
    Some(Part {
        key: (
            header.source_addr().into(),
            header.destination_addr().into(),
            header.identification().into(),
            protocol,
        ),
        protocol,
        offset: usize::from(header.fragments_offset().value()) * 8,
        is_more: header.more_fragments(),
        before,
        content: &frame[at + before..at + length],
        is_broken: false,
        ip_at: at,
        length,
        traffic_class: frame[at + 1],
    })
}

fn part_v6(frame: &[u8], at: usize) -> Option<Part<'_>> {
    let header = Ipv6HeaderSlice::from_slice(&frame[at..]).ok()?;
    let length = 40 + usize::from(header.payload_length());
    let mut rest = &frame[at + 40..at + length];
    let mut protocol = header.next_header().0;
    // Offset, "more", identification of the first fragment header.
    let mut found: Option<(usize, bool, u32)> = None;
    let (mut is_broken, mut followed) = (false, 0);
    while matches!(protocol, 0 | 43 | 44 | 51 | 60) {
        followed += 1;
        let [next, units, high, low, a, b, c, d, ..] = *rest else {
            is_broken = true;
            break;
        };
        let header = match protocol {
            44 => 8,
            51 => (usize::from(units) + 2) * 4,
            _ => (usize::from(units) + 1) * 8,
        };
        if protocol == 44 {
            let word = u16::from_be_bytes([high, low]);
            is_broken |= found.is_some();
            found = Some((usize::from(word & 0xfff8), word & 1 != 0, u32::from_be_bytes([a, b, c, d])));
        }
        protocol = next;
        // A later part begins with no header.
        let is_later = found.is_some_and(|(offset, ..)| offset != 0);
        rest = rest.get(header..).unwrap_or(&[]);
        if is_later {
            break;
        }
        is_broken |= followed == 6;
    }
    let (offset, is_more, id) = found?;
    let is_possible =
        least_header(protocol).is_some() || offset != 0 && matches!(protocol, 0 | 43 | 44 | 51 | 60);
    if !is_broken && !is_possible {
        return None;
    }
    Some(Part {
        key: (header.source_addr().into(), header.destination_addr().into(), id, 44),
        protocol,
        offset,
        is_more,
        before: 0,
        content: rest,
        is_broken,
        ip_at: at,
        length,
        traffic_class: header.traffic_class(),
    })
}
