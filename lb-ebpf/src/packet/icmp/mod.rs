//! ICMP and ICMPv6 messages: errors about a flow, of which they quote a packet, and echo requests.

pub mod v4;
pub mod v6;
mod echo;

use super::Packet;

pub use echo::{Echo, EchoV4, EchoV6};

/// What is done with a message that may be for a service. Called rather than returned to: the compiler would copy the
/// fields of what there is not, which the verifier refuses.
pub trait Handler<F, E, T> {
    /// An error about a packet of this flow; all but the flow is the error's own.
    fn error(self, packet: Packet<F>) -> T;
    /// An echo request.
    fn echo(self, echo: E) -> T;
}

/// The beginning of a message.
#[derive(Clone, Copy)]
#[repr(C)]
struct Head {
    kind: u8,
    code: u8,
    checksum: u16,
}

/// Bytes of a message before what an error quotes, or before the data of an echo request.
const HEADER: u32 = 8;

/// Ports in a word, of the opposite direction.
#[inline(always)]
const fn reversed(ports: u32) -> u32 {
    ports.rotate_left(16)
}
