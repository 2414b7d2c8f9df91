//! Lines over a number that grows by factors, such as that of flows.

use maud::{Markup, html};

use super::{COLOURS, LINE, Plot, WIDTH, head, mark, n, scale::Scale};
use crate::bench::target::figure;

/// Lines on one scale.
pub struct Lines<'a> {
    /// Part of a file's name.
    pub name: &'a str,
    /// What is shown, with the unit.
    pub title: &'a str,
    /// How to read it.
    pub caption: &'a str,
    /// What the numbers below are.
    pub across: &'a str,
    /// How they are written.
    pub label: fn(u32) -> String,
    /// The lines.
    pub series: Vec<Series>,
}

/// A line.
pub struct Series {
    /// What it is of.
    pub name: String,
    /// Its points, from left to right.
    pub points: Vec<Point>,
}

/// A point.
#[derive(Clone, Copy, Debug)]
pub struct Point {
    /// What it is over; above zero.
    pub x: u32,
    /// The median.
    pub y: f64,
    /// Largest sample less smallest.
    pub spread: f64,
}

const LEFT: f64 = 34.0;
const RIGHT: f64 = 14.0;
const HEIGHT: f64 = 180.0;
/// Lines stand beside one another by this much, so that no whisker hides another.
const ASIDE: f64 = 3.0;

impl Lines<'_> {
    /// Draws them; nothing if there is no point.
    pub fn plot(&self) -> Option<Plot> {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let first = points().map(|point| point.x).min()?.max(1);
        let last = points().map(|point| point.x).max()?.max(2 * first);
        let names: Vec<String> = self.series.iter().map(|series| series.name.clone()).collect();
        let (top, head) = head(self.title, &names, false);
        let bottom = top + HEIGHT;
        let largest = points().map(|point| point.y + point.spread / 2.0).fold(0.0, f64::max);
        let up = Scale::linear(largest, 4, (bottom, top + 4.0));
        let across = |x: u32| {
            let share =
                (f64::from(x.max(1)) / f64::from(first)).ln() / (f64::from(last) / f64::from(first)).ln();
            LEFT + 10.0 + share * (WIDTH - LEFT - RIGHT - 10.0)
        };
        let mut columns: Vec<u32> = points().map(|point| point.x).collect();
        columns.sort_unstable();
        columns.dedup();
        let body = html! {
            (head)
            (grid(&up))
            @for x in columns {
                text.soft.middle x=(n(across(x))) y=(n(bottom + 13.0)) { ((self.label)(x)) }
            }
            text.soft.end x=(n(WIDTH)) y=(n(bottom + 13.0 + LINE)) { (self.across) }
            @for (index, series) in self.series.iter().enumerate() {
                @let aside = ASIDE * (index as f64 - (self.series.len() as f64 - 1.0) / 2.0);
                (draw(index, &series.points, |x| across(x) + aside, &up))
            }
        };
        Some(Plot::new(self.name, self.title, self.caption, bottom + 2.0 * LINE + 2.0, body))
    }
}

fn draw(index: usize, points: &[Point], across: impl Fn(u32) -> f64, up: &Scale) -> Markup {
    let corners: Vec<String> =
        points.iter().map(|point| format!("{},{}", n(across(point.x)), n(up.at(point.y)))).collect();
    let colour = index % COLOURS;
    html! {
        polyline class={ "line s" (colour) } points=(corners.join(" ")) {}
        @for point in points {
            @let (x, half) = (across(point.x), point.spread / 2.0);
            line class={ "line s" (colour) } x1=(n(x)) x2=(n(x)) y1=(n(up.at(point.y - half))) y2=(n(up.at(point.y + half))) {}
            (mark(index, x, up.at(point.y)))
        }
    }
}

fn grid(up: &Scale) -> Markup {
    html! {
        @for tick in &up.ticks {
            line.grid x1=(n(LEFT)) x2=(n(WIDTH)) y1=(n(up.at(*tick))) y2=(n(up.at(*tick))) {}
            text.soft.end x=(n(LEFT - 5.0)) y=(n(up.at(*tick) + 4.0)) { (figure(*tick)) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(points: Vec<Point>) -> Option<String> {
        let series = vec![Series { name: "l2".to_owned(), points }];
        let lines =
            Lines { name: "n", title: "t", caption: "c", across: "flows", label: |x| x.to_string(), series };
        Some(lines.plot()?.file())
    }

    #[test]
    fn points_stand_over_the_power_they_are() {
        let point = |x, y| Point { x, y, spread: 2.0 };
        let text = plot(vec![point(1, 0.0), point(16, 50.0), point(256, 100.0)]).expect("there are points");
        // From 44 to 346; upwards from 220 to 44, where 150 is.
        assert!(text.contains(r#"points="44,220 195,161.3 346,102.7""#), "{text}");
    }

    #[test]
    fn one_point_and_none() {
        let one = plot(vec![Point { x: 7, y: 1.0, spread: 0.0 }]).expect("there is a point");
        assert!(!one.contains("NaN") && !one.contains("inf"), "{one}");
        assert!(plot(Vec::new()).is_none());
    }
}
