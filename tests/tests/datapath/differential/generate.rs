//! Frames to compare by: of every service and of nobody's, then mutated.

use std::net::IpAddr;

use lb_tests::{
    packet::{self, ACK, FIN, Frame, RST, SYN, Segment},
    runner::World,
    sctp,
};

use super::{Random, mutate::mutate};
use crate::world::{CLIENT_V4, CLIENT_V6};

/// Makes frames.
pub struct Generator {
    targets: Vec<(IpAddr, u16, u8)>,
}

impl Generator {
    pub fn new(world: &World) -> Self {
        Self { targets: world.services.iter().map(|at| (at.address, at.port, at.protocol)).collect() }
    }

    /// Half of them as a client would send them, half mutated, a few of random bytes.
    pub fn frame(&self, random: &mut Random) -> Vec<u8> {
        if random.one_in(50) {
            return noise(random);
        }
        let target = self.targets[random.below(self.targets.len())];
        let frame = if random.one_in(6) { about(random, target) } else { sound(random, target) };
        let mut frame = frame.bytes();
        if random.one_in(50) {
            frame[0] |= 1;
        }
        if random.one_in(2) {
            mutate(random, &mut frame);
        }
        frame
    }
}

/// A frame for each service, whole.
pub fn originals(world: &World, random: &mut Random) -> Vec<Vec<u8>> {
    let generator = Generator::new(world);
    generator.targets.iter().map(|target| sound(random, *target).bytes()).collect()
}

fn sound(random: &mut Random, (address, port, protocol): (IpAddr, u16, u8)) -> Frame {
    let segment = segment(random, port, protocol);
    let frame = match address {
        IpAddr::V4(address) => {
            // Few clients, so that some flows come back; one half of them in a network of their own.
            let client = u32::from(CLIENT_V4) + random.below(8) as u32 + (random.below(2) as u32) * 0x1_0000;
            let options = if random.one_in(4) { 4 * random.below(11) } else { 0 };
            let ip = segment.v4(client.into(), address).with(|ip| {
                ip.tos = random.next() as u8;
                ip.ttl = random.next() as u8;
                ip.options = (0..options).map(|_| random.next() as u8).collect();
                if random.one_in(12) {
                    let any = random.next() as u16;
                    ip.fragment = random.pick(&[0x2000, 0x2000, 0x2100, 0x00b9, any]);
                    ip.id = random.below(3) as u16;
                }
            });
            ip.frame()
        }
        IpAddr::V6(address) => {
            let client = u128::from(CLIENT_V6) + random.below(8) as u128 + ((random.below(2) as u128) << 80);
            let mut ip = segment.v6(client.into(), address).with(|ip| {
                ip.traffic_class = random.next() as u8;
                ip.flow_label = random.next() as u32 & 0xf_ffff;
            });
            if random.one_in(10) {
                ip = ip.extension(44, 8);
            } else if random.one_in(3) {
                for _ in 0..random.below(8) {
                    let number = random.pick(&[0, 43, 51, 60, 0, 43, 51, 60, 44]);
                    let most = if number == 44 { 1 } else { 4 };
                    ip = ip.extension(number, 8 * (1 + random.below(most)));
                }
            }
            let ip = ip.ip();
            // First, later, whole: where the fragment header is the first header.
            if ip.bytes()[6] == 44 && ip.bytes().len() >= 48 && random.one_in(2) {
                let (high, low) = random.pick(&[(0, 1), (0, 1), (1, 1), (5, 0xc8), (0, 0)]);
                ip.patch(42, &[high, low, 0, 0, 0, random.below(3) as u8]).frame()
            } else {
                ip.frame()
            }
        }
    };
    let padding = if random.one_in(4) { random.below(40) } else { 0 };
    let tags = if random.one_in(3) { 1 + random.below(3) } else { 0 };
    (0..tags).fold(frame.padding(padding), |frame, _| {
        frame.tag(random.pick(&[0x8100, 0x8100, 0x88a8]), random.next() as u16)
    })
}

