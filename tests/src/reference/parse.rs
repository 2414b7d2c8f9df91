//! From a frame to what is decided by.

use std::net::IpAddr;

use etherparse::{
    Ethernet2HeaderSlice, Ipv4HeaderSlice, Ipv6HeaderSlice, SingleVlanHeaderSlice, UdpHeaderSlice,
};
use lb_common::verdict::Reason;

use super::Flow;

/// Shortest TCP header. What its length field says is the receiver's to judge.
const TCP_HEADER: usize = 20;
/// SCTP's common header and that of a chunk.
const SCTP_HEADER: usize = 16;
/// IPv6 extension headers that are followed.
const MOST_EXTENSIONS: usize = 5;

/// A packet of a flow.
#[derive(Debug)]
pub struct Packet {
    pub flow: Flow,
    /// Where the IP header begins in the frame.
    pub ip_at: usize,
    /// Length of the IP packet.
    pub length: usize,
    pub traffic_class: u8,
    /// Flags of a TCP header.
    pub tcp_flags: u8,
    /// Bytes of the frame after the header of UDP.
    pub after_udp: Vec<u8>,
}

/// Parses a frame, or says why it is no flow's.
pub fn parse(frame: &[u8]) -> Result<Packet, Reason> {
    match network(frame)? {
        (at, false) => v4(frame, at),
        (at, true) => v6(frame, at),
    }
}

/// Where the IP header begins, and whether it is of IPv6.
pub fn network(frame: &[u8]) -> Result<(usize, bool), Reason> {
    let ethernet = Ethernet2HeaderSlice::from_slice(frame).map_err(malformed)?;
    let (mut ether_type, mut at) = (ethernet.ether_type().0, ethernet.slice().len());
    for _ in 0..2 {
        if ether_type != 0x8100 && ether_type != 0x88a8 {
            break;
        }
        let tag = SingleVlanHeaderSlice::from_slice(&frame[at..]).map_err(malformed)?;
        (ether_type, at) = (tag.ether_type().0, at + tag.slice().len());
    }
    match ether_type {
        0x0800 => Ok((at, false)),
        0x86dd => Ok((at, true)),
        _ => Err(Reason::NotIp),
    }
}

fn v4(frame: &[u8], at: usize) -> Result<Packet, Reason> {
    let header = Ipv4HeaderSlice::from_slice(&frame[at..]).map_err(malformed)?;
    let length = usize::from(header.total_len());
    let packet = frame.get(at..at + length).ok_or(Reason::Malformed)?;
    let payload = packet.get(header.slice().len()..).ok_or(Reason::Malformed)?;
    if header.is_fragmenting_payload() {
        return Err(Reason::Fragment);
    }
    let addresses = (header.source_addr().into(), header.destination_addr().into());
    let transport = transport(payload, header.protocol().0, addresses)?;
    Ok(Packet { ip_at: at, length, traffic_class: frame[at + 1], ..transport }.seeing(frame))
}

fn v6(frame: &[u8], at: usize) -> Result<Packet, Reason> {
    let header = Ipv6HeaderSlice::from_slice(&frame[at..]).map_err(malformed)?;
    let length = header.slice().len() + usize::from(header.payload_length());
    let packet = frame.get(at..at + length).ok_or(Reason::Malformed)?;
    let (payload, protocol) = after_extensions(&packet[header.slice().len()..], header.next_header().0)?;
    let addresses = (header.source_addr().into(), header.destination_addr().into());
    let transport = transport(payload, protocol, addresses)?;
    Ok(Packet { ip_at: at, length, traffic_class: header.traffic_class(), ..transport }.seeing(frame))
}

/// What follows the extension headers, and its protocol.
pub fn after_extensions(mut payload: &[u8], mut protocol: u8) -> Result<(&[u8], u8), Reason> {
    for followed in 0.. {
        let is_extension = matches!(protocol, 0 | 43 | 44 | 51 | 60);
        if !is_extension {
            break;
        }
        if followed == MOST_EXTENSIONS {
            return Err(Reason::ExtensionHeaders);
        }
        if protocol == 44 {
            return Err(Reason::Fragment);
        }
        let (next, units) = match payload {
            [next, units, _, _, _, _, _, _, ..] => (*next, usize::from(*units)),
            _ => return Err(Reason::Malformed),
        };
        // RFC 4302, section 2.2, and RFC 8200, section 4.
        let length = if protocol == 51 { (units + 2) * 4 } else { (units + 1) * 8 };
        payload = payload.get(length..).ok_or(Reason::Malformed)?;
        protocol = next;
    }
    Ok((payload, protocol))
}

/// Ports and flags; the rest is for the caller to fill in.
pub fn transport(payload: &[u8], protocol: u8, addresses: (IpAddr, IpAddr)) -> Result<Packet, Reason> {
    let (source_port, destination_port, tcp_flags, rest) = match protocol {
        6 => {
            let header = payload.get(..TCP_HEADER).ok_or(Reason::Malformed)?;
            let port = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
            (port(0), port(2), header[13], payload.len())
        }
        17 => {
            let header = UdpHeaderSlice::from_slice(payload).map_err(malformed)?;
            (header.source_port(), header.destination_port(), 0, payload.len() - header.slice().len())
        }
        132 => {
            let header = payload.get(..SCTP_HEADER).ok_or(Reason::Malformed)?;
            let port = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
            // RFC 9260, section 3.2: INIT is as a SYN. What ends an association is of no matter here.
            let flags = if header[12] == 1 { 2 } else { 16 };
            (port(0), port(2), flags, payload.len())
        }
        _ => return Err(Reason::OtherProtocol),
    };
    let (source, destination) = addresses;
    let flow = Flow { source, destination, source_port, destination_port, protocol };
    let after_udp = payload[payload.len() - rest..].to_vec();
    Ok(Packet { flow, ip_at: 0, length: 0, traffic_class: 0, tcp_flags, after_udp })
}

impl Packet {
    /// QUIC is looked for up to the end of the frame: padding may follow the packet.
    fn seeing(mut self, frame: &[u8]) -> Self {
        self.after_udp.extend(&frame[self.ip_at + self.length..]);
        self
    }
}

fn malformed<E>(_error: E) -> Reason {
    Reason::Malformed
}
