//! Numbers from samples: medians and how far apart the samples lie.

use serde::{Deserialize, Serialize};

/// What several samples of one figure say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Summary {
    /// The middle one.
    pub median: f64,
    /// Largest less smallest.
    pub spread: f64,
}

impl Summary {
    /// Of some samples; zeros if there are none.
    pub fn of(samples: &[f64]) -> Self {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        match (sorted.first(), sorted.last()) {
            (Some(first), Some(last)) => Self { median: sorted[sorted.len() / 2], spread: last - first },
            _ => Self::default(),
        }
    }
}

/// The slow end of many samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Tail {
    /// The middle one.
    pub p50: f64,
    /// 99 of 100 are no larger.
    pub p99: f64,
    /// The largest.
    pub max: f64,
}

impl Tail {
    /// Of some samples; zeros if there are none.
    pub fn of(samples: &[f64]) -> Self {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        // The smallest sample that so many of 100 do not exceed.
        let percentile = |percent: usize| sorted.get((sorted.len() * percent).div_ceil(100).max(1) - 1);
        let of = |percent| percentile(percent).copied().unwrap_or_default();
        Self { p50: of(50), p99: of(99), max: of(100) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_no_mean() {
        assert_eq!(Summary::of(&[9.0, 1.0, 2.0]), Summary { median: 2.0, spread: 8.0 });
        assert_eq!(Summary::of(&[]), Summary::default());
    }

    #[test]
    fn one_in_a_hundred_is_beyond_p99() {
        let samples: Vec<f64> = (1..=200).rev().map(f64::from).collect();
        assert_eq!(Tail::of(&samples), Tail { p50: 100.0, p99: 198.0, max: 200.0 });
        assert_eq!(Tail::of(&[7.0]), Tail { p50: 7.0, p99: 7.0, max: 7.0 });
        assert_eq!(Tail::of(&[]), Tail::default());
    }
}
