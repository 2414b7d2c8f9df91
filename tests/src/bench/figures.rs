//! What was measured: the reports of those benches that ran, and how they are written and read.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{datapath, tables, target::Target, veth};
use crate::churn;

/// Reports by the name of the bench.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Figures {
    /// The packet path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub datapath: Option<datapath::report::Report>,
    /// Connections that break.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub churn: Option<churn::Report>,
    /// Tables and failover.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tables: Option<tables::Report>,
    /// From end to end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub veth: Option<veth::Report>,
}

impl Figures {
    /// Reads files as `--json` writes them. Of two with figures of the same bench the later one counts.
    ///
    /// # Errors
    /// If one can't be read or is no such file: which, and why.
    pub fn read<P: AsRef<Path>>(files: &[P]) -> Result<Self> {
        let mut all = Self::default();
        for file in files.iter().map(AsRef::as_ref) {
            let text = fs::read_to_string(file).with_context(|| format!("can't read {}", file.display()))?;
            let figures = Self::parse(&text).with_context(|| file.display().to_string())?;
            all = Self {
                datapath: figures.datapath.or(all.datapath),
                churn: figures.churn.or(all.churn),
                tables: figures.tables.or(all.tables),
                veth: figures.veth.or(all.veth),
            };
        }
        Ok(all)
    }

    /// Reads the text of one file: one bench's report, or several by name.
    ///
    /// # Errors
    /// If it is none.
    pub fn parse(text: &str) -> Result<Self> {
        let value: Value = serde_json::from_str(text).context("no JSON")?;
        let mut figures = match () {
            () if value.get("cases").is_some() => Self { datapath: Some(of(value)?), ..Self::default() },
            () if value.get("scenarios").is_some() => Self { churn: Some(of(value)?), ..Self::default() },
            () if value.get("build").is_some() => Self { tables: Some(of(value)?), ..Self::default() },
            () if value.get("balancers").is_some() => Self { veth: Some(of(value)?), ..Self::default() },
            () => of(value)?,
        };
        figures.judge();
        if figures.is_empty() {
            bail!("no figures; wants a file that `lb-bench --json FILE` wrote");
        }
        Ok(figures)
    }

    /// Judges what comes from a file without targets, as this version does.
    fn judge(&mut self) {
        if let Some(report) = self.datapath.as_mut().filter(|report| report.run.targets.is_empty()) {
            report.run.targets = datapath::targets::targets(report);
        }
        if let Some(report) = self.churn.as_mut().filter(|report| report.run.targets.is_empty()) {
            report.run.targets = churn::targets(report);
        }
        if let Some(report) = self.tables.as_mut().filter(|report| report.run.targets.is_empty()) {
            report.run.targets = tables::targets(report);
        }
        if let Some(report) = self.veth.as_mut().filter(|report| report.run.targets.is_empty()) {
            report.run.targets = veth::targets(report);
        }
    }

    /// Whether no bench ran.
    pub const fn is_empty(&self) -> bool {
        self.datapath.is_none() && self.churn.is_none() && self.tables.is_none() && self.veth.is_none()
    }

    /// What was wanted of all benches that ran.
    pub fn targets(&self) -> Vec<Target> {
        let runs = [
            self.datapath.as_ref().map(|report| &report.run),
            self.churn.as_ref().map(|report| &report.run),
            self.tables.as_ref().map(|report| &report.run),
            self.veth.as_ref().map(|report| &report.run),
        ];
        runs.into_iter().flatten().flat_map(|run| run.targets.clone()).collect()
    }
}

fn of<T: DeserializeOwned>(value: Value) -> Result<T> {
    serde_json::from_value(value).context("not as `lb-bench --json FILE` writes it")
}
