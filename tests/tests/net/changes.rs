//! Changes of links, routes and neighbours are followed.

use anyhow::{Result, ensure};
use lb_tests::wait;

use crate::setup::{Following, Pair};

#[test]
fn wanted_addresses_come_and_go() -> Result<()> {
    let pair = Pair::new()?;
    let following = Following::start(&pair.lb, &[])?;
    following.set_addresses(&["10.0.0.2"])?;
    following.resolved("10.0.0.2")?;
    following.set_addresses(&["fd00::2"])?;
    following.resolved("fd00::2")?;
    ensure!(following.hops.borrow().len() == 1, "an address stayed that nobody wants");
    Ok(())
}

#[test]
fn a_neighbour_that_appears_is_resolved() -> Result<()> {
    let pair = Pair::new()?;
    let following = Following::start(&pair.lb, &["10.0.0.9", "fd00::9"])?;
    following.unresolved("10.0.0.9", "has not answered")?;
    following.unresolved("fd00::9", "has not answered")?;
    pair.peer.ip(&["addr add 10.0.0.9/24 dev eth0", "addr add fd00::9/64 dev eth0 nodad"])?;
    for address in ["10.0.0.9", "fd00::9"] {
        ensure!(following.resolved(address)?.next_hop_mac == pair.peer_mac()?);
    }
    Ok(())
}

#[test]
fn a_neighbour_that_changes_its_mac_is_followed() -> Result<()> {
    let pair = Pair::new()?;
    let following = Following::start(&pair.lb, &["10.0.0.2"])?;
    following.resolved("10.0.0.2")?;
    let other = [2, 0, 0, 0, 0, 0x99];
    pair.lb.ip(&["neigh replace 10.0.0.2 lladdr 02:00:00:00:00:99 dev eth0"])?;
    following.resolved_to("10.0.0.2", |egress| egress.next_hop_mac == other)?;
    Ok(())
}

#[test]
fn a_neighbour_that_stops_answering_is_given_up() -> Result<()> {
    let pair = Pair::new()?;
    for key in ["base_reachable_time_ms", "delay_first_probe_time", "retrans_time_ms"] {
        let value = if key.starts_with("delay") { "1" } else { "100" };
        pair.lb.sysctl(&format!("net/ipv4/neigh/eth0/{key}"), value)?;
    }
    let following = Following::start(&pair.lb, &["10.0.0.2"])?;
    following.resolved("10.0.0.2")?;
    // The link stays up, so only the kernel's own probes can tell.
    pair.peer.ip(&["addr del 10.0.0.2/24 dev eth0"])?;
    following.unresolved("10.0.0.2", "has not answered ARP")?;
    pair.peer.ip(&["addr add 10.0.0.2/24 dev eth0"])?;
    following.resolved("10.0.0.2")?;
    Ok(())
}

#[test]
fn a_forgotten_neighbour_stays_in_use_and_is_asked_again() -> Result<()> {
    let pair = Pair::new()?;
    let mut following = Following::start(&pair.lb, &["10.0.0.2"])?;
    following.resolved("10.0.0.2")?;
    following.hops.mark_unchanged();
    pair.lb.ip(&["neigh del 10.0.0.2 dev eth0"])?;
    wait::until_true("the kernel to have asked again", || {
        let shown = pair.lb.command("ip").args(["neigh", "show", "10.0.0.2"]).output()?;
        Ok(String::from_utf8_lossy(&shown.stdout).contains("lladdr"))
    })?;
    ensure!(!following.hops.has_changed()?, "now {:?}", *following.hops.borrow());
    Ok(())
}

