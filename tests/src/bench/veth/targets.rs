//! What lb has to reach in comparison with its peers.

use super::report::{RATES, Report};

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

/// The targets that the figures miss, in words. What was not measured is not missed.
pub fn missed(report: &Report) -> Vec<String> {
    let mut missed = Vec::new();
    let mut check = |pair: &str, figure: &str, limit: f64, least: bool| {
        let Some(ratio) = report.ratios.get(pair).and_then(|ratios| ratios.get(figure)) else { return };
        if (least && *ratio < limit) || (!least && *ratio > limit) {
            let sign = if least { "at least" } else { "at most" };
            missed.push(format!("{pair}: {figure} {ratio:.3}, target {sign} {limit}"));
        }
    };
    for figure in RATES {
        check("lb/xdp-hash", figure, OF_XDP_HASH, true);
        let of_nftables = if figure == "mpps_new" { OF_NFTABLES_NEW } else { OF_NFTABLES };
        check("lb/nftables", figure, of_nftables, true);
        check("lb+publish/lb", figure, WHILE_PUBLISHING, true);
    }
    for exchange in ["connect_us", "tcp_rr_us", "udp_rr_us"] {
        check("lb/xdp-hash", &format!("{exchange}.p50"), P50, false);
        check("lb/xdp-hash", &format!("{exchange}.p99"), P99, false);
        check("lb+publish/lb", &format!("{exchange}.p99"), P99, false);
    }
    for row in report.balancers.iter().filter(|row| row.name == "lb") {
        if let Some(lost) = row.median.lost_per_million.filter(|lost| *lost > LOST_MAX) {
            missed.push(format!("lb: {lost:.0} of a million packets lost, target at most {LOST_MAX:.0}"));
        }
    }
    for row in report.balancers.iter().filter(|row| row.name == "lb+publish") {
        if let Some(rate) = row.median.publishes_per_s.filter(|rate| *rate < PUBLISHES) {
            missed.push(format!("lb+publish: {rate:.0} publishes a second, target at least {PUBLISHES:.0}"));
        }
    }
    missed
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::bench::{
        machine::Machine,
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
            xdp_mode: "native",
            realtime: true,
        };
        missed(&Report {
            machine: Machine::here(),
            method,
            balancers: [Peer::Lb, Peer::LbPublish].map(|peer| report::row(&tally, peer)).into(),
            left_out: BTreeMap::new(),
            ratios,
            ratios_spread,
        })
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
                "lb/xdp-hash: mpps_new 0.625, target at least 0.85",
                "lb/nftables: mpps_new 10.000, target at least 12",
                "lb+publish: 20 publishes a second, target at least 45",
            ]
        );
    }
}
