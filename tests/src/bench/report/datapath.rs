//! The packet path on the page.

use super::{
    plot::{Bar, Bars, Group, Lines, Plot, Point, Series},
    section::{Section, Table, number, with_spread},
};
use crate::bench::{
    datapath::{
        case::in_short,
        report::{Report, Row},
        targets::limit_ns,
    },
    target::figure,
};

const WHISKERS: &str = "Medians; whiskers: half of largest less smallest sample to each side.";

/// All that is said of a run.
pub fn section(report: &Report) -> Section<'_> {
    Section {
        id: "datapath",
        title: "Packet path",
        method: format!(
            "BPF_PROG_TEST_RUN on one CPU calls a wrapper that restores the packet, chooses the next flow and calls the \
             program; an empty program in the same wrapper ({:.1} ns) is measured by turns and subtracted.",
            report.empty_ns
        ),
        mode: "program alone, by BPF_PROG_TEST_RUN: no device, no driver".to_owned(),
        samples: format!("{} of {} packets for each figure", report.samples, report.packets),
        run: &report.run,
        notes: notes(report),
        plots: plots(report),
        tables: vec![cases(report), ratios(report)],
    }
}

fn notes(report: &Report) -> Vec<String> {
    let mut notes = vec![format!(
        "Names are of mode, IP version, flows and state of the slots. Maps with defaults and one service take {:.1} MB. \
         CPU time is {:.1} ns per packet above the kernel's whole ns (spread {:.1}).",
        report.map_bytes as f64 / 1e6,
        report.cpu_less_kernel_ns.median,
        report.cpu_less_kernel_ns.spread
    )];
    notes.extend(report.against.as_ref().map(|other| format!("Measured by turns with {other}.")));
    notes
}

fn plots(report: &Report) -> Vec<Plot> {
    let states = [
        ("steady", "Slots at rest: ns per packet"),
        ("moving 1%", "1% of the slots moving: ns per packet"),
        ("tracked", "All slots moving, all flows tracked: ns"),
    ];
    let lines = states.into_iter().filter_map(|(state, title)| over_flows(report, state, title));
    lines.chain(others(report)).chain(connections(report)).collect()
}

/// Cases that differ in mode, family and flows alone.
fn over_flows(report: &Report, state: &str, title: &str) -> Option<Plot> {
    let is_one = |row: &&Row| row.state == state && (row.group == row.mode || row.group.ends_with("tracked"));
    let mut series = Vec::new();
    for (mode, family) in ["l2", "ipip", "gue"].into_iter().flat_map(|mode| [(mode, 4), (mode, 6)]) {
        let rows = report.cases.iter().filter(is_one).filter(|row| row.mode == mode && row.family == family);
        let mut points: Vec<Point> =
            rows.map(|row| Point { x: row.flows, y: row.added_ns, spread: row.spread }).collect();
        points.sort_by_key(|point| point.x);
        if !points.is_empty() {
            series.push(Series { name: format!("{mode} IPv{family}"), points });
        }
    }
    let name = state.replace(" 1%", "");
    Lines {
        name: &name,
        title,
        caption: WHISKERS,
        across: "flows, in unrelated order",
        label: in_short,
        series,
    }
    .plot()
}

fn bar(row: &Row) -> Group {
    let bar = Bar { series: 0, value: row.added_ns, spread: Some(row.spread), target: limit_ns(row) };
    let label = match &*row.group {
        "services" => format!("packets for {} of {} services", row.services_hit, row.services),
        "backends" => format!("{} backends", row.backends),
        "algorithms" => row.algorithm.clone(),
        _ => row.label.clone(),
    };
    Group { label, bars: vec![bar] }
}

/// What the lines leave out, each on a scale of its own.
fn others(report: &Report) -> Vec<Plot> {
    let plot = |name: &str, title: &str, wanted: &dyn Fn(&Row) -> bool| {
        let groups = report.cases.iter().filter(|row| wanted(row)).map(bar).collect();
        Bars { name, title, caption: WHISKERS, series: &[], groups }.plot()
    };
    let of_group = |group: &'static str| move |row: &Row| row.group == group;
    let plots = [
        plot("targets", "Cases with a target: ns per packet", &|row| limit_ns(row).is_some()),
        plot("services", "Services, 1M flows, l2 IPv4: ns per packet", &of_group("services")),
        plot("backends", "Backends, 1M flows, l2 IPv4: ns per packet", &of_group("backends")),
        plot("algorithms", "Algorithms, flows known: ns per packet", &of_group("algorithms")),
    ];
    plots.into_iter().flatten().collect()
}

fn connections(report: &Report) -> Option<Plot> {
    let rows = report.cases.iter().filter(|row| row.new_per_second.is_some());
    let groups = rows.map(|row| Group { label: row.label.clone(), bars: vec![rate(row)] });
    let title = "Every packet a connection: millions/s";
    let caption = "Of one CPU that does nothing else than balance.";
    Bars { name: "connections", title, caption, series: &[], groups: groups.collect() }.plot()
}

fn rate(row: &Row) -> Bar {
    let value = row.new_per_second.unwrap_or_default() / 1e6;
    // As far as the ns are apart, so are the rates, in proportion.
    Bar { series: 0, value, spread: Some(value * row.spread / row.added_ns), target: None }
}

fn cases(report: &Report) -> Table {
    let mut head = vec!["case", "added, ns", "spread, ns", "million connections/s"];
    if report.against.is_some() {
        head.extend(["other, ns", "spread, ns", "ratio"]);
    }
    Table::new("ns per packet above the empty program; spread: largest less smallest sample", &head).rows(
        &report.cases,
        |row| {
            // The same case is measured again beside those it is compared with.
            let again = report.cases.iter().filter(|other| other.label == row.label).count() > 1;
            let name = if again { format!("{} ({})", row.label, row.group) } else { row.label.clone() };
            let mut cells = vec![
                name,
                format!("{:.1}", row.added_ns),
                format!("{:.1}", row.spread),
                number(row.new_per_second.map(|rate| rate / 1e6)),
            ];
            if report.against.is_some() {
                let of = |pick: fn(&crate::bench::datapath::report::Against) -> f64| {
                    row.against.as_ref().map_or_else(|| "-".to_owned(), |other| figure(pick(other)))
                };
                cells.extend([of(|other| other.added_ns), of(|other| other.spread), of(|other| other.ratio)]);
            }
            cells
        },
    )
}

fn ratios(report: &Report) -> Table {
    let head = ["comparison", "times", "ns more"];
    Table::new("Cases beside each other, sample by sample; ± half of the spread", &head).rows(
        &report.ratios,
        |ratio| {
            vec![
                ratio.name.clone(),
                with_spread(Some(ratio.ratio), ratio.ratio_spread),
                with_spread(Some(ratio.more_ns), ratio.more_ns_spread),
            ]
        },
    )
}
