//! The decapsulation programs, packet by packet.

use std::net::IpAddr;

use anyhow::{Context as _, Result};
use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, HashMap},
};
use lb_common::{addr::RawAddr, maps};
use lb_userspace::objects;

use super::{
    Counters, Label, Outcome, raw,
    run::{counters_of, delta, load_program, run},
};

/// UDP port of the tunnels that [`Decap`] unpacks.
pub const DECAP_GUE_PORT: u16 = 6080;

/// A decapsulation program, loaded with service addresses.
pub struct Decap {
    ebpf: Ebpf,
    program: &'static str,
    before: Counters,
}

impl Decap {
    /// Loads the program of XDP and fills its maps.
    pub fn load(addresses: &[IpAddr]) -> Result<Self> {
        Self::load_program(addresses, "decap")
    }

    /// Loads the program of traffic control and fills its maps.
    pub fn load_tc(addresses: &[IpAddr]) -> Result<Self> {
        Self::load_program(addresses, "decap_tc")
    }

    fn load_program(addresses: &[IpAddr], program: &'static str) -> Result<Self> {
        let mut ebpf = EbpfLoader::new().load(objects::LB_DECAP).context("lb-decap")?;
        load_program(&mut ebpf, program)?;
        let map = ebpf.map_mut(maps::DECAP_GUE_PORT).context("no DECAP_GUE_PORT")?;
        Array::<_, u32>::try_from(map)?.set(0, u32::from(DECAP_GUE_PORT), 0)?;
        let map = ebpf.map_mut(maps::DECAP_VIPS).context("no DECAP_VIPS")?;
        let mut vips: HashMap<_, RawAddr, u32> = HashMap::try_from(map)?;
        for address in addresses {
            vips.insert(raw(*address), 1, 0)?;
        }
        Ok(Self { ebpf, program, before: Counters::new() })
    }

    /// Runs the program on a frame.
    pub fn run(&mut self, frame: &[u8]) -> Result<Outcome> {
        let (action, bytes) = run(&self.ebpf, self.program, frame, None)?;
        let after = counters_of(&self.ebpf, maps::REASONS, maps::MAX_REASONS, Label::Reason)?;
        let counted = delta(&self.before, &after);
        self.before = after;
        Ok(Outcome { action, bytes, counted })
    }
}
