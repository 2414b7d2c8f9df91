//! What the kernel says about routes, links and neighbours, reduced to what a next hop needs.

use std::net::IpAddr;

use lb_common::backend::MAX_HOPS;
use rtnetlink::packet_route::{
    link::{
        InfoData, InfoVlan, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage, VlanProtocol,
    },
    neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState},
    route::{
        RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RouteNextHop, RouteNextHopFlags, RouteType,
        RouteVia,
    },
};

/// A MAC address.
pub(super) type Mac = [u8; 6];

/// A neighbour: interface and address.
pub(super) type NeighbourKey = (u32, IpAddr);

/// The kernel's answer to "which way to this address".
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// Out of an interface. Several, if they are as good: at least one.
    Paths(Vec<Path>),
    /// The address is one of this host.
    Local,
    /// There is none; the text says what the kernel said.
    None(String),
}

/// A way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Path {
    pub(super) ifindex: u32,
    pub(super) gateway: Option<IpAddr>,
    pub(super) source: Option<IpAddr>,
    /// The route's own MTU.
    pub(super) mtu: Option<u32>,
}

impl Path {
    /// What the attributes of a route or of one of its next hops say.
    fn from_attributes(attributes: &[RouteAttribute]) -> Self {
        let mut path = Self { ifindex: 0, gateway: None, source: None, mtu: None };
        for attribute in attributes {
            match attribute {
                RouteAttribute::Oif(ifindex) => path.ifindex = *ifindex,
                RouteAttribute::Gateway(gateway) => path.gateway = route_address(gateway),
                RouteAttribute::Via(RouteVia::Inet(gateway)) => path.gateway = Some((*gateway).into()),
                RouteAttribute::Via(RouteVia::Inet6(gateway)) => path.gateway = Some((*gateway).into()),
                RouteAttribute::PrefSource(source) => {
                    path.source = route_address(source).filter(|source| !source.is_unspecified());
                }
                RouteAttribute::Metrics(metrics) => path.mtu = metrics.iter().find_map(mtu),
                _ => {}
            }
        }
        path
    }

    /// Whose MAC address packets to `address` get.
    pub(super) fn neighbour(&self, address: IpAddr) -> NeighbourKey {
        (self.ifindex, self.gateway.unwrap_or(address))
    }
}

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) name: String,
    /// None: not Ethernet.
    pub(super) mac: Option<Mac>,
    pub(super) mtu: u32,
    pub(super) loopback: bool,
    /// Set up by the administrator.
    pub(super) up: bool,
    /// Has a carrier.
    pub(super) running: bool,
    /// None: not a VLAN device.
    pub(super) vlan: Option<Vlan>,
}

/// What makes an interface a VLAN device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Vlan {
    pub(super) id: u16,
    /// Its tags are those of 802.1ad, not of 802.1Q.
    pub(super) is_service: bool,
    /// The interface below it. None: it is in another namespace.
    pub(super) below: Option<u32>,
}

impl Vlan {
    /// What the message says of the kind of its interface, if that is a VLAN device.
    fn from_info(info: &[LinkInfo]) -> Option<Self> {
        let data = info.iter().find_map(|info| match info {
            LinkInfo::Data(InfoData::Vlan(data)) => Some(data),
            _ => None,
        })?;
        let mut vlan = Self::default();
        for fact in data {
            match fact {
                InfoVlan::Id(id) => vlan.id = *id,
                InfoVlan::Protocol(protocol) => vlan.is_service = *protocol != VlanProtocol::Ieee8021Q,
                _ => {}
            }
        }
        Some(vlan)
    }
}

/// How far a neighbour is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Neighbour {
    /// Confirmed, being confirmed, or permanent.
    Valid(Mac),
    /// Valid, but the kernel will confirm it only when it is used.
    Stale(Mac),
    /// It was valid, and the kernel has forgotten it without asking. Good until it fails to answer.
    Lost(Mac),
    /// Asked, no answer yet.
    Resolving,
    /// Asked, no answer.
    Failed,
}

impl Neighbour {
    /// Where to send packets.
    pub(super) const fn mac(self) -> Option<Mac> {
        match self {
            Self::Valid(mac) | Self::Stale(mac) | Self::Lost(mac) => Some(mac),
            Self::Resolving | Self::Failed => None,
        }
    }
}

impl Route {
    pub(super) fn from_message(message: &RouteMessage) -> Self {
        match message.header.kind {
            RouteType::Unicast => {}
            RouteType::Local => return Self::Local,
            RouteType::BlackHole => return Self::None("its route is a blackhole".into()),
            RouteType::Unreachable => return Self::None("its route says unreachable".into()),
            RouteType::Prohibit => return Self::None("its route says prohibited".into()),
            RouteType::Broadcast => return Self::None("it is a broadcast address".into()),
            other => return Self::None(format!("its route is of the type {other:?}, not unicast")),
        }
        let path = Path::from_attributes(&message.attributes);
        if path.ifindex == 0 {
            return Self::None("its route names no interface".into());
        }
        Self::Paths(vec![path])
    }

