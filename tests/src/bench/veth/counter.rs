//! Counting at the backends: a native XDP program each, which drops what it counts.

use anyhow::{Context as _, Result, anyhow};
use aya::{
    Ebpf, EbpfLoader,
    maps::PerCpuArray,
    programs::{Xdp, xdp::XdpMode},
};
use lb_common::traffic::Arrived;
use lb_userspace::objects;

use crate::link::End;

/// A counter on an interface; detached when dropped.
pub struct Counter {
    ebpf: Ebpf,
}

impl Counter {
    /// Attaches one.
    pub fn attach((netns, interface): End<'_>) -> Result<Self> {
        let mut mac = [0; 8];
        mac[..6].copy_from_slice(&netns.mac(interface)?);
        let mac = u64::from_ne_bytes(mac);
        let mut loader = EbpfLoader::new();
        loader.override_global("OWN_MAC", &mac, true);
        let mut ebpf = loader.load(objects::LB_BASELINE).context("lb-baseline")?;
        attach(&mut ebpf, "count", (netns, interface))?;
        Ok(Self { ebpf })
    }

    /// What has arrived since it was attached.
    pub fn arrived(&self) -> Result<Arrived> {
        let map = self.ebpf.map("ARRIVED").context("no ARRIVED")?;
        let mut sum = Arrived::default();
        for cpu in PerCpuArray::<_, Arrived>::try_from(map)?.get(&0, 0)?.iter() {
            sum.packets += cpu.packets;
            sum.strays += cpu.strays;
        }
        Ok(sum)
    }
}

/// Loads a program of an object and attaches it natively; it is attached as long as the object lives.
pub fn attach(ebpf: &mut Ebpf, name: &str, (netns, interface): End<'_>) -> Result<()> {
    let ifindex = netns.ifindex(interface)?;
    let program: &mut Xdp = ebpf.program_mut(name).with_context(|| format!("no {name}"))?.try_into()?;
    program.load().map_err(|error| anyhow!("the verifier refuses {name}: {error:?}"))?;
    netns
        .enter(|| program.attach_to_if_index(ifindex, XdpMode::Driver))?
        .with_context(|| format!("can't attach {name} to {interface} in {}", netns.name()))?;
    Ok(())
}
