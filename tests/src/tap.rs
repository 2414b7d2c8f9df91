//! Packet sockets: whole frames, as they enter and leave an interface.

use std::{
    io, mem,
    os::fd::{AsRawFd, FromRawFd as _, OwnedFd, RawFd},
    ptr,
};

use anyhow::{Context as _, Result};

use crate::link::End;

/// Longest frame.
const FRAME_MAX: usize = 65_536;
/// Where a VLAN tag stands in a frame.
const TAG_AT: usize = 12;

/// A packet socket on one interface.
#[derive(Debug)]
pub struct Tap(OwnedFd);

/// A frame that passed the interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Whether it came in, rather than went out.
    pub incoming: bool,
    /// All of it.
    pub frame: Vec<u8>,
}

impl Tap {
    /// Opens one. What native XDP takes or sends passes the other end of the wire only.
    pub fn open((netns, interface): End<'_>) -> Result<Self> {
        let ifindex = i32::try_from(netns.ifindex(interface)?)?;
        let socket = netns.enter(|| packet_socket(ifindex))?;
        Ok(Self(socket.with_context(|| format!("can't tap {interface} in {}", netns.name()))?))
    }

    /// Sends a frame as it is.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        // SAFETY: pointer and length are those of one slice.
        match unsafe { libc::send(self.0.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) } {
            sent if sent == frame.len() as isize => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// The next frame, if there is one already.
    pub fn receive(&self) -> io::Result<Option<Seen>> {
        let mut frame = vec![0_u8; FRAME_MAX];
        let mut control = [0_u64; 16];
        let mut part = libc::iovec { iov_base: frame.as_mut_ptr().cast(), iov_len: frame.len() };
        // SAFETY: all zeros is a valid value of either.
        let (mut address, mut message): (libc::sockaddr_ll, libc::msghdr) = unsafe { mem::zeroed() };
        message.msg_name = (&raw mut address).cast();
        message.msg_namelen = size_of_val(&address) as u32;
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of_val(&control);
        // SAFETY: all that the message points to lives until the call returns, with the lengths that it names.
        let length = unsafe { libc::recvmsg(self.0.as_raw_fd(), &raw mut message, 0) };
        let Ok(length) = usize::try_from(length) else {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::WouldBlock { Ok(None) } else { Err(error) };
        };
        frame.truncate(length);
        // The kernel takes the outer tag out of a frame before it shows it, and says so beside it.
        // SAFETY: the kernel just filled the message.
        if let Some(tag) = unsafe { removed_tag(&message) } {
            frame.splice(TAG_AT..TAG_AT, tag);
        }
        Ok(Some(Seen { incoming: address.sll_pkttype != libc::PACKET_OUTGOING, frame }))
    }
}

impl AsRawFd for Tap {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// The VLAN tag that a message has beside its frame.
///
/// # Safety
/// The message was filled by recvmsg, and what it points to lives.
unsafe fn removed_tag(message: &libc::msghdr) -> Option<[u8; 4]> {
    // SAFETY: as the caller promises.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(message) };
    while !header.is_null() {
        // SAFETY: not null, so within the message.
        let kind = unsafe { ((*header).cmsg_level, (*header).cmsg_type) };
        if kind == (libc::SOL_PACKET, libc::PACKET_AUXDATA) {
            // SAFETY: what follows a header of this kind is of this type.
            let data: libc::tpacket_auxdata = unsafe { ptr::read_unaligned(libc::CMSG_DATA(header).cast()) };
            let [a, b] = data.tp_vlan_tpid.to_be_bytes();
            let [c, d] = data.tp_vlan_tci.to_be_bytes();
            return (data.tp_status & libc::TP_STATUS_VLAN_VALID != 0).then_some([a, b, c, d]);
        }
        // SAFETY: the message's own header.
        header = unsafe { libc::CMSG_NXTHDR(message, header) };
    }
    None
}

fn packet_socket(ifindex: i32) -> io::Result<OwnedFd> {
    let all = u16::try_from(libc::ETH_P_ALL).map_err(io::Error::other)?.to_be();
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // Of no protocol until it is bound: else it gets frames of all interfaces meanwhile.
    // SAFETY: a system call without pointers.
    let fd = unsafe { libc::socket(libc::AF_PACKET, kind, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just gave us this descriptor.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    let on: libc::c_int = 1;
    let length = size_of_val(&on) as u32;
    // SAFETY: the value lives until the call returns, and the length is its own.
    let result = unsafe {
        libc::setsockopt(fd, libc::SOL_PACKET, libc::PACKET_AUXDATA, (&raw const on).cast(), length)
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: all zeros is a valid address.
    let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = all;
    address.sll_ifindex = ifindex;
    let length = size_of::<libc::sockaddr_ll>() as u32;
    // SAFETY: the address lives until the call returns, and the length is its own.
    if unsafe { libc::bind(fd, (&raw const address).cast(), length) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(socket)
}
