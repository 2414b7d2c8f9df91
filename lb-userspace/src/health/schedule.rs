//! When checks start, so that a dead backend is out of rotation by a known time.
//!
//! The worst moment to die is right after a successful check began: the first check that can notice starts a whole
//! interval later, and each of the `fall` checks may take its full timeout to fail. At the plain interval the last
//! of them would end at `fall x interval + timeout`. So once a check of a target in rotation has failed, the
//! following ones start closer together, and the last timeout fits in: spacing = interval - timeout / (fall - 1).
//!
//! A check starts only when the one before has ended, so the spacing is never below the timeout. Together:
//! down within max(fall x interval, interval + fall x timeout), which is `fall x interval` as long as
//! timeout <= interval x (fall - 1) / fall. With fall = 1 there is nothing to shorten: interval + timeout.

use std::time::Duration;

use crate::desired::model::{Check, CheckKind};

/// From the death of a backend in rotation to its being reported down, at the latest, when this host is not
/// overloaded.
pub fn down_within(check: &Check) -> Duration {
    let fall = check.fall.max(1);
    (check.interval * fall).max(check.interval + check.timeout * fall)
}

/// Longest timeout, in whole milliseconds, with which [`down_within`] is `fall x interval`. Zero for fall = 1, which
/// always waits for it.
pub fn longest_prompt_timeout(check: &Check) -> Duration {
    let fall = check.fall.max(1);
    let longest = check.interval * (fall - 1) / fall;
    Duration::from_millis(u64::try_from(longest.as_millis()).unwrap_or(u64::MAX))
}

/// [`down_within`] for people; None without a check.
pub fn note(check: &Check) -> Option<String> {
    if check.kind == CheckKind::None {
        return None;
    }
    let within = down_within(check);
    let said = format!("a backend that fails is out within {}", humantime::format_duration(within));
    let longest = longest_prompt_timeout(check);
    if within <= check.interval * check.fall.max(1) {
        return Some(said);
    }
    Some(if longest.is_zero() {
        format!("{said}: interval + timeout, since a fall of 1 waits for the timeout of one check")
    } else {
        let shorter = humantime::format_duration(longest);
        format!("{said}, more than fall x interval; --check-timeout {shorter} or less makes it that")
    })
}

/// Time between the starts of two checks, the first of which has ended. `failing`: the target is in rotation and
/// its last check failed.
pub(super) fn spacing(check: &Check, failing: bool) -> Duration {
    match check.fall.max(1) - 1 {
        more @ 1.. if failing => check.interval.saturating_sub(check.timeout / more).max(check.timeout),
        _ => check.interval,
    }
}

