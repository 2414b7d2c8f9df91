//! The order of samples: in each round of each kind all rows take turns.

use anyhow::{Context as _, Result};

use super::{
    Options, disturb, http, latency,
    packets::{Meter, Mix},
    peer::Peer,
    scene::Scene,
    sched,
    tally::Tally,
};
use crate::wait;

/// Takes all samples.
pub fn run(options: &Options, scenes: &[Scene], progress: &mut dyn FnMut(&str)) -> Result<Tally> {
    let mut run = Run { options, scenes, tally: Tally::default(), progress };
    run.packet_rates()?;
    run.latencies()?;
    run.requests()?;
    Ok(run.tally)
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
