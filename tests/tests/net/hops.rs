//! Which hop an address has, or why it has none.

use anyhow::{Result, ensure};
use lb_userspace::net::{Egress, NextHop};

use crate::setup::{Following, Pair};

#[test]
fn addresses_on_link_in_both_families() -> Result<()> {
    let pair = Pair::new()?;
    let following = Following::start(&pair.lb, &["10.0.0.2", "fd00::2"])?;
    for (address, source) in [("10.0.0.2", "10.0.0.1"), ("fd00::2", "fd00::1")] {
        let expected = Egress {
            ifindex: pair.lb.ifindex("eth0")?,
            vlan: None,
            ifname: "eth0".into(),
            source_mac: pair.lb.mac("eth0")?,
            next_hop_mac: pair.peer_mac()?,
            gateway: None,
            source: source.parse()?,
            mtu: u16::try_from(lb_tests::link::MTU)?,
        };
        let egress = following.resolved(address)?;
        ensure!(egress == expected, "{egress:?}, expected {expected:?}");
    }
    Ok(())
}

#[test]
fn addresses_behind_gateways_of_either_family() -> Result<()> {
    let pair = Pair::new()?;
    pair.lb.ip(&[
        "route add 192.0.2.0/24 via 10.0.0.2 mtu 1400",
        "route add 2001:db8::/32 via fd00::2 mtu 1300",
        "route add 198.51.100.0/24 via inet6 fd00::2 dev eth0",
    ])?;
    let following = Following::start(&pair.lb, &["192.0.2.9", "2001:db8::9", "198.51.100.9"])?;
    for (address, gateway, mtu) in [
        ("192.0.2.9", "10.0.0.2", 1_400),
        ("2001:db8::9", "fd00::2", 1_300),
        ("198.51.100.9", "fd00::2", 1_600),
    ] {
        let egress = following.resolved(address)?;
        ensure!(egress.gateway == Some(gateway.parse()?), "{address}: {egress:?}");
        ensure!(egress.next_hop_mac == pair.peer_mac()? && egress.mtu == mtu, "{address}: {egress:?}");
    }
    Ok(())
}

#[test]
fn addresses_without_a_hop_say_why() -> Result<()> {
    let pair = Pair::new()?;
    pair.lb.ip(&[
        "route add unreachable 192.0.2.0/24",
        "route add blackhole 192.0.3.0/24",
        "route add prohibit 2001:db8:1::/48",
        "tuntap add mode tun dev tun0",
        "link set tun0 up",
        "route add 192.0.4.0/24 dev tun0",
    ])?;
    let cases = [
        ("10.0.0.255", "broadcast"),
        ("192.0.2.1", "unreachable"),
        ("192.0.3.1", "blackhole"),
        ("2001:db8:1::1", "prohibited"),
        ("192.0.4.1", "tun0, which has no MAC addresses"),
        ("203.0.113.1", "no route"),
        ("2001:db8::1", "no route"),
        ("10.0.0.9", "neighbour 10.0.0.9 on eth0 has not answered ARP"),
        ("fd00::9", "neighbour fd00::9 on eth0 has not answered neighbour discovery"),
    ];
    let following = Following::start(&pair.lb, &cases.map(|(address, _)| address))?;
    for (address, part) in cases {
        following.unresolved(address, part)?;
    }
    Ok(())
}

#[test]
fn addresses_of_this_host_are_local() -> Result<()> {
    let pair = Pair::new()?;
    let addresses = ["10.0.0.1", "fd00::1", "127.0.0.1"];
    let following = Following::start(&pair.lb, &addresses)?;
    for address in addresses {
        following.wait(address, |hop| (*hop == NextHop::Local).then_some(()))?;
    }
    Ok(())
}

#[test]
fn equal_ways_of_both_families_are_followed() -> Result<()> {
    let pair = Pair::new()?;
    pair.peer.ip(&["addr add 10.0.0.3/24 dev eth0", "addr add fd00::3/64 dev eth0 nodad"])?;
    pair.lb.ip(&[
        "route add 192.0.2.0/24 nexthop via 10.0.0.2 nexthop via 10.0.0.3",
        "route add 2001:db8::/32 nexthop via fd00::2 nexthop via fd00::3",
        "nexthop add id 1 via 10.0.0.2 dev eth0",
        "nexthop add id 2 via 10.0.0.3 dev eth0",
        "nexthop add id 3 group 1/2",
        "route add 198.51.100.0/24 nhid 3",
    ])?;
    let following = Following::start(&pair.lb, &["192.0.2.9", "2001:db8::9", "198.51.100.9"])?;
    let gateways = |address: &str, wanted: &[&str]| -> Result<()> {
        let wanted = wanted.iter().map(|gateway| Ok(Some(gateway.parse()?))).collect::<Result<Vec<_>>>()?;
        following.wait(address, |hop| {
            let found: Vec<_> = hop.ways().iter().map(|way| way.gateway).collect();
            (found == wanted).then_some(())
        })
    };
    gateways("192.0.2.9", &["10.0.0.2", "10.0.0.3"])?;
    gateways("2001:db8::9", &["fd00::2", "fd00::3"])?;
    gateways("198.51.100.9", &["10.0.0.2", "10.0.0.3"])?;
    pair.lb.ip(&["route replace 192.0.2.0/24 via 10.0.0.3"])?;
    gateways("192.0.2.9", &["10.0.0.3"])
}
