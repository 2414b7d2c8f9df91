//! Quantiles as dots on one logarithmic axis: what is usual, and how far the slow end lies from it.

use maud::{Markup, html};

use super::{COLOURS, LINE, Plot, WIDTH, head, mark, n, scale::Scale};
use crate::bench::target::figure;

/// Rows of dots.
pub struct Dots<'a> {
    /// Part of a file's name.
    pub name: &'a str,
    /// What is shown, with the unit.
    pub title: &'a str,
    /// How to read it.
    pub caption: &'a str,
    /// Names of the quantiles.
    pub series: &'a [&'a str],
    /// The rows.
    pub rows: Vec<DotRow>,
}

/// Quantiles of one thing.
pub struct DotRow {
    /// What it is.
    pub label: String,
    /// Each median over the samples, and the largest less the smallest, if known.
    pub dots: Vec<(f64, Option<f64>)>,
}

const ROW: f64 = 34.0;
const MARGIN: f64 = 16.0;
/// Ticks that are nearer than this have no room for their numbers.
const TICK: f64 = 30.0;

impl Dots<'_> {
    /// Draws them; nothing if there is no dot.
    pub fn plot(&self) -> Option<Plot> {
        let ends = |sign: f64| {
            let dots = self.rows.iter().flat_map(|row| &row.dots);
            dots.map(move |(value, spread)| (value + sign * spread.unwrap_or(0.0) / 2.0, *value))
        };
        // A spread that reaches zero or below has no place on this axis: its row begins at the dot.
        let smallest = ends(-1.0).map(|(end, value)| if end > 0.0 { end } else { value });
        let smallest = smallest.filter(|end| *end > 0.0).reduce(f64::min)?;
        let largest = ends(1.0).map(|(end, _)| end).fold(smallest, f64::max);
        let scale = Scale::logarithmic(smallest, largest, (MARGIN, WIDTH - MARGIN));
        let names: Vec<String> = self.series.iter().map(|name| (*name).to_owned()).collect();
        let (top, head) = head(self.title, &names, false);
        let bottom = top + ROW * self.rows.len() as f64;
        let body = html! {
            (head)
            (axis(&scale, top, bottom))
            @for (index, row) in self.rows.iter().enumerate() { (draw(row, top + ROW * index as f64, &scale)) }
        };
        Some(Plot::new(self.name, self.title, self.caption, bottom + LINE + 2.0, body))
    }
}

fn draw(row: &DotRow, top: f64, scale: &Scale) -> Markup {
    let numbers: Vec<String> = row.dots.iter().map(|(value, _)| figure(*value)).collect();
    let y = n(top + 22.0);
    let ends = [row.dots.first(), row.dots.last()].map(|dot| dot.map_or(0.0, |(value, _)| *value));
    html! {
        text x="0" y=(n(top + 12.0)) { (row.label) }
        text.end x=(n(WIDTH)) y=(n(top + 12.0)) { (numbers.join(" / ")) }
        line.whisker x1=(n(scale.at(ends[0]))) x2=(n(scale.at(ends[1]))) y1=(y) y2=(y) {}
        @for (series, (value, spread)) in row.dots.iter().enumerate() {
            @if let Some(half) = spread.map(|spread| spread / 2.0) {
                @let class = format!("range s{}", series % COLOURS);
                line class=(class) x1=(n(scale.at(value - half))) x2=(n(scale.at(value + half))) y1=(y) y2=(y) {}
            }
            (mark(series, scale.at(*value), top + 22.0))
        }
    }
}

fn axis(scale: &Scale, top: f64, bottom: f64) -> Markup {
    let mut last = f64::NEG_INFINITY;
    let mut labelled = Vec::new();
    for tick in &scale.ticks {
        let x = scale.at(*tick);
        if x - last >= TICK {
            labelled.push((x, figure(*tick)));
            last = x;
        }
    }
    html! {
        @for (x, text) in &labelled {
            line.grid x1=(n(*x)) x2=(n(*x)) y1=(n(top)) y2=(n(bottom)) {}
            text.soft.middle x=(n(*x)) y=(n(bottom + 12.0)) { (text) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(rows: Vec<DotRow>) -> Option<String> {
        Some(Dots { name: "n", title: "t", caption: "c", series: &["p50", "p99"], rows }.plot()?.file())
    }

    #[test]
    fn dots_stand_at_their_figures() {
        let row = DotRow { label: "lb".to_owned(), dots: vec![(10.0, None), (100.0, Some(0.0))] };
        let text = plot(vec![row]).expect("there are dots");
        assert!(text.contains("10 / 100") && text.contains("M12 ") && text.contains("M340.5 "), "{text}");
    }

    #[test]
    fn a_spread_below_zero_and_no_dots_are_drawn_all_the_same() {
        let wide = DotRow { label: "lb".to_owned(), dots: vec![(10.0, Some(30.0))] };
        assert!(!plot(vec![wide]).expect("there are dots").contains("NaN"));
        assert!(plot(Vec::new()).is_none());
    }
}