    /// The same route with all next hops of the entry that it was found in, `message`. The kernel's own choice tells
    /// what the entry may leave open: the source address and the MTU.
    pub(super) fn with_all_hops(self, message: &RouteMessage) -> Self {
        let Self::Paths(chosen) = &self else { return self };
        let [chosen] = &chosen[..] else { return self };
        let hops = message.attributes.iter().find_map(|attribute| match attribute {
            RouteAttribute::MultiPath(hops) => Some(hops),
            _ => None,
        });
        let usable = |hop: &&RouteNextHop| {
            !hop.flags.intersects(RouteNextHopFlags::Dead | RouteNextHopFlags::Linkdown)
        };
        let paths = hops.into_iter().flatten().filter(usable).map(|hop| {
            let gateway = Path::from_attributes(&hop.attributes).gateway;
            Path { ifindex: hop.interface_index, gateway, ..chosen.clone() }
        });
        let paths: Vec<Path> = paths.take(usize::from(MAX_HOPS)).collect();
        if paths.len() > 1 { Self::Paths(paths) } else { self }
    }

    /// What an error number means as the answer to a route lookup.
    pub(super) fn from_error(errno: i32) -> Self {
        Self::None(match errno {
            libc::ENETUNREACH => "no route; add one with `ip route add`".into(),
            libc::EHOSTUNREACH => "its route says unreachable".into(),
            libc::EACCES => "its route says prohibited".into(),
            libc::EINVAL => "its route is a blackhole, or it is not a unicast address".into(),
            other => format!("looking up its route failed: {}", std::io::Error::from_raw_os_error(other)),
        })
    }
}

const fn mtu(metric: &RouteMetric) -> Option<u32> {
    match metric {
        RouteMetric::Mtu(mtu) if *mtu > 0 => Some(*mtu),
        _ => None,
    }
}

const fn route_address(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some(IpAddr::V4(*v4)),
        RouteAddress::Inet6(v6) => Some(IpAddr::V6(*v6)),
        _ => None,
    }
}

impl Link {
    pub(super) fn from_message(message: &LinkMessage) -> Self {
        let header = &message.header;
        let mut link = Self {
            name: format!("#{}", header.index),
            mac: None,
            mtu: 0,
            loopback: header.flags.contains(LinkFlags::Loopback),
            up: header.flags.contains(LinkFlags::Up),
            running: header.flags.contains(LinkFlags::Running),
            vlan: None,
        };
        let (mut below, mut is_elsewhere) = (None, false);
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name.clone_from(name),
                LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
                LinkAttribute::Address(address) if header.link_layer_type == LinkLayerType::Ether => {
                    link.mac = mac(address);
                }
                LinkAttribute::LinkInfo(info) => link.vlan = Vlan::from_info(info),
                LinkAttribute::Link(ifindex) => below = Some(*ifindex),
                LinkAttribute::LinkNetNsId(_) => is_elsewhere = true,
                _ => {}
            }
        }
        // An index of another namespace may be that of any interface here.
        link.vlan.iter_mut().for_each(|vlan| vlan.below = below.filter(|_| !is_elsewhere));
        link
    }
}

/// A neighbour message as a fact; None if it is of another kind (bridge entries, proxies). Whether a neighbour
/// without a usable state was valid before is not in the message: the view knows.
pub(super) fn neighbour(message: &NeighbourMessage) -> Option<(NeighbourKey, Neighbour)> {
    if message.header.flags.contains(NeighbourFlags::Proxy) {
        return None;
    }
    let mut address: Option<IpAddr> = None;
    let mut lladdr = None;
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => address = Some((*v4).into()),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => address = Some((*v6).into()),
            NeighbourAttribute::LinkLayerAddress(bytes) => lladdr = mac(bytes),
            _ => {}
        }
    }
    let state = match (message.header.state, lladdr) {
        (NeighbourState::Failed, _) => Neighbour::Failed,
        (NeighbourState::Incomplete | NeighbourState::None, _) | (_, None) => Neighbour::Resolving,
        (NeighbourState::Stale, Some(mac)) => Neighbour::Stale(mac),
        (_, Some(mac)) => Neighbour::Valid(mac),
    };
    Some(((message.header.ifindex, address?), state))
}

/// The bytes as a MAC address, unless they are of another length or all zero.
fn mac(bytes: &[u8]) -> Option<Mac> {
    Mac::try_from(bytes).ok().filter(|mac| *mac != [0; 6])
}

#[cfg(test)]
mod tests {
    use rtnetlink::packet_route::route::RouteHeader;

    use super::*;

