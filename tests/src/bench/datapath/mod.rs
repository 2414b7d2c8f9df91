//! `cargo xtask bench datapath`: what a packet costs, above an empty program that is called the same way.

pub mod case;
pub mod plan;
pub mod setup;
pub mod expect;
pub mod wrapper;
pub mod subject;
pub mod against;
mod measure;
pub mod report;
pub mod targets;

use std::path::PathBuf;

use anyhow::{Result, ensure};
use lb_userspace::objects;

use self::{
    case::{Case, Mode},
    measure::Bench,
    report::{Report, Row},
    setup::Setup,
    subject::Subject,
    wrapper::Wrapper,
};
use super::run::Run;
use crate::cpu;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Only some of the cases.
    pub quick: bool,
    /// Samples of each case, and as many of the empty program.
    pub samples: usize,
    /// Packets of one sample.
    pub packets: u32,
}

impl Effort {
    /// What figures that are published need.
    pub const FULL: Self = Self { quick: false, samples: 11, packets: 1 << 20 };
    /// What shows that the bench works.
    pub const QUICK: Self = Self { quick: true, samples: 3, packets: 1 << 17 };
}

/// What to measure.
#[derive(Clone, Debug)]
pub struct Options {
    /// How much.
    pub effort: Effort,
    /// Only cases whose label contains this.
    pub filter: Option<String>,
    /// Another build's object, to be measured by turns with this build's.
    pub against: Option<PathBuf>,
}

/// Measures the cases and hands each to `done` as it is known.
///
/// # Errors
/// If a packet does not come out as it should, or the kernel refuses something.
pub fn datapath(options: &Options, mut done: impl FnMut(&Row)) -> Result<Report> {
    let run = Run::begin(options.effort.quick);
    let Options { effort, filter, against } = options;
    let groups = plan::groups(effort.quick, filter.as_deref());
    ensure!(!groups.is_empty(), "no case has {:?} in its label", filter.as_deref().unwrap_or_default());
    let mut bench = Bench::new(*effort, against.as_deref().map(against::read).transpose()?)?;
    cpu::pin_to_last()?;
    let map_bytes = map_bytes()?;
    let (mut cases, mut ratios) = (Vec::new(), Vec::new());
    for group in &groups {
        let (rows, compared) = bench.group(group)?;
        rows.iter().for_each(&mut done);
        cases.extend(rows);
        ratios.extend(compared);
    }
    let report = Report {
        run,
        samples: effort.samples,
        packets: effort.packets,
        empty_ns: bench.empty().median,
        cpu_less_kernel_ns: bench.cpu_less_kernel(),
        against: against.as_ref().map(|path| path.display().to_string()),
        cases,
        ratios,
        map_bytes,
    };
    Ok(Report { run: report.run.clone().judged(targets::targets(&report)), ..report })
}

/// Memory of all maps with one service of the default size.
fn map_bytes() -> Result<u64> {
    let setup = Setup::new(Case::new(Mode::L2, 4))?;
    Subject::load(objects::LB_XDP, setup, &mut Wrapper::load()?)?.map_bytes()
}
