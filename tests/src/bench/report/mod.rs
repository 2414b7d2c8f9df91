//! Reports for people: one HTML page of all that was measured, and its plots as SVG files.

mod plot;
mod page;
mod section;
mod datapath;
mod veth;
mod tables;
mod churn;

use std::{fs, path::Path};

use anyhow::{Context as _, Result};

use self::section::Section;
use super::figures::Figures;

/// The page: one file that needs no other.
pub fn html(figures: &Figures) -> String {
    page::page(&sections(figures)).into_string()
}

/// Writes every plot to a directory, as `BENCH-WHAT.svg`.
///
/// # Errors
/// If one can't be written: which.
pub fn write_plots(figures: &Figures, directory: &Path) -> Result<()> {
    for section in sections(figures) {
        for plot in &section.plots {
            let file = directory.join(format!("{}-{}.svg", section.id, plot.name));
            fs::write(&file, plot.file()).with_context(|| format!("can't write {}", file.display()))?;
        }
    }
    Ok(())
}

/// What the page says of the benches that ran, in its order.
fn sections(figures: &Figures) -> Vec<Section<'_>> {
    let sections = [
        figures.datapath.as_ref().map(datapath::section),
        figures.veth.as_ref().map(veth::section),
        figures.tables.as_ref().map(tables::section),
        figures.churn.as_ref().map(churn::section),
    ];
    sections.into_iter().flatten().collect()
}

#[cfg(test)]
mod browser;
#[cfg(test)]
mod tests;
