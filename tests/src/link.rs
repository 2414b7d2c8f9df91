//! veth pairs as XDP needs them: a queue per CPU, and offloads under control.

use std::{io, mem, thread};

use anyhow::{Context as _, Result};

use crate::netns::Netns;

/// One end of a link: an interface of a namespace.
pub type End<'a> = (&'a Netns, &'a str);

/// Largest frame payload on the links: room for an outer IPv6 header around the client's 1,500 bytes.
pub const MTU: u32 = 1600;

/// An offload that ethtool switches.
#[derive(Clone, Copy, Debug)]
pub enum Offload {
    /// Checksums left to the device: XDP would see partial ones.
    TxChecksum,
    /// Segmentation left to the device: XDP does not take such frames.
    Tso,
    /// Merging on receipt. On a veth it switches NAPI on, which XDP_REDIRECT into the device's peer needs.
    Gro,
    /// VLAN tags left to the device: XDP at its peer would not see them.
    TxVlan,
}

/// Connects two namespaces by a veth pair with one queue per CPU, both ends up, without offloads on sending and with
/// NAPI on receipt.
pub fn veth(left: End<'_>, right: End<'_>) -> Result<()> {
    let queues = thread::available_parallelism()?;
    let queues = format!("numrxqueues {queues} numtxqueues {queues}");
    left.0.ip(&[format!(
        "link add {} mtu {MTU} {queues} type veth peer name {} mtu {MTU} netns {} {queues}",
        left.1,
        right.1,
        right.0.name()
    )])?;
    for (netns, interface) in [left, right] {
        set_offload(netns, interface, Offload::TxChecksum, false)?;
        set_offload(netns, interface, Offload::Tso, false)?;
        netns.ip(&[format!("link set {interface} up")])?;
    }
    // The kernel lets XDP redirect into a veth only if its peer had NAPI when it came up, or gets it while it is up.
    for (netns, interface) in [left, right] {
        set_offload(netns, interface, Offload::Gro, true)?;
    }
    Ok(())
}

/// Switches an offload of an interface on or off.
pub fn set_offload(netns: &Netns, interface: &str, offload: Offload, on: bool) -> Result<()> {
    netns
        .enter(|| ethtool(interface, offload, on))?
        .with_context(|| format!("can't switch {offload:?} of {interface} in {}", netns.name()))
}

/// `struct ethtool_value` of linux/ethtool.h.
#[repr(C)]
struct EthtoolValue {
    command: u32,
    data: u32,
}

fn ethtool(interface: &str, offload: Offload, on: bool) -> io::Result<()> {
    const GET_FLAGS: u32 = 0x25;
    const SET_FLAGS: u32 = 0x26;
    const FLAG_TX_VLAN: u32 = 1 << 7;
    let command = match offload {
        Offload::TxChecksum => 0x17,
        Offload::Tso => 0x1f,
        Offload::Gro => 0x2c,
        Offload::TxVlan => {
            let others = ask(interface, EthtoolValue { command: GET_FLAGS, data: 0 })? & !FLAG_TX_VLAN;
            let data = if on { others | FLAG_TX_VLAN } else { others };
            return ask(interface, EthtoolValue { command: SET_FLAGS, data }).map(drop);
        }
    };
    ask(interface, EthtoolValue { command, data: u32::from(on) }).map(drop)
}

/// One request to the device; the value as the kernel leaves it.
fn ask(interface: &str, mut value: EthtoolValue) -> io::Result<u32> {
    const SIOCETHTOOL: libc::Ioctl = 0x8946;
    // SAFETY: all zeros is a valid ifreq.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes().take(libc::IFNAMSIZ - 1)) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    let socket = std::net::UdpSocket::bind(("127.0.0.1", 0))?;
    // SAFETY: the request and the value that it points to live until the call returns, which writes nothing beyond them.
    let result =
        unsafe { libc::ioctl(std::os::fd::AsRawFd::as_raw_fd(&socket), SIOCETHTOOL, &raw mut request) };
    if result == 0 { Ok(value.data) } else { Err(io::Error::last_os_error()) }
}
