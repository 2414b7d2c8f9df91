//! From figures to pixels, and round numbers to write at an axis.

/// An axis: figures between two ends, on so many pixels.
#[derive(Clone, Debug, PartialEq)]
pub struct Scale {
    from: f64,
    to: f64,
    pixels: (f64, f64),
    logarithmic: bool,
    /// Round numbers, from one end to the other.
    pub ticks: Vec<f64>,
}

impl Scale {
    /// From zero to the largest figure, or somewhat more.
    pub fn linear(largest: f64, ticks: usize, pixels: (f64, f64)) -> Self {
        let largest = if largest.is_finite() && largest > 0.0 { largest } else { 1.0 };
        let step = round_up(largest / ticks.max(1) as f64);
        let count = (largest / step - 1e-9).ceil().max(1.0) as usize;
        let ticks: Vec<f64> = (0..=count).map(|tick| tick as f64 * step).collect();
        Self { from: 0.0, to: count as f64 * step, pixels, logarithmic: false, ticks }
    }

    /// From one figure to another, both above zero, with ticks at 1, 2 and 5 of each power of ten.
    pub fn logarithmic(smallest: f64, largest: f64, pixels: (f64, f64)) -> Self {
        let valid = smallest > 0.0 && smallest <= largest && largest.is_finite();
        let (smallest, largest) = if valid { (smallest, largest) } else { (1.0, 10.0) };
        let powers = smallest.log10().floor() as i32..=largest.log10().ceil() as i32;
        let round: Vec<f64> =
            powers.flat_map(|power| [1.0, 2.0, 5.0].map(|digit| digit * 10f64.powi(power))).collect();
        let from = round.iter().copied().rfind(|tick| *tick <= smallest).unwrap_or(smallest);
        let to = round.iter().copied().find(|tick| *tick >= largest && *tick > from).unwrap_or(10.0 * from);
        let ticks = round.into_iter().filter(|tick| (from..=to).contains(tick)).collect();
        Self { from, to, pixels, logarithmic: true, ticks }
    }

    /// The pixel of a figure. What is beyond an end is drawn at the end.
    pub fn at(&self, value: f64) -> f64 {
        let map = |value: f64| if self.logarithmic { value.max(self.from).ln() } else { value };
        let share = (map(value) - map(self.from)) / (map(self.to) - map(self.from));
        let share = if share.is_nan() { 0.0 } else { share.clamp(0.0, 1.0) };
        self.pixels.0 + share * (self.pixels.1 - self.pixels.0)
    }
}

/// The next 1, 2 or 5 times a power of ten.
fn round_up(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    let digit = [1.0, 2.0, 5.0].into_iter().find(|digit| digit * power >= value * (1.0 - 1e-9));
    digit.unwrap_or(10.0) * power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_linear_axis_begins_at_zero_and_ends_at_a_round_number() {
        let scale = Scale::linear(64.9, 4, (10.0, 110.0));
        assert_eq!(scale.ticks, [0.0, 20.0, 40.0, 60.0, 80.0]);
        assert_eq!((scale.at(0.0), scale.at(40.0), scale.at(80.0)), (10.0, 60.0, 110.0));
        assert_eq!((scale.at(-5.0), scale.at(999.0), scale.at(f64::NAN)), (10.0, 110.0, 10.0));
    }

    #[test]
    fn pixels_may_run_upwards() {
        let scale = Scale::linear(10.0, 2, (200.0, 0.0));
        assert_eq!((scale.at(0.0), scale.at(5.0), scale.at(10.0)), (200.0, 100.0, 0.0));
    }

    #[test]
    fn a_logarithmic_axis_gives_each_factor_as_many_pixels() {
        let scale = Scale::logarithmic(12.0, 900.0, (0.0, 100.0));
        assert_eq!(scale.ticks, [10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0]);
        assert!((scale.at(100.0) - 50.0).abs() < 1e-9);
        assert_eq!((scale.at(0.0), scale.at(1e9)), (0.0, 100.0));
    }

    #[test]
    fn no_figures_make_an_axis_too() {
        for scale in [Scale::linear(0.0, 4, (0.0, 1.0)), Scale::linear(f64::NAN, 4, (0.0, 1.0))] {
            assert_eq!(scale.ticks.last(), Some(&1.0));
        }
        for (from, to) in [(0.0, 5.0), (f64::INFINITY, 0.0), (f64::NAN, 1.0), (7.0, 7.0), (5.0, 5.0)] {
            let scale = Scale::logarithmic(from, to, (0.0, 1.0));
            assert!(scale.ticks.len() >= 2 && scale.at(7.0).is_finite(), "{scale:?}");
        }
    }
}
