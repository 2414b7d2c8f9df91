//! What the sender of a packet that is too big is told (RFC 1812, section 4.3.2; RFC 4443, section 3.2).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::parse::Packet;
use crate::packet;

/// Bytes that are quoted, so that the answer has 576 or 1,280.
const QUOTE_V4: usize = 576 - 28;
const QUOTE_V6: usize = 1280 - 48;

/// The answer; none if there must not be one, or the frame has less than is quoted.
pub fn answer(frame: &[u8], packet: &Packet, mtu: usize) -> Option<Vec<u8>> {
    let is_to_many = frame[0] & 1 != 0;
    let (link, ip) = frame.split_at(packet.ip_at);
    let message = match (packet.flow.source, packet.flow.destination) {
        (IpAddr::V4(client), IpAddr::V4(service)) if is_host_v4(client) => {
            let rest = [&(mtu as u32).to_be_bytes(), ip.get(..QUOTE_V4)?].concat();
            let answer = packet::icmp(3, 4, &rest).v4(service, client);
            answer.with(|ip| (ip.tos, ip.ttl, ip.id) = (0xc0, 64, 0)).ip()
        }
        (IpAddr::V6(client), IpAddr::V6(service)) if is_host_v6(client) && mtu >= 1280 => {
            let rest = [&(mtu as u32).to_be_bytes(), ip.get(..QUOTE_V6)?].concat();
            packet::icmpv6(2, 0, &rest).v6(service, client).with(|ip| ip.hop_limit = 64).ip()
        }
        _ => return None,
    };
    (!is_to_many).then(|| [&link[6..12], &link[..6], &link[12..], message.bytes()].concat())
}

fn is_host_v4(address: Ipv4Addr) -> bool {
    let [first, ..] = address.octets();
    first != 0 && first != 127 && first < 224
}

fn is_host_v6(address: Ipv6Addr) -> bool {
    !address.is_unspecified() && !address.is_multicast()
}
