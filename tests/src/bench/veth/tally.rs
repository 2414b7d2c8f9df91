//! Samples by row and figure, and what they say.

use std::collections::BTreeMap;

use super::peer::Peer;
use crate::bench::samples::Summary;

/// Name of a figure, as in the JSON; `connect_us.p50` is `p50` of `connect_us`.
pub type Figure = &'static str;

/// All samples of a run, in the order of rounds.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    samples: BTreeMap<(Peer, Figure), Vec<f64>>,
}

impl Tally {
    /// Adds a sample.
    pub fn add(&mut self, peer: Peer, figure: Figure, value: f64) {
        self.samples.entry((peer, figure)).or_default().push(value);
    }

    /// Median and spread of a figure, if it was measured.
    pub fn summary(&self, peer: Peer, figure: Figure) -> Option<Summary> {
        self.samples.get(&(peer, figure)).map(|samples| Summary::of(samples))
    }

    /// Median over the rounds of one row's figure divided by another's: samples of a round are neighbours in time, so
    /// what disturbs the machine for longer cancels out.
    pub fn ratio(&self, peer: Peer, base: Peer, figure: Figure) -> Option<Summary> {
        let (ours, theirs) = (self.samples.get(&(peer, figure))?, self.samples.get(&(base, figure))?);
        let ratios: Vec<f64> = ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect();
        Some(Summary::of(&ratios))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_taken_round_by_round() {
        let mut tally = Tally::default();
        for (ours, theirs) in [(1.0, 2.0), (10.0, 20.0), (3.0, 4.0)] {
            tally.add(Peer::Lb, "mpps_1k", ours);
            tally.add(Peer::XdpHash, "mpps_1k", theirs);
        }
        let ratio = tally.ratio(Peer::Lb, Peer::XdpHash, "mpps_1k").expect("both were measured");
        assert_eq!(ratio, Summary { median: 0.5, spread: 0.25 });
        assert_eq!(tally.ratio(Peer::Lb, Peer::Nftables, "mpps_1k"), None);
    }
}
