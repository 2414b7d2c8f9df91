//! Balancers from end to end on the page.

use super::{
    plot::{Bar, Bars, DotRow, Dots, Group, Plot},
    section::{Section, Table, with_spread},
};
use crate::bench::{
    target::{Sense, Target},
    veth::{Figures, LATENCIES, Quantiles, RATES, Report, Row},
};

const MIXES: [&str; 3] = ["1k flows", "60k flows", "each packet a new flow"];
const CONNECTIONS: [&str; 2] = ["new connections", "kept connections"];
const QUANTILES: [&str; 3] = ["p50", "p99", "p99.9"];
const WHISKERS: &str = "Medians on veth; whiskers: half of largest less smallest sample to each side.";

/// Picks a figure of a row, of its medians or its spreads.
type Pick = fn(&Figures) -> Option<f64>;

/// Picks a latency of a row, of its medians or its spreads.
type PickLatency = fn(&Figures) -> Option<&Quantiles>;

const ONE_CPU: [Pick; 3] = [|of| of.mpps_1k, |of| of.mpps_60k, |of| of.mpps_new];
const TWO_CPUS: [Pick; 3] = [
    |of| of.mpps_two_cpus.as_ref()?.mpps_1k,
    |of| of.mpps_two_cpus.as_ref()?.mpps_60k,
    |of| of.mpps_two_cpus.as_ref()?.mpps_new,
];
const HTTP: [Pick; 2] = [|of| of.http_new_per_s, |of| of.http_kept_per_s];

/// All that is said of a run.
pub fn section(report: &Report) -> Section<'_> {
    let method = &report.method;
    Section {
        id: "veth",
        title: "From end to end, on veth",
        method: "Client, balancer and four backends in network namespaces, a topology for each row; the rows take turns \
                 sample by sample, and a ratio is the median of the ratios within the rounds."
            .to_owned(),
        mode: format!("veth pairs, XDP attached in {} mode", method.xdp_mode),
        samples: format!(
            "{} for each figure; packets {} ms, latency {} ms, HTTP {} ms",
            method.samples, method.packets_ms, method.latency_ms, method.http_ms
        ),
        run: &report.run,
        notes: notes(report),
        plots: plots(report),
        tables: vec![rates(report), two_cpus(report), latencies(report), http(report), ratio_table(report)],
    }
}

fn notes(report: &Report) -> Vec<String> {
    let pace = report.method.rate.map_or("one after another".to_owned(), |rate| format!("{rate} a second"));
    let realtime = if report.method.realtime { "SCHED_RR" } else { "without real-time scheduling" };
    let mut notes = vec![
        "These are figures of veth and of software: they say nothing about the line rate of a NIC."
            .to_owned(),
        format!(
            "Packets: 64-byte TCP frames made in the kernel, counted and dropped in XDP at the backends; generator, \
             balancer and counter share the CPU. Latency: exchanges {pace}; client, servers and proxies on one CPU \
             ({realtime}). wire: the client's link ends at a backend. routing: to one backend. xdp-hash: the least that \
             spreads, a stateless hash over four backends."
        ),
    ];
    notes.extend(report.left_out.iter().map(|(name, reason)| format!("Left out: {name}: {reason}")));
    notes
}

fn plots(report: &Report) -> Vec<Plot> {
    let plots = [
        bars(report, ("mpps", "veth: Mpps, one CPU"), &MIXES, &ONE_CPU),
        bars(report, ("mpps-two-cpus", "veth: Mpps, two CPUs"), &MIXES, &TWO_CPUS),
        ratio_bars(report, ("ratio-xdp-hash", "lb/xdp-hash", "Mpps"), &RATES),
        ratio_bars(report, ("ratio-nftables", "lb/nftables", "Mpps"), &RATES),
        ratio_bars(report, ("ratio-publish", "lb+publish/lb", "Mpps"), &RATES),
        ratio_bars(report, ("ratio-latency", "lb/xdp-hash", "latencies"), &LATENCIES),
        dots(report, ("connect", "veth: TCP connect and one byte, us"), |of| of.connect_us.as_ref()),
        dots(report, ("tcp-rr", "veth: TCP ping-pong, us"), |of| of.tcp_rr_us.as_ref()),
        dots(report, ("udp-rr", "veth: UDP ping-pong, us"), |of| of.udp_rr_us.as_ref()),
        bars(report, ("http", "veth: HTTP requests/s, one CPU"), &CONNECTIONS, &HTTP),
        bars(report, ("cpu", "veth: CPU us per TCP connection"), &[], &[|of| of.cpu_us_per_connection]),
    ];
    plots.into_iter().flatten().collect()
}

fn bars(report: &Report, (name, title): (&str, &str), series: &[&str], picks: &[Pick]) -> Option<Plot> {
    let bar = |row: &Row, series: usize| {
        let pick = picks[series];
        Some(Bar { series, value: pick(&row.median)?, spread: pick(&row.spread), target: None })
    };
    let group = |row: &Row| Group {
        label: row.name.clone(),
        bars: (0..picks.len()).filter_map(|series| bar(row, series)).collect(),
    };
    let groups = report.balancers.iter().map(group).collect();
    Bars { name, title, caption: WHISKERS, series, groups }.plot()
}

/// The target of a ratio, which is named as in [`crate::bench::veth::targets`].
fn target<'a>(report: &'a Report, pair: &str, figure: &str) -> Option<&'a Target> {
    let what = format!("{pair}: {figure}");
    report.run.targets.iter().find(|target| target.what == what)
}

