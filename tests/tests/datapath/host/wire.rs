//! The same kinds over a real link with the balancer attached: the host gets each frame as it would without.

use std::{collections::BTreeMap, sync::Arc};

use anyhow::{Context as _, Result, ensure};
use lb_tests::{agent::Agent, cluster, netns::Netns, packet, tap::Tap, topology::INTERFACE, unique, wait};

use super::{HOST_V4, HOST_V6, WRAPS, all};
use crate::world::{vip4, vip6};

/// Room for the largest kind, and no more than native XDP leaves.
const MTU: u32 = 3_490;
/// Frames on their way at once: fewer than the link's queue holds.
const BATCH: usize = 32;
/// EtherType for local experiments, of frames that end a batch.
const LAST: u16 = 0x88b5;

/// A link from a silent peer to the balancer's host.
struct Wire {
    peer: Tap,
    host: Tap,
    netns: Arc<Netns>,
    _peer: Netns,
}

impl Wire {
    fn new() -> Result<Self> {
        let name = unique::name();
        let (peer, host) = (Netns::new(&format!("{name}-peer"))?, Netns::new(&format!("{name}-host"))?);
        // One queue, so that frames arrive in the order in which they were sent.
        peer.ip(&[format!(
            "link add {INTERFACE} mtu {MTU} type veth peer name {INTERFACE} mtu {MTU} netns {}",
            host.name()
        )])?;
        peer.sysctl(&format!("net/ipv6/conf/{INTERFACE}/disable_ipv6"), "1")?;
        peer.ip(&[format!("link set {INTERFACE} up")])?;
        host.ip(&[
            format!("addr add {HOST_V4}/24 dev {INTERFACE}"),
            format!("addr add {HOST_V6}/64 dev {INTERFACE} nodad"),
            format!("link set {INTERFACE} up"),
        ])?;
        Ok(Self {
            peer: Tap::open((&peer, INTERFACE))?,
            host: Tap::open((&host, INTERFACE))?,
            netns: Arc::new(host),
            _peer: peer,
        })
    }

    /// What arrives at the host of these frames, in order, and how many frames were sent in all.
    fn carry(&self, frames: &[Vec<u8>]) -> Result<(Vec<Vec<u8>>, u64)> {
        let (mut arrived, mut sent) = (Vec::new(), 0);
        for (number, batch) in frames.chunks(BATCH).enumerate() {
            let last = packet::raw_frame(LAST, &[number as u8; 46]).bytes();
            for frame in batch.iter().chain([&last]) {
                self.peer.send(frame).with_context(|| format!("can't send {frame:02x?}"))?;
                sent += 1;
            }
            wait::until_true("the last frame of a batch", || {
                while let Some(seen) = self.host.receive()? {
                    if seen.frame == last {
                        return Ok(true);
                    }
                    if seen.incoming {
                        arrived.push(seen.frame);
                    }
                }
                Ok(false)
            })?;
        }
        Ok((arrived, sent))
    }
}

#[test]
fn every_kind_reaches_the_host_as_without_the_balancer() -> Result<()> {
    let kinds = all();
    let rows: Vec<_> = WRAPS
        .iter()
        .flat_map(|wrap| kinds.iter().map(|(name, frame, why)| (name, wrap(frame).bytes(), *why)))
        .collect();
    let frames: Vec<_> = rows.iter().map(|(_, frame, _)| frame.clone()).collect();
    let wire = Wire::new()?;
    let (without, _) = wire.carry(&frames)?;
    // The kernel itself throws away frames that end in or right after a tag.
    let is_cut = |frame: &[u8]| frame[12..14] == [0x81, 0] && frame.len() < 20;
    let whole: Vec<_> = frames.iter().filter(|frame| !is_cut(frame)).cloned().collect();
    ensure!(without == whole, "without a balancer {} of {} arrive", without.len(), whole.len());

    let agent = Agent::start(&wire.netns, &[])?;
    agent.lb(&["attach", INTERFACE, "--mode", "native"])?;
    agent.lb(&["service", "add", "four", "--vip", &format!("{}:80/tcp", vip4(1))])?;
    agent.lb(&["service", "add", "six", "--vip", &format!("[{}]:80/tcp", vip6(5))])?;
    let (with, sent) = wire.carry(&frames)?;
    let different = whole.iter().zip(&with).find(|(sent, got)| sent != got);
    if let Some((sent, got)) = different {
        let (name, ..) = rows.iter().find(|(_, frame, _)| frame == sent).context("a frame of no row")?;
        anyhow::bail!("{name}: sent {sent:02x?}\n  got {got:02x?}");
    }
    ensure!(with.len() == whole.len(), "{} of {} arrive", with.len(), whole.len());

    // The program has seen them all: nothing went past it.
    let mut expected = BTreeMap::new();
    rows.iter().for_each(|(_, _, why)| *expected.entry(why.name()).or_insert(0) += 1);
    *expected.entry("not_ip").or_insert(0) += sent - rows.len() as u64;
    for (reason, count) in expected {
        let counted = cluster::ended(&agent, reason)?;
        ensure!(counted == count, "{counted} counted as {reason}, {count} sent");
    }
    Ok(())
}
