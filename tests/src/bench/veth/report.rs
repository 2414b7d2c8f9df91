//! The figures as they are written to JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    peer::Peer,
    tally::{Figure, Tally},
};
use crate::bench::run::Run;

/// Ratios by the two rows' names, then by figure.
pub type Ratios = BTreeMap<String, BTreeMap<String, f64>>;

/// All of it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Report {
    /// When and on what it was measured.
    #[serde(flatten)]
    pub run: Run,
    /// How it was measured.
    pub method: Method,
    /// The rows.
    pub balancers: Vec<Row>,
    /// Rows that were asked for by default and could not be, each with the reason.
    pub left_out: BTreeMap<String, String>,
    /// Medians of ratios within rounds, by the two rows' names and the figure.
    pub ratios: Ratios,
    /// Largest of those ratios less smallest.
    pub ratios_spread: Ratios,
}

/// How it was measured.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Method {
    /// Samples of each figure; one per round, all rows take turns in a round.
    pub samples: usize,
    /// Length of a sample of packet rates, milliseconds.
    pub packets_ms: u64,
    /// Length of a sample of latencies, milliseconds.
    pub latency_ms: u64,
    /// Length of a sample of HTTP, milliseconds.
    pub http_ms: u64,
    /// Exchanges per second of the latencies; none: one after another.
    pub rate: Option<f64>,
    /// How lb was attached.
    pub xdp_mode: String,
    /// Whether client, servers and proxies ran as SCHED_RR.
    pub realtime: bool,
}

/// A row: medians, and how far apart the samples lie.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Row {
    /// Who balances.
    pub name: String,
    /// Medians.
    #[serde(flatten)]
    pub median: Figures,
    /// Largest sample less smallest.
    pub spread: Figures,
}

/// Figures of a row; null where the row has none.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Figures {
    /// Millions of packets per second on one CPU, 1,024 flows.
    pub mpps_1k: Option<f64>,
    /// The same with 60,000 flows.
    pub mpps_60k: Option<f64>,
    /// The same where each packet opens another flow.
    pub mpps_new: Option<f64>,
    /// The same on two CPUs.
    pub mpps_two_cpus: Option<TwoCpus>,
    /// TCP connect and one byte.
    pub connect_us: Option<Quantiles>,
    /// TCP ping-pong.
    pub tcp_rr_us: Option<Quantiles>,
    /// UDP ping-pong.
    pub udp_rr_us: Option<Quantiles>,
    /// HTTP requests per second, each on a new connection.
    pub http_new_per_s: Option<f64>,
    /// The same on connections that are kept.
    pub http_kept_per_s: Option<f64>,
    /// CPU time of a packet with 60,000 flows; generator and counter included.
    pub cpu_ns_per_packet: Option<f64>,
    /// CPU time of a TCP connection; client and server included.
    pub cpu_us_per_connection: Option<f64>,
    /// Packets that were sent and did not arrive, of a million.
    pub lost_per_million: Option<f64>,
    /// Connects and exchanges that failed, of a million.
    pub failed_per_million: Option<f64>,
    /// Tables of the measured service that came into use, per second.
    pub publishes_per_s: Option<f64>,
}

/// Packet rates on two CPUs.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct TwoCpus {
    /// 1,024 flows.
    pub mpps_1k: Option<f64>,
    /// 60,000 flows.
    pub mpps_60k: Option<f64>,
    /// Each packet opens another.
    pub mpps_new: Option<f64>,
}

/// Quantiles of a latency, microseconds.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Quantiles {
    /// The median.
    pub p50: Option<f64>,
    /// 99 of 100 are faster.
    pub p99: Option<f64>,
    /// 999 of 1,000 are faster.
    pub p999: Option<f64>,
}

/// Packet rates on one CPU.
pub const RATES: [Figure; 3] = ["mpps_1k", "mpps_60k", "mpps_new"];
/// Latencies that ratios are taken of.
pub const LATENCIES: [Figure; 6] =
    ["connect_us.p50", "connect_us.p99", "tcp_rr_us.p50", "tcp_rr_us.p99", "udp_rr_us.p50", "udp_rr_us.p99"];
