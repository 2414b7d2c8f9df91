//! A program under test, loaded for a case and brought into its state.

use std::os::fd::AsFd as _;

use anyhow::{Context as _, Result, bail, ensure};
use aya::maps::{HashMap, Map, MapData};
use lb_common::{
    event::Event,
    flow::{FlowEntry, FlowKey},
    maps,
};

use super::{
    case::State,
    expect::Fate,
    setup::Setup,
    wrapper::{Run, Wrapper},
};
use crate::{batch, runner::Balancer};

/// Rounds whose packets are checked before anything is measured, besides the last of each sample.
const CHECKED: u32 = 32;

/// A loaded balancer and what it was loaded for.
pub struct Subject {
    /// The case's world and packets.
    pub setup: Setup,
    balancer: Balancer,
}

impl Subject {
    /// Loads a program with the case's world and records the flows that the state asks for.
    ///
    /// # Errors
    /// If it does not load, or a flow could not be recorded.
    pub fn load(object: &[u8], setup: Setup, wrapper: &mut Wrapper) -> Result<Self> {
        let mut subject = Self { balancer: Balancer::load_object(object, &setup.world)?, setup };
        if subject.setup.case.is_primed() {
            subject.prime(wrapper)?;
        }
        Ok(subject)
    }

    /// A SYN of every flow.
    fn prime(&mut self, wrapper: &mut Wrapper) -> Result<()> {
        let flows = self.setup.case.flows;
        let target = self.balancer.program_fd()?;
        wrapper.run(&target, &self.setup.priming()?, &self.setup.frame, 0, flows)?;
        let wanted = match self.setup.case.state {
            State::MovingFew => {
                let is_moving = |round| self.setup.slot(&self.setup.flow(round)).is_moving();
                (0..flows).filter(|round| is_moving(*round)).count() as u64
            }
            _ => flows.into(),
        };
        let found = self.recorded()?;
        ensure!(found == wanted, "{}: {found} of {wanted} flows are recorded", self.setup.case.label());
        Ok(())
    }

    /// Checks packets of rounds all over, and one of a moving slot if there is any, before they are measured.
    ///
    /// # Errors
    /// If one does not come out as it should.
    pub fn check(&mut self, wrapper: &mut Wrapper) -> Result<()> {
        let flows = self.setup.case.flows;
        let step = (flows / CHECKED).max(1);
        let is_moving = |round: &u32| self.setup.slot(&self.setup.flow(*round)).is_moving();
        let looked_for = if self.setup.case.state == State::MovingFew { flows } else { 0 };
        let moving = (0..looked_for).find(is_moving);
        for round in (0..CHECKED).map(|nth| nth * step).chain(moving) {
            self.run(wrapper, round, 1)?;
        }
        if self.setup.case.records() {
            self.forget()?;
        }
        Ok(())
    }

    /// Runs the program on some packets and checks the last one.
    ///
    /// # Errors
    /// If it does not come out as it should, or new flows were not recorded.
    pub fn run(&mut self, wrapper: &mut Wrapper, first: u32, packets: u32) -> Result<Run> {
        let target = self.balancer.program_fd()?;
        let run = wrapper.run(&target, &self.setup.template, &self.setup.frame, first, packets)?;
        let last = first.wrapping_add(packets - 1);
        let entry = self.entry(&self.setup.flow(last))?;
        let wanted = Fate::wanted(&self.setup, last, entry)?;
        run.last.check(&wanted, &self.setup.case.label(), last)?;
        Ok(run)
    }

    /// Empties the flow table; how many flows were in it.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn forget(&mut self) -> Result<u64> {
        Ok(batch::clear::<FlowKey, FlowEntry>(self.flows()?.fd().as_fd())?)
    }

    /// Checks that as many flows were recorded as packets opened, where they are, and empties the table.
    ///
    /// # Errors
    /// If it is another number.
    pub fn check_recorded(&mut self, packets: u32) -> Result<()> {
        if !self.setup.case.records() {
            return Ok(());
        }
        let cleared = self.forget()?;
        let events: Vec<_> = self.balancer.events()?.keys().map(|event| Event::name(*event)).collect();
        ensure!(
            cleared == u64::from(packets),
            "{}: {cleared} of {packets} new flows were recorded; events: {events:?}",
            self.setup.case.label()
        );
        Ok(())
    }

    /// Memory of all maps, bytes.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn map_bytes(&self) -> Result<u64> {
        self.balancer.map_bytes()
    }

    /// Flows in the flow table.
    fn recorded(&mut self) -> Result<u64> {
        Ok(batch::count::<FlowKey, FlowEntry>(self.flows()?.fd().as_fd())?)
    }

    fn flows(&mut self) -> Result<&mut MapData> {
        match self.balancer.map(maps::FLOWS)? {
            Map::HashMap(flows) => Ok(flows),
            _ => bail!("{} is no hash map", maps::FLOWS),
        }
    }

    /// What the flow table has of a flow.
    fn entry(&mut self, flow: &FlowKey) -> Result<Option<FlowEntry>> {
        let map = self.balancer.map(maps::FLOWS).context("the flow table")?;
        let flows: HashMap<_, FlowKey, FlowEntry> = HashMap::try_from(map)?;
        match flows.get(flow, 0) {
            Ok(entry) => Ok(Some(entry)),
            Err(aya::maps::MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}
