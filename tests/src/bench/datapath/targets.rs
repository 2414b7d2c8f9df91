//! What the packet path may cost.

use super::report::{Ratio, Report, Row};
use crate::bench::target::Target;

/// What all maps may take with defaults and one service, bytes.
const MAP_BYTES_MAX: u64 = 128 << 20;

/// What is wanted of the figures. Targets of time are not for quick runs.
pub fn targets(report: &Report) -> Vec<Target> {
    let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let maps = "memory of the maps with defaults and one service";
    let mut targets =
        vec![Target::at_most(maps, mebibytes(report.map_bytes), mebibytes(MAP_BYTES_MAX), "MiB")];
    if report.run.quick != Some(true) {
        targets.extend(report.cases.iter().filter_map(of_row));
        targets.extend(report.ratios.iter().filter_map(of_ratio));
    }
    targets
}

/// The limit of a case, ns above the empty program. Those of IPv6 are relative to IPv4, and so are among the ratios.
pub fn limit_ns(row: &Row) -> Option<f64> {
    match (&*row.group, &*row.label) {
        ("l2", "l2/4/1M/steady") => Some(40.0),
        ("ipip", "ipip/4/1M/steady") => Some(65.0),
        ("gue", "gue/4/1M/steady") => Some(75.0),
        ("pass", _) => Some(25.0),
        _ => None,
    }
}

fn of_row(row: &Row) -> Option<Target> {
    let what = format!("{}, above the empty program", row.label);
    Some(Target::at_most(what, row.added_ns, limit_ns(row)?, "ns"))
}

fn of_ratio(ratio: &Ratio) -> Option<Target> {
    match (ratio.ratio_max, ratio.more_ns_max) {
        (Some(limit), _) => Some(Target::at_most(&ratio.name, ratio.ratio, limit, "")),
        (None, Some(limit)) => Some(Target::at_most(&ratio.name, ratio.more_ns, limit, "ns more")),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            case::{Case, Mode, State},
            plan,
            report::Samples,
        },
        *,
    };
    use crate::bench::{run::Run, samples::Summary, target};

    fn row(group: &str, case: Case, added_ns: f64) -> Row {
        Row::new(group, &case, 1, &Samples { ours: vec![added_ns], other: Vec::new() })
    }

    fn report(cases: Vec<Row>, ratios: Vec<Ratio>) -> Report {
        Report {
            run: Run::begin(false),
            samples: 1,
            packets: 1,
            empty_ns: 0.0,
            cpu_less_kernel_ns: Summary::default(),
            against: None,
            cases,
            ratios,
            map_bytes: 0,
        }
    }

    fn missed(report: &Report) -> Vec<String> {
        target::missed(&targets(report))
    }

    #[test]
    fn each_limit_is_held_and_missed() {
        let [l2, ipip, gue] = [Mode::L2, Mode::Ipip, Mode::Gue].map(|mode| Case::new(mode, 4));
        let pass = Case::new(Mode::Pass, 6).state(State::OtherPort);
        let limits = [("l2", l2, 40.0), ("ipip", ipip, 65.0), ("gue", gue, 75.0), ("pass", pass, 25.0)];
        for (group, case, limit) in limits {
            let of = |added_ns| missed(&report(vec![row(group, case, added_ns)], Vec::new()));
            assert_eq!((of(limit), of(limit + 0.1).len()), (Vec::new(), 1), "{group}");
        }
        let tracked = row("l2", l2.state(State::Tracked), 500.0);
        assert_eq!(missed(&report(vec![tracked], Vec::new())), Vec::<String>::new());
    }

    #[test]
    fn every_comparison_with_a_limit_is_judged() {
        let comparisons = plan::groups(false, None).into_iter().flat_map(|group| group.comparisons);
        let samples = |ns| Samples { ours: vec![ns], other: Vec::new() };
        let mut judged = 0;
        for comparison in comparisons.filter(|comparison| comparison.limit != plan::Limit::None) {
            let equal = Ratio::new(&comparison, &samples(30.0), &samples(30.0));
            let twice = Ratio::new(&comparison, &samples(60.0), &samples(30.0));
            assert_eq!(missed(&report(Vec::new(), vec![equal])), Vec::<String>::new());
            assert_eq!(missed(&report(Vec::new(), vec![twice])).len(), 1, "{}", comparison.name);
            judged += 1;
        }
        // Three modes: flat and moving per family, and v6 to v4; and the services.
        assert_eq!(judged, 3 * 5 + 1);
    }

    #[test]
    fn maps_and_quick_runs() {
        let slow = row("l2", Case::new(Mode::L2, 4), 99.0);
        let quick = Report { run: Run::begin(true), ..report(vec![slow], Vec::new()) };
        assert_eq!(missed(&quick), Vec::<String>::new());
        assert_eq!(missed(&Report { map_bytes: MAP_BYTES_MAX + 1, ..quick }).len(), 1);
    }
}
