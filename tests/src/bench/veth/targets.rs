//! What lb has to reach in comparison with its peers.

use super::report::{RATES, Report};
use crate::bench::target::Target;

/// Least part of the packets per second of a stateless hash.
const OF_XDP_HASH: f64 = 0.85;
/// Least multiple of the packets per second of nftables.
const OF_NFTABLES: f64 = 5.0;
/// The same where each packet opens a flow, which nftables has to record.
const OF_NFTABLES_NEW: f64 = 12.0;
/// Most that a median may take of that with a stateless hash.
const P50: f64 = 1.03;
/// The same for the slowest of a hundred, also while tables are published.
const P99: f64 = 1.15;
/// Least part of the packets per second that is left while tables are published.
const WHILE_PUBLISHING: f64 = 0.95;
/// Tables that have to come into use per second for that.
const PUBLISHES: f64 = 45.0;
/// Packets that may be lost, of a million.
const LOST_MAX: f64 = 1_000.0;

/// What is wanted of the figures. What was not measured has no target.
pub fn targets(report: &Report) -> Vec<Target> {
    let mut targets = Vec::new();
    let mut want = |pair: &str, figure: &str, limit: f64, of: fn(String, f64, f64, &str) -> Target| {
        if let Some(ratio) = report.ratios.get(pair).and_then(|ratios| ratios.get(figure)) {
            targets.push(of(format!("{pair}: {figure}"), *ratio, limit, ""));
        }
    };
    for figure in RATES {
        want("lb/xdp-hash", figure, OF_XDP_HASH, Target::at_least);
        let of_nftables = if figure == "mpps_new" { OF_NFTABLES_NEW } else { OF_NFTABLES };
        want("lb/nftables", figure, of_nftables, Target::at_least);
        want("lb+publish/lb", figure, WHILE_PUBLISHING, Target::at_least);
    }
    for exchange in ["connect_us", "tcp_rr_us", "udp_rr_us"] {
        want("lb/xdp-hash", &format!("{exchange}.p50"), P50, Target::at_most);
        want("lb/xdp-hash", &format!("{exchange}.p99"), P99, Target::at_most);
        want("lb+publish/lb", &format!("{exchange}.p99"), P99, Target::at_most);
    }
    let row = |name| report.balancers.iter().find(|row| row.name == name);
    if let Some(lost) = row("lb").and_then(|row| row.median.lost_per_million) {
        targets.push(Target::at_most("lb: packets lost of a million", lost, LOST_MAX, ""));
    }
    if let Some(rate) = row("lb+publish").and_then(|row| row.median.publishes_per_s) {
        targets.push(Target::at_least("lb+publish: publishes a second", rate, PUBLISHES, ""));
    }
    targets
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::bench::{
        run::Run,
        target,
        veth::{Method, Peer, Tally, report},
    };

    /// A run in which lb had these packet rates with new flows, and the others 4 and 0.25.
    fn run(lb: f64, publishes: f64) -> Vec<String> {
        let mut tally = Tally::default();
        for (peer, mpps) in [(Peer::XdpHash, 4.0), (Peer::Nftables, 0.25), (Peer::Lb, lb)] {
            tally.add(peer, "mpps_new", mpps);
        }
        tally.add(Peer::LbPublish, "publishes_per_s", publishes);
        let [ratios, ratios_spread] = report::ratios(&tally);
        let method = Method {
            samples: 1,
            packets_ms: 1,
            latency_ms: 1,
            http_ms: 1,
            rate: None,
            xdp_mode: "native".to_owned(),
            realtime: true,
        };
        target::missed(&targets(&Report {
            run: Run::begin(true),
            method,
            balancers: [Peer::Lb, Peer::LbPublish].map(|peer| report::row(&tally, peer)).into(),
            left_out: BTreeMap::new(),
            ratios,
            ratios_spread,
        }))
    }

    #[test]
    fn what_reaches_its_targets_is_not_listed() {
        assert_eq!(run(3.5, 50.0), Vec::<String>::new());
    }

    #[test]
    fn each_miss_is_listed() {
        assert_eq!(
            run(2.5, 20.0),
            [
                "lb/xdp-hash: mpps_new: 0.625, target at least 0.85",
                "lb/nftables: mpps_new: 10, target at least 12",
                "lb+publish: publishes a second: 20, target at least 45",
            ]
        );
    }
}
