//! From facts to a next hop, or to the reason why there is none.

use std::net::IpAddr;

use super::{
    Egress, NextHop,
    facts::{Link, Neighbour, NeighbourKey, Path, Route, Vlan},
};

/// The next hop to `address`, given its route, what is known of interfaces by index and of neighbours. Of several paths,
/// those that can't be used now are left out.
pub(super) fn next_hop<'a>(
    address: IpAddr,
    route: &Route,
    link_of: impl Fn(u32) -> Option<&'a Link>,
    neighbour: impl Fn(NeighbourKey) -> Option<Neighbour>,
) -> NextHop {
    let paths = match route {
        Route::Paths(paths) => paths,
        Route::Local => return NextHop::Local,
        Route::None(why) => return NextHop::Unresolved(format!("{address}: {why}")),
    };
    let (mut ways, mut obstacle) = (Vec::new(), None);
    for path in paths {
        if link_of(path.ifindex).is_some_and(|link| link.loopback) {
            return NextHop::Local;
        }
        match egress(address, path, &link_of, &neighbour) {
            Ok(way) => ways.push(way),
            Err(why) => obstacle = obstacle.or(Some(why)),
        }
    }
    // The kernel begins its list of IPv6 ways with one that its own hash chose; flows shall not move for that.
    ways.sort_by_key(|way| (way.gateway, way.ifindex));
    match obstacle {
        Some(why) if ways.is_empty() => NextHop::Unresolved(why),
        _ => NextHop::Resolved(ways),
    }
}

/// Where packets of a path leave.
pub(super) struct Exit<'a> {
    /// The route's interface.
    pub(super) link: &'a Link,
    /// The interface that sends the frames.
    pub(super) ifindex: u32,
    /// Id in their tag, if they have one.
    pub(super) vlan: Option<u16>,
}

/// Where packets of a path leave, as far as they can; else why not.
pub(super) fn usable<'a>(path: &Path, link_of: impl Fn(u32) -> Option<&'a Link>) -> Result<Exit<'a>, String> {
    let gone = || format!("interface {} of the route is gone", path.ifindex);
    let link = working(link_of(path.ifindex).ok_or_else(gone)?)?;
    let Some(Vlan { id, is_service, below }) = link.vlan else {
        return Ok(Exit { link, ifindex: path.ifindex, vlan: None });
    };
    let name = &link.name;
    if is_service {
        return Err(format!(
            "{name} is a VLAN of 802.1ad, and lb sends tags of 802.1Q only; make it one of those"
        ));
    }
    let ifindex = below.ok_or_else(|| {
        format!("the interface below VLAN {name} is in another network namespace; run lb in that one")
    })?;
    let lower = link_of(ifindex).ok_or_else(|| format!("the interface below VLAN {name} is gone"))?;
    if lower.vlan.is_some() {
        return Err(format!(
            "{name} is a VLAN inside VLAN {}, and lb sends one tag only; reach the backend by a single one",
            lower.name
        ));
    }
    working(lower)?;
    // A tag with the id 0 has a priority and no VLAN.
    Ok(Exit { link, ifindex, vlan: Some(id).filter(|id| *id != 0) })
}

