//! SCTP packets on raw sockets, for kernels without SCTP of their own.

use std::{
    io,
    mem::MaybeUninit,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::netns::Netns;

/// IP protocol number.
pub const PROTOCOL: u8 = 132;
/// Chunk types (RFC 9260, section 3.2).
pub const DATA: u8 = 0;
/// Begins an association.
pub const INIT: u8 = 1;
/// Ends an association at once.
pub const ABORT: u8 = 6;
/// Begins the end of an association.
pub const SHUTDOWN: u8 = 7;
/// What a client sends after its INIT was answered.
pub const COOKIE_ECHO: u8 = 10;

/// Length of the common header.
const HEADER: usize = 12;
/// Length of an IPv4 header without options, which raw sockets of that family deliver.
const IPV4_HEADER: usize = 20;
/// How often a server looks whether it is to stop.
const WAKE_UP: Duration = Duration::from_millis(50);

/// A packet with one chunk of a type, its CRC32c filled in.
pub fn packet(source: u16, destination: u16, chunk: u8, value: &[u8]) -> Vec<u8> {
    let mut bytes = [source.to_be_bytes(), destination.to_be_bytes()].concat();
    bytes.extend([0x11, 0x22, 0x33, 0x44, 0, 0, 0, 0, chunk, 0]);
    bytes.extend((4 + value.len() as u16).to_be_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    let sum = crc32c::crc32c(&bytes).to_le_bytes();
    bytes[8..HEADER].copy_from_slice(&sum);
    bytes
}

/// The value of a packet's only chunk, padding included.
///
/// # Errors
/// The packet is cut short, or its checksum is not that of its bytes.
pub fn value(packet: &[u8]) -> Result<&[u8]> {
    ensure!(packet.len() >= HEADER + 4, "{} bytes are no SCTP packet", packet.len());
    let mut zeroed = packet.to_vec();
    zeroed[8..HEADER].fill(0);
    ensure!(crc32c::crc32c(&zeroed).to_le_bytes() == packet[8..HEADER], "the checksum is wrong");
    Ok(&packet[HEADER + 4..])
}

/// A raw socket for SCTP packets that come to an address.
///
/// # Errors
/// No rights, or not an address of this namespace.
pub fn socket(address: IpAddr) -> Result<Socket> {
    let domain = if address.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(i32::from(PROTOCOL))))?;
    socket
        .bind(&SockAddr::from(SocketAddr::new(address, 0)))
        .with_context(|| format!("bind to {address}"))?;
    Ok(socket)
}

/// The next packet that a socket gets, and from where; none if none comes within the socket's timeout.
fn receive(socket: &Socket) -> io::Result<Option<(Vec<u8>, SockAddr)>> {
    let mut buffer = [MaybeUninit::new(0u8); 2048];
    let (length, from) = match socket.recv_from(&mut buffer) {
        Ok(received) => received,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
        Err(error) => return Err(error),
    };
    let skip = if from.is_ipv4() { IPV4_HEADER } else { 0 };
    // SAFETY: all of the buffer was initialized when it was made.
    let bytes = buffer[..length].iter().map(|byte| unsafe { byte.assume_init() });
    Ok(Some((bytes.skip(skip).collect(), from)))
}

/// Sends a packet and returns the first answer to its port: who answered, and what they say they got.
///
/// # Errors
/// No answer in time, or one that is damaged.
pub fn exchange(socket: &Socket, target: IpAddr, packet: &[u8]) -> Result<(String, Vec<u8>)> {
    socket.set_read_timeout(Some(crate::client::PATIENCE))?;
    socket.send_to(packet, &SockAddr::from(SocketAddr::new(target, 0)))?;
    loop {
        let (answer, _) = receive(socket)?.context("no answer")?;
        let value = value(&answer)?;
        if answer[2..4] != packet[..2] {
            continue;
        }
        let split = value.iter().position(|byte| *byte == b' ').context("no name in the answer")?;
        let (name, got) = (&value[..split], &value[split + 1..]);
        return Ok((String::from_utf8(name.to_vec())?, got.to_vec()));
    }
}

/// Answers each packet to a service address with its name, a space and the packet, in a chunk of data. Damaged packets
/// get no answer.
#[derive(Debug)]
pub struct Server {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts it in a namespace.
    ///
    /// # Errors
    /// As of [`socket`].
    pub fn start(netns: &Netns, name: &str, address: IpAddr) -> Result<Self> {
        let socket = netns.enter(|| socket(address))??;
        socket.set_read_timeout(Some(WAKE_UP))?;
        let (stop, name) = (Arc::<AtomicBool>::default(), name.to_owned());
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name(name.clone()).spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let Ok(Some((packet, from))) = receive(&socket) else { continue };
                if value(&packet).is_err() {
                    continue;
                }
                let port = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
                let said = [name.as_bytes(), b" ", &packet].concat();
                // The client may be gone.
                let _ = socket.send_to(&self::packet(port(2), port(0), DATA, &said), &from);
            }
        })?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(Err(panicked)) = self.thread.take().map(JoinHandle::join) {
            eprintln!("a server panicked: {panicked:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The check value of the algorithm, and a packet that is told from a damaged one.
    #[test]
    fn checksums() -> Result<()> {
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
        let mut packet = packet(9, 80, DATA, b"some");
        assert_eq!(value(&packet)?, b"some");
        packet[3] ^= 1;
        assert!(value(&packet).is_err());
        Ok(())
    }
}
