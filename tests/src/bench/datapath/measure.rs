//! Measures the cases of a group by turns.

use anyhow::Result;
use lb_userspace::objects;

use super::{
    Effort,
    case::{Case, State},
    expect::{Fate, XDP_TX},
    plan::Group,
    report::{Ratio, Row, Samples},
    setup::Setup,
    subject::Subject,
    wrapper::{Run, Wrapper},
};
use crate::bench::samples::Summary;

/// What all groups share.
pub struct Bench {
    wrapper: Wrapper,
    effort: Effort,
    /// The other object, if this build's is measured against one.
    against: Option<Vec<u8>>,
    empties: Vec<f64>,
    cpu_less_kernel: Vec<f64>,
}

/// A case under measurement.
struct Contest {
    case: Case,
    ours: Subject,
    other: Option<Subject>,
    samples: Samples,
}

impl Bench {
    pub fn new(effort: Effort, against: Option<Vec<u8>>) -> Result<Self> {
        Ok(Self {
            wrapper: Wrapper::load()?,
            effort,
            against,
            empties: Vec::new(),
            cpu_less_kernel: Vec::new(),
        })
    }

    /// The empty program, ns per packet.
    pub fn empty(&self) -> Summary {
        Summary::of(&self.empties)
    }

    /// CPU time less the kernel's figure, ns per packet.
    pub fn cpu_less_kernel(&self) -> Summary {
        Summary::of(&self.cpu_less_kernel)
    }

    /// Measures all cases of a group, one sample of each in every turn.
    pub fn group(&mut self, group: &Group) -> Result<(Vec<Row>, Vec<Ratio>)> {
        let mut contests = group.cases.iter().map(|case| self.load(case)).collect::<Result<Vec<_>>>()?;
        // The first turn only warms caches up.
        for turn in 0..=self.effort.samples {
            for contest in &mut contests {
                self.sample(contest, turn)?;
            }
        }
        let samples = |case: &Case| contests.iter().find(|contest| contest.case == *case);
        let ratios = group.comparisons.iter().filter_map(|comparison| {
            let (case, to) = (samples(&comparison.case)?, samples(&comparison.to)?);
            Some(Ratio::new(comparison, &case.samples, &to.samples))
        });
        let row = |contest: &Contest| {
            Row::new(&group.name, &contest.case, self.packets(&contest.case), &contest.samples)
        };
        Ok((contests.iter().map(row).collect(), ratios.collect()))
    }

    /// Loads what a case needs. Each has maps of its own: no case finds what another left there.
    fn load(&mut self, case: &Case) -> Result<Contest> {
        let mut load = |object: &[u8]| {
            let mut subject = Subject::load(object, Setup::new(*case)?, &mut self.wrapper)?;
            subject.check(&mut self.wrapper)?;
            anyhow::Ok(subject)
        };
        let ours = load(objects::LB_XDP)?;
        let other = self.against.as_deref().map(load).transpose()?;
        Ok(Contest { case: *case, ours, other, samples: Samples::default() })
    }

    /// Packets of a sample: half of them where each has an entry in the flow table, which takes longer; new ones then fill
    /// half of it.
    fn packets(&self, case: &Case) -> u32 {
        let is_tracked = case.is_tracked_service() || case.state == State::Tracked;
        if case.records() || is_tracked { self.effort.packets / 2 } else { self.effort.packets }
    }

    /// The empty program, then the programs under test on the same packets. Who goes first changes by turns.
    fn sample(&mut self, contest: &mut Contest, turn: usize) -> Result<()> {
        let packets = self.packets(&contest.case);
        let first = turn as u32 * packets;
        let empty_ns = self.empty_sample(&contest.ours.setup, first, packets)?;
        let Contest { ours, other, samples, .. } = contest;
        let mut programs = vec![(ours, &mut samples.ours)];
        programs.extend(other.as_mut().map(|other| (other, &mut samples.other)));
        if turn % 2 == 1 {
            programs.reverse();
        }
        for (subject, samples) in programs {
            let run = subject.run(&mut self.wrapper, first, packets)?;
            subject.check_recorded(packets)?;
            self.note(&run);
            if turn > 0 {
                samples.push(run.ns - empty_ns);
            }
        }
        Ok(())
    }

    fn empty_sample(&mut self, setup: &Setup, first: u32, packets: u32) -> Result<f64> {
        let empty = self.wrapper.empty()?;
        let run = self.wrapper.run(&empty, &setup.template, &setup.frame, first, packets)?;
        let last = first + (packets - 1);
        let wanted = Fate { action: XDP_TX, bytes: setup.ip_of(last).frame().bytes() };
        run.last.check(&wanted, "empty program", last)?;
        self.note(&run);
        self.empties.push(run.ns);
        Ok(run.ns)
    }

    fn note(&mut self, run: &Run) {
        self.cpu_less_kernel.push(run.cpu_ns - run.kernel_ns);
    }
}
