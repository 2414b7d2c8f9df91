//! Packet rates: what the client sends as fast as it can, and what arrives at the backends.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use lb_common::traffic::{Arrived, TRAFFIC_FLOWS_MAX};

use super::{
    counter::Counter,
    generator::{self, Generator},
    peer::Peer,
    scene::Scene,
    sched,
};
use crate::{
    packet::{ACK, SYN},
    topology::{INTERFACE, VIP4},
    wait,
};

/// How long nothing must arrive before what is missing counts as lost.
const SILENCE: Duration = Duration::from_millis(300);
/// Packets that tell how many make a sample of the wanted length.
const TRIAL: u32 = 1 << 14;
/// Least share of the packets that each of several backends must get.
const SHARE_MIN: f64 = 0.1;

/// Flows that packets take turns over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mix {
    /// 1,024 connections.
    Flows1k,
    /// 60,000 connections.
    Flows60k,
    /// Each packet opens another.
    New,
}

impl Mix {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Flows1k, Self::Flows60k, Self::New];

    const fn flows(self) -> u32 {
        match self {
            Self::Flows1k => 1_024,
            Self::Flows60k => 60_000,
            Self::New => TRAFFIC_FLOWS_MAX,
        }
    }

    const fn flags(self) -> u8 {
        match self {
            Self::New => SYN,
            _ => ACK,
        }
    }
}

/// One sample.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// Millions of packets per second that arrived.
    pub mpps: f64,
    /// What a packet took of the CPUs' time, nanoseconds; generator and counter included.
    pub cpu_ns_per_packet: f64,
    /// Packets that were sent and did not arrive, per million.
    pub lost_per_million: f64,
}

/// Generators and counters around a balancer.
pub struct Meter {
    generators: Vec<Generator>,
    counters: Vec<Counter>,
    spreads: bool,
}

impl Meter {
    /// Puts counters on the backends.
    pub fn attach(scene: &Scene) -> Result<Self> {
        let client = &scene.topology.client;
        let (from, to) = (client.mac(INTERFACE)?, scene.topology.lb.mac(INTERFACE)?);
        let ifindex = client.ifindex(INTERFACE)?;
        let cpus = thread::available_parallelism().map_or(1, usize::from);
        let generators = (0..cpus.min(2)).map(|_| Generator::load(ifindex, from, to, VIP4));
        let counters = scene.backends().into_iter().map(|netns| Counter::attach((netns, INTERFACE)));
        Ok(Self {
            generators: generators.collect::<Result<_>>()?,
            counters: counters.collect::<Result<_>>()?,
            // One of them is down for most of a sample, and may be between two.
            spreads: scene.peer.spreads() && scene.peer != Peer::LbFailure,
        })
    }

    /// CPUs that it can send from.
    pub const fn cpus(&self) -> usize {
        self.generators.len()
    }

    /// Sends for about `length` from `cpus` CPUs.
    pub fn sample(&mut self, scene: &Scene, mix: Mix, cpus: usize, length: Duration) -> Result<Rate> {
        let generators = &mut self.generators[..cpus];
        let each = mix.flows() / u32::try_from(cpus)?;
        for (nth, generator) in (0..).zip(generators.iter_mut()) {
            generator.set(mix.flags(), nth * each, (nth + 1) * each)?;
        }
        let trial = self.send(scene, cpus, TRIAL)?;
        let packets = trial.mpps * length.as_micros() as f64 / cpus as f64;
        let most = match mix {
            Mix::New => scene.new_flows_max()?.unwrap_or(u32::MAX) / u32::try_from(cpus)? - TRIAL,
            _ => u32::MAX,
        };
        self.send(scene, cpus, (packets as u32).max(TRIAL).min(most))
    }

    fn send(&self, scene: &Scene, cpus: usize, packets: u32) -> Result<Rate> {
        let before = self.arrived()?;
        let softirqs_before = sched::softirq_threads_run_time_ns();
        let sent = generator::send_together(&scene.topology.client, &self.generators[..cpus], packets)?;
        let total: u64 = sent.iter().map(|sent| u64::from(sent.packets)).sum();
        let arrived = self.wait_for(&before, total)?;
        let softirqs_ns = sched::softirq_threads_run_time_ns() - softirqs_before;
        self.check(&arrived, total)?;
        let count: u64 = arrived.iter().map(|arrived| arrived.packets).sum();
        let took_ns = sent.iter().map(|sent| sent.took_ns).fold(0.0, f64::max);
        // Kernels that account for interrupts apart leave softirqs out of what a thread ran for; the timing has them.
        let ran_ns: f64 = sent.iter().map(|sent| sent.ran_ns.max(sent.took_ns)).sum();
        Ok(Rate {
            mpps: count as f64 / took_ns * 1e3,
            cpu_ns_per_packet: (ran_ns + softirqs_ns) / count as f64,
            lost_per_million: (total - count.min(total)) as f64 / total as f64 * 1e6,
        })
    }

    fn arrived(&self) -> Result<Vec<Arrived>> {
        self.counters.iter().map(Counter::arrived).collect()
    }

    /// What arrived since `before`: when all is there, or nothing comes any more.
    fn wait_for(&self, before: &[Arrived], total: u64) -> Result<Vec<Arrived>> {
        let (mut last, mut since) = (0, Instant::now());
        loop {
            wait::check_interrupted()?;
            let arrived = self.arrived()?.into_iter().zip(before).map(|(now, before)| Arrived {
                packets: now.packets - before.packets,
                strays: now.strays - before.strays,
            });
            let arrived: Vec<_> = arrived.collect();
            let count = arrived.iter().map(|arrived| arrived.packets + arrived.strays).sum();
            if count != last {
                (last, since) = (count, Instant::now());
            }
            if count >= total || since.elapsed() > SILENCE {
                return Ok(arrived);
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// A figure of packets that went elsewhere would be none.
    fn check(&self, arrived: &[Arrived], total: u64) -> Result<()> {
        let strays: u64 = arrived.iter().map(|arrived| arrived.strays).sum();
        ensure!(strays == 0, "{strays} of {total} packets had another host's MAC address");
        let packets: Vec<_> = arrived.iter().map(|arrived| arrived.packets).collect();
        let count: u64 = packets.iter().sum();
        ensure!(count * 2 > total, "only {count} of {total} packets arrived: {packets:?} per backend");
        ensure!(count <= total, "{count} packets arrived of {total}");
        let least = packets.iter().min().copied().unwrap_or(0);
        ensure!(
            !self.spreads || least as f64 > SHARE_MIN * count as f64,
            "not spread over all backends: {packets:?}"
        );
        Ok(())
    }
}
