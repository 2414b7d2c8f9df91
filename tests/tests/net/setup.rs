//! A host whose next hops are followed, and a neighbour.

use std::{collections::BTreeSet, net::IpAddr, thread::JoinHandle};

use anyhow::{Context as _, Result};
use lb_tests::{link, netns::Netns, unique, wait};
use lb_userspace::{
    error::Error,
    net::{self, Egress, NextHop, NextHops},
};
use tokio::sync::watch;

/// Two hosts on one link, both with the interface `eth0`: 10.0.0.1 and 10.0.0.2, fd00::1 and fd00::2.
pub struct Pair {
    /// Follows.
    pub lb: Netns,
    /// Is followed.
    pub peer: Netns,
}

impl Pair {
    pub fn new() -> Result<Self> {
        let prefix = unique::name();
        let pair =
            Self { lb: Netns::new(&format!("{prefix}-lb"))?, peer: Netns::new(&format!("{prefix}-peer"))? };
        link::veth((&pair.lb, "eth0"), (&pair.peer, "eth0"))?;
        for (netns, host) in [(&pair.lb, 1), (&pair.peer, 2)] {
            netns.ip(&[
                format!("addr add 10.0.0.{host}/24 dev eth0"),
                format!("addr add fd00::{host}/64 dev eth0 nodad"),
            ])?;
        }
        Ok(pair)
    }

    /// MAC address of the peer.
    pub fn peer_mac(&self) -> Result<[u8; 6]> {
        self.peer.mac("eth0")
    }
}

/// A running follower inside a namespace.
pub struct Following {
    addresses: Option<watch::Sender<BTreeSet<IpAddr>>>,
    pub hops: watch::Receiver<NextHops>,
    thread: Option<JoinHandle<std::io::Result<Result<(), Error>>>>,
}

impl Following {
    pub fn start(netns: &Netns, addresses: &[&str]) -> Result<Self> {
        let (addresses, addresses_seen) = watch::channel(parse(addresses)?);
        let (hops_out, hops) = watch::channel(NextHops::new());
        let thread = netns.spawn("follow", move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.map_err(|error| Error::failed(error.to_string()))?.block_on(net::follow(
                addresses_seen,
                hops_out,
                watch::channel(net::Links::new()).0,
            ))
        })?;
        Ok(Self { addresses: Some(addresses), hops, thread: Some(thread) })
    }

    pub fn set_addresses(&self, addresses: &[&str]) -> Result<()> {
        self.addresses.as_ref().context("stopped")?.send_replace(parse(addresses)?);
        Ok(())
    }

    /// Waits until the hop to `address` is as wanted. The error tells the last one.
    pub fn wait<T>(&self, address: &str, mut wanted: impl FnMut(&NextHop) -> Option<T>) -> Result<T> {
        let parsed: IpAddr = address.parse()?;
        wait::until(&format!("the hop to {address}"), || {
            let hops = self.hops.borrow();
            let hop = hops.get(&parsed).context("not in the list")?;
            wanted(hop).with_context(|| format!("it is {hop:?}"))
        })
    }

    pub fn resolved(&self, address: &str) -> Result<Egress> {
        self.resolved_to(address, |_| true)
    }

    pub fn resolved_to(&self, address: &str, mut wanted: impl FnMut(&Egress) -> bool) -> Result<Egress> {
        self.wait(address, |hop| match hop {
            NextHop::Resolved(ways) => ways.first().filter(|way| wanted(way)).cloned(),
            NextHop::Local | NextHop::Unresolved(_) => None,
        })
    }

    /// Waits until there is no hop to `address`, with a text that contains `part`.
    pub fn unresolved(&self, address: &str, part: &str) -> Result<()> {
        self.wait(address, |hop| match hop {
            NextHop::Unresolved(why) => why.contains(part).then_some(()),
            NextHop::Local | NextHop::Resolved(_) => None,
        })
    }
}

impl Drop for Following {
    /// Ends the follower, which must end without an error when nobody wants addresses any more.
    fn drop(&mut self) {
        self.addresses.take();
        let ended = self.thread.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            assert!(matches!(ended, Some(Ok(Ok(Ok(()))))), "the follower ended with {ended:?}");
        }
    }
}

fn parse(addresses: &[&str]) -> Result<BTreeSet<IpAddr>> {
    addresses.iter().map(|address| Ok(address.parse()?)).collect()
}
