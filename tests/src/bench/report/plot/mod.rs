//! A small plotter: static SVG as wide as a phone, whose colours follow the reader's.

mod scale;
mod bars;
mod dots;
mod lines;

pub use self::{
    bars::{Bar, Bars, Group},
    dots::{DotRow, Dots},
    lines::{Lines, Point, Series},
};

use maud::{Markup, PreEscaped, html};

/// Colours, in the light, in the dark and on paper, and how text looks.
pub const STYLE: &str = include_str!("plot.css");

/// Width of all plots. The text is made for it: on a phone it is shown about as wide.
const WIDTH: f64 = 360.0;
/// From the baseline of a line of text to the next.
const LINE: f64 = 16.0;
/// Colours that series have in turn.
const COLOURS: usize = 6;

/// A plot that is drawn.
pub struct Plot {
    /// What tells it from the others of its bench; part of a file's name.
    pub name: String,
    /// What it shows, with the unit.
    pub title: String,
    /// How to read it.
    pub caption: String,
    height: f64,
    body: Markup,
}

impl Plot {
    fn new(name: &str, title: &str, caption: &str, height: f64, body: Markup) -> Self {
        let [name, title, caption] = [name, title, caption].map(str::to_owned);
        Self { name, title, caption, height, body }
    }

    /// As part of a page, which has [`STYLE`].
    pub fn figure(&self) -> Markup {
        html! {
            figure {
                svg.plot viewBox={ "0 0 " (n(WIDTH)) " " (n(self.height)) } role="img" aria-label=(self.title) {
                    (self.body)
                }
                figcaption { (self.caption) }
            }
        }
    }

    /// As a file of its own.
    pub fn file(&self) -> String {
        let height = self.height + 8.0;
        let [left, top, width] = [-8.0, -4.0, WIDTH + 16.0];
        let markup = html! {
            svg.plot xmlns="http://www.w3.org/2000/svg" role="img" aria-label=(self.title)
                viewBox={ (n(left)) " " (n(top)) " " (n(width)) " " (n(height)) }
                width=(n(width * 1.25)) height=(n(height * 1.25)) {
                style { (PreEscaped(STYLE)) }
                rect.paper x=(n(left)) y=(n(top)) width=(n(width)) height=(n(height)) {}
                (self.body)
            }
        };
        markup.into_string() + "\n"
    }
}

/// A coordinate. A tenth of a pixel is exact enough.
fn n(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map_or_else(|| text.clone(), str::to_owned)
}

/// The title, and what the colours mean. Its height comes with it.
fn head(title: &str, names: &[String], with_target: bool) -> (f64, Markup) {
    let mut places = Vec::new();
    let (mut x, mut y) = (0.0, 2.0 * LINE);
    let target = with_target.then(|| "target".to_owned());
    for name in names.iter().chain(&target) {
        let width = 22.0 + 6.6 * name.chars().count() as f64;
        if x > 0.0 && x + width > WIDTH {
            (x, y) = (0.0, y + LINE);
        }
        places.push((x, y, name));
        x += width;
    }
    let bottom = if places.is_empty() { LINE } else { y };
    let markup = html! {
        text.title x="0" y="12" { (title) }
        @for (index, (x, y, name)) in places.iter().enumerate() {
            @if index < names.len() { (mark(index, x + 5.0, y - 4.0)) }
            @else { line.target x1=(n(x + 5.0)) x2=(n(x + 5.0)) y1=(n(y - 10.0)) y2=(n(y + 2.0)) {} }
            text x=(n(x + 13.0)) y=(n(*y)) { (name) }
        }
    };
    (bottom + 8.0, markup)
}

/// The mark of a series: its colour, and a form for those who see no colours.
fn mark(series: usize, x: f64, y: f64) -> Markup {
    let class = format!("c{}", series % COLOURS);
    let path = match series % COLOURS {
        0 => format!("M{} {}a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z", n(x - 4.0), n(y)),
        1 => format!("M{} {}h7v7h-7z", n(x - 3.5), n(y - 3.5)),
        2 => format!("M{} {}l5 5l-5 5l-5 -5z", n(x), n(y - 5.0)),
        3 => format!("M{} {}l5 9h-10z", n(x), n(y - 5.0)),
        4 => format!("M{} {}h10l-5 9z", n(x - 5.0), n(y - 4.0)),
        _ => format!("M{} {}v10h3v-10z", n(x - 1.5), n(y - 5.0)),
    };
    html! { path class=(class) d=(path) {} }
}

/// A line from one end of a spread to the other, with ends that show.
fn whisker(from: f64, to: f64, y: f64) -> Markup {
    html! {
        path.whisker d={ "M" (n(from)) " " (n(y - 3.0)) "v6M" (n(from)) " " (n(y)) "H" (n(to)) "M" (n(to)) " " (n(y - 3.0)) "v6" } {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_into_a_plot_is_escaped() {
        let (_, markup) = head("<b> & \"c\"", &["<i>".to_owned()], false);
        let text = markup.into_string();
        assert!(text.contains("&lt;b&gt; &amp; &quot;c&quot;") && text.contains("&lt;i&gt;"), "{text}");
        assert!(!text.contains("<b>") && !text.contains("<i>"), "{text}");
    }

    #[test]
    fn names_that_do_not_fit_begin_a_new_line() {
        let names = ["a".repeat(30), "b".repeat(30)];
        let (one, _) = head("t", &names[..1], false);
        let (two, _) = head("t", &names, false);
        assert_eq!(two - one, LINE);
    }

    #[test]
    fn a_file_stands_alone() {
        let text = Plot::new("x", "t", "c", 10.0, html! {}).file();
        assert!(text.starts_with("<svg class=\"plot\" xmlns=") && text.ends_with("</svg>\n"), "{text}");
        assert!(text.contains("prefers-color-scheme"), "{text}");
    }
}
