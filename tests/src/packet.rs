//! Builds packets byte by byte, with nothing in common with the code that parses them.

use std::net::{Ipv4Addr, Ipv6Addr};

/// TCP flag.
pub const FIN: u8 = 0x01;
/// TCP flag.
pub const SYN: u8 = 0x02;
/// TCP flag.
pub const RST: u8 = 0x04;
/// TCP flag.
pub const ACK: u8 = 0x10;

/// A transport segment with what its checksum needs once addresses are known.
#[derive(Clone, Debug)]
pub struct Segment {
    protocol: u8,
    bytes: Vec<u8>,
    checksum_at: Option<usize>,
}

/// A TCP segment: ports, flags, payload.
pub fn tcp(source: u16, destination: u16, flags: u8, payload: &[u8]) -> Segment {
    tcp_with_options(source, destination, flags, &[], payload)
}

/// A TCP segment with options, a multiple of four bytes and at most 40.
pub fn tcp_with_options(source: u16, destination: u16, flags: u8, options: &[u8], payload: &[u8]) -> Segment {
    let mut bytes = Vec::new();
    bytes.extend(source.to_be_bytes());
    bytes.extend(destination.to_be_bytes());
    bytes.extend(0x0102_0304u32.to_be_bytes());
    bytes.extend(0x0506_0708u32.to_be_bytes());
    let words = 5 + (options.len() / 4) as u8;
    bytes.extend([words << 4, flags, 0xfa, 0xf0, 0, 0, 0, 0]);
    bytes.extend(options);
    bytes.extend(payload);
    Segment { protocol: 6, bytes, checksum_at: Some(16) }
}

/// A UDP datagram: ports, payload.
pub fn udp(source: u16, destination: u16, payload: &[u8]) -> Segment {
    let mut bytes = Vec::new();
    bytes.extend(source.to_be_bytes());
    bytes.extend(destination.to_be_bytes());
    bytes.extend((8 + payload.len() as u16).to_be_bytes());
    bytes.extend([0, 0]);
    bytes.extend(payload);
    Segment { protocol: 17, bytes, checksum_at: Some(6) }
}

/// An ICMP message: type, code, and all that follows the checksum.
pub fn icmp(kind: u8, code: u8, rest: &[u8]) -> Segment {
    let mut bytes = [&[kind, code, 0, 0], rest].concat();
    let sum = checksum(&bytes);
    bytes[2..4].copy_from_slice(&sum.to_be_bytes());
    Segment { protocol: 1, bytes, checksum_at: None }
}

/// An ICMPv6 message: type, code, and all that follows the checksum.
pub fn icmpv6(kind: u8, code: u8, rest: &[u8]) -> Segment {
    Segment { protocol: 58, bytes: [&[kind, code, 0, 0], rest].concat(), checksum_at: Some(2) }
}

/// Anything else, of the given protocol number.
pub fn other(protocol: u8, bytes: &[u8]) -> Segment {
    Segment { protocol, bytes: bytes.to_vec(), checksum_at: None }
}

impl Segment {
    /// Puts the segment in an IPv4 packet.
    pub fn v4(mut self, source: Ipv4Addr, destination: Ipv4Addr) -> V4 {
        let addresses = [source.octets(), destination.octets()].concat();
        self.fill_checksum(&addresses);
        V4 {
            source,
            destination,
            tos: 0,
            ttl: 57,
            id: 0x1234,
            fragment: 0x4000,
            options: Vec::new(),
            protocol: self.protocol,
            payload: self.bytes,
        }
    }

    /// Puts the segment in an IPv6 packet.
    pub fn v6(mut self, source: Ipv6Addr, destination: Ipv6Addr) -> V6 {
        let addresses = [source.octets(), destination.octets()].concat();
        self.fill_checksum(&addresses);
        V6 {
            source,
            destination,
            traffic_class: 0,
            flow_label: 0,
            hop_limit: 57,
            extensions: Vec::new(),
            protocol: self.protocol,
            payload: self.bytes,
        }
    }

    /// Puts the segment in an IPv4 header, as a tunnel makes one: TTL 64, not to be fragmented, no identification.
    pub fn outer_v4(self, source: Ipv4Addr, destination: Ipv4Addr, tos: u8) -> V4 {
        V4 { tos, ttl: 64, id: 0, ..self.v4(source, destination) }
    }

