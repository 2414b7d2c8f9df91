//! Source hash with real connections: those of one client, or of one network, meet at one backend.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

use anyhow::{Context as _, Result, ensure};
use lb_tests::{
    cluster::{Cluster, ECHO_PORT},
    held::{self, Connection, Flow, Held},
    topology::{Topology, VIP4, VIP6, client_address},
};

/// Groups of connections that must meet. That one of three backends gets none of them happens once in 700,000 times.
const GROUPS: u16 = 36;
/// Connections of each group.
const EACH: u16 = 3;

/// The address that the nth connection of a group comes from.
type Source = fn(group: u16, nth: u16) -> IpAddr;

/// A client of its own for each group.
const CLIENT4: Source = |group, _| client_address(false, group);
const CLIENT6: Source = |group, _| client_address(true, group);
/// A /24 for each group.
const NETWORK4: Source = |group, nth| client_address(false, group << 8 | (17 * nth + 1));

/// Opens connections of all groups: those of each meet at one backend. Who that is, by group.
fn open<T: Held + Send>(
    cluster: &Cluster,
    target: SocketAddr,
    source: Source,
) -> Result<(Vec<T>, BTreeMap<u16, String>)> {
    let (mut all, mut backends) = (Vec::new(), BTreeMap::new());
    let sources = (0..EACH).flat_map(|nth| (1..=GROUPS).map(move |group| source(group, nth)));
    let held: Vec<T> = held::open(&cluster.topology.client, target, sources)?;
    for (one, group) in held.into_iter().zip((1..=GROUPS).cycle()) {
        let first = backends.entry(group).or_insert_with(|| one.backend().to_owned());
        ensure!(*first == one.backend(), "group {group} is at {first} and at {}", one.backend());
        all.push(one);
    }
    Ok((all, backends))
}

fn drive<T: Held + Send>(protocol: &str, vip: IpAddr, options: &[&str], source: Source) -> Result<()> {
    let target = SocketAddr::new(vip, ECHO_PORT);
    let cluster = Cluster::start(Topology::one_arm(4)?, "native", &["--quiet-period", "5s"])?;
    let options = [&["--algorithm", "source-hash"], options].concat();
    cluster.add_service("sticky", &format!("{target}/{protocol}"), vip.is_ipv6(), &options)?;
    let [first, fourth] = [0, 3].map(|index| cluster.address(index, vip.is_ipv6()).to_string());
    cluster.agent.lb(&["backend", "del", "sticky", &fourth])?;
    cluster.wait_for_active("sticky", 3)?;

    let (mut held, before) = open::<T>(&cluster, target, source)?;
    let met: BTreeSet<&String> = before.values().collect();
    ensure!(met.len() == 3, "not all backends are used: {before:?}");
    let (_more, again) = open::<T>(&cluster, target, source)?;
    ensure!(again == before, "{again:?}, before {before:?}");

    cluster.agent.lb(&["backend", "add", "sticky", &fourth])?;
    cluster.wait_for_active("sticky", 4)?;
    held::talk(&mut held).context("after b4 was added")?;

    cluster.agent.lb(&["backend", "drain", "sticky", &first])?;
    cluster.wait_for_active("sticky", 3)?;
    held::talk(&mut held).context("after b1 was drained")?;
    if protocol == "tcp" {
        // A datagram might be of an older flow, so that new ones follow later.
        let (_new, after) = open::<T>(&cluster, target, source)?;
        let met: BTreeSet<&str> = after.values().map(String::as_str).collect();
        ensure!(met == ["b2", "b3", "b4"].into(), "{after:?}");
        let stayed = before.iter().filter(|(group, backend)| after[group] == **backend).count();
        ensure!(stayed > 0, "not one of {before:?} is where it was: {after:?}");
    }
    held::talk(&mut held).context("in the end")
}

#[test]
fn connections_of_a_client_meet_v4() -> Result<()> {
    drive::<Connection>("tcp", VIP4.into(), &[], CLIENT4)
}

#[test]
fn connections_of_a_client_meet_v6() -> Result<()> {
    drive::<Connection>("tcp", VIP6.into(), &["--source-prefix6", "128"], CLIENT6)
}

#[test]
fn connections_of_a_network_meet_v4() -> Result<()> {
    drive::<Connection>("tcp", VIP4.into(), &["--source-prefix4", "24"], NETWORK4)
}

#[test]
fn datagrams_of_a_network_meet_v4() -> Result<()> {
    drive::<Flow>("udp", VIP4.into(), &["--source-prefix4", "24"], NETWORK4)
}

/// Unless told otherwise, a site's /64 is one client.
#[test]
fn clients_of_a_site_meet_v6() -> Result<()> {
    let target = SocketAddr::from((VIP6, ECHO_PORT));
    let cluster = Cluster::start(Topology::one_arm(3)?, "native", &[])?;
    cluster.add_service("sticky", &format!("{target}/tcp"), true, &["--algorithm", "source-hash"])?;
    let (_held, backends) = open::<Connection>(&cluster, target, CLIENT6)?;
    let met: BTreeSet<&String> = backends.values().collect();
    ensure!(met.len() == 1, "{backends:?}");
    Ok(())
}
