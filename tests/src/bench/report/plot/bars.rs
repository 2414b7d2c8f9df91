//! Horizontal bars, in groups, with whiskers for the spread and marks for targets.

use maud::{Markup, html};

use super::{COLOURS, LINE, Plot, WIDTH, head, n, scale::Scale, whisker};
use crate::bench::target::{figure, plus_minus};

/// Bars below one another on one scale.
pub struct Bars<'a> {
    /// Part of a file's name.
    pub name: &'a str,
    /// What is shown, with the unit.
    pub title: &'a str,
    /// How to read it.
    pub caption: &'a str,
    /// What the colours mean; empty where a group has one bar.
    pub series: &'a [&'a str],
    /// The bars, by what they are of.
    pub groups: Vec<Group>,
}

/// Bars of one thing.
pub struct Group {
    /// What it is.
    pub label: String,
    /// Its bars.
    pub bars: Vec<Bar>,
}

/// A bar.
#[derive(Clone, Copy, Debug)]
pub struct Bar {
    /// Which colour.
    pub series: usize,
    /// The median.
    pub value: f64,
    /// Largest sample less smallest, if known.
    pub spread: Option<f64>,
    /// What is wanted of it, if anything.
    pub target: Option<f64>,
}

/// Right of the bars, for the numbers.
const NUMBERS: f64 = 92.0;
const BAR: f64 = 10.0;
const ROW: f64 = 14.0;

impl Bars<'_> {
    /// Draws them; nothing if there is no bar.
    pub fn plot(&self) -> Option<Plot> {
        let bars = || self.groups.iter().flat_map(|group| &group.bars);
        bars().next()?;
        let ends =
            bars().flat_map(|bar| [bar.value + bar.spread.unwrap_or(0.0) / 2.0, bar.target.unwrap_or(0.0)]);
        let scale = Scale::linear(ends.fold(0.0, f64::max), 4, (0.0, WIDTH - NUMBERS));
        let names: Vec<String> = self.series.iter().map(|name| (*name).to_owned()).collect();
        let (top, head) = head(self.title, &names, bars().any(|bar| bar.target.is_some()));
        let (mut y, mut drawn) = (top, Vec::new());
        for group in self.groups.iter().filter(|group| !group.bars.is_empty()) {
            drawn.push(html! { text x="0" y=(n(y + 11.0)) { (group.label) } });
            y += LINE;
            for bar in &group.bars {
                drawn.push(draw(bar, y, &scale));
                y += ROW;
            }
            y += 4.0;
        }
        let body = html! { (head) (axis(&scale, top, y)) @for part in drawn { (part) } };
        Some(Plot::new(self.name, self.title, self.caption, y + LINE + 2.0, body))
    }
}

fn draw(bar: &Bar, y: f64, scale: &Scale) -> Markup {
    let half = bar.spread.unwrap_or(0.0) / 2.0;
    let class = format!("c{}", bar.series % COLOURS);
    let text = match bar.spread {
        Some(_) => plus_minus(bar.value, half),
        None => figure(bar.value),
    };
    html! {
        rect class=(class) x="0" y=(n(y)) width=(n(scale.at(bar.value).max(1.0))) height=(n(BAR)) {}
        @if half > 0.0 { (whisker(scale.at(bar.value - half), scale.at(bar.value + half), y + BAR / 2.0)) }
        @if let Some(target) = bar.target.map(|target| n(scale.at(target))) {
            line.target x1=(target) x2=(target) y1=(n(y - 2.0)) y2=(n(y + BAR + 2.0)) {}
        }
        text.end x=(n(WIDTH)) y=(n(y + 9.0)) { (text) }
    }
}

fn axis(scale: &Scale, top: f64, bottom: f64) -> Markup {
    html! {
        @for tick in &scale.ticks {
            line.grid x1=(n(scale.at(*tick))) x2=(n(scale.at(*tick))) y1=(n(top)) y2=(n(bottom)) {}
            @let class = if *tick == 0.0 { "soft" } else { "soft middle" };
            text class=(class) x=(n(scale.at(*tick))) y=(n(bottom + 12.0)) { (figure(*tick)) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(bars: Vec<Bar>) -> Option<Plot> {
        let groups = vec![Group { label: "<lb>".to_owned(), bars }];
        Bars { name: "n", title: "t", caption: "c", series: &[], groups }.plot()
    }

    #[test]
    fn a_bar_is_as_long_as_its_figure() {
        let bar = |value| Bar { series: 0, value, spread: Some(2.0), target: Some(40.0) };
        let text = plot(vec![bar(20.0), bar(40.0)]).expect("there are bars").file();
        // 41 at the end of the whisker: the axis ends at 60, and that is 268 wide.
        assert!(text.contains(r#"width="89.3""#) && text.contains(r#"width="178.7""#), "{text}");
        assert!(
            text.contains("20 ±1") && text.contains("&lt;lb&gt;") && text.contains("line class=\"target\"")
        );
    }

    #[test]
    fn without_bars_there_is_no_plot() {
        assert!(plot(Vec::new()).is_none());
    }
}