    /// Puts the segment in an IPv6 header, as a tunnel makes one: hop limit 64.
    pub fn outer_v6(self, source: Ipv6Addr, destination: Ipv6Addr, traffic_class: u8, flow_label: u32) -> V6 {
        V6 { traffic_class, flow_label, hop_limit: 64, ..self.v6(source, destination) }
    }

    fn fill_checksum(&mut self, addresses: &[u8]) {
        let Some(at) = self.checksum_at else { return };
        let mut summed = addresses.to_vec();
        summed.extend([0, self.protocol]);
        summed.extend((self.bytes.len() as u16).to_be_bytes());
        summed.extend(&self.bytes);
        self.bytes[at..at + 2].copy_from_slice(&checksum(&summed).to_be_bytes());
    }
}

/// Internet checksum of bytes (RFC 1071).
pub fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)])))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// An IP packet of either family, complete.
#[derive(Clone, Debug)]
pub struct Ip {
    ether_type: u16,
    bytes: Vec<u8>,
}

impl Ip {
    /// The packet in an IPv4 header, as a tunnel makes one: TTL 64, not to be fragmented, no identification.
    pub fn in_v4(&self, source: Ipv4Addr, destination: Ipv4Addr, tos: u8) -> V4 {
        self.in_ip().outer_v4(source, destination, tos)
    }

    /// The packet in an IPv6 header, as a tunnel makes one: hop limit 64.
    pub fn in_v6(&self, source: Ipv6Addr, destination: Ipv6Addr, traffic_class: u8, flow_label: u32) -> V6 {
        self.in_ip().outer_v6(source, destination, traffic_class, flow_label)
    }

    /// The packet as the payload of another.
    fn in_ip(&self) -> Segment {
        other(if self.ether_type == 0x0800 { 4 } else { 41 }, &self.bytes)
    }

