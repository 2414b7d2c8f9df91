//! VLAN devices as the kernel tells of them: messages in its own layout, byte by byte.

use std::net::IpAddr;

use rtnetlink::{
    packet_core::{NetlinkMessage, NetlinkPayload},
    packet_route::RouteNetlinkMessage,
};

use super::{
    NextHop,
    facts::{Link, Path, Route, Vlan},
    view::{Effect, View},
};

const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 7));
/// Index of the NIC.
const NIC: u32 = 2;
/// Index of the VLAN device on it.
const DEVICE: u32 = 3;
const NEWLINK: u16 = 16;
const NEWNEIGH: u16 = 28;
/// 802.1Q and 802.1ad.
const VLAN: u16 = 0x8100;
const SERVICE_VLAN: u16 = 0x88a8;

/// An attribute with its header, filled up to a multiple of four.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = 4 + value.len() as u16;
    let mut bytes = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat();
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// A whole message, parsed.
fn message(kind: u16, body: &[u8]) -> RouteNetlinkMessage {
    let mut bytes = (16 + body.len() as u32).to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend([0; 10]);
    bytes.extend(body);
    match NetlinkMessage::deserialize(&bytes).unwrap().payload {
        NetlinkPayload::InnerMessage(message) => message,
        other => panic!("{other:?}"),
    }
}

/// `struct ifinfomsg` and what every Ethernet interface has: up and running, 1,500 bytes.
fn link(family: u8, index: u32, name: &str, more: &[Vec<u8>]) -> RouteNetlinkMessage {
    let flags = (libc::IFF_UP | libc::IFF_RUNNING) as u32;
    let head = [&[family, 0, 1, 0][..], &index.to_ne_bytes(), &flags.to_ne_bytes(), &[0; 4]].concat();
    let common = [
        attribute(3, format!("{name}\0").as_bytes()),
        attribute(4, &1_500_u32.to_ne_bytes()),
        attribute(1, &[2, 0, 0, 0, 0, index as u8]),
    ];
    message(NEWLINK, &[head, common.concat(), more.concat()].concat())
}

/// `IFLA_LINKINFO` of a VLAN device: kind, and of its data protocol (big endian), id and flags.
fn vlan_info(protocol: u16, id: u16) -> Vec<u8> {
    let data = [
        attribute(5, &protocol.to_be_bytes()),
        attribute(1, &id.to_ne_bytes()),
        attribute(2, &[1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]),
    ];
    attribute(18, &[attribute(1, b"vlan\0"), attribute(2, &data.concat())].concat())
}

/// `IFLA_LINK`: the interface below.
fn below(index: u32) -> Vec<u8> {
    attribute(5, &index.to_ne_bytes())
}

fn device(protocol: u16, id: u16) -> RouteNetlinkMessage {
    link(0, DEVICE, "eth1.10", &[below(NIC), vlan_info(protocol, id)])
}

fn parsed(message: &RouteNetlinkMessage) -> Option<Vlan> {
    match message {
        RouteNetlinkMessage::NewLink(message) => Link::from_message(message).vlan,
        other => panic!("{other:?}"),
    }
}

#[test]
fn id_protocol_and_the_interface_below_are_read() {
    let expected = Vlan { id: 10, is_service: false, below: Some(NIC) };
    assert_eq!(parsed(&device(VLAN, 10)), Some(expected));
    assert_eq!(parsed(&device(SERVICE_VLAN, 10)), Some(Vlan { is_service: true, ..expected }));
    let elsewhere = attribute(37, &0_i32.to_ne_bytes());
    let moved = link(0, DEVICE, "eth1.10", &[below(NIC), elsewhere, vlan_info(VLAN, 10)]);
    assert_eq!(parsed(&moved), Some(Vlan { below: None, ..expected }));
}

#[test]
fn other_interfaces_with_one_below_are_no_vlans() {
    let veth = attribute(18, &attribute(1, b"veth\0"));
    assert_eq!(parsed(&link(0, 4, "eth2", &[below(5), veth])), None);
    assert_eq!(parsed(&link(0, NIC, "eth1", &[])), None);
}

#[test]
fn a_route_through_a_vlan_device_is_followed() {
    let mut view = View::default();
    let path = Path { ifindex: DEVICE, gateway: None, source: Some([10, 0, 0, 1].into()), mtu: None };
    view.set_routes([(ADDRESS, Route::Paths(vec![path]))].into());
    // `struct ndmsg`: the neighbour is on the VLAN device, reachable.
    let head = [&[libc::AF_INET as u8, 0, 0, 0][..], &DEVICE.to_ne_bytes(), &[2, 0, 0, 1]].concat();
    let facts = [attribute(1, &[10, 0, 0, 7]), attribute(2, &[2, 0, 0, 0, 0, 7])].concat();
    view.apply(&message(NEWNEIGH, &[head, facts].concat()));
    view.apply(&device(VLAN, 10));
    let unresolved = |view: &View| match &view.next_hops()[&ADDRESS] {
        NextHop::Unresolved(why) => why.clone(),
        other => panic!("{other:?}"),
    };
    assert!(unresolved(&view).contains("below VLAN eth1.10 is gone"), "the NIC is not known yet");
    view.apply(&link(0, NIC, "eth1", &[]));
    let way = |view: &View| {
        let hop = view.next_hops()[&ADDRESS].clone();
        hop.ways().iter().map(|way| (way.ifindex, way.vlan, way.source_mac[5])).collect::<Vec<_>>()
    };
    assert_eq!(way(&view), [(NIC, Some(10), DEVICE as u8)]);
    assert!(view.unconfirmed().is_empty(), "the neighbour of the VLAN device is known");
    // In the family of bridges less is told.
    let as_port = link(libc::AF_BRIDGE as u8, DEVICE, "eth1.10", &[below(NIC)]);
    assert_eq!(view.apply(&as_port), Effect::Nothing);
    assert_eq!(view.apply(&device(VLAN, 20)), Effect::Routes);
    assert_eq!(way(&view), [(NIC, Some(20), DEVICE as u8)]);
    view.apply(&device(SERVICE_VLAN, 20));
    assert!(unresolved(&view).contains("802.1ad"));
}
