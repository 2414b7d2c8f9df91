//! Forgets all connections that the kernel tracks in a namespace, as `conntrack -F` does.

use std::{
    io::{self, Read as _, Write as _},
    os::fd::FromRawFd as _,
};

use anyhow::{Context as _, Result, ensure};

use crate::netns::Netns;

/// `NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE` of the kernel's headers.
const DELETE: u16 = 1 << 8 | 2;

/// Empties the table of connections of a namespace, so that each sample begins with the same.
pub fn flush(netns: &Netns) -> Result<()> {
    let answer = netns.enter(ask)?.context("can't empty the table of tracked connections")?;
    // An acknowledgement is an error message with the number 0 after the header of 16 bytes.
    let code = answer.get(16..20).and_then(|bytes| bytes.try_into().ok()).map(i32::from_ne_bytes);
    ensure!(code == Some(0), "can't empty the table of tracked connections: the kernel says {code:?}");
    Ok(())
}

fn ask() -> io::Result<Vec<u8>> {
    // SAFETY: a system call without pointers.
    let fd = unsafe {
        libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_NETFILTER)
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just gave us this descriptor. Reading and writing it is receiving and sending.
    let mut socket = unsafe { std::fs::File::from_raw_fd(fd) };
    let mut message = Vec::new();
    // nlmsghdr: length, type, flags, sequence, port. nfgenmsg: family (any), version, resource.
    message.extend(20u32.to_ne_bytes());
    message.extend(DELETE.to_ne_bytes());
    message.extend(((libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16).to_ne_bytes());
    message.extend([0; 8]);
    message.extend([libc::AF_UNSPEC as u8, 0, 0, 0]);
    socket.write_all(&message)?;
    let mut answer = vec![0; 256];
    let length = socket.read(&mut answer)?;
    answer.truncate(length);
    Ok(answer)
}
