//! The packets of connections.

use std::net::Ipv4Addr;

use lb_tests::packet::{self, ACK, FIN, SYN};

/// Service address of all services.
pub const VIP: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);

/// What a service speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Tcp,
    Udp,
    Quic,
}

/// Place of a packet in its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Opening,
    Middle,
    Closing,
}

impl Kind {
    /// By the number of the service.
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Quic];

    pub const fn port(self) -> u16 {
        match self {
            Self::Tcp => 80,
            Self::Udp => 53,
            Self::Quic => 443,
        }
    }

    /// A packet of a connection from this client.
    pub fn frame(self, client: (Ipv4Addr, u16), part: Part) -> Vec<u8> {
        let (source, port) = client;
        let segment = match (self, part) {
            (Self::Tcp, Part::Opening) => packet::tcp(port, self.port(), SYN, &[]),
            (Self::Tcp, Part::Middle) => packet::tcp(port, self.port(), ACK, &[7; 8]),
            (Self::Tcp, Part::Closing) => packet::tcp(port, self.port(), FIN | ACK, &[]),
            (Self::Udp, _) => packet::udp(port, self.port(), &[7; 16]),
            // RFC 9000, 17.2.2: long header, fixed bit, type 0, version 1, connection ids of eight bytes.
            (Self::Quic, Part::Opening) => {
                let mut initial = vec![0xc3, 0, 0, 0, 1, 8];
                initial.extend([7; 24]);
                packet::udp(port, self.port(), &initial)
            }
            // 17.3: short header, fixed bit.
            (Self::Quic, _) => packet::udp(port, self.port(), &[0x41; 30]),
        };
        segment.v4(source, VIP).frame().bytes()
    }
}
