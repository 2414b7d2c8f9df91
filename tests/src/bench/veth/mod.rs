//! `lb bench veth`: balancers from end to end on network namespaces, side by side.
//!
//! All rows stand at the same time, each on a copy of the topology of its own, and take turns sample by sample.

mod sched;
mod packages;
mod peer;
mod server;
mod scene;
mod conntrack;
mod daemon;
mod disturb;
mod publish;
mod generator;
mod counter;
mod packets;
mod latency;
mod http;
mod tally;
mod report;
mod targets;

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result};

use super::machine::Machine;
use crate::wait;

pub use self::{
    packages::Missing,
    packets::{Meter, Mix, Rate},
    peer::Peer,
    report::{Figures, LATENCIES, Method, Quantiles, RATES, Ratios, Report, Row, TwoCpus},
    scene::Scene,
    tally::Tally,
    targets::missed,
};

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Samples of each figure.
    pub samples: usize,
    /// Length of a sample of packet rates.
    pub packets: Duration,
    /// Length of a sample of latencies.
    pub latency: Duration,
    /// Length of a sample of HTTP.
    pub http: Duration,
}

impl Effort {
    /// What figures that are published need.
    pub const FULL: Self = Self {
        samples: 9,
        packets: Duration::from_millis(500),
        latency: Duration::from_millis(700),
        http: Duration::from_millis(700),
    };
    /// What shows that the bench works.
    pub const QUICK: Self = Self {
        samples: 3,
        packets: Duration::from_millis(200),
        latency: Duration::from_millis(200),
        http: Duration::from_millis(200),
    };
}

/// What is measured.
#[derive(Clone, Debug)]
pub struct Options {
    /// How much.
    pub effort: Effort,
    /// The rows.
    pub peers: Vec<Peer>,
    /// Rows without which the rest is measured, if they can't be set up on this machine.
    pub optional: Vec<Peer>,
    /// Exchanges per second of the latencies; none: one after another.
    pub rate: Option<f64>,
}

/// Measures all rows. `progress` is told what is done. Nothing stays behind, failed or not.
pub fn veth(options: &Options, mut progress: impl FnMut(&str)) -> Result<Report> {
    let machine = Machine::here();
    let (mut scenes, mut left_out) = (Vec::new(), BTreeMap::new());
    for &peer in &options.peers {
        wait::check_interrupted()?;
        progress(&format!("setting up {}", peer.name()));
        match Scene::set_up(peer).with_context(|| peer.name()) {
            Ok(scene) => scenes.push(scene),
            Err(error) if options.optional.contains(&peer) && wait::check_interrupted().is_ok() => {
                progress(&format!("left out: {error:#}"));
                left_out.insert(peer.name(), format!("{error:#}"));
            }
            Err(error) => return Err(error),
        }
    }
    let mut run = Run { options, scenes: &scenes, tally: Tally::default(), progress: &mut progress };
    run.packet_rates()?;
    run.latencies()?;
    run.requests()?;
    let tally = run.tally;
    let [ratios, ratios_spread] = report::ratios(&tally);
    Ok(Report {
        machine,
        method: method(options),
        balancers: scenes.iter().map(|scene| report::row(&tally, scene.peer)).collect(),
        left_out,
        ratios,
        ratios_spread,
    })
}

fn method(options: &Options) -> Method {
    let Effort { samples, packets, latency, http } = options.effort;
    Method {
        samples,
        packets_ms: packets.as_millis() as u64,
        latency_ms: latency.as_millis() as u64,
        http_ms: http.as_millis() as u64,
        rate: options.rate,
        xdp_mode: "native",
        realtime: sched::realtime_is_permitted(),
    }
}

struct Run<'a> {
    options: &'a Options,
    scenes: &'a [Scene],
    tally: Tally,
    progress: &'a mut dyn FnMut(&str),
}