/// How long after its first check, or after the agent's start, a target's beat begins: a share of the interval
/// that differs from target to target, so that thousands of checks spread evenly (multiples of the golden ratio).
pub(super) fn phase(interval: Duration, id: u32) -> Duration {
    let share = u64::from(id.wrapping_mul(0x9e37_79b9));
    // Both factors fit: an interval of more than 500 years in ns does not occur, and saturates.
    let nanos = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos(u64::try_from((u128::from(nanos) * u128::from(share)) >> 32).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use proptest::prelude::*;

    use super::*;
    use crate::health::{
        report::{Outcome, Status},
        state::State,
    };

    fn check(interval_ms: u64, timeout_ms: u64, fall: u32) -> Check {
        Check {
            kind: CheckKind::Tcp,
            port: 80,
            interval: Duration::from_millis(interval_ms),
            timeout: Duration::from_millis(timeout_ms),
            rise: 2,
            fall,
        }
    }

    /// Plays the checks of a target that answers within `latency` until it dies at `death`, after which each check
    /// takes
    /// `failure` to fail. Gives the time of "down".
    fn plays_to_down(
        check: &Check,
        first: Duration,
        death: Duration,
        latency: Duration,
        failure: Duration,
    ) -> Duration {
        let mut state = State::new(check.rise, check.fall, Status::Up, SystemTime::UNIX_EPOCH);
        let mut start = first;
        loop {
            let (outcome, took) = if start + latency < death {
                (Outcome::Success(String::new()), latency)
            } else {
                (Outcome::Failure(String::new()), failure)
            };
            if state.record(outcome, took, SystemTime::UNIX_EPOCH) {
                return start + took;
            }
            start += spacing(check, state.is_failing()).max(took);
        }
    }

    proptest! {
        #[test]
        fn a_dead_target_is_down_within_the_bound(
            interval_ms in 10_u64..20_000,
            timeout_share in 1_u64..=1_000,
            fall in 1_u32..20,
            phase_share in 0_u64..1_000,
            death_share in 0_u64..5_000,
            latency_share in 0_u64..=1_000,
            failure_share in 0_u64..=1_000,
        ) {
            let check = check(interval_ms, (interval_ms * timeout_share / 1_000).max(1), fall);
            let first = check.interval * u32::try_from(phase_share).unwrap() / 1_000;
            let death = check.interval * u32::try_from(death_share).unwrap() / 1_000;
            let latency = check.timeout * u32::try_from(latency_share).unwrap() / 1_000;
            let failure = check.timeout * u32::try_from(failure_share).unwrap() / 1_000;
            let down = plays_to_down(&check, first, death, latency, failure);
            let after = down.saturating_sub(death.max(first));
            prop_assert!(after <= down_within(&check), "{after:?} of {:?}", down_within(&check));
            if check.timeout <= longest_prompt_timeout(&check) {
                prop_assert!(after <= check.interval * fall);
            }
        }
    }

    #[test]
    fn the_bound_is_reached_but_not_passed_when_every_check_times_out() {
        // Dies right after a success began; S = 1000 - 500/2 = 750: 1000, 1750, 2500 + 500 = 3000.
        let check = check(1_000, 500, 3);
        assert_eq!(spacing(&check, true), Duration::from_millis(750));
        let just_after = Duration::from_nanos(1);
        let down = plays_to_down(&check, Duration::ZERO, just_after, Duration::ZERO, check.timeout);
        assert_eq!(down, Duration::from_secs(3));
        assert_eq!(down_within(&check), Duration::from_secs(3));
    }

    #[test]
    fn the_bound_is_honest_where_the_timeout_is_long() {
        assert_eq!(down_within(&check(1_000, 500, 1)), Duration::from_millis(1_500));
        assert_eq!(down_within(&check(1_000, 1_000, 2)), Duration::from_millis(3_000));
        assert_eq!(down_within(&check(1_000, 500, 2)), Duration::from_millis(2_000));
        assert_eq!(longest_prompt_timeout(&check(1_000, 1, 2)), Duration::from_millis(500));
    }

    #[test]
    fn the_note_says_the_bound_and_what_makes_it_shorter() {
        let said = |interval, timeout, fall| note(&check(interval, timeout, fall)).unwrap();
        assert_eq!(said(1_000, 500, 3), "a backend that fails is out within 3s");
        assert!(
            said(1_000, 1_000, 2).contains("within 3s, more than fall x interval; --check-timeout 500ms")
        );
        assert!(said(1_000, 500, 1).contains("within 1s 500ms: interval + timeout"));
        assert_eq!(note(&Check { kind: CheckKind::None, ..check(1_000, 500, 1) }), None);
    }

    #[test]
    fn the_beat_is_the_interval_unless_failing() {
        assert_eq!(spacing(&check(1_000, 500, 3), false), Duration::from_secs(1));
        assert_eq!(spacing(&check(1_000, 500, 1), true), Duration::from_secs(1));
    }

    #[test]
    fn phases_spread_over_the_interval() {
        let interval = Duration::from_secs(1);
        let mut tenths = [0; 10];
        for id in 1..=1_000 {
            let phase = phase(interval, id);
            assert!(phase < interval);
            tenths[usize::try_from(phase.as_millis() / 100).unwrap()] += 1;
        }
        assert!(tenths.iter().all(|count| (90..=110).contains(count)), "{tenths:?}");
    }
}
