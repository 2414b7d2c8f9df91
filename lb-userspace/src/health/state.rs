//! The state of a target as a pure function of the results of its checks.

use std::time::{Duration, SystemTime};

use super::report::{Outcome, Report, Status, unix_ms};

/// Counts results and decides when a target goes up or down.
#[derive(Clone, Debug)]
pub(super) struct State {
    rise: u32,
    fall: u32,
    report: Report,
}

impl State {
    /// A target whose state is `status`, from the checks of an earlier run or [`Status::New`].
    pub(super) fn new(rise: u32, fall: u32, status: Status, now: SystemTime) -> Self {
        Self { rise: rise.max(1), fall: fall.max(1), report: Report::new(status, now) }
    }

    /// What is known now.
    pub(super) const fn report(&self) -> &Report {
        &self.report
    }

    /// Whether the target takes traffic but its last check failed: the deadline for taking it out is running.
    pub(super) const fn is_failing(&self) -> bool {
        self.report.status.is_up() && self.report.failures > 0
    }

    /// Takes in the result of a check that lasted `took`. True if the target went up or down by it.
    pub(super) fn record(&mut self, outcome: Outcome, took: Duration, now: SystemTime) -> bool {
        let report = &mut self.report;
        match outcome {
            Outcome::Success(text) => {
                report.successes = report.successes.saturating_add(1);
                report.failures = 0;
                report.latency_us = Some(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
                report.last_result = text;
            }
            Outcome::Failure(text) => {
                report.failures = report.failures.saturating_add(1);
                report.successes = 0;
                report.last_result = text;
            }
            Outcome::Inconclusive(text) => report.last_result = text,
        }
        let next = match report.status {
            Status::New if report.successes > 0 => Status::Up,
            Status::New | Status::Up if report.failures >= self.fall => Status::Down,
            Status::Down if report.successes >= self.rise => Status::Up,
            unchanged => unchanged,
        };
        let changed = next != report.status;
        if changed {
            report.status = next;
            report.since_unix_ms = unix_ms(now);
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOOK: Duration = Duration::from_micros(1_500);

    fn state(status: Status) -> State {
        State::new(2, 3, status, SystemTime::UNIX_EPOCH)
    }

    /// Feeds `+` as success, `-` as failure and `?` as neither; gives the status after each.
    fn feed(state: &mut State, results: &str) -> Vec<Status> {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(7);
        let one = |result| {
            let outcome = match result {
                '+' => Outcome::Success("fine".into()),
                '-' => Outcome::Failure("refused".into()),
                _ => Outcome::Inconclusive("no ports".into()),
            };
            let before = state.report().status;
            let changed = state.record(outcome, TOOK, now);
            assert_eq!(changed, before != state.report().status);
            state.report().status
        };
        results.chars().map(one).collect()
    }

    #[test]
    fn the_first_success_brings_a_new_target_up() {
        assert_eq!(feed(&mut state(Status::New), "+"), [Status::Up]);
        assert_eq!(feed(&mut state(Status::New), "-+"), [Status::New, Status::Up]);
    }

    #[test]
    fn a_new_target_goes_down_after_fall_failures_and_then_needs_rise_successes() {
        use Status::{Down, New, Up};
        assert_eq!(feed(&mut state(New), "---++"), [New, New, Down, Down, Up]);
    }

    #[test]
    fn fall_failures_in_a_row_take_a_target_out() {
        use Status::{Down, Up};
        assert_eq!(feed(&mut state(Up), "--+--"), [Up; 5]);
        assert_eq!(feed(&mut state(Up), "---"), [Up, Up, Down]);
    }

    #[test]
    fn rise_successes_in_a_row_bring_it_back() {
        use Status::{Down, Up};
        assert_eq!(feed(&mut state(Down), "+-+-"), [Down; 4]);
        assert_eq!(feed(&mut state(Down), "++"), [Down, Up]);
    }

    #[test]
    fn inconclusive_checks_count_neither_way() {
        use Status::{Down, Up};
        assert_eq!(feed(&mut state(Up), "--?????-"), [Up, Up, Up, Up, Up, Up, Up, Down]);
    }

    #[test]
    fn the_report_tells_the_last_result_and_since_when() {
        let mut state = state(Status::Up);
        feed(&mut state, "+");
        assert_eq!(state.report().latency_us, Some(1_500));
        assert_eq!(state.report().since_unix_ms, 0, "no change of state yet");
        assert!(!state.is_failing());
        feed(&mut state, "-");
        assert!(state.is_failing());
        feed(&mut state, "--");
        assert!(!state.is_failing(), "down is decided, no deadline runs");
        let report = state.report();
        assert_eq!((report.successes, report.failures), (0, 3));
        assert_eq!((report.last_result.as_str(), report.since_unix_ms), ("refused", 7_000));
    }
}
