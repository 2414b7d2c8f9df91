//! ICMP echo, without the `ping` program.

use std::{
    io,
    net::{IpAddr, UdpSocket},
    os::fd::FromRawFd as _,
    time::Duration,
};

use anyhow::{Context as _, Result};

use crate::netns::Netns;

/// Sends one echo request and waits for the answer.
pub fn ping(from: &Netns, to: IpAddr) -> Result<()> {
    // Echo sockets without raw access are for the groups in this range.
    from.sysctl("net/ipv4/ping_group_range", "0 0")?;
    from.enter(|| echo(to))?.with_context(|| format!("ping from {} to {to}", from.name()))
}

fn echo(to: IpAddr) -> io::Result<()> {
    const ECHO_REQUEST4: u8 = 8;
    const ECHO_REQUEST6: u8 = 128;
    let (family, protocol, kind) = match to {
        IpAddr::V4(_) => (libc::AF_INET, libc::IPPROTO_ICMP, ECHO_REQUEST4),
        IpAddr::V6(_) => (libc::AF_INET6, libc::IPPROTO_ICMPV6, ECHO_REQUEST6),
    };
    // SAFETY: a system call without pointers.
    let fd = unsafe { libc::socket(family, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, protocol) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just gave us this descriptor. A datagram socket of another protocol takes the same calls.
    let socket = unsafe { UdpSocket::from_raw_fd(fd) };
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    socket.connect((to, 0))?;
    // The kernel fills in the checksum and an identifier, and hands only the reply to it back.
    let request = [kind, 0, 0, 0, 0, 0, 0, 1];
    socket.send(&request)?;
    socket.recv(&mut [0; 64]).map(drop)
}
