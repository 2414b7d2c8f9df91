//! The services that are published, and packets for them.

use std::net::{IpAddr, Ipv4Addr};

use lb_common::{backend::Backend, mode};
use lb_userspace::{
    desired::model::{Protocol, Vip},
    table::snapshot::{Member, ServiceInput, Snapshot},
};

use crate::{packet, runner};

/// Room for what the packet path puts before a frame.
pub const OUT_BYTES: usize = 256;
/// Bytes of the source address and the source port in a frame.
const SOURCE_AT: usize = 26;
const PORT_AT: usize = 34;

/// Address of a service.
pub fn vip(service: u32) -> Ipv4Addr {
    Ipv4Addr::from(0xc612_0000 + service)
}

/// A backend that says who it is by its MAC address.
pub fn backend(id: u32, target: u32) -> Backend {
    let address = Ipv4Addr::from(0x0a00_0000 + id).into();
    let [a, b, c, d] = id.to_be_bytes();
    Backend { next_hop_mac: [2, 1, a, b, c, d], target, ..runner::backend(id, address, address) }
}

/// The backend that a frame goes to. None: it was not forwarded.
pub fn backend_of(frame: &[u8]) -> Option<u32> {
    match frame {
        [2, 1, a, b, c, d, ..] => Some(u32::from_be_bytes([*a, *b, *c, *d])),
        _ => None,
    }
}

/// Adds a service with backends of these ids and weights to a snapshot; a backend's target is `target` of its id.
pub fn add_service(
    snapshot: &mut Snapshot,
    service: u32,
    class: u8,
    backends: impl Iterator<Item = (u32, u32)>,
    target: impl Fn(u32) -> u32,
) {
    let mut members = Vec::new();
    for (id, weight) in backends {
        snapshot.backends.insert(id, backend(id, target(id)));
        snapshot.targets.insert(target(id), true);
        members.push(Member { id, address: IpAddr::from((0x0a00_0000 + id).to_be_bytes()), weight });
    }
    let vip = Vip::new(vip(service).into(), 80, Protocol::Tcp);
    let input = ServiceInput { vip, mode: mode::L2, class, flags: 0, quiet_period: None, members };
    snapshot.services.insert(service, input);
}

/// A TCP packet of a flow to a service. The number tells flows apart, 2^32 of them.
pub fn frame(service: u32, flow: u32, flags: u8) -> Vec<u8> {
    let segment = packet::tcp(0, 80, flags, &[0; 32]);
    let mut frame = segment.v4(Ipv4Addr::UNSPECIFIED, vip(service)).frame().bytes();
    set_flow(&mut frame, flow);
    frame
}

/// Makes a frame one of another flow. The packet path looks at no checksum.
pub fn set_flow(frame: &mut [u8], flow: u32) {
    let source = 0x0b00_0000u32 + (flow >> 14);
    let port = 1024 + (flow & 0x3fff) as u16;
    frame[SOURCE_AT..SOURCE_AT + 4].copy_from_slice(&source.to_be_bytes());
    frame[PORT_AT..PORT_AT + 2].copy_from_slice(&port.to_be_bytes());
}
