//! The frame that leaves, mode by mode.

use etherparse::{IpNumber, Ipv4Header, Ipv6FlowLabel, Ipv6Header};
use lb_common::{addr::FAMILY_V6, backend::Backend, mode};

use super::parse::Packet;

/// What tunnels write in their TTL or hop limit.
const TTL: u8 = 64;

/// Bytes that a mode adds to a packet.
pub fn added(mode: u8, backend: &Backend) -> usize {
    match (mode, backend.family) {
        (mode::IPIP, FAMILY_V6) => 40,
        (mode::IPIP, _) => 20,
        (mode::GUE, FAMILY_V6) => 48,
        (mode::GUE, _) => 28,
        _ => 0,
    }
}

/// Whether a packet fits the way to a backend.
pub fn fits(packet: &Packet, mode: u8, backend: &Backend) -> bool {
    packet.length + added(mode, backend) <= usize::from(backend.mtu)
}

/// The frame for a backend.
pub fn rewrite(frame: &[u8], packet: &Packet, mode: u8, backend: &Backend, hash: u64) -> Vec<u8> {
    let (link, ip) = frame.split_at(packet.ip_at);
    let mut out = [&backend.next_hop_mac[..], &backend.source_mac].concat();
    if backend.vlan != 0 {
        out.extend([0x81, 0x00]);
        out.extend((backend.vlan + priority(link)).to_be_bytes());
    }
    out.extend(&link[link.len() - 2..]);
    let datagram = if mode == mode::GUE { udp_header(packet, backend, hash) } else { Vec::new() };
    if mode == mode::IPIP || mode == mode::GUE {
        let is_v6 = backend.family == FAMILY_V6;
        let ether_type = if is_v6 { 0x86dd_u16 } else { 0x0800 };
        let end = out.len();
        out[end - 2..].copy_from_slice(&ether_type.to_be_bytes());
        let length = datagram.len() + packet.length;
        let protocol = if mode == mode::GUE { IpNumber::UDP } else { inner(packet) };
        let outer = if is_v6 { outer_v6 } else { outer_v4 };
        out.extend(outer(packet, (protocol, length), backend, hash));
        out.extend(datagram);
    }
    out.extend(ip);
    out
}

/// What the outermost tag of a frame says beside its id, if it has one: priority and drop eligibility.
fn priority(link: &[u8]) -> u16 {
    if link.len() > 14 { u16::from_be_bytes([link[14], link[15]]) / 0x1000 * 0x1000 } else { 0 }
}

/// UDP header without a checksum. Source ports are the dynamic ones (RFC 6335), by bits 18 and on of the hash.
fn udp_header(packet: &Packet, backend: &Backend, hash: u64) -> Vec<u8> {
    let source = 0xc000 + (hash >> 18) as u16 % 0x4000;
    [source.to_be_bytes(), backend.port, (packet.length as u16 + 8).to_be_bytes(), [0; 2]].concat()
}

fn inner(packet: &Packet) -> IpNumber {
    if packet.flow.source.is_ipv4() { IpNumber::IPV4 } else { IpNumber::IPV6 }
}

fn outer_v4(packet: &Packet, (protocol, length): (IpNumber, usize), backend: &Backend, hash: u64) -> Vec<u8> {
    let [a, b, c, d, ..] = backend.source;
    let [e, f, g, h, ..] = backend.address;
    let source = spread(u32::from_be_bytes([a, b, c, d]), backend, hash).to_be_bytes();
    let mut header = Ipv4Header {
        dont_fragment: true,
        total_len: (20 + length) as u16,
        time_to_live: TTL,
        protocol,
        source,
        destination: [e, f, g, h],
        ..Ipv4Header::default()
    };
    header.header_checksum = 0;
    let mut bytes = header.to_bytes().to_vec();
    bytes[1] = packet.traffic_class;
    let sum = crate::packet::checksum(&bytes);
    bytes[10..12].copy_from_slice(&sum.to_be_bytes());
    bytes
}

fn outer_v6(packet: &Packet, (protocol, length): (IpNumber, usize), backend: &Backend, hash: u64) -> Vec<u8> {
    let mut source = backend.source;
    let low = u32::from_be_bytes([source[12], source[13], source[14], source[15]]);
    source[12..].copy_from_slice(&spread(low, backend, hash).to_be_bytes());
    let header = Ipv6Header {
        traffic_class: packet.traffic_class,
        flow_label: Ipv6FlowLabel::try_new((hash % (1 << 20)) as u32).unwrap_or_default(),
        payload_length: length as u16,
        next_header: protocol,
        hop_limit: TTL,
        source,
        destination: backend.address,
    };
    header.to_bytes().to_vec()
}

/// An address whose last bits are the flow's, as many as the backend says.
fn spread(address: u32, backend: &Backend, hash: u64) -> u32 {
    let kept = 32 - u32::from(backend.source_spread_bits);
    let flows = hash as u32;
    (0..32).fold(0, |bits, bit| {
        let from = if bit < 32 - kept { flows } else { address };
        bits | from & 1 << bit
    })
}
