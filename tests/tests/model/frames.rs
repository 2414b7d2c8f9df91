//! The packets of connections.

use std::net::IpAddr;

use lb_tests::packet::{self, ACK, FIN, SYN};

use crate::services::{Kind, Service};

/// Place of a packet in its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Opening,
    Middle,
    Closing,
}

/// A packet from a client to a service.
pub fn frame(service: Service, (source, port): (IpAddr, u16), part: Part) -> Vec<u8> {
    let to = service.kind.port();
    let segment = match (service.kind, part) {
        (Kind::Tcp, Part::Opening) => packet::tcp(port, to, SYN, &[]),
        (Kind::Tcp, Part::Middle) => packet::tcp(port, to, ACK, &[7; 8]),
        (Kind::Tcp, Part::Closing) => packet::tcp(port, to, FIN | ACK, &[]),
        (Kind::Udp, _) => packet::udp(port, to, &[7; 16]),
        // RFC 9000, 17.2.2: long header, fixed bit, type 0, version 1, connection ids of eight bytes.
        (Kind::Quic, Part::Opening) => {
            let mut initial = vec![0xc3, 0, 0, 0, 1, 8];
            initial.extend([7; 24]);
            packet::udp(port, to, &initial)
        }
        // 17.3: short header, fixed bit.
        (Kind::Quic, _) => packet::udp(port, to, &[0x41; 30]),
    };
    match (source, service.address()) {
        (IpAddr::V4(source), IpAddr::V4(vip)) => segment.v4(source, vip).frame().bytes(),
        (IpAddr::V6(source), IpAddr::V6(vip)) => segment.v6(source, vip).frame().bytes(),
        (source, vip) => panic!("{source} can't speak to {vip}"),
    }
}