fn ratio_bars(report: &Report, (name, pair, of): (&str, &str, &str), figures: &[&str]) -> Option<Plot> {
    let (medians, spreads) = (report.ratios.get(pair)?, report.ratios_spread.get(pair));
    let mut sense = "";
    let mut groups = Vec::new();
    for figure in figures {
        let Some(value) = medians.get(*figure) else { continue };
        let target = target(report, pair, figure);
        sense = match target.map(|target| target.sense) {
            Some(Sense::AtLeast) => " Targets: at least.",
            Some(Sense::AtMost) => " Targets: at most.",
            None => sense,
        };
        let spread = spreads.and_then(|spreads| spreads.get(*figure)).copied();
        let bar = Bar { series: 0, value: *value, spread, target: target.map(|target| target.limit) };
        groups.push(Group { label: (*figure).to_owned(), bars: vec![bar] });
    }
    let caption = format!("Medians of the rounds' ratios, on veth.{sense}");
    Bars { name, title: &format!("veth: {pair}, ratios of {of}"), caption: &caption, series: &[], groups }
        .plot()
}

fn numbers(quantiles: &Quantiles) -> [Option<f64>; 3] {
    [quantiles.p50, quantiles.p99, quantiles.p999]
}

fn dots(report: &Report, (name, title): (&str, &str), pick: PickLatency) -> Option<Plot> {
    let row = |row: &Row| {
        let medians = numbers(pick(&row.median)?);
        let spreads = pick(&row.spread).map_or([None; 3], numbers);
        let dots = medians.into_iter().zip(spreads).filter_map(|(median, spread)| Some((median?, spread)));
        Some(DotRow { label: row.name.clone(), dots: dots.collect() })
    };
    let rows = report.balancers.iter().filter_map(row).collect();
    let caption =
        "Medians of the samples' quantiles, on veth; bands: half of largest less smallest to each side.";
    Dots { name, title, caption, series: &QUANTILES, rows }.plot()
}

/// A table with a row for each balancer.
fn table(report: &Report, caption: &str, columns: &[(&str, Pick)]) -> Table {
    let head: Vec<&str> = std::iter::once("").chain(columns.iter().map(|(name, _)| *name)).collect();
    Table::new(caption, &head).rows(&report.balancers, |row| {
        let cells = columns.iter().map(|(_, pick)| with_spread(pick(&row.median), pick(&row.spread)));
        std::iter::once(row.name.clone()).chain(cells).collect()
    })
}

fn rates(report: &Report) -> Table {
    table(
        report,
        "Packets on one CPU: Mpps, ns, lost of a million; ± half of the spread",
        &[
            ("1k flows", ONE_CPU[0]),
            ("60k flows", ONE_CPU[1]),
            ("new flows", ONE_CPU[2]),
            ("ns/packet", |of| of.cpu_ns_per_packet),
            ("lost/M", |of| of.lost_per_million),
            ("publishes/s", |of| of.publishes_per_s),
        ],
    )
}

fn two_cpus(report: &Report) -> Table {
    table(
        report,
        "Packets on two CPUs: Mpps; ± half of the spread",
        &[("1k flows", TWO_CPUS[0]), ("60k flows", TWO_CPUS[1]), ("new flows", TWO_CPUS[2])],
    )
}

fn latencies(report: &Report) -> Table {
    let exchanges: [(&str, PickLatency); 3] = [
        ("connect", |of| of.connect_us.as_ref()),
        ("TCP ping-pong", |of| of.tcp_rr_us.as_ref()),
        ("UDP ping-pong", |of| of.udp_rr_us.as_ref()),
    ];
    let rows = report.balancers.iter().flat_map(|row| exchanges.map(|exchange| (row, exchange)));
    let measured = rows.filter(|(row, (_, pick))| pick(&row.median).is_some());
    Table::new("Latency in us; ± half of the spread", &["", "p50", "p99", "p99.9"]).rows(
        measured,
        |(row, (name, pick))| {
            let [medians, spreads] = [&row.median, &row.spread].map(|of| pick(of).map_or([None; 3], numbers));
            let cells = medians.into_iter().zip(spreads).map(|(median, spread)| with_spread(median, spread));
            std::iter::once(format!("{}, {name}", row.name)).chain(cells).collect()
        },
    )
}

fn http(report: &Report) -> Table {
    table(
        report,
        "HTTP requests/s of 16 clients, CPU us per TCP connection, exchanges failed of a million; ± half of the spread",
        &[
            ("new connections", HTTP[0]),
            ("kept connections", HTTP[1]),
            ("us/connection", |of| of.cpu_us_per_connection),
            ("failed/M", |of| of.failed_per_million),
        ],
    )
}

fn ratio_table(report: &Report) -> Table {
    let pairs: Vec<&str> = report.ratios.keys().map(String::as_str).collect();
    let head: Vec<&str> = std::iter::once("").chain(pairs.iter().copied()).collect();
    Table::new("Ratios within the rounds; ± half of the spread", &head).rows(
        RATES.into_iter().chain(LATENCIES),
        |figure| {
            let cell = |pair: &&str| {
                let [median, spread] = [&report.ratios, &report.ratios_spread]
                    .map(|ratios| ratios.get(*pair).and_then(|ratios| ratios.get(figure)).copied());
                with_spread(median, spread)
            };
            std::iter::once(figure.to_owned()).chain(pairs.iter().map(cell)).collect()
        },
    )
}