impl Run<'_> {
    /// One CPU, then two where there are, for every mix.
    fn packet_rates(&mut self) -> Result<()> {
        let scenes = self.scenes.iter().filter(|scene| scene.peer.forwards_packets());
        let mut meters =
            scenes.map(|scene| Ok((scene, Meter::attach(scene)?))).collect::<Result<Vec<_>>>()?;
        for round in 0..self.options.effort.samples {
            self.announce("packets", round);
            for mix in Mix::ALL {
                for (scene, meter) in &mut meters {
                    self.packet_rate(scene, meter, mix, 1)?;
                }
            }
            for mix in Mix::ALL {
                for (scene, meter) in &mut meters {
                    // With both CPUs taken nobody could publish or check.
                    let quiet = !matches!(scene.peer, Peer::LbPublish | Peer::LbFailure);
                    if quiet && meter.cpus() > 1 {
                        self.packet_rate(scene, meter, mix, 2)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn packet_rate(&mut self, scene: &Scene, meter: &mut Meter, mix: Mix, cpus: usize) -> Result<()> {
        wait::check_interrupted()?;
        scene.reset()?;
        let length = self.options.effort.packets;
        let work = || meter.sample(scene, mix, cpus, length);
        let (rate, publishes) = disturb::during(scene, "rate", length, work)
            .with_context(|| format!("{}, packets, {mix:?}", scene.peer.name()))?;
        let figure = match (mix, cpus) {
            (Mix::Flows1k, 1) => "mpps_1k",
            (Mix::Flows60k, 1) => "mpps_60k",
            (Mix::New, 1) => "mpps_new",
            (Mix::Flows1k, _) => "two.mpps_1k",
            (Mix::Flows60k, _) => "two.mpps_60k",
            (Mix::New, _) => "two.mpps_new",
        };
        self.tally.add(scene.peer, figure, rate.mpps);
        self.tally.add(scene.peer, "lost_per_million", rate.lost_per_million);
        if (mix, cpus) == (Mix::Flows60k, 1) {
            self.tally.add(scene.peer, "cpu_ns_per_packet", rate.cpu_ns_per_packet);
        }
        self.published(scene.peer, publishes);
        Ok(())
    }

    fn latencies(&mut self) -> Result<()> {
        let _spinners = sched::Spinners::start();
        for round in 0..self.options.effort.samples {
            self.announce("latency", round);
            for exchange in latency::Exchange::ALL {
                for scene in self.scenes {
                    if exchange != latency::Exchange::UdpRr || scene.peer.forwards_packets() {
                        self.latency(scene, exchange)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn latency(&mut self, scene: &Scene, exchange: latency::Exchange) -> Result<()> {
        use latency::Exchange::{Connect, TcpRr, UdpRr};
        wait::check_interrupted()?;
        let (figures, service) = match exchange {
            Connect => (["connect_us.p50", "connect_us.p99", "connect_us.p999"], "echo"),
            TcpRr => (["tcp_rr_us.p50", "tcp_rr_us.p99", "tcp_rr_us.p999"], "echo"),
            UdpRr => (["udp_rr_us.p50", "udp_rr_us.p99", "udp_rr_us.p999"], "datagrams"),
        };
        let length = self.options.effort.latency;
        let work = || latency::sample(scene, exchange, length, self.options.rate);
        let (sample, publishes) = disturb::during(scene, service, length, work)
            .with_context(|| format!("{}, {exchange:?}", scene.peer.name()))?;
        for (figure, value) in figures.into_iter().zip([sample.p50, sample.p99, sample.p999]) {
            self.tally.add(scene.peer, figure, value);
        }
        // What a killed server ran for is not known.
        if exchange == Connect && scene.peer != Peer::LbFailure {
            self.tally.add(scene.peer, "cpu_us_per_connection", sample.cpu_us);
        }
        self.tally.add(scene.peer, "failed_per_million", sample.failed_per_million);
        self.published(scene.peer, publishes);
        Ok(())
    }

    fn requests(&mut self) -> Result<()> {
        for round in 0..self.options.effort.samples {
            self.announce("HTTP", round);
            for (connections, figure) in
                [(http::Connections::New, "http_new_per_s"), (http::Connections::Kept, "http_kept_per_s")]
            {
                for scene in self.scenes {
                    wait::check_interrupted()?;
                    let length = self.options.effort.http;
                    let work = || http::sample(scene, connections, length);
                    let (sample, publishes) = disturb::during(scene, "http", length, work)
                        .with_context(|| format!("{}, {figure}", scene.peer.name()))?;
                    self.tally.add(scene.peer, figure, sample.per_s);
                    self.tally.add(scene.peer, "failed_per_million", sample.failed_per_million);
                    self.published(scene.peer, publishes);
                }
            }
        }
        Ok(())
    }

    fn published(&mut self, peer: Peer, rate: Option<f64>) {
        if let Some(rate) = rate {
            self.tally.add(peer, "publishes_per_s", rate);
        }
    }

    fn announce(&mut self, what: &str, round: usize) {
        (self.progress)(&format!("{what}: round {} of {}", round + 1, self.options.effort.samples));
    }
}