#[test]
fn links_that_go_down_and_up_are_followed() -> Result<()> {
    let pair = Pair::new()?;
    let following = Following::start(&pair.lb, &["10.0.0.2", "fd00::2"])?;
    following.resolved("10.0.0.2")?;
    pair.peer.ip(&["link set eth0 down"])?;
    following.unresolved("10.0.0.2", "no carrier")?;
    pair.peer.ip(&["link set eth0 up"])?;
    following.resolved("10.0.0.2")?;
    pair.lb.ip(&["link set eth0 down"])?;
    following.unresolved("10.0.0.2", "no route")?;
    pair.lb.ip(&["link set eth0 up"])?;
    following.resolved("10.0.0.2")?;
    pair.lb.ip(&["link del eth0"])?;
    following.unresolved("10.0.0.2", "no route")?;
    following.unresolved("fd00::2", "no route")?;
    Ok(())
}

#[test]
fn routes_that_change_are_followed() -> Result<()> {
    let pair = Pair::new()?;
    pair.peer.ip(&["addr add 10.0.0.3/24 dev eth0", "addr add fd00::3/64 dev eth0 nodad"])?;
    let following = Following::start(&pair.lb, &["192.0.2.9", "2001:db8::9"])?;
    for (address, prefix, first, second) in [
        ("192.0.2.9", "192.0.2.0/24", "10.0.0.2", "10.0.0.3"),
        ("2001:db8::9", "2001:db8::/32", "fd00::2", "fd00::3"),
    ] {
        following.unresolved(address, "no route")?;
        for gateway in [first, second] {
            pair.lb.ip(&[format!("route replace {prefix} via {gateway}")])?;
            let gateway = gateway.parse()?;
            following.resolved_to(address, |egress| egress.gateway == Some(gateway))?;
        }
        pair.lb.ip(&[format!("route del {prefix}")])?;
        following.unresolved(address, "no route")?;
    }
    Ok(())
}

#[test]
fn the_source_and_the_mtu_of_the_interface_are_followed() -> Result<()> {
    let pair = Pair::new()?;
    let following = Following::start(&pair.lb, &["10.0.0.2"])?;
    following.resolved("10.0.0.2")?;
    pair.lb.ip(&["link set eth0 mtu 1450", "link set eth0 address 02:00:00:00:00:55"])?;
    following.resolved_to("10.0.0.2", |egress| {
        egress.mtu == 1_450 && egress.source_mac == [2, 0, 0, 0, 0, 0x55]
    })?;
    pair.lb.ip(&["addr add 10.0.0.77/24 dev eth0", "addr del 10.0.0.1/24 dev eth0"])?;
    let source: std::net::IpAddr = "10.0.0.77".parse()?;
    // Deleting the primary address deletes the secondary one, unless told otherwise: add it again.
    let _ = pair.lb.ip(&["addr add 10.0.0.77/24 dev eth0"]);
    following.resolved_to("10.0.0.2", |egress| egress.source == source)?;
    Ok(())
}

#[test]
fn a_nexthop_object_that_changes_is_followed() -> Result<()> {
    let pair = Pair::new()?;
    pair.peer.ip(&["addr add 10.0.0.3/24 dev eth0", "addr add fd00::3/64 dev eth0 nodad"])?;
    pair.lb.ip(&[
        "nexthop add id 1 via 10.0.0.2 dev eth0",
        "nexthop add id 2 via fd00::2 dev eth0",
        "route add 192.0.2.0/24 nhid 1",
        "route add 2001:db8::/32 nhid 2",
    ])?;
    let following = Following::start(&pair.lb, &["192.0.2.9", "2001:db8::9"])?;
    let through = |address: &str, gateway: &str| {
        let gateway = Some(gateway.parse()?);
        following.resolved_to(address, |egress| egress.gateway == gateway)
    };
    through("192.0.2.9", "10.0.0.2")?;
    through("2001:db8::9", "fd00::2")?;
    pair.lb
        .ip(&["nexthop replace id 1 via 10.0.0.3 dev eth0", "nexthop replace id 2 via fd00::3 dev eth0"])?;
    through("192.0.2.9", "10.0.0.3")?;
    through("2001:db8::9", "fd00::3")?;
    Ok(())
}
