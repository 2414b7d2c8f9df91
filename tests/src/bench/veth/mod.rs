//! `lb-bench veth`: balancers from end to end on network namespaces, side by side.
//!
//! All rows stand at the same time, each on a copy of the topology of its own, and take turns sample by sample.

mod sched;
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
mod run;
mod tally;
mod report;
mod targets;

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result};

use super::run::Run;
use crate::wait;

pub use crate::packages::Missing;

pub use self::{
    packets::{Meter, Mix, Rate},
    peer::Peer,
    report::{Figures, LATENCIES, Method, Quantiles, RATES, Ratios, Report, Row, TwoCpus},
    scene::Scene,
    tally::Tally,
    targets::targets,
};

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Whether it is only to show that the bench works.
    pub quick: bool,
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
        quick: false,
        samples: 9,
        packets: Duration::from_millis(500),
        latency: Duration::from_millis(700),
        http: Duration::from_millis(700),
    };
    /// What shows that the bench works.
    pub const QUICK: Self = Self {
        quick: true,
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
    let run = Run::begin(options.effort.quick);
    let (mut scenes, mut left_out) = (Vec::new(), BTreeMap::new());
    for &peer in &options.peers {
        wait::check_interrupted()?;
        progress(&format!("setting up {}", peer.name()));
        match Scene::set_up(peer).with_context(|| peer.name()) {
            Ok(scene) => scenes.push(scene),
            Err(error) if options.optional.contains(&peer) && wait::check_interrupted().is_ok() => {
                progress(&format!("left out: {error:#}"));
                left_out.insert(peer.name().to_owned(), format!("{error:#}"));
            }
            Err(error) => return Err(error),
        }
    }
    let tally = run::run(options, &scenes, &mut progress)?;
    let [ratios, ratios_spread] = report::ratios(&tally);
    let report = Report {
        run,
        method: method(options),
        balancers: scenes.iter().map(|scene| report::row(&tally, scene.peer)).collect(),
        left_out,
        ratios,
        ratios_spread,
    };
    Ok(Report { run: report.run.clone().judged(targets::targets(&report)), ..report })
}

fn method(options: &Options) -> Method {
    let Effort { samples, packets, latency, http, .. } = options.effort;
    Method {
        samples,
        packets_ms: packets.as_millis() as u64,
        latency_ms: latency.as_millis() as u64,
        http_ms: http.as_millis() as u64,
        rate: options.rate,
        xdp_mode: "native".to_owned(),
        realtime: sched::realtime_is_permitted(),
    }
}
