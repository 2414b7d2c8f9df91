//! Tables and failover on the page.

use super::{
    plot::{Bar, Bars, DotRow, Dots, Group, Plot},
    section::{Section, Table, number, summary},
};
use crate::bench::{
    samples::{Summary, Tail},
    tables::{Report, build::Weights, failover, publish, targets},
    target::figure,
};
use lb_common::slot::SIZE_DEFAULT;

const WHISKERS: &str = "Medians; whiskers: half of largest less smallest sample to each side.";

/// All that is said of a run.
pub fn section(report: &Report) -> Section<'_> {
    let repetitions = report.failover.first().map_or(0, |failover| failover.repetitions);
    Section {
        id: "tables",
        title: "Tables and failover",
        method: format!(
            "Tables are built and published as the agent does it, while the other CPU sends one packet per call: a change \
             of {} backends is visible with the first packet that sees it, and has returned when none sees the former \
             tables; a failover lasts from the decision to the end of the last packet to the dead one of {} backends.",
            publish::BACKENDS,
            failover::BACKENDS
        ),
        mode: "packets by BPF_PROG_TEST_RUN; the agent's memory with backends on veth".to_owned(),
        samples: format!("{} for each figure, {repetitions} failovers", report.samples),
        run: &report.run,
        notes: vec![
            "Failovers without those in which the machine stood still for more than 200 us are told apart."
                .to_owned(),
        ],
        plots: [build_plot(report), publish_plot(report), failover_plot(report), memory_plot(report)]
            .into_iter()
            .flatten()
            .collect(),
        tables: vec![
            builds(report),
            service_tables(report),
            moved(report),
            published(report),
            steps(report),
            failovers(report),
            memory(report),
        ],
    }
}

fn bar(series: usize, of: Summary, target: Option<f64>) -> Bar {
    Bar { series, value: of.median, spread: Some(of.spread), target }
}

fn build_plot(report: &Report) -> Option<Plot> {
    let mut groups: Vec<Group> = Vec::new();
    for build in report.build.iter().filter(|build| build.slots == SIZE_DEFAULT) {
        let label = format!("{} backends", build.backends);
        let target = (build.backends == 1_000).then_some(targets::BUILD_MS_MAX);
        let bar = bar(usize::from(build.weights == Weights::Mixed), build.build_ms, target);
        match groups.iter_mut().find(|group| group.label == label) {
            Some(group) => group.bars.push(bar),
            None => groups.push(Group { label, bars: vec![bar] }),
        }
    }
    let title = format!("Building a table of {SIZE_DEFAULT} slots, ms");
    Bars {
        name: "build",
        title: &title,
        caption: WHISKERS,
        series: &["equal weights", "mixed weights"],
        groups,
    }
    .plot()
}

fn publish_plot(report: &Report) -> Option<Plot> {
    let groups = report.publish.iter().map(|publish| Group {
        label: format!("{} slots", publish.slots),
        bars: vec![
            bar(0, publish.fill_ms, None),
            bar(1, publish.visible_ms, None),
            bar(2, publish.change_visible_ms, None),
        ],
    });
    Bars {
        name: "publish",
        title: "Until packets see a table, ms",
        caption: "Medians; a change is from a snapshot, with building and transition.",
        series: &["filling alone", "with filling", "a change"],
        groups: groups.collect(),
    }
    .plot()
}

fn failover_plot(report: &Report) -> Option<Plot> {
    let row = |label: String, tail: &Tail| {
        let dots = [tail.p50, tail.p99, tail.max].into_iter().filter(|us| *us > 0.0);
        DotRow { label, dots: dots.map(|us| (us, None)).collect() }
    };
    let failovers =
        report.failover.iter().map(|of| row(format!("{} services", of.services), &of.stall_free_us));
    let hop = row("check to store, in the agent".to_owned(), &report.hop.one_us);
    Dots {
        name: "failover",
        title: "From a decision to the last packet, us",
        caption: &format!(
            "Failovers without stalls of the machine. Target: p99 at most {} us.",
            figure(targets::FAILOVER_US_MAX)
        ),
        series: &["p50", "p99", "largest"],
        rows: failovers.chain([hop]).collect(),
    }
    .plot()
}

