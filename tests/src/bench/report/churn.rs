//! Connections that break on the page.

use super::{
    plot::{Bar, Bars, Group, Plot},
    section::{Section, Table},
};
use crate::{
    bench::target::figure,
    churn::{BACKENDS, Design, LRU_SHARE, QUIET_S, Report, Row, tracked_max_percent},
};

/// All that is said of a run.
pub fn section(report: &Report) -> Section<'_> {
    let connections = || report.scenarios.iter().map(|row| row.connections);
    Section {
        id: "churn",
        title: "Connections that break",
        method: format!(
            "A population of clients in virtual time against the real packet path, {BACKENDS} backends that come and go, \
             tables and transitions of the agent; the same population meets a plain LRU table of {:.0}% of the flows and a \
             stateless hash.",
            100.0 * LRU_SHARE
        ),
        mode: "each packet one BPF_PROG_TEST_RUN: no device, virtual time".to_owned(),
        samples: format!(
            "one for each row, {} to {} connections, seeded: no spread",
            connections().min().unwrap_or(0),
            connections().max().unwrap_or(0)
        ),
        run: &report.run,
        notes: vec![
            "Broken: sent to another backend although the own one lives, after less silence than the quiet period. \
             Tracked: live connections in the flow table, of all live ones."
                .to_owned(),
        ],
        plots: [tracked(report), broken(report)].into_iter().flatten().collect(),
        tables: vec![table(report)],
    }
}

const fn name(design: Design) -> &'static str {
    match design {
        Design::Lb => "lb",
        Design::Lru => "LRU",
        Design::Stateless => "stateless",
    }
}

/// A group of bars for each scenario.
fn groups(report: &Report, bar: impl Fn(&Row) -> Option<Bar>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for row in &report.scenarios {
        let Some(bar) = bar(row) else { continue };
        let label = row.scenario.replace('_', " ");
        match groups.iter_mut().find(|group| group.label == label) {
            Some(group) => group.bars.push(bar),
            None => groups.push(Group { label, bars: vec![bar] }),
        }
    }
    groups
}

fn tracked(report: &Report) -> Option<Plot> {
    let bar = |row: &Row| {
        let series = QUIET_S.iter().position(|quiet_s| *quiet_s == row.quiet_s)?;
        let (value, target) = (100.0 * row.tracked_peak_share, Some(tracked_max_percent(row.quiet_s)));
        (row.design == Design::Lb).then_some(Bar { series, value, spread: None, target })
    };
    let names = QUIET_S.map(|quiet_s| format!("quiet period {quiet_s} s"));
    Bars {
        name: "tracked",
        title: "lb: flows tracked at the peak, %",
        caption: "Of all live connections, while backends come and go; none at the end.",
        series: &names.each_ref().map(String::as_str),
        groups: groups(report, bar),
    }
    .plot()
}

fn broken(report: &Report) -> Option<Plot> {
    let longest = QUIET_S.iter().copied().max();
    let bar = |row: &Row| {
        let series = row.design as usize;
        (Some(row.quiet_s) == longest).then_some(Bar {
            series,
            value: row.broken_per_million,
            spread: None,
            target: None,
        })
    };
    Bars {
        name: "broken",
        title: "Connections broken, of a million",
        caption: "With the longest quiet period.",
        series: &["lb", "LRU of 10%", "stateless"],
        groups: groups(report, bar),
    }
    .plot()
}

fn table(report: &Report) -> Table {
    let head = [
        "scenario, quiet period, design",
        "connections",
        "broken/M",
        "tracked",
        "at end",
        "entries",
        "moving",
        "at rest",
    ];
    let percent = |share: f64| format!("{}%", figure(100.0 * share));
    Table::new(
        "Shares at their peaks; at rest: virtual time from the last change until nothing is tracked",
        &head,
    )
    .rows(&report.scenarios, |row| {
        let detail = |of: fn(&crate::churn::Detail) -> f64| {
            row.detail.as_ref().map_or_else(|| "-".to_owned(), |detail| percent(of(detail)))
        };
        let rest = row.detail.and_then(|detail| detail.at_rest_after_s);
        vec![
            format!("{}, {} s, {}", row.scenario, row.quiet_s, name(row.design)),
            row.connections.to_string(),
            format!("{:.0}", row.broken_per_million),
            percent(row.tracked_peak_share),
            percent(row.tracked_end_share),
            detail(|detail| detail.entries_peak_share),
            detail(|detail| detail.moving_peak_share),
            rest.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds} s")),
        ]
    })
}