/// The interface, if XDP can send through it.
fn working(link: &Link) -> Result<&Link, String> {
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

fn egress<'a>(
    address: IpAddr,
    path: &Path,
    link_of: impl Fn(u32) -> Option<&'a Link>,
    neighbour: impl Fn(NeighbourKey) -> Option<Neighbour>,
) -> Result<Egress, String> {
    let Exit { link, ifindex, vlan } = usable(path, link_of)?;
    let (_, asked) = path.neighbour(address);
    let next_hop_mac = neighbour(path.neighbour(address)).and_then(Neighbour::mac).ok_or_else(|| {
        let question = if asked.is_ipv4() { "ARP" } else { "neighbour discovery" };
        format!("neighbour {asked} on {} has not answered {question}; is it up and on this link?", link.name)
    })?;
    let source = path.source.ok_or_else(|| {
        let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
        format!("this host has no {family} address to send from; give one to {}", link.name)
    })?;
    let mtu = path.mtu.map_or(link.mtu, |mtu| mtu.min(link.mtu));
    Ok(Egress {
        ifindex,
        vlan,
        ifname: link.name.clone(),
        // `working` has asked for it.
        source_mac: link.mac.unwrap_or_default(),
        next_hop_mac,
        gateway: path.gateway,
        source,
        mtu: u16::try_from(mtu).unwrap_or(u16::MAX),
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 7));
    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 7];

    fn path() -> Path {
        Path { ifindex: 3, gateway: None, source: Some([10, 0, 0, 1].into()), mtu: None }
    }

    /// An interface that is up.
    pub(in crate::net) fn link() -> Link {
        let name = "eth1".into();
        Link {
            name,
            mac: Some([2, 0, 0, 0, 0, 1]),
            mtu: 1_500,
            loopback: false,
            up: true,
            running: true,
            vlan: None,
        }
    }

    fn through(paths: Vec<Path>, link: Option<&Link>, neighbour: Option<Neighbour>) -> NextHop {
        next_hop(ADDRESS, &Route::Paths(paths), |_| link, |_| neighbour)
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
    fn of_several_paths_those_that_can_be_used_in_the_same_order_each_time() {
        let paths: Vec<Path> = [1, 3, 2]
            .into_iter()
            .map(|last: u8| Path { gateway: Some([10, 0, 0, last].into()), ifindex: last.into(), ..path() })
            .collect();
        let link = link();
        let without = |failed: &[u32]| {
            let neighbour = |(ifindex, _): NeighbourKey| {
                let failed = failed.contains(&ifindex);
                Some(if failed { Neighbour::Failed } else { Neighbour::Valid(MAC) })
            };
            next_hop(ADDRESS, &Route::Paths(paths.clone()), |_| Some(&link), neighbour)
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
        assert_eq!(next_hop(ADDRESS, &Route::Local, |_| None, |_| None), NextHop::Local);
        let loopback = Link { loopback: true, mac: None, ..link() };
        assert_eq!(through(vec![path()], Some(&loopback), None), NextHop::Local);
    }

    /// `eth1.10` of the number 3 on `eth1` of the number 2.
    fn through_vlan(change: impl FnOnce(&mut Link, &mut Link)) -> NextHop {
        let vlan = Some(Vlan { id: 10, is_service: false, below: Some(2) });
        let (name, mac) = ("eth1.10".into(), Some([2, 0, 0, 0, 0, 3]));
        let (mut device, mut lower) = (Link { name, mac, mtu: 1_400, vlan, ..link() }, link());
        change(&mut device, &mut lower);
        let link_of = |ifindex| match ifindex {
            3 => Some(&device),
            2 => Some(&lower),
            _ => None,
        };
        let neighbour = |key| (key == (3, ADDRESS)).then_some(Neighbour::Valid(MAC));
        next_hop(ADDRESS, &Route::Paths(vec![path()]), link_of, neighbour)
    }

    #[test]
    fn a_vlan_device_is_its_tag_on_the_interface_below() {
        let egress = resolved(through_vlan(|_, _| {}));
        let expected = Egress {
            ifindex: 2,
            vlan: Some(10),
            ifname: "eth1.10".into(),
            source_mac: [2, 0, 0, 0, 0, 3],
            next_hop_mac: MAC,
            gateway: None,
            source: [10, 0, 0, 1].into(),
            mtu: 1_400,
        };
        assert_eq!(egress, expected);
        let priority_only = |device: &mut Link, _: &mut Link| device.vlan.as_mut().unwrap().id = 0;
        let egress = resolved(through_vlan(priority_only));
        assert_eq!((egress.ifindex, egress.vlan), (2, None));
    }

    #[test]
    fn a_vlan_device_that_cannot_be_used_says_why() {
        let inner = Some(Vlan { id: 5, is_service: false, below: Some(9) });
        for (hop, part) in [
            (through_vlan(|device, _| device.up = false), "eth1.10 is down"),
            (through_vlan(|_, lower| lower.up = false), "interface eth1 is down"),
            (through_vlan(|_, lower| lower.running = false), "eth1 has no carrier"),
            (through_vlan(|_, lower| lower.mac = None), "eth1, which has no MAC addresses"),
            (through_vlan(|_, lower| lower.vlan = inner), "eth1.10 is a VLAN inside VLAN eth1,"),
            (through_vlan(|device, _| device.vlan.as_mut().unwrap().is_service = true), "802.1ad"),
            (
                through_vlan(|device, _| device.vlan.as_mut().unwrap().below = None),
                "another network namespace",
            ),
            (
                through_vlan(|device, _| device.vlan.as_mut().unwrap().below = Some(7)),
                "below VLAN eth1.10 is gone",
            ),
        ] {
            match hop {
                NextHop::Unresolved(why) => assert!(why.contains(part), "{why:?} lacks {part:?}"),
                other => panic!("{other:?}, expected {part:?}"),
            }
        }
    }

    #[test]
    fn each_obstacle_has_its_text() {
        let valid = Some(Neighbour::Valid(MAC));
        let one = |path, link: Option<&Link>, neighbour| through(vec![path], link, neighbour);
        let v6_gateway = Path { gateway: Some("fe80::1".parse().unwrap()), ..path() };
        for (hop, part) in [
            (next_hop(ADDRESS, &Route::None("no route".into()), |_| None, |_| None), "10.0.0.7: no route"),
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
