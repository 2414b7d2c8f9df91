//! From facts to a next hop, or to the reason why there is none.

use std::net::IpAddr;

use super::{
    Egress, NextHop,
    facts::{Link, Neighbour, Path, Route},
};

/// The next hop to `address`, given what is known of its route, the route's link and the neighbour on it.
pub(super) fn next_hop(
    address: IpAddr,
    route: &Route,
    link: Option<&Link>,
    neighbour: Option<Neighbour>,
) -> NextHop {
    let path = match route {
        Route::Path(path) => path,
        Route::Local => return NextHop::Unresolved(local(address)),
        Route::None(why) => return NextHop::Unresolved(format!("{address}: {why}")),
    };
    match egress(address, path, link, neighbour) {
        Ok(egress) => NextHop::Resolved(egress),
        Err(why) => NextHop::Unresolved(why),
    }
}

fn local(address: IpAddr) -> String {
    format!("{address} is an address of this host: backends must be on other hosts")
}

/// The link as far as packets can leave through it; else why not.
pub(super) fn usable<'a>(path: &Path, link: Option<&'a Link>) -> Result<&'a Link, String> {
    let link = link.ok_or_else(|| format!("interface {} of the route is gone", path.ifindex))?;
    if link.mac.is_none() && !link.loopback {
        return Err(format!(
            "the route leaves through {}, which has no MAC addresses: XDP needs an Ethernet interface",
            link.name
        ));
    }
    if !link.up {
        return Err(format!("interface {0} is down; set it up with `ip link set {0} up`", link.name));
    }
    if !link.running {
        return Err(format!("interface {} has no carrier; check its cable or peer", link.name));
    }
    Ok(link)
}

fn egress(
    address: IpAddr,
    path: &Path,
    link: Option<&Link>,
    neighbour: Option<Neighbour>,
) -> Result<Egress, String> {
    let link = usable(path, link)?;
    // Loopback is the only link without a MAC address that gets here.
    let source_mac = link.mac.filter(|_| !link.loopback).ok_or_else(|| local(address))?;
    let (_, asked) = path.neighbour(address);
    let next_hop_mac = neighbour.and_then(Neighbour::mac).ok_or_else(|| {
        let question = if asked.is_ipv4() { "ARP" } else { "neighbour discovery" };
        format!("neighbour {asked} on {} has not answered {question}; is it up and on this link?", link.name)
    })?;
    let source = path.source.ok_or_else(|| {
        let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
        format!("this host has no {family} address to send from; give one to {}", link.name)
    })?;
    let mtu = path.mtu.map_or(link.mtu, |mtu| mtu.min(link.mtu));
    Ok(Egress {
        ifindex: path.ifindex,
        ifname: link.name.clone(),
        source_mac,
        next_hop_mac,
        gateway: path.gateway,
        source,
        mtu: u16::try_from(mtu).unwrap_or(u16::MAX),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 7));
    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 7];

    fn path() -> Path {
        Path { ifindex: 3, gateway: None, source: Some([10, 0, 0, 1].into()), mtu: None }
    }

    fn link() -> Link {
        let name = "eth1".into();
        Link { name, mac: Some([2, 0, 0, 0, 0, 1]), mtu: 1_500, loopback: false, up: true, running: true }
    }

    fn resolved(hop: NextHop) -> Egress {
        match hop {
            NextHop::Resolved(egress) => egress,
            NextHop::Unresolved(why) => panic!("unresolved: {why}"),
        }
    }

    #[test]
    fn on_link_and_through_a_gateway() {
        let hop = next_hop(ADDRESS, &Route::Path(path()), Some(&link()), Some(Neighbour::Stale(MAC)));
        let egress = resolved(hop);
        assert_eq!((egress.next_hop_mac, egress.gateway, egress.mtu), (MAC, None, 1_500));
        let gateway = Some("fe80::1".parse().unwrap());
        let path = Path { gateway, mtu: Some(1_280), ..path() };
        let hop = next_hop(ADDRESS, &Route::Path(path), Some(&link()), Some(Neighbour::Valid(MAC)));
        let egress = resolved(hop);
        assert_eq!((egress.gateway, egress.mtu), (gateway, 1_280));
    }

    #[test]
    fn a_jumbo_or_larger_interface_saturates() {
        let link = Link { mtu: 70_000, ..link() };
        let path = Path { mtu: Some(80_000), ..path() };
        let hop = next_hop(ADDRESS, &Route::Path(path), Some(&link), Some(Neighbour::Lost(MAC)));
        assert_eq!(resolved(hop).mtu, u16::MAX);
    }

    #[test]
    fn each_obstacle_has_its_text() {
        let valid = Some(Neighbour::Valid(MAC));
        let through = |path, link, neighbour| next_hop(ADDRESS, &Route::Path(path), link, neighbour);
        let v6_gateway = Path { gateway: Some("fe80::1".parse().unwrap()), ..path() };
        for (hop, part) in [
            (next_hop(ADDRESS, &Route::Local, None, None), "an address of this host"),
            (next_hop(ADDRESS, &Route::None("no route".into()), None, None), "10.0.0.7: no route"),
            (through(path(), None, valid), "interface 3 of the route is gone"),
            (through(path(), Some(&Link { up: false, ..link() }), valid), "eth1 is down"),
            (through(path(), Some(&Link { running: false, ..link() }), valid), "no carrier"),
            (through(path(), Some(&Link { mac: None, ..link() }), valid), "no MAC addresses"),
            (through(path(), Some(&Link { loopback: true, ..link() }), valid), "an address of this host"),
            (through(path(), Some(&link()), None), "neighbour 10.0.0.7 on eth1 has not answered ARP"),
            (through(path(), Some(&link()), Some(Neighbour::Failed)), "has not answered ARP"),
            (
                through(v6_gateway, Some(&link()), None),
                "fe80::1 on eth1 has not answered neighbour discovery",
            ),
            (through(Path { source: None, ..path() }, Some(&link()), valid), "no IPv4 address to send from"),
        ] {
            match hop {
                NextHop::Unresolved(why) => assert!(why.contains(part), "{why:?} lacks {part:?}"),
                NextHop::Resolved(_) => panic!("resolved, expected {part:?}"),
            }
        }
    }
}