/// Rows that are compared.
pub const PAIRS: [(Peer, Peer); 4] = [
    (Peer::Lb, Peer::XdpHash),
    (Peer::Lb, Peer::Nftables),
    (Peer::LbPublish, Peer::Lb),
    (Peer::LbFailure, Peer::Lb),
];

impl Figures {
    /// Picks one number per figure.
    pub fn pick(of: impl Fn(Figure) -> Option<f64>) -> Self {
        let two = [of("two.mpps_1k"), of("two.mpps_60k"), of("two.mpps_new")];
        let quantiles = |figures: [Figure; 3]| {
            let [p50, p99, p999] = figures.map(&of);
            p50.map(|_| Quantiles { p50, p99, p999 })
        };
        Self {
            mpps_1k: of("mpps_1k"),
            mpps_60k: of("mpps_60k"),
            mpps_new: of("mpps_new"),
            mpps_two_cpus: two[0].map(|_| TwoCpus { mpps_1k: two[0], mpps_60k: two[1], mpps_new: two[2] }),
            connect_us: quantiles(["connect_us.p50", "connect_us.p99", "connect_us.p999"]),
            tcp_rr_us: quantiles(["tcp_rr_us.p50", "tcp_rr_us.p99", "tcp_rr_us.p999"]),
            udp_rr_us: quantiles(["udp_rr_us.p50", "udp_rr_us.p99", "udp_rr_us.p999"]),
            http_new_per_s: of("http_new_per_s"),
            http_kept_per_s: of("http_kept_per_s"),
            cpu_ns_per_packet: of("cpu_ns_per_packet"),
            cpu_us_per_connection: of("cpu_us_per_connection"),
            lost_per_million: of("lost_per_million"),
            failed_per_million: of("failed_per_million"),
            publishes_per_s: of("publishes_per_s"),
        }
    }
}

/// Medians and spreads of a row.
pub fn row(tally: &Tally, peer: Peer) -> Row {
    Row {
        name: peer.name().to_owned(),
        median: Figures::pick(|figure| Some(tally.summary(peer, figure)?.median)),
        spread: Figures::pick(|figure| Some(tally.summary(peer, figure)?.spread)),
    }
}

/// All ratios that there are samples for: medians and spreads.
pub fn ratios(tally: &Tally) -> [Ratios; 2] {
    let (mut medians, mut spreads) = (BTreeMap::new(), BTreeMap::new());
    for (peer, base) in PAIRS {
        let figures = RATES.into_iter().chain(LATENCIES);
        let found = figures.filter_map(|figure| Some((figure, tally.ratio(peer, base, figure)?)));
        let found: Vec<_> = found.collect();
        if !found.is_empty() {
            let name = format!("{}/{}", peer.name(), base.name());
            medians.insert(
                name.clone(),
                found.iter().map(|(figure, of)| ((*figure).to_owned(), of.median)).collect(),
            );
            spreads
                .insert(name, found.iter().map(|(figure, of)| ((*figure).to_owned(), of.spread)).collect());
        }
    }
    [medians, spreads]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_its_medians_by_name_and_null_for_what_was_not_measured() {
        let mut tally = Tally::default();
        for value in [3.0, 1.0, 2.0] {
            tally.add(Peer::Lb, "mpps_1k", value);
            tally.add(Peer::Lb, "two.mpps_1k", 2.0 * value);
            tally.add(Peer::Lb, "connect_us.p99", 10.0 * value);
            tally.add(Peer::Lb, "connect_us.p50", value);
        }
        let row = serde_json::to_value(row(&tally, Peer::Lb)).expect("plain values");
        assert_eq!(row["name"], "lb");
        assert_eq!(row["mpps_1k"], 2.0);
        assert_eq!(row["spread"]["mpps_1k"], 2.0);
        assert_eq!(row["mpps_two_cpus"]["mpps_1k"], 4.0);
        assert_eq!(row["connect_us"]["p99"], 20.0);
        assert!(row["tcp_rr_us"].is_null() && row["http_new_per_s"].is_null());
    }
}
