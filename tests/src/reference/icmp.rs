//! ICMP and ICMPv6: errors about flows, echo requests.

use std::net::IpAddr;

use etherparse::{Ipv4HeaderSlice, Ipv6HeaderSlice};
use lb_common::{mode, verdict::Reason};

use super::{Expected, Flow, Reference, forward, parse, parse::Packet};
use crate::runner::Action;

/// A message in a packet that is no flow's.
struct Message<'a> {
    ip_at: usize,
    length: usize,
    traffic_class: u8,
    source: IpAddr,
    destination: IpAddr,
    /// Whether it stands right behind a header without options.
    is_plain: bool,
    at: usize,
    bytes: &'a [u8],
}

impl Reference {
    /// What becomes of a packet of another protocol.
    pub(super) fn icmp(&self, frame: &[u8]) -> Result<Expected, Reason> {
        let message = message(frame).ok_or(Reason::OtherProtocol)?;
        let is_v6 = message.source.is_ipv6();
        match (is_v6, message.bytes) {
            (false, [3 | 11 | 12, _, _, _, _, _, _, _, quote @ ..]) => {
                self.error(frame, &message, quoted_v4(quote))
            }
            (true, [1..=4, _, _, _, _, _, _, _, quote @ ..]) => self.error(frame, &message, quoted_v6(quote)),
            (false, [8, 0, _, _, _, _, _, _, ..]) | (true, [128, 0, _, _, _, _, _, _, ..])
                if message.is_plain =>
            {
                self.echo(frame, &message)
            }
            _ => None,
        }
        .unwrap_or(Err(Reason::OtherProtocol))
    }

    /// An error goes where its flow goes.
    fn error(&self, frame: &[u8], message: &Message, flow: Option<Flow>) -> Option<Result<Expected, Reason>> {
        let flow = flow.filter(|flow| flow.destination == message.destination)?;
        let service = self.service(&flow).filter(|service| service.mode < mode::MARKER)?;
        let hash = self.flow_hash(&flow);
        let packet = Packet {
            flow,
            ip_at: message.ip_at,
            length: message.length,
            traffic_class: message.traffic_class,
            tcp_flags: 0,
            after_udp: Vec::new(),
        };
        Some(self.look_up(&flow, service, hash).and_then(|id| {
            let backend = self.next_hop(id, hash);
            if !forward::fits(&packet, service.mode, &backend) {
                return Err(Reason::TooBig);
            }
            self.send(frame, &packet, service, (id, &backend), hash)
        }))
    }

    /// A request to an address of services is answered; the host's own are its own matter.
    fn echo(&self, frame: &[u8], message: &Message) -> Option<Result<Expected, Reason>> {
        let (protocol, is_from_one) = match message.source {
            IpAddr::V4(source) => (1, source.octets()[0] != 0 && source.octets()[0] < 224),
            IpAddr::V6(source) => (58, !source.is_unspecified() && !source.is_multicast()),
        };
        let (source, destination) = (message.source, message.destination);
        let flow = Flow { source, destination, source_port: 0, destination_port: 0, protocol };
        let is_service = self.service(&flow).is_some_and(|marker| marker.mode == mode::ECHO);
        let is_to_many = (frame[0] | frame[6]) & 1 != 0;
        if !is_from_one || !is_service || is_to_many || self.world.echo_per_second == Some(0) {
            return None;
        }
        let bytes = answered(frame, message);
        Some(Ok(Expected { action: Action::Transmit, bytes, label: Reason::EchoAnswered.into() }))
    }
}

/// The reply: type, checksums, hop limit, and who is who.
fn answered(frame: &[u8], message: &Message) -> Vec<u8> {
    let (mut out, ip, at) = (frame.to_vec(), message.ip_at, message.at);
    out[..6].copy_from_slice(&frame[6..12]);
    out[6..12].copy_from_slice(&frame[..6]);
    let (addresses, width) = if message.source.is_ipv4() { (ip + 12, 4) } else { (ip + 8, 16) };
    out[addresses..addresses + width].copy_from_slice(&frame[addresses + width..addresses + 2 * width]);
    out[addresses + width..addresses + 2 * width].copy_from_slice(&frame[addresses..addresses + width]);
    if message.source.is_ipv4() {
        out[ip + 8] = 64;
        replace(&mut out, ip + 10, word(frame, ip + 8), u16::from_be_bytes([64, frame[ip + 9]]));
        out[at] = 0;
        replace(&mut out, at + 2, 0x0800, 0);
        if out[at + 2..at + 4] == [0, 0] {
            out[at + 2..at + 4].copy_from_slice(&[0xff, 0xff]);
        }
    } else {
        out[ip + 7] = 64;
        out[at] = 129;
        replace(&mut out, at + 2, 0x8000, 0x8100);
    }
    out
}