/// An echo request to a service's address, or an error about what the service sent.
fn about(random: &mut Random, (address, port, protocol): (IpAddr, u16, u8)) -> Frame {
    let (client_port, port) = (40_000 + random.below(64) as u16, if port == 0 { 8_080 } else { port });
    let reply = match protocol {
        6 => packet::tcp(port, client_port, ACK, &[5; 400]),
        17 => packet::udp(port, client_port, &[5; 400]),
        _ => packet::other(protocol, &sctp::packet(port, client_port, sctp::DATA, &[5; 400])),
    };
    let word = [0, 0, 5, random.next() as u8];
    let data = vec![random.next() as u8; random.below(100)];
    match address {
        IpAddr::V4(address) => {
            let client = (u32::from(CLIENT_V4) + random.below(8) as u32).into();
            let message = if random.one_in(2) {
                packet::icmp(8, 0, &[&word, &data[..]].concat())
            } else {
                let options = vec![1; 4 * random.pick(&[0, 0, 0, 2, 10])];
                let reply = reply.v4(address, client).with(|ip| ip.options = options).ip();
                let quote = &reply.bytes()[..random.pick(&[0, 19, 23, 24, 28, 100, 400])];
                packet::icmp(
                    random.pick(&[3, 3, 11, 12, 4, 5]),
                    random.below(16) as u8,
                    &[&word, quote].concat(),
                )
            };
            let options = vec![1; 4 * random.pick(&[0, 0, 0, 1])];
            message
                .v4(client, address)
                .with(|ip| (ip.options, ip.tos) = (options, random.next() as u8))
                .frame()
        }
        IpAddr::V6(address) => {
            let client = (u128::from(CLIENT_V6) + random.below(8) as u128).into();
            let message = if random.one_in(2) {
                packet::icmpv6(128, 0, &[&word, &data[..]].concat())
            } else {
                let mut reply = reply.v6(address, client);
                for _ in 0..random.pick(&[0, 0, 0, 1, 5, 6]) {
                    reply = reply.extension(random.pick(&[0, 43, 44, 51, 60]), 8);
                }
                let quote = &reply.ip().bytes()[..random.pick(&[0, 39, 43, 44, 48, 92, 100, 400])].to_vec();
                packet::icmpv6(
                    random.pick(&[0, 1, 2, 3, 4, 5]),
                    random.below(8) as u8,
                    &[&word, &quote[..]].concat(),
                )
            };
            let message = message.v6(client, address);
            if random.one_in(4) { message.extension(60, 8).frame() } else { message.frame() }
        }
    }
}

fn segment(random: &mut Random, port: u16, protocol: u8) -> Segment {
    let source = 40_000 + random.below(64) as u16;
    let port = match (port, random.below(20)) {
        (0, _) | (_, 0) => random.next() as u16,
        _ => port,
    };
    let length = random.pick(&[0, 1, 5, 40, 100, 600, 1_000, 1_400, 1_420, 1_440, 1_460]);
    let mut payload = vec![0; length + random.below(30)];
    payload.iter_mut().for_each(|byte| *byte = random.next() as u8);
    if random.one_in(20) {
        return packet::other(random.next() as u8, &payload);
    }
    if protocol == sctp::PROTOCOL {
        let chunk = random.pick(&[sctp::DATA, sctp::INIT, sctp::ABORT, sctp::SHUTDOWN, 17, 200]);
        return packet::other(protocol, &sctp::packet(source, port, chunk, &payload));
    }
    if protocol == 6 {
        let flags = random.pick(&[SYN, SYN, SYN | ACK, ACK, ACK | FIN, RST, SYN | RST, 0, 0xff]);
        let options = vec![1; 4 * random.below(11)];
        return packet::tcp_with_options(source, port, flags, &options, &payload);
    }
    // Some like QUIC: Initials of both versions, other types, short headers.
    if payload.len() >= 5 && random.one_in(2) {
        payload[0] = random.pick(&[0xc3, 0xd3, 0xe0, 0x43, 0x83]);
        let version = random.pick(&[1, 0x6b33_43cf, 0, 0xff00_001d_u32]);
        payload[1..5].copy_from_slice(&version.to_be_bytes());
        if random.one_in(2) {
            connection_id(random, &mut payload);
        }
    }
    packet::udp(source, port, &payload)
}

/// Makes the connection id one of those that name servers.
fn connection_id(random: &mut Random, payload: &mut [u8]) {
    let is_long = payload[0] >= 0x80;
    payload
        .iter_mut()
        .take(14)
        .skip(if is_long { 6 } else { 1 })
        .for_each(|byte| *byte = random.pick(&[1, 2, 3]));
    if let Some(length) = payload.get_mut(5).filter(|_| is_long) {
        *length = random.pick(&[0, 2, 3, 8, 8, 8, 20, 255]);
    }
}

/// Random bytes under a likely EtherType.
fn noise(random: &mut Random) -> Vec<u8> {
    let length = 14 + random.below(150);
    let mut frame: Vec<u8> = (0..length).map(|_| random.next() as u8).collect();
    frame[12..14].copy_from_slice(&random.pick(&[[0x08, 0x00], [0x86, 0xdd], [0x81, 0x00], [0x08, 0x06]]));
    frame
}
