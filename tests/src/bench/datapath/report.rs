//! The figures of the bench, as they are printed and written.

use serde::{Deserialize, Serialize};

use super::{
    case::Case,
    plan::{Comparison, Limit},
};
use crate::bench::{run::Run, samples::Summary};

/// All figures.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Report {
    /// When and on what it was measured. No target applies to the times of a quick run.
    #[serde(flatten)]
    pub run: Run,
    /// Samples of each case.
    pub samples: usize,
    /// Packets of each sample; half as many where each has an entry in the flow table.
    pub packets: u32,
    /// The empty program with its wrapper, ns per packet.
    pub empty_ns: f64,
    /// By how much the CPU time is above the kernel's figure, which is cut to whole nanoseconds, ns per packet: a bit
    /// more than half of one if both are right.
    pub cpu_less_kernel_ns: Summary,
    /// The object that was measured besides, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub against: Option<String>,
    /// The cases.
    pub cases: Vec<Row>,
    /// Cases beside each other.
    pub ratios: Vec<Ratio>,
    /// Memory of all maps with one service of the default table size, bytes.
    pub map_bytes: u64,
}

/// A measured case.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Row {
    /// The group that it was measured in.
    pub group: String,
    /// All that tells it from the others of the group.
    pub label: String,
    /// `l2`, `ipip`, `gue` or `pass`.
    pub mode: String,
    /// 4 or 6.
    pub family: u8,
    /// Flows that the packets vary over; of new connections, packets of a sample.
    pub flows: u32,
    /// What the packets meet.
    pub state: String,
    /// Services in the table.
    pub services: u32,
    /// Services that the packets are for.
    pub services_hit: u32,
    /// Backends of each service.
    pub backends: u32,
    /// How a new connection finds its backend.
    pub algorithm: String,
    /// Median over the samples, ns per packet above the empty program just before.
    pub added_ns: f64,
    /// Largest of these less the smallest.
    pub spread: f64,
    /// Connections that the balancer's own time allows per second and CPU, where every packet opens one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new_per_second: Option<f64>,
    /// The same of the other object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub against: Option<Against>,
}

/// The figures of the object that this build is measured against.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct Against {
    /// As of the row.
    pub added_ns: f64,
    /// As of the row.
    pub spread: f64,
    /// This build's over the other's, median over the samples.
    pub ratio: f64,
}

/// A case beside another one: medians over the samples, each of which has both.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Ratio {
    /// What is compared with what.
    pub name: String,
    /// Of the ns that they add.
    pub ratio: f64,
    /// Largest ratio of a sample less the smallest.
    #[serde(default)]
    pub ratio_spread: Option<f64>,
    /// Difference of the ns that they add.
    pub more_ns: f64,
    /// Largest difference of a sample less the smallest, ns.
    #[serde(default)]
    pub more_ns_spread: Option<f64>,
    /// Largest ratio that the target allows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio_max: Option<f64>,
    /// Largest difference that the target allows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub more_ns_max: Option<f64>,
}

/// The samples of a case: this build's and the other object's, ns above the empty program.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    /// This build's.
    pub ours: Vec<f64>,
    /// The other object's; empty without one.
    pub other: Vec<f64>,
}

impl Row {
    /// Of a case's samples.
    pub fn new(group: &str, case: &Case, packets: u32, samples: &Samples) -> Self {
        let Summary { median, spread } = Summary::of(&samples.ours);
        let other = Summary::of(&samples.other);
        let against = (!samples.other.is_empty()).then(|| Against {
            added_ns: other.median,
            spread: other.spread,
            ratio: paired(&samples.ours, &samples.other, |ours, other| ours / other).median,
        });
        Self {
            group: group.to_owned(),
            label: case.label(),
            mode: case.mode.to_string(),
            family: case.family,
            flows: if case.is_new() { packets } else { case.flows },
            state: case.state.to_string(),
            services: case.services,
            services_hit: case.services_hit,
            backends: case.backends,
            algorithm: case.algorithm.to_string(),
            added_ns: median,
            spread,
            new_per_second: case.is_new().then(|| 1e9 / median),
            against,
        }
    }
}

impl Ratio {
    /// Of two cases' samples.
    pub fn new(comparison: &Comparison, case: &Samples, to: &Samples) -> Self {
        let (ratio_max, more_ns_max) = match comparison.limit {
            Limit::Ratio(ratio) => (Some(ratio), None),
            Limit::Ns(ns) => (None, Some(ns)),
            Limit::None => (None, None),
        };
        let ratio = paired(&case.ours, &to.ours, |one, other| one / other);
        let more_ns = paired(&case.ours, &to.ours, |one, other| one - other);
        Self {
            name: comparison.name.clone(),
            ratio: ratio.median,
            ratio_spread: Some(ratio.spread),
            more_ns: more_ns.median,
            more_ns_spread: Some(more_ns.spread),
            ratio_max,
            more_ns_max,
        }
    }
}

/// Median and spread of what samples of the same moment give.
fn paired(one: &[f64], other: &[f64], of: impl Fn(f64, f64) -> f64) -> Summary {
    let values: Vec<f64> = one.iter().zip(other).map(|(one, other)| of(*one, *other)).collect();
    Summary::of(&values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_of_samples_of_one_moment() {
        // The machine became half as fast after the first sample, for both.
        let (one, other) = ([10.0, 20.0, 20.0], [8.0, 16.0, 16.0]);
        let ratio = paired(&one, &other, |one, other| one / other);
        assert_eq!(ratio, Summary { median: 1.25, spread: 0.0 });
    }
}
