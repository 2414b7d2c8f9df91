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
