//! The files that `lb-bench` writes, which are tried before anything is measured.

use std::{
    fs::{self, OpenOptions},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use lb_tests::bench::{figures::Figures, report};

/// What is written for people.
#[derive(clap::Args)]
pub struct Pages {
    /// Also write a page for people: one HTML file with plots, tables and targets
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
    /// Also write the plots to this directory, as SVG files
    #[arg(long, value_name = "DIR")]
    plots: Option<PathBuf>,
}

impl Pages {
    /// Whether any is wanted.
    pub const fn any(&self) -> bool {
        self.report.is_some() || self.plots.is_some()
    }

    /// Writes those that are wanted.
    pub fn write(&self, figures: &Figures) -> Result<()> {
        if let Some(file) = &self.report {
            write(file, &report::html(figures))?;
        }
        self.plots.as_ref().map_or(Ok(()), |directory| report::write_plots(figures, directory))
    }
}

/// Writes a file.
pub fn write(file: &Path, text: &str) -> Result<()> {
    fs::write(file, text).with_context(|| format!("can't write {}", file.display()))
}

/// Fails now for what could not be written after minutes of measuring. Files that are there stay as they are.
pub fn check_writable(json: Option<&Path>, pages: &Pages) -> Result<()> {
    let page = pages.report.as_deref();
    ensure!(json.is_none() || json != page, "--json and --report name the same file; give each its own");
    json.map_or(Ok(()), check_file)?;
    page.map_or(Ok(()), check_file)?;
    let Some(directory) = &pages.plots else { return Ok(()) };
    fs::create_dir_all(directory).with_context(|| format!("can't make {}", directory.display()))?;
    check_file(&directory.join(format!(".lb-bench-{}", std::process::id())))
}

fn check_file(file: &Path) -> Result<()> {
    let is_new = !file.exists();
    OpenOptions::new()
        .append(true)
        .create(true)
        .open(file)
        .with_context(|| format!("can't write {}", file.display()))?;
    if is_new {
        fs::remove_file(file).with_context(|| format!("can't remove {}", file.display()))?;
    }
    Ok(())
}
