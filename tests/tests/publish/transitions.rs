//! Slots in transition under real packets.

use std::{net::SocketAddr, os::fd::FromRawFd, time::Duration};

use anyhow::{Context as _, Result, ensure};
use aya::maps::{HashMap, Map, MapData};
use lb_common::{
    flow::{FlowEntry, FlowKey},
    hash::{Keys, slot_index},
    maps,
    slot::{SIZE_TINY, Slot},
};
use lb_tests::{bpffs::Bpffs, wait};
use lb_userspace::{
    desired::model::AttachMode,
    publish::{Options, Publisher, Timing},
};

use crate::support::{INTERFACE, Pair, SEED, drain, open, options, root, snapshot};

/// Clients of each service.
const CONNECTIONS: usize = 100;

#[test]
fn recorded_flows_are_of_moving_slots_and_their_owners() -> Result<()> {
    let (bpffs, pair) = (Bpffs::mount()?, Pair::new()?);
    let options = options(&bpffs);
    let mut publisher = start(&pair, &options)?;
    let flows = flows(&options)?;
    connect(&pair)?;
    ensure!(flows.iter().next().is_none(), "a steady slot records nothing");
    let mut wanted = snapshot(pair.ifindex());
    drain(&mut wanted, 1, 11);
    drain(&mut wanted, 2, 21);
    publisher.apply(&wanted).unwrap();
    connect(&pair)?;
    let found: Vec<(FlowKey, FlowEntry)> = wait::until("flows of both services are recorded", || {
        let found = flows.iter().collect::<Result<Vec<_>, _>>()?;
        let of = |service| found.iter().filter(|(_, entry)| entry.service == service).count();
        ensure!(of(1) > 10 && of(2) > 10, "{} and {}", of(1), of(2));
        Ok(found)
    })?;
    for (key, entry) in found {
        let slots = read_slots(&options, entry.service)?;
        let slot = slots[slot_index(key.hash(&Keys::of(SEED)), SIZE_TINY)];
        ensure!(slot.is_moving(), "{key:?} in slot {slot:?}");
        ensure!(entry.backend == slot.backend(), "{key:?} of {} in slot {slot:?}", entry.backend);
    }
    Ok(())
}

#[test]
fn transitions_end_and_leave_no_flow_behind() -> Result<()> {
    let (bpffs, pair) = (Bpffs::mount()?, Pair::new()?);
    let timing = Timing {
        quiet_period: Duration::ZERO,
        tcp_idle: Duration::from_secs(1),
        collect_interval: Duration::ZERO,
        ..Timing::default()
    };
    let options = Options { timing, ..options(&bpffs) };
    let mut publisher = start(&pair, &options)?;
    let mut wanted = snapshot(pair.ifindex());
    drain(&mut wanted, 1, 11);
    publisher.apply(&wanted).unwrap();
    ensure!(publisher.slot_states(1).is_some_and(|states| states.moving > 0));
    connect(&pair)?;
    wait::until_true("all slots rest without a flow", || {
        publisher.tick()?;
        let states = publisher.slot_states(1).context("the service has slots")?;
        Ok(states.steady == SIZE_TINY as u32 && states.tracked_flows == 0)
    })?;
    ensure!(flows(&options)?.iter().next().is_none());
    Ok(())
}

/// An attached agent, and a client that sends to it everything that it has for the service addresses.
fn start(pair: &Pair, options: &Options) -> Result<Publisher> {
    let mut publisher = pair.inside(|| open(options));
    pair.inside(|| publisher.attach(INTERFACE, AttachMode::Native))?;
    publisher.apply(&snapshot(pair.ifindex()))?;
    let mac = pair.lb.mac(INTERFACE)?.map(|byte| format!("{byte:02x}")).join(":");
    pair.client.ip(&[
        format!("address add 198.51.100.1/24 dev {INTERFACE}"),
        format!("address add 2001:db8:1::1/64 dev {INTERFACE} nodad"),
        format!("route add 192.0.2.1/32 dev {INTERFACE}"),
        format!("route add 2001:db8::1/128 dev {INTERFACE}"),
        format!("neighbour replace 192.0.2.1 lladdr {mac} dev {INTERFACE}"),
        format!("neighbour replace 2001:db8::1 lladdr {mac} dev {INTERFACE}"),
    ])?;
    Ok(publisher)
}

/// Begins connections that no one answers: one SYN each.
fn connect(pair: &Pair) -> Result<()> {
    pair.client.enter(|| {
        for address in ["192.0.2.1:80", "[2001:db8::1]:80"] {
            for _ in 0..CONNECTIONS {
                send_syn(address.parse()?)?;
            }
        }
        Ok(())
    })?
}

fn send_syn(to: SocketAddr) -> Result<()> {
    let family = if to.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    // SAFETY: a system call without pointers; the descriptor is ours.
    let socket = unsafe {
        let fd = libc::socket(family, libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC, 0);
        ensure!(fd >= 0, "no socket: {}", std::io::Error::last_os_error());
        std::net::TcpStream::from_raw_fd(fd)
    };
    let mut address = [0u8; 28];
    address[..2].copy_from_slice(&(family as u16).to_ne_bytes());
    address[2..4].copy_from_slice(&to.port().to_be_bytes());
    let length = match to.ip() {
        std::net::IpAddr::V4(v4) => {
            address[4..8].copy_from_slice(&v4.octets());
            16
        }
        std::net::IpAddr::V6(v6) => {
            address[8..24].copy_from_slice(&v6.octets());
            28
        }
    };
    let fd = std::os::fd::AsRawFd::as_raw_fd(&socket);
    // SAFETY: the address is a sockaddr of its family, of the length that is given.
    unsafe { libc::connect(fd, address.as_ptr().cast(), length) };
    Ok(())
}

fn flows(options: &Options) -> Result<HashMap<MapData, FlowKey, FlowEntry>> {
    let map = Map::from_map_data(MapData::from_pin(root(options).join(maps::FLOWS))?)?;
    Ok(map.try_into()?)
}

/// Owners and states of a service's slots.
fn read_slots(options: &Options, service: u32) -> Result<Vec<Slot>> {
    let map = Map::from_map_data(MapData::from_pin(root(options).join(format!("tables/{service}")))?)?;
    let map: aya::maps::Array<MapData, lb_common::slot::SlotTable<SIZE_TINY>> = map.try_into()?;
    Ok(map.get(&0, 0)?.cur.to_vec())
}
