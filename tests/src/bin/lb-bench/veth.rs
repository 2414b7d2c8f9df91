//! The table of `lb-bench veth`.

use anyhow::{Result, ensure};
use clap::ValueEnum;
use lb_tests::{
    bench::veth::{self, Effort, Peer, Report, Row},
    signals,
};

/// Balancers that can be named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Name {
    /// No balancer on the path
    Wire,
    /// The kernel's routing, to one backend
    Routing,
    /// A bare stateless hash in XDP
    XdpHash,
    /// lb: quiet, while tables are published, and while a backend fails
    Lb,
    /// DNAT by nftables
    Nftables,
    /// HAProxy in TCP mode
    Haproxy,
    /// nginx as a stream proxy
    Nginx,
    /// All of them
    All,
}

/// Options of this bench.
#[derive(clap::Args)]
pub struct VethOptions {
    /// veth: balancers to compare; what is not installed is fetched with apt for the run
    #[arg(long, value_enum, value_delimiter = ',', value_name = "LIST", help_heading = "veth")]
    peers: Vec<Name>,
    /// veth: latencies at this many exchanges per second, timed from when they were due; else one after another
    #[arg(long, value_name = "PER_SECOND", help_heading = "veth")]
    rate: Option<f64>,
}

impl VethOptions {
    fn peers(&self) -> Vec<Peer> {
        let default = [Name::Wire, Name::Routing, Name::XdpHash, Name::Lb, Name::Nftables];
        let names = if self.peers.is_empty() { &default[..] } else { &self.peers };
        let wanted = |peer: &Peer| names.iter().any(|name| *name == Name::All || *name == name_of(*peer));
        Peer::ALL.into_iter().filter(wanted).collect()
    }
}

const fn name_of(peer: Peer) -> Name {
    match peer {
        Peer::Wire => Name::Wire,
        Peer::Routing => Name::Routing,
        Peer::XdpHash => Name::XdpHash,
        Peer::Lb | Peer::LbPublish | Peer::LbFailure => Name::Lb,
        Peer::Nftables => Name::Nftables,
        Peer::Haproxy => Name::Haproxy,
        Peer::Nginx => Name::Nginx,
    }
}

/// Runs the bench and prints its figures.
pub fn run(quick: bool, options: &VethOptions) -> Result<Report> {
    signals::interrupt_waits()?;
    ensure!(options.rate.is_none_or(|rate| (1.0..=1e6).contains(&rate)), "--rate wants 1 to 1000000");
    let effort = if quick { Effort::QUICK } else { Effort::FULL };
    let optional = if options.peers.is_empty() { vec![Peer::Nftables] } else { Vec::new() };
    let options = veth::Options { effort, peers: options.peers(), optional, rate: options.rate };
    let report = veth::veth(&options, |done| eprintln!("{done}"))?;
    print_rates(&report);
    print_latencies(&report);
    print_ratios(&report);
    print_method(&report);
    Ok(report)
}

/// A median and its spread.
fn cell(digits: usize, median: Option<f64>, spread: Option<f64>) -> String {
    match (median, spread) {
        (Some(median), Some(spread)) => format!("{median:.digits$} ±{:.digits$}", spread / 2.0),
        _ => "-".to_owned(),
    }
}

fn print_rates(report: &Report) {
    println!(
        "{:<11} {:>13} {:>13} {:>13} {:>13} {:>13} {:>13} {:>11} {:>8} {:>12}",
        "Mpps",
        "1k flows",
        "60k flows",
        "new flows",
        "1k, 2 CPUs",
        "60k, 2 CPUs",
        "new, 2 CPUs",
        "ns/packet",
        "lost/M",
        "publishes/s"
    );
    for Row { name, median, spread } in &report.balancers {
        let two = |of: fn(&veth::TwoCpus) -> Option<f64>| {
            let pick = |figures: &veth::Figures| figures.mpps_two_cpus.as_ref().and_then(of);
            cell(3, pick(median), pick(spread))
        };
        println!(
            "{name:<11} {:>13} {:>13} {:>13} {:>13} {:>13} {:>13} {:>11} {:>8} {:>12}",
            cell(3, median.mpps_1k, spread.mpps_1k),
            cell(3, median.mpps_60k, spread.mpps_60k),
            cell(3, median.mpps_new, spread.mpps_new),
            two(|two| two.mpps_1k),
            two(|two| two.mpps_60k),
            two(|two| two.mpps_new),
            cell(0, median.cpu_ns_per_packet, spread.cpu_ns_per_packet),
            cell(0, median.lost_per_million, spread.lost_per_million),
            cell(0, median.publishes_per_s, spread.publishes_per_s),
        );
    }
}

