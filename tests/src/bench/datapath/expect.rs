//! What must become of a packet: verdict, bytes and backend, written out from the case and not by the code under test.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Result, ensure};
use lb_common::{backend::Backend, flow::FlowEntry, hash::Keys};

use super::{
    case::{Mode, State},
    setup::{GUE_PORT, Setup},
};

/// Verdict for packets to the host.
pub const XDP_PASS: u32 = 2;
/// Verdict for packets to a backend.
pub const XDP_TX: u32 = 3;

/// What became of a packet, or what should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fate {
    /// The verdict.
    pub action: u32,
    /// The frame afterwards.
    pub bytes: Vec<u8>,
}

impl Fate {
    /// What the packet of a round should come to. `entry` is what the flow table has of its flow afterwards.
    ///
    /// # Errors
    /// If a flow that must be recorded is not, or is recorded on another backend than the table says.
    pub fn wanted(setup: &Setup, round: u32, entry: Option<FlowEntry>) -> Result<Self> {
        let ip = setup.ip_of(round);
        if setup.case.mode == Mode::Pass {
            return Ok(Self { action: XDP_PASS, bytes: ip.frame().bytes() });
        }
        let id = backend_of(setup, round, entry)?;
        let backend = &setup.world.backends[&id];
        let hash = setup.flow(round).hash(&Keys::of(setup.world.seed));
        let frame = match (setup.case.mode, addresses(backend)) {
            (Mode::Ipip, (IpAddr::V4(source), IpAddr::V4(address))) => ip.in_v4(source, address, 0).frame(),
            (Mode::Ipip, (IpAddr::V6(source), IpAddr::V6(address))) => {
                ip.in_v6(source, address, 0, hash as u32 & 0x000f_ffff).frame()
            }
            (Mode::Gue, (source, address)) => {
                let label = hash as u32 & 0x000f_ffff;
                let datagram = ip.in_udp(49_152 + (hash >> 18 & 0x3fff) as u16, GUE_PORT);
                match (source, address) {
                    (IpAddr::V4(source), IpAddr::V4(address)) => {
                        datagram.outer_v4(source, address, 0).frame()
                    }
                    (IpAddr::V6(source), IpAddr::V6(address)) => {
                        datagram.outer_v6(source, address, 0, label).frame()
                    }
                    _ => unreachable!("a backend's addresses are of one family"),
                }
            }
            _ => ip.frame(),
        };
        Ok(Self { action: XDP_TX, bytes: frame.macs(backend.next_hop_mac, backend.source_mac).bytes() })
    }

    /// Compares what became of the packet of a round with what should have.
    ///
    /// # Errors
    /// If anything differs: what.
    pub fn check(&self, wanted: &Self, label: &str, round: u32) -> Result<()> {
        ensure!(
            self.action == wanted.action,
            "{label}: packet {round} has the verdict {}, expected {}",
            self.action,
            wanted.action
        );
        ensure!(
            self.bytes == wanted.bytes,
            "{label}: packet {round} left as\n{:02x?}, expected\n{:02x?}",
            self.bytes,
            wanted.bytes
        );
        Ok(())
    }
}

/// Whom a flow belongs to. Its slot's owner, in whatever state: flows of moving slots were recorded there by their SYN,
/// and would go to the former owner if they had not been found. In tracked services whomever the algorithm chose, which
/// is what the entry is for.
fn backend_of(setup: &Setup, round: u32, entry: Option<FlowEntry>) -> Result<u32> {
    let owner = setup.slot(&setup.flow(round)).backend();
    let case = &setup.case;
    let is_recorded = entry.is_some();
    let must_be = case.is_tracked_service() || matches!(case.state, State::Tracked | State::NewMoving);
    ensure!(is_recorded || !must_be, "{}: the flow of packet {round} is not recorded", case.label());
    match entry {
        Some(entry) if case.is_tracked_service() => Ok(entry.backend),
        Some(entry) => {
            let on = entry.backend;
            ensure!(on == owner, "{}: packet {round} is recorded on backend {on}, not {owner}", case.label());
            Ok(owner)
        }
        None => Ok(owner),
    }
}

/// Outer source address and address of a backend.
fn addresses(backend: &Backend) -> (IpAddr, IpAddr) {
    let address = |raw: [u8; 16]| -> IpAddr {
        if backend.family == 4 {
            Ipv4Addr::new(raw[0], raw[1], raw[2], raw[3]).into()
        } else {
            Ipv6Addr::from(raw).into()
        }
    };
    (address(backend.source), address(backend.address))
}
