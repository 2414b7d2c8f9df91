//! The services of a world: what each speaks, in which family, and how it chooses backends.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lb_common::{
    addr::{FAMILY_V4, FAMILY_V6, from_v4},
    flow::FlowKey,
    hash::{self, Keys},
    service::{SERVICE_LEAST_CONNECTIONS, SERVICE_QUIC, SERVICE_ROUND_ROBIN, Service as Wire},
};
use lb_userspace::desired::model::Vip;

/// Services of a world: TCP, plain UDP, QUIC.
pub const SERVICES: usize = 3;
/// Seed of the hashes.
pub const SEED: u64 = 7;

const VIP4: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
const VIP6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 1);

/// What a service speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Tcp,
    Udp,
    Quic,
}

impl Kind {
    /// By the number of the service.
    pub const ALL: [Self; SERVICES] = [Self::Tcp, Self::Udp, Self::Quic];

    /// Port of the service.
    pub const fn port(self) -> u16 {
        match self {
            Self::Tcp => 80,
            Self::Udp => 53,
            Self::Quic => 443,
        }
    }

    /// IP protocol number.
    const fn protocol(self) -> u8 {
        if matches!(self, Self::Tcp) { 6 } else { 17 }
    }
}

/// How a service chooses the backend of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    Maglev,
    /// By the client's whole address, or only by the part that its neighbours share.
    SourceHash {
        whole: bool,
    },
    RoundRobin,
    LeastConnections,
}

/// Family and algorithm of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub algorithm: Algorithm,
    pub v6: bool,
}

/// A service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Service {
    pub kind: Kind,
    pub shape: Shape,
}

impl Service {
    /// Whether each flow has a record.
    pub const fn is_tracked(self) -> bool {
        matches!(self.shape.algorithm, Algorithm::RoundRobin | Algorithm::LeastConnections)
    }

    /// Its address.
    pub const fn address(self) -> IpAddr {
        if self.shape.v6 { IpAddr::V6(VIP6) } else { IpAddr::V4(VIP4) }
    }

    /// Its address, port and protocol.
    pub fn vip(self) -> Vip {
        let address = if self.shape.v6 { format!("[{VIP6}]") } else { VIP4.to_string() };
        let protocol = if self.kind == Kind::Tcp { "tcp" } else { "udp" };
        format!("{address}:{}/{protocol}", self.kind.port()).parse().expect("a service address")
    }

    /// `SERVICE_*` bits.
    pub fn flags(self) -> u16 {
        let algorithm = match self.shape.algorithm {
            Algorithm::Maglev => 0,
            Algorithm::SourceHash { .. } => Wire::source_hash_flags(self.prefix()),
            Algorithm::RoundRobin => SERVICE_ROUND_ROBIN,
            Algorithm::LeastConnections => SERVICE_LEAST_CONNECTIONS,
        };
        algorithm | if self.kind == Kind::Quic { SERVICE_QUIC } else { 0 }
    }

    /// Leading bits of a client's address that source-hash looks at.
    const fn prefix(self) -> u8 {
        match (self.shape.v6, self.shape.algorithm) {
            (false, Algorithm::SourceHash { whole: false }) => 24,
            (false, _) => 32,
            (true, Algorithm::SourceHash { whole: false }) => 64,
            (true, _) => 128,
        }
    }

    /// Address and port of the nth client. Those of a source-hash service share few addresses.
    pub fn client(self, number: u32) -> (IpAddr, u16) {
        let by_address = matches!(self.shape.algorithm, Algorithm::SourceHash { .. });
        let ([a, b, c, d], port) = if by_address {
            let number = number as u16;
            ([20, 0, (number % 5) as u8, (number / 5 % 3) as u8], 1024 + number)
        } else {
            let [a, b, c, d] = number.wrapping_mul(2_654_435_761).to_be_bytes();
            ([20, a, b, c], 1024 + u16::from(d))
        };
        (self.address_of([a, b, c, d]), port)
    }

    /// Address and port of the nth of those who have no connection.
    pub fn stranger(self, number: u32) -> (IpAddr, u16) {
        let [a, b, c, d] = number.wrapping_mul(2_654_435_761).to_be_bytes();
        (self.address_of([30, a, b, c]), 1024 + u16::from(d))
    }

    /// The last byte is a host's number, the others are of its network.
    fn address_of(self, [a, b, c, d]: [u8; 4]) -> IpAddr {
        if self.shape.v6 {
            let network = u16::from_be_bytes([b, c]);
            Ipv6Addr::new(0x2001, 0xdb8, a.into(), network, 0, 0, 0, d.into()).into()
        } else {
            Ipv4Addr::new(a, b, c, d).into()
        }
    }

    /// Hash that tells the slot of a client's connection.
    pub fn slot_hash(self, client: (IpAddr, u16)) -> u64 {
        let raw = |address| match address {
            IpAddr::V4(v4) => from_v4(v4.octets()),
            IpAddr::V6(v6) => v6.octets(),
        };
        let key = FlowKey {
            source: raw(client.0),
            destination: raw(self.address()),
            source_port: client.1.to_be_bytes(),
            destination_port: self.kind.port().to_be_bytes(),
            protocol: self.kind.protocol(),
            family: if self.shape.v6 { FAMILY_V6 } else { FAMILY_V4 },
            reserved: [0; 2],
        };
        match self.shape.algorithm {
            Algorithm::SourceHash { .. } => key.source_hash(&Keys::of(SEED), self.prefix().into()),
            _ => key.hash(&Keys::of(SEED)),
        }
    }

    /// Index of the slot of a client's connection in a table of this size.
    pub fn slot_index(self, client: (IpAddr, u16), size: usize) -> usize {
        hash::slot_index(self.slot_hash(client), size)
    }
}