fn print_latencies(report: &Report) {
    println!(
        "\n{:<11} {:>22} {:>22} {:>22} {:>14} {:>15} {:>10} {:>9}",
        "p50/p99/p999",
        "connect us",
        "TCP ping-pong us",
        "UDP ping-pong us",
        "HTTP new/s",
        "HTTP kept/s",
        "us/conn",
        "failed/M"
    );
    for Row { name, median, spread } in &report.balancers {
        let quantiles = |of: &Option<veth::Quantiles>| {
            let numbers = of.as_ref().map(|of| [of.p50, of.p99, of.p999].map(Option::unwrap_or_default));
            numbers.map_or("-".to_owned(), |[p50, p99, p999]| format!("{p50:.1}/{p99:.1}/{p999:.1}"))
        };
        println!(
            "{name:<11} {:>22} {:>22} {:>22} {:>14} {:>15} {:>10} {:>9}",
            quantiles(&median.connect_us),
            quantiles(&median.tcp_rr_us),
            quantiles(&median.udp_rr_us),
            cell(0, median.http_new_per_s, spread.http_new_per_s),
            cell(0, median.http_kept_per_s, spread.http_kept_per_s),
            cell(1, median.cpu_us_per_connection, spread.cpu_us_per_connection),
            cell(0, median.failed_per_million, spread.failed_per_million),
        );
    }
}

fn print_ratios(report: &Report) {
    let pairs: Vec<_> = report.ratios.keys().collect();
    let heads: String = pairs.iter().map(|pair| format!(" {pair:>16}")).collect();
    println!("\n{:<15}{heads}", "ratio");
    for figure in veth::RATES.into_iter().chain(veth::LATENCIES) {
        let cells: String = pairs
            .iter()
            .map(|pair| {
                let of = |ratios: &veth::Ratios| ratios.get(*pair)?.get(figure).copied();
                format!(" {:>16}", cell(3, of(&report.ratios), of(&report.ratios_spread)))
            })
            .collect();
        println!("{figure:<15}{cells}");
    }
}

fn print_method(report: &Report) {
    let method = &report.method;
    let pace = method
        .rate
        .map_or("one after another".to_owned(), |rate| format!("{rate} a second, timed from when due"));
    let realtime = if method.realtime { "SCHED_RR" } else { "no real-time scheduling was permitted" };
    println!("\n{}; lb attached in {} mode", report.run.machine.line(), method.xdp_mode);
    println!(
        "Medians of {} samples, ± half of max - min; in each round the rows take turns, a ratio is the median of the\n\
         rounds' ratios. Each row has a topology of its own: client - balancer - 4 backends, joined by veth pairs; replies\n\
         are routed by the balancer's host. wire: the client's link ends at a backend. routing: to one backend.\n\
         Packets: 64-byte TCP frames by BPF_F_TEST_XDP_LIVE_FRAMES, {} ms a sample, counted and dropped in XDP at the\n\
         backends; generator, balancer and counter share the CPU. lost/M: sent, but not counted, of a million.\n\
         Latency: {} ms a sample, {pace}; client, servers and proxies on one CPU ({realtime}).\n\
         HTTP: 16 clients, {} ms a sample. us/conn: CPU time of client, server and proxy.\n\
         These are figures of veth and of software: they say nothing about the line rate of a NIC.",
        method.samples, method.packets_ms, method.latency_ms, method.http_ms
    );
    for (name, reason) in &report.left_out {
        println!("left out: {name}: {reason}");
    }
}
