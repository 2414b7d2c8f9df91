//! From facts to a next hop, or to the reason why there is none.

use std::net::IpAddr;

use super::{
    Egress, NextHop,
    facts::{Link, Neighbour, Path, Route},
};

/// The next hop to `address`, given its route and what `known` says of the link and the neighbour of a path. Of several
/// paths, those that can't be used now are left out.
pub(super) fn next_hop<'a>(
    address: IpAddr,
    route: &Route,
    known: impl Fn(&Path) -> (Option<&'a Link>, Option<Neighbour>),
) -> NextHop {
    let paths = match route {
        Route::Paths(paths) => paths,
        Route::Local => return NextHop::Local,
        Route::None(why) => return NextHop::Unresolved(format!("{address}: {why}")),
    };
    let (mut ways, mut obstacle) = (Vec::new(), None);
    for path in paths {
        let (link, neighbour) = known(path);
        if link.is_some_and(|link| link.loopback) {
            return NextHop::Local;
        }
        match egress(address, path, link, neighbour) {
            Ok(way) => ways.push(way),
            Err(why) => obstacle = obstacle.or(Some(why)),
        }
    }
    match obstacle {
        Some(why) if ways.is_empty() => NextHop::Unresolved(why),
        _ => NextHop::Resolved(ways),
    }
}

/// The link as far as packets can leave through it; else why not.
pub(super) fn usable<'a>(path: &Path, link: Option<&'a Link>) -> Result<&'a Link, String> {
    let link = link.ok_or_else(|| format!("interface {} of the route is gone", path.ifindex))?;
    if link.mac.is_none() {
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
        // `usable` has asked for it.
        source_mac: link.mac.unwrap_or_default(),
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

    fn through(paths: Vec<Path>, link: Option<&Link>, neighbour: Option<Neighbour>) -> NextHop {
        next_hop(ADDRESS, &Route::Paths(paths), |_| (link, neighbour))
    }

    fn resolved(hop: NextHop) -> Egress {
        match hop {
            NextHop::Resolved(ways) if ways.len() == 1 => ways[0].clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn on_link_and_through_a_gateway() {
        let egress = resolved(through(vec![path()], Some(&link()), Some(Neighbour::Stale(MAC))));
        assert_eq!((egress.next_hop_mac, egress.gateway, egress.mtu), (MAC, None, 1_500));
        let gateway = Some("fe80::1".parse().unwrap());
        let path = Path { gateway, mtu: Some(1_280), ..path() };
        let egress = resolved(through(vec![path], Some(&link()), Some(Neighbour::Valid(MAC))));
        assert_eq!((egress.gateway, egress.mtu), (gateway, 1_280));
    }

    #[test]
    fn of_several_paths_those_that_can_be_used() {
        let paths: Vec<Path> = (1..=3)
            .map(|last| Path { gateway: Some([10, 0, 0, last].into()), ifindex: last.into(), ..path() })
            .collect();
        let link = link();
        let without = |failed: &[u32]| {
            next_hop(ADDRESS, &Route::Paths(paths.clone()), |path| {
                let failed = failed.contains(&path.ifindex);
                (Some(&link), Some(if failed { Neighbour::Failed } else { Neighbour::Valid(MAC) }))
            })
        };
        let ways = |hop: &NextHop| hop.ways().iter().map(|way| way.ifindex).collect::<Vec<_>>();
        assert_eq!(ways(&without(&[])), [1, 2, 3]);
        assert_eq!(ways(&without(&[2])), [1, 3]);
        match without(&[1, 2, 3]) {
            NextHop::Unresolved(why) => assert!(why.contains("10.0.0.1 on eth1"), "{why}"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_jumbo_or_larger_interface_saturates() {
        let link = Link { mtu: 70_000, ..link() };
        let path = Path { mtu: Some(80_000), ..path() };
        let hop = through(vec![path], Some(&link), Some(Neighbour::Lost(MAC)));
        assert_eq!(resolved(hop).mtu, u16::MAX);
    }

    #[test]
    fn an_address_of_this_host_is_local() {
        assert_eq!(next_hop(ADDRESS, &Route::Local, |_| (None, None)), NextHop::Local);
        let loopback = Link { loopback: true, mac: None, ..link() };
        assert_eq!(through(vec![path()], Some(&loopback), None), NextHop::Local);
    }

    #[test]
    fn each_obstacle_has_its_text() {
        let valid = Some(Neighbour::Valid(MAC));
        let one = |path, link: Option<&Link>, neighbour| through(vec![path], link, neighbour);
        let v6_gateway = Path { gateway: Some("fe80::1".parse().unwrap()), ..path() };
        for (hop, part) in [
            (next_hop(ADDRESS, &Route::None("no route".into()), |_| (None, None)), "10.0.0.7: no route"),
            (one(path(), None, valid), "interface 3 of the route is gone"),
            (one(path(), Some(&Link { up: false, ..link() }), valid), "eth1 is down"),
            (one(path(), Some(&Link { running: false, ..link() }), valid), "no carrier"),
            (one(path(), Some(&Link { mac: None, ..link() }), valid), "no MAC addresses"),
            (one(path(), Some(&link()), None), "neighbour 10.0.0.7 on eth1 has not answered ARP"),
            (one(path(), Some(&link()), Some(Neighbour::Failed)), "has not answered ARP"),
            (one(v6_gateway, Some(&link()), None), "fe80::1 on eth1 has not answered neighbour discovery"),
            (one(Path { source: None, ..path() }, Some(&link()), valid), "no IPv4 address to send from"),
        ] {
            match hop {
                NextHop::Unresolved(why) => assert!(why.contains(part), "{why:?} lacks {part:?}"),
                other => panic!("{other:?}, expected {part:?}"),
            }
        }
    }
}