    /// The packet in a UDP datagram without a checksum, as a tunnel makes one.
    pub fn in_udp(&self, source: u16, destination: u16) -> Segment {
        let length = 8 + self.bytes.len() as u16;
        let header = [source, destination, length, 0].map(u16::to_be_bytes).concat();
        other(17, &[header, self.bytes.clone()].concat())
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Overwrites bytes, to make a packet that contradicts itself.
    #[must_use]
    pub fn patch(mut self, at: usize, bytes: &[u8]) -> Self {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    /// The packet in an Ethernet frame.
    pub fn frame(self) -> Frame {
        Frame {
            destination: [2, 0, 0, 0, 0, 0xaa],
            source: [2, 0, 0, 0, 0, 0xbb],
            tags: Vec::new(),
            ether_type: self.ether_type,
            payload: self.bytes,
            padding: 0,
        }
    }
}

/// An IPv4 packet to be. Fields may be changed until it is built.
#[derive(Clone, Debug)]
pub struct V4 {
    /// Source address.
    pub source: Ipv4Addr,
    /// Destination address.
    pub destination: Ipv4Addr,
    /// Type of service: DSCP and ECN.
    pub tos: u8,
    /// Time to live.
    pub ttl: u8,
    /// Identification.
    pub id: u16,
    /// Flags and fragment offset.
    pub fragment: u16,
    /// Options, a multiple of four bytes.
    pub options: Vec<u8>,
    /// Protocol number.
    pub protocol: u8,
    /// What follows the header.
    pub payload: Vec<u8>,
}

impl V4 {
    /// Changes fields in the midst of a chain.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// The packet with lengths and checksum filled in.
    pub fn ip(&self) -> Ip {
        let header = 20 + self.options.len();
        let mut bytes = vec![0x40 | (header / 4) as u8, self.tos];
        bytes.extend(((header + self.payload.len()) as u16).to_be_bytes());
        bytes.extend(self.id.to_be_bytes());
        bytes.extend(self.fragment.to_be_bytes());
        bytes.extend([self.ttl, self.protocol, 0, 0]);
        bytes.extend(self.source.octets());
        bytes.extend(self.destination.octets());
        bytes.extend(&self.options);
        let sum = checksum(&bytes);
        bytes[10..12].copy_from_slice(&sum.to_be_bytes());
        bytes.extend(&self.payload);
        Ip { ether_type: 0x0800, bytes }
    }

    /// The packet in a frame.
    pub fn frame(&self) -> Frame {
        self.ip().frame()
    }
}

/// An IPv6 packet to be. Fields may be changed until it is built.
#[derive(Clone, Debug)]
pub struct V6 {
    /// Source address.
    pub source: Ipv6Addr,
    /// Destination address.
    pub destination: Ipv6Addr,
    /// Traffic class: DSCP and ECN.
    pub traffic_class: u8,
    /// Flow label.
    pub flow_label: u32,
    /// Hop limit.
    pub hop_limit: u8,
    /// Extension headers: number, and all bytes but the first (the next header's number).
    pub extensions: Vec<(u8, Vec<u8>)>,
    /// Protocol number of the payload.
    pub protocol: u8,
    /// What follows the headers.
    pub payload: Vec<u8>,
}

impl V6 {
    /// Changes fields in the midst of a chain.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// Adds an extension header of `length` bytes, whose length field counts as its kind does.
    #[must_use]
    pub fn extension(mut self, number: u8, length: usize) -> Self {
        let units = match number {
            44 => 0,
            51 => length / 4 - 2,
            _ => length / 8 - 1,
        };
        let mut bytes = vec![0; length - 1];
        bytes[0] = units as u8;
        self.extensions.push((number, bytes));
        self
    }

    /// The packet with lengths and next headers filled in.
    pub fn ip(&self) -> Ip {
        let numbers: Vec<u8> =
            self.extensions.iter().map(|(number, _)| *number).chain([self.protocol]).collect();
        let mut payload = Vec::new();
        for ((_, bytes), next) in self.extensions.iter().zip(&numbers[1..]) {
            payload.push(*next);
            payload.extend(bytes);
        }
        payload.extend(&self.payload);
        let first = 6 << 28 | u32::from(self.traffic_class) << 20 | self.flow_label;
        let mut bytes = first.to_be_bytes().to_vec();
        bytes.extend((payload.len() as u16).to_be_bytes());
        bytes.extend([numbers[0], self.hop_limit]);
        bytes.extend(self.source.octets());
        bytes.extend(self.destination.octets());
        bytes.extend(payload);
        Ip { ether_type: 0x86dd, bytes }
    }

    /// The packet in a frame.
    pub fn frame(&self) -> Frame {
        self.ip().frame()
    }
}

/// An Ethernet frame to be.
#[derive(Clone, Debug)]
pub struct Frame {
    destination: [u8; 6],
    source: [u8; 6],
    tags: Vec<(u16, u16)>,
    ether_type: u16,
    payload: Vec<u8>,
    padding: usize,
}

/// A frame of some other EtherType.
pub fn raw_frame(ether_type: u16, payload: &[u8]) -> Frame {
    Ip { ether_type, bytes: payload.to_vec() }.frame()
}

impl Frame {
    /// Other MAC addresses: destination, source.
    #[must_use]
    pub fn macs(mut self, destination: [u8; 6], source: [u8; 6]) -> Self {
        (self.destination, self.source) = (destination, source);
        self
    }

    /// Adds a VLAN tag inside those that are there: its EtherType (0x8100 or 0x88a8) and its content.
    #[must_use]
    pub fn tag(mut self, ether_type: u16, content: u16) -> Self {
        self.tags.push((ether_type, content));
        self
    }

    /// Takes all VLAN tags off.
    #[must_use]
    pub fn untagged(mut self) -> Self {
        self.tags.clear();
        self
    }

    /// Adds bytes after the packet, as Ethernet does to reach its smallest length.
    #[must_use]
    pub fn padding(mut self, bytes: usize) -> Self {
        self.padding = bytes;
        self
    }

    /// The frame's bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = [self.destination, self.source].concat();
        for (ether_type, content) in &self.tags {
            bytes.extend(ether_type.to_be_bytes());
            bytes.extend(content.to_be_bytes());
        }
        bytes.extend(self.ether_type.to_be_bytes());
        bytes.extend(&self.payload);
        bytes.extend(std::iter::repeat_n(0, self.padding));
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The worked example of most introductions to IPv4.
    #[test]
    fn checksum_of_a_known_header() {
        let header = [
            0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11, 0x00, 0x00, 0xc0, 0xa8, 0x00, 0x01,
            0xc0, 0xa8, 0x00, 0xc7,
        ];
        assert_eq!(checksum(&header), 0xb861);
    }
}
