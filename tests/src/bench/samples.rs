//! Numbers from samples: medians and how far apart the samples lie.

use serde::Serialize;

/// What several samples of one figure say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_no_mean() {
        assert_eq!(Summary::of(&[9.0, 1.0, 2.0]), Summary { median: 2.0, spread: 8.0 });
        assert_eq!(Summary::of(&[]), Summary::default());
    }
}
