//! What is wanted of a figure, and whether it is reached.

use serde::{Deserialize, Serialize};

/// On which side of the limit a figure has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum Sense {
    /// The limit or less.
    #[serde(rename = "at most")]
    AtMost,
    /// The limit or more.
    #[serde(rename = "at least")]
    AtLeast,
}

/// A figure beside what is wanted of it.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Target {
    /// What was measured, in words.
    pub what: String,
    /// The figure.
    pub measured: f64,
    /// Unit of figure and limit; empty for ratios and counts.
    pub unit: String,
    /// On which side of the limit it has to be.
    pub sense: Sense,
    /// What it may be at most, or has to be at least.
    pub limit: f64,
    /// Whether it is.
    pub met: bool,
}

impl Target {
    /// A figure that must not exceed a limit.
    pub fn at_most(what: impl Into<String>, measured: f64, limit: f64, unit: &str) -> Self {
        Self::new(what.into(), measured, Sense::AtMost, limit, unit)
    }

    /// A figure that has to reach a limit.
    pub fn at_least(what: impl Into<String>, measured: f64, limit: f64, unit: &str) -> Self {
        Self::new(what.into(), measured, Sense::AtLeast, limit, unit)
    }

    fn new(what: String, measured: f64, sense: Sense, limit: f64, unit: &str) -> Self {
        let met = match sense {
            Sense::AtMost => measured <= limit,
            Sense::AtLeast => measured >= limit,
        };
        Self { what, measured, unit: unit.to_owned(), sense, limit, met }
    }

    /// The figure with its unit. A miss never reads like the limit, however narrow it is.
    pub fn measured(&self) -> String {
        let texts = (digits(self.measured)..=9).map(|digits| trimmed(self.measured, digits));
        let limit = trimmed(self.limit, digits(self.limit));
        let told_apart = texts.into_iter().find(|text| self.met || *text != limit);
        self.with_unit(told_apart.unwrap_or_else(|| self.measured.to_string()))
    }

    /// The limit: `at most 40 ns`.
    pub fn wanted(&self) -> String {
        let sense = match self.sense {
            Sense::AtMost => "at most",
            Sense::AtLeast => "at least",
        };
        format!("{sense} {}", self.with_unit(figure(self.limit)))
    }

    fn with_unit(&self, number: String) -> String {
        if self.unit.is_empty() { number } else { format!("{number} {}", self.unit) }
    }
}

/// The targets that are missed, in words.
pub fn missed(targets: &[Target]) -> Vec<String> {
    let in_words =
        |target: &Target| format!("{}: {}, target {}", target.what, target.measured(), target.wanted());
    targets.iter().filter(|target| !target.met).map(in_words).collect()
}

/// A number with as many digits as say something: three behind the point below 10, one below 100, none above.
pub fn figure(value: f64) -> String {
    trimmed(value, digits(value))
}

/// A median and what to add and to take away from it, both with the digits that the median deserves.
pub fn plus_minus(median: f64, half: f64) -> String {
    let whole = median.fract() == 0.0 && half.fract() == 0.0;
    let digits = match (whole, median == 0.0) {
        (true, _) => 0,
        (false, true) => digits(half),
        (false, false) => digits(median),
    };
    format!("{median:.digits$} ±{half:.digits$}")
}

/// Digits behind the point that say something.
fn digits(value: f64) -> usize {
    match value.abs() {
        0.0..10.0 => 3,
        10.0..100.0 => 1,
        _ => 0,
    }
}

/// With so many digits behind the point, less zeros at the end.
fn trimmed(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_itself_is_met_on_both_sides() {
        assert!(Target::at_most("a", 40.0, 40.0, "ns").met);
        assert!(Target::at_least("a", 0.85, 0.85, "").met);
        assert!(!Target::at_most("a", 40.1, 40.0, "ns").met);
        assert!(!Target::at_least("a", 0.849, 0.85, "").met);
        assert!(!Target::at_most("a", f64::NAN, 1.0, "").met);
    }

    #[test]
    fn misses_are_told_in_words() {
        let targets = [
            Target::at_most("a packet", 64.91, 40.0, "ns"),
            Target::at_most("another", 39.0, 40.0, "ns"),
            Target::at_least("a rate", 0.625, 0.85, ""),
        ];
        assert_eq!(
            missed(&targets),
            ["a packet: 64.9 ns, target at most 40 ns", "a rate: 0.625, target at least 0.85"]
        );
    }

    #[test]
    fn a_narrow_miss_does_not_read_like_the_limit() {
        assert_eq!(Target::at_most("a", 25.04, 25.0, "ns").measured(), "25.04 ns");
        assert_eq!(Target::at_least("a", 0.849_96, 0.85, "").measured(), "0.84996");
    }

    #[test]
    fn a_spread_has_the_digits_of_its_median() {
        assert_eq!(plus_minus(64.91, 4.426), "64.9 ±4.4");
        assert_eq!(plus_minus(0.98, 0.059), "0.980 ±0.059");
        assert_eq!(plus_minus(0.0, 0.0), "0 ±0");
        assert_eq!(plus_minus(0.0, 612.7), "0 ±613");
    }

    #[test]
    fn numbers_have_the_digits_that_say_something() {
        let texts = [0.0, 0.8524, 1.5, 9.0, 64.91, 25.0, 1234.5, -0.72].map(figure);
        assert_eq!(texts, ["0", "0.852", "1.5", "9", "64.9", "25", "1234", "-0.72"]);
    }
}