fn memory_plot(report: &Report) -> Option<Plot> {
    let of = |label: String, bytes: u64, target| Group {
        label,
        bars: vec![Bar { series: 0, value: bytes as f64 / 1e6, spread: None, target }],
    };
    let maps = report.maps.iter().map(|maps| {
        let target = (maps.services == 1).then_some(targets::MAPS_MIB_MAX * f64::from(1 << 20) / 1e6);
        of(format!("maps, {} services", maps.services), maps.bytes, target)
    });
    let agent = format!("agent, {} backends", report.agent.backends);
    let groups = maps.chain([of(agent, report.agent.resident_bytes, Some(targets::AGENT_MB_MAX))]).collect();
    let caption = "As the kernel accounts for maps; resident memory of the agent.";
    Bars { name: "memory", title: "Memory, MB", caption, series: &[], groups }.plot()
}

fn builds(report: &Report) -> Table {
    let head = ["slots, backends, weights", "ms", "MB at most", "slots off the share"];
    Table::new("Building a slot table; ± half of the spread", &head).rows(&report.build, |build| {
        vec![
            format!("{}, {}, {}", build.slots, build.backends, build.weights.name()),
            summary(build.build_ms),
            number(build.memory_bytes.map(|bytes| bytes as f64 / 1e6)),
            figure(build.deviation_slots),
        ]
    })
}

fn service_tables(report: &Report) -> Table {
    Table::new("Building a service table; ± half of the spread", &["services", "ms"])
        .rows(&report.service_tables, |table| vec![table.services.to_string(), summary(table.build_ms)])
}

fn moved(report: &Report) -> Table {
    let head = ["change of one backend", "moved", "ideal", "beyond it, %", "ratio"];
    let caption = format!("Slots moved of {SIZE_DEFAULT}; ± half of the spread");
    Table::new(&caption, &head).rows(&report.moved, |row| {
        vec![
            format!("{}, of {}", row.change.name(), row.backends),
            summary(row.moved_slots),
            summary(row.ideal_slots),
            summary(row.beyond_percent),
            summary(row.ratio),
        ]
    })
}

fn published(report: &Report) -> Table {
    let head = ["slots", "fill", "visible", "returned", "change visible", "change returned"];
    Table::new("Publishing a slot table, ms; ± half of the spread", &head).rows(&report.publish, |row| {
        let times =
            [row.fill_ms, row.visible_ms, row.returned_ms, row.change_visible_ms, row.change_returned_ms];
        std::iter::once(row.slots.to_string()).chain(times.map(summary)).collect()
    })
}

fn steps(report: &Report) -> Table {
    Table::new("Other calls of the publisher, ms; ± half of the spread", &["step", "services", "ms"])
        .rows(&report.steps, |step| vec![step.step.clone(), step.services.to_string(), summary(step.time_ms)])
}

fn failovers(report: &Report) -> Table {
    let tail = |tail: &Tail| format!("{:.1} / {:.1} / {:.1}", tail.p50, tail.p99, tail.max);
    let head = ["services", "without stalls", "stalled", "all", "the store alone"];
    let mut table = Table::new("Failover, us: p50 / p99 / largest", &head).rows(&report.failover, |row| {
        vec![
            row.services.to_string(),
            tail(&row.stall_free_us),
            format!("{} of {}", row.stalled, row.repetitions),
            tail(&row.all_us),
            tail(&row.store_us),
        ]
    });
    let hops = [("check to store, one", &report.hop.one_us), ("many at once", &report.hop.all_at_once_us)];
    for (name, hop) in hops {
        table.rows.push(vec![name.to_owned(), "-".to_owned(), "-".to_owned(), tail(hop), "-".to_owned()]);
    }
    table
}

fn memory(report: &Report) -> Table {
    let maps = report.maps.iter().map(|maps| (format!("maps, {} services", maps.services), maps.bytes));
    let agent = &report.agent;
    let of_agent = [
        (format!("agent, {} backends, resident", agent.backends), agent.resident_bytes),
        ("agent, not of files".to_owned(), agent.anonymous_bytes),
        ("agent, at most".to_owned(), agent.peak_bytes),
    ];
    Table::new("Memory; one sample", &["", "MB"])
        .rows(maps.chain(of_agent), |(name, bytes)| vec![name, format!("{:.1}", bytes as f64 / 1e6)])
}
