//! What changes of backends may cost connections and the flow table.

use super::{Design, Report, Row};
use crate::bench::target::Target;

/// What is wanted of the figures.
pub fn targets(report: &Report) -> Vec<Target> {
    report.scenarios.iter().filter(|row| row.design == Design::Lb).flat_map(of_row).collect()
}

/// Largest share of the live connections that may be tracked at once, percent.
pub const fn tracked_max_percent(quiet_s: u32) -> f64 {
    if quiet_s <= 120 { 15.0 } else { 25.0 }
}

fn of_row(row: &Row) -> Vec<Target> {
    let at = format!("{} with {} s", row.scenario, row.quiet_s);
    let percent = |share: f64| 100.0 * share;
    let limit = tracked_max_percent(row.quiet_s);
    let mut targets = vec![
        Target::at_most(format!("{at}: broken of a million"), row.broken_per_million, 0.0, ""),
        Target::at_most(format!("{at}: tracked at the peak"), percent(row.tracked_peak_share), limit, "%"),
        Target::at_most(format!("{at}: tracked at the end"), percent(row.tracked_end_share), 0.0, "%"),
    ];
    if let Some(detail) = row.detail {
        let at_rest = if detail.at_rest_after_s.is_some() { 1.0 } else { 0.0 };
        targets.push(Target::at_least(format!("{at}: comes to rest (1: yes, 0: no)"), at_rest, 1.0, ""));
    }
    targets
}

#[cfg(test)]
mod tests {
    use super::{super::Detail, *};
    use crate::bench::target;

    fn row(tracked_peak_share: f64, at_rest_after_s: Option<u32>) -> Row {
        Row {
            scenario: "crash".to_owned(),
            design: Design::Lb,
            connections: 1,
            broken_per_million: 0.0,
            quiet_s: 120,
            tracked_peak_share,
            tracked_end_share: 0.0,
            detail: Some(Detail {
                packets: 1,
                entries_peak_share: 0.0,
                moving_peak_share: 0.0,
                at_rest_after_s,
            }),
        }
    }

    #[test]
    fn too_much_tracked_and_no_rest_are_missed() {
        assert_eq!(target::missed(&of_row(&row(0.15, Some(9)))), Vec::<String>::new());
        assert_eq!(
            target::missed(&of_row(&row(0.151, None))),
            [
                "crash with 120 s: tracked at the peak: 15.1 %, target at most 15 %",
                "crash with 120 s: comes to rest (1: yes, 0: no): 0, target at least 1",
            ]
        );
    }
}