    fn route(kind: RouteType, attributes: Vec<RouteAttribute>) -> Route {
        let mut message = RouteMessage::default();
        message.header = RouteHeader { kind, ..RouteHeader::default() };
        message.attributes = attributes;
        Route::from_message(&message)
    }

    #[test]
    fn a_route_through_a_gateway_of_the_other_family() {
        let gateway: std::net::Ipv6Addr = "fe80::1".parse().unwrap();
        let attributes = vec![
            RouteAttribute::Oif(4),
            RouteAttribute::Via(RouteVia::Inet6(gateway)),
            RouteAttribute::PrefSource(RouteAddress::Inet([10, 0, 0, 1].into())),
            RouteAttribute::Metrics(vec![RouteMetric::Hoplimit(64), RouteMetric::Mtu(1_400)]),
        ];
        let path = Path {
            ifindex: 4,
            gateway: Some(gateway.into()),
            source: Some([10, 0, 0, 1].into()),
            mtu: Some(1_400),
        };
        assert_eq!(route(RouteType::Unicast, attributes), Route::Paths(vec![path.clone()]));
        assert_eq!(path.neighbour([192, 0, 2, 1].into()), (4, gateway.into()));
    }

    #[test]
    fn all_hops_of_a_multipath_route() {
        let chosen = Path {
            ifindex: 4,
            gateway: Some([10, 0, 0, 3].into()),
            source: Some([10, 0, 0, 1].into()),
            mtu: None,
        };
        let hop = |ifindex, last: u8, flags| {
            let mut hop = RouteNextHop::default();
            (hop.interface_index, hop.flags) = (ifindex, flags);
            hop.attributes = vec![RouteAttribute::Gateway(RouteAddress::Inet([10, 0, 0, last].into()))];
            hop
        };
        let with = |hops: Vec<RouteNextHop>| {
            let mut message = RouteMessage::default();
            message.attributes = vec![RouteAttribute::MultiPath(hops)];
            Route::Paths(vec![chosen.clone()]).with_all_hops(&message)
        };
        let (up, dead) = (RouteNextHopFlags::empty(), RouteNextHopFlags::Dead);
        let other = Path { ifindex: 5, gateway: Some([10, 0, 0, 4].into()), ..chosen.clone() };
        let both = Route::Paths(vec![chosen.clone(), other]);
        assert_eq!(with(vec![hop(4, 3, up), hop(5, 4, up), hop(6, 5, dead)]), both);
        let alone = Route::Paths(vec![chosen.clone()]);
        assert_eq!(with(vec![hop(4, 3, up), hop(5, 4, dead)]), alone);
        assert_eq!(with(vec![]), alone);
        assert_eq!(Route::Local.with_all_hops(&RouteMessage::default()), Route::Local);
        let Route::Paths(most) = with((0..20).map(|last| hop(4, last, up)).collect()) else { panic!() };
        assert_eq!(most.len(), usize::from(MAX_HOPS));
    }

    #[test]
    fn routes_that_lead_nowhere() {
        assert_eq!(route(RouteType::Local, vec![RouteAttribute::Oif(1)]), Route::Local);
        for kind in [RouteType::BlackHole, RouteType::Broadcast, RouteType::Unicast, RouteType::Multicast] {
            assert!(matches!(route(kind, vec![]), Route::None(_)), "{kind:?}");
        }
        for errno in [libc::ENETUNREACH, libc::EACCES, libc::ENOMEM] {
            assert!(matches!(Route::from_error(errno), Route::None(_)), "{errno}");
        }
    }

    #[test]
    fn neighbour_states() {
        let read = |state, lladdr: &[u8]| {
            let mut message = NeighbourMessage::default();
            message.header.state = state;
            message.header.ifindex = 3;
            message
                .attributes
                .push(NeighbourAttribute::Destination(NeighbourAddress::Inet([10, 0, 0, 2].into())));
            message.attributes.push(NeighbourAttribute::LinkLayerAddress(lladdr.to_vec()));
            neighbour(&message).unwrap()
        };
        let mac = [2, 0, 0, 0, 0, 9];
        assert_eq!(read(NeighbourState::Probe, &mac), ((3, [10, 0, 0, 2].into()), Neighbour::Valid(mac)));
        assert_eq!(read(NeighbourState::Permanent, &mac).1, Neighbour::Valid(mac));
        assert_eq!(read(NeighbourState::Stale, &mac).1, Neighbour::Stale(mac));
        assert_eq!(read(NeighbourState::Failed, &mac).1, Neighbour::Failed);
        assert_eq!(read(NeighbourState::Incomplete, &mac).1, Neighbour::Resolving);
        assert_eq!(read(NeighbourState::Noarp, &[]).1, Neighbour::Resolving);
        assert_eq!(read(NeighbourState::Reachable, &[0; 6]).1, Neighbour::Resolving);
    }
}