fn word(frame: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([frame[at], frame[at + 1]])
}

/// Corrects a checksum after a word was changed (RFC 1624, equation 3).
fn replace(frame: &mut [u8], at: usize, old: u16, new: u16) {
    let mut sum = u32::from(!word(frame, at)) + u32::from(!old) + u32::from(new);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    frame[at..at + 2].copy_from_slice(&(!(sum as u16)).to_be_bytes());
}

/// The message of a packet that was found to be sound but of no flow.
fn message(frame: &[u8]) -> Option<Message<'_>> {
    let (ip_at, is_v6) = parse::network(frame).ok()?;
    if is_v6 {
        let header = Ipv6HeaderSlice::from_slice(&frame[ip_at..]).ok()?;
        let length = 40 + usize::from(header.payload_length());
        let (bytes, protocol) =
            parse::after_extensions(&frame[ip_at + 40..ip_at + length], header.next_header().0).ok()?;
        return (protocol == 58).then(|| Message {
            ip_at,
            length,
            traffic_class: header.traffic_class(),
            source: header.source_addr().into(),
            destination: header.destination_addr().into(),
            is_plain: bytes.len() + 40 == length,
            at: ip_at + length - bytes.len(),
            bytes,
        });
    }
    let header = Ipv4HeaderSlice::from_slice(&frame[ip_at..]).ok()?;
    let (start, length) = (header.slice().len(), usize::from(header.total_len()));
    (header.protocol().0 == 1).then(|| Message {
        ip_at,
        length,
        traffic_class: frame[ip_at + 1],
        source: header.source_addr().into(),
        destination: header.destination_addr().into(),
        is_plain: start == 20,
        at: ip_at + start,
        bytes: &frame[ip_at + start..ip_at + length],
    })
}

/// The flow that a quoted packet answers.
fn quoted_v4(quote: &[u8]) -> Option<Flow> {
    let fixed: [u8; 20] = quote.get(..20)?.try_into().ok()?;
    let header = usize::from(fixed[0] & 15) * 4;
    let is_later_fragment = u16::from_be_bytes([fixed[6], fixed[7]]) & 0x1fff != 0;
    if fixed[0] >> 4 != 4 || header < 20 || is_later_fragment {
        return None;
    }
    let address = |at: usize| IpAddr::from([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]);
    answered_flow(address(12), address(16), fixed[9], quote.get(header..)?)
}

/// The flow that a quoted packet answers.
fn quoted_v6(quote: &[u8]) -> Option<Flow> {
    let header = Ipv6HeaderSlice::from_slice(quote.get(..40)?).ok()?;
    let (mut rest, mut protocol) = (&quote[40..], header.next_header().0);
    let mut followed = 0;
    while matches!(protocol, 0 | 43 | 44 | 51 | 60) {
        let [next, units, high, low, ..] = *rest else { return None };
        let is_later_fragment = protocol == 44 && u16::from_be_bytes([high, low]) & 0xfff8 != 0;
        followed += 1;
        if is_later_fragment || followed > 5 {
            return None;
        }
        let length = match protocol {
            44 => 8,
            51 => (usize::from(units) + 2) * 4,
            _ => (usize::from(units) + 1) * 8,
        };
        (rest, protocol) = (rest.get(length..)?, next);
    }
    let (source, destination) = (header.source_addr(), header.destination_addr());
    answered_flow(source.into(), destination.into(), protocol, rest)
}

fn answered_flow(source: IpAddr, destination: IpAddr, protocol: u8, transport: &[u8]) -> Option<Flow> {
    let [a, b, c, d, ..] = *transport else { return None };
    Some(Flow {
        source: destination,
        destination: source,
        source_port: u16::from_be_bytes([c, d]),
        destination_port: u16::from_be_bytes([a, b]),
        protocol,
    })
}
