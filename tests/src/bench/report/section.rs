//! What the page says of one bench: values only, the page lays them out.

use super::plot::Plot;
use crate::bench::{
    run::Run,
    samples::Summary,
    target::{figure, plus_minus},
};

/// One bench.
pub struct Section<'a> {
    /// Its name on the command line.
    pub id: &'static str,
    /// What it is about.
    pub title: &'static str,
    /// How it was measured, in a sentence.
    pub method: String,
    /// How packets met the program.
    pub mode: String,
    /// Samples, and how long they are.
    pub samples: String,
    /// Machine, date and targets.
    pub run: &'a Run,
    /// What must be known to read the figures.
    pub notes: Vec<String>,
    /// Plots, in the order of the page.
    pub plots: Vec<Plot>,
    /// All figures.
    pub tables: Vec<Table>,
}

/// Figures with their spread.
pub struct Table {
    /// What it shows, and its units.
    pub caption: String,
    /// Heads of the columns; the first one names the rows.
    pub head: Vec<String>,
    /// As many cells as heads in each.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty one.
    pub fn new(caption: &str, head: &[&str]) -> Self {
        let head = head.iter().map(|text| (*text).to_owned()).collect();
        Self { caption: caption.to_owned(), head, rows: Vec::new() }
    }

    /// The same with a row for each item.
    #[must_use]
    pub fn rows<T>(mut self, items: impl IntoIterator<Item = T>, cells: impl Fn(T) -> Vec<String>) -> Self {
        self.rows = items.into_iter().map(cells).collect();
        self
    }
}

/// A figure that may not have been measured.
pub fn number(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), figure)
}

/// A median and half of what lies between the largest and the smallest sample.
pub fn with_spread(median: Option<f64>, spread: Option<f64>) -> String {
    match (median, spread) {
        (Some(median), Some(spread)) => plus_minus(median, spread / 2.0),
        _ => number(median),
    }
}

/// The same of a summary.
pub fn summary(of: Summary) -> String {
    with_spread(Some(of.median), Some(of.spread))
}
