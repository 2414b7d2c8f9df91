//! `cargo xtask bench datapath`: what a packet costs, above an empty program that is called the same way.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result, anyhow, ensure};
use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, ProgramArray},
    programs::{ProgramFd, TestRun as _, TestRunOptions, Xdp},
};
use lb_common::{
    bench::{HEADER_LEN, Template},
    mode,
    service::Service,
    slot::CLASS_DEFAULT,
};
use lb_userspace::objects;
use serde::Serialize;

use super::{machine::Machine, samples::Summary};
use crate::{
    cpu, packet,
    runner::{self, Balancer, Slots, World, WorldService},
};

const VIP_V4: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
const VIP_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 1);
const BACKENDS: u32 = 100;
/// Flows of the many-flow cases: 2^20.
const MANY: u32 = 1 << 20;
const XDP_PASS: u32 = 2;
const XDP_TX: u32 = 3;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Samples of the empty program and of the program under test each, alternating.
    pub samples: usize,
    /// Packets of one sample.
    pub packets: u32,
}

impl Effort {
    /// What figures that are published need.
    pub const FULL: Self = Self { samples: 11, packets: 1 << 21 };
    /// What shows that the bench works.
    pub const QUICK: Self = Self { samples: 3, packets: 1 << 18 };
}

/// A measured case.
#[derive(Clone, Debug, Serialize)]
pub struct Case {
    /// `l2`, `ipip` or `pass`.
    pub mode: &'static str,
    /// 4 or 6.
    pub family: u8,
    /// Flows that the packets vary over.
    pub flows: u32,
    /// State of the slots.
    pub state: &'static str,
    /// Services in the table.
    pub services: u32,
    /// Backends of the service.
    pub backends: u32,
    /// Median of the samples, ns per packet above the empty program's median.
    pub added_ns: f64,
    /// Largest sample less smallest.
    pub spread: f64,
}

/// All figures.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What it was measured on.
    pub machine: Machine,
    /// Samples of each case.
    pub samples: usize,
    /// Packets of each sample.
    pub packets: u32,
    /// The empty program with its wrapper, ns per packet.
    pub empty_ns: f64,
    /// The cases.
    pub cases: Vec<Case>,
    /// Memory of all maps with one service of the default table size, bytes.
    pub map_bytes: u64,
}

struct Kind {
    mode: &'static str,
    family: u8,
}

const KINDS: [Kind; 6] = [
    Kind { mode: "l2", family: 4 },
    Kind { mode: "ipip", family: 4 },
    Kind { mode: "l2", family: 6 },
    Kind { mode: "ipip", family: 6 },
    Kind { mode: "pass", family: 4 },
    Kind { mode: "pass", family: 6 },
];

/// Measures every case and hands each to `done` as it is known.
pub fn datapath(effort: Effort, mut done: impl FnMut(&Case)) -> Result<Report> {
    let machine = Machine::here();
    cpu::pin_to_last()?;
    let mut wrapper = Wrapper::load()?;
    let (mut cases, mut empties, mut map_bytes) = (Vec::new(), Vec::new(), 0);
    for kind in &KINDS {
        for flows in [1, MANY] {
            // A program of its own per case: no case finds what another left in the maps.
            let balancer = Balancer::load_for_bench(&world(kind))?;
            map_bytes = balancer.map_bytes()?;
            let (empty, case) = wrapper.measure(kind, flows, effort, balancer.program_fd()?)?;
            done(&case);
            empties.push(empty);
            cases.push(case);
        }
    }
    Ok(Report {
        machine,
        samples: effort.samples,
        packets: effort.packets,
        empty_ns: Summary::of(&empties).median,
        cases,
        map_bytes,
    })
}

/// One service with a hundred backends that share its slots.
fn world(kind: &Kind) -> World {
    let owners: Vec<u32> = (1..=BACKENDS).collect();
    let v4 = kind.family == 4;
    let address = |id: u32| -> IpAddr {
        if v4 {
            Ipv4Addr::from(0x0a01_0000 + id).into()
        } else {
            Ipv6Addr::from((0xfd00 << 112) + u128::from(id)).into()
        }
    };
    let mode = if kind.mode == "ipip" { mode::IPIP } else { mode::L2 };
    World {
        seed: 0x1234_5678_9abc_def0,
        services: vec![WorldService {
            address: if v4 { VIP_V4.into() } else { VIP_V6.into() },
            port: 80,
            protocol: 6,
            service: Service { id: 1, mode, class: CLASS_DEFAULT, flags: 0 },
            slots: Slots::shared(&owners),
        }],
        backends: owners.iter().map(|id| (*id, runner::backend(*id, address(*id), address(0)))).collect(),
        ..World::default()
    }
}

/// A packet for the service, or for its address and another port.
fn frame(kind: &Kind) -> Vec<u8> {
    let port = if kind.mode == "pass" { 81 } else { 80 };
    let segment = packet::tcp(1024, port, packet::ACK, &[0; 32]);
    if kind.family == 4 {
        segment.v4(Ipv4Addr::new(192, 0, 2, 1), VIP_V4).frame().bytes()
    } else {
        segment.v6(Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 0, 1), VIP_V6).frame().bytes()
    }
}

struct Wrapper {
    ebpf: Ebpf,
}

impl Wrapper {
    fn load() -> Result<Self> {
        let mut ebpf = EbpfLoader::new().load(objects::LB_BENCH).context("lb-bench")?;
        for name in ["empty", "wrap"] {
            program_mut(&mut ebpf, name)?.load().map_err(|error| anyhow!("{name}: {error:?}"))?;
        }
        Ok(Self { ebpf })
    }

    /// Median of the empty program, and the case.
    fn measure(&mut self, kind: &Kind, flows: u32, effort: Effort, target: ProgramFd) -> Result<(f64, Case)> {
        let frame = frame(kind);
        self.set_template(kind, flows, &frame)?;
        let empty = program_mut(&mut self.ebpf, "empty")?.fd()?.try_clone()?;
        let (mut empties, mut samples) = (Vec::new(), Vec::new());
        // The first pair only warms caches up.
        for sample in 0..=effort.samples {
            let empty_ns = self.sample(&empty, &frame, effort.packets, |action, _| action == XDP_TX)?;
            let expected = |action, bytes: &[u8]| is_right(kind, &frame, action, bytes);
            let ns = self.sample(&target, &frame, effort.packets, expected)?;
            if sample > 0 {
                empties.push(empty_ns);
                samples.push(ns);
            }
        }
        let empty_ns = Summary::of(&empties).median;
        let Summary { median, spread } = Summary::of(&samples);
        let case = Case {
            mode: kind.mode,
            family: kind.family,
            flows,
            state: "steady",
            services: 1,
            backends: BACKENDS,
            added_ns: median - empty_ns,
            spread,
        };
        Ok((empty_ns, case))
    }

    fn set_template(&mut self, kind: &Kind, flows: u32, frame: &[u8]) -> Result<()> {
        let mut header = [0u64; HEADER_LEN / 8];
        for (word, bytes) in header.iter_mut().zip(frame.chunks_exact(8)) {
            *word = u64::from_ne_bytes(bytes.try_into()?);
        }
        let (source_at, port_at) = if kind.family == 4 { (28, 34) } else { (36, 54) };
        let template =
            Template { header, length: frame.len() as u32, flow_mask: flows - 1, source_at, port_at };
        let map = self.ebpf.map_mut("TEMPLATE").context("no TEMPLATE")?;
        let mut map: Array<_, Template> = Array::try_from(map)?;
        Ok(map.set(0, template, 0)?)
    }

    /// One sample of a program in the wrapper, ns per packet; its last packet is checked.
    fn sample(
        &mut self,
        target: &ProgramFd,
        frame: &[u8],
        repeat: u32,
        expected: impl Fn(u32, &[u8]) -> bool,
    ) -> Result<f64> {
        let map = self.ebpf.map_mut("TARGET").context("no TARGET")?;
        ProgramArray::try_from(map)?.set(0, target, 0)?;
        let mut out = vec![0; frame.len() + 128];
        let program: &Xdp = self.ebpf.program("wrap").context("no wrap")?.try_into()?;
        let result = program.test_run(TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut out),
            repeat,
            ..TestRunOptions::default()
        })?;
        out.truncate(result.data_size_out as usize);
        ensure!(
            expected(result.return_value, &out),
            "the last packet is wrong: action {}, {out:02x?}",
            result.return_value
        );
        // The kernel divides by the number of runs itself, to whole nanoseconds.
        Ok(result.duration.as_nanos() as f64)
    }
}

/// Whether a packet left as its case wants it: rewritten for some backend, or untouched.
fn is_right(kind: &Kind, frame: &[u8], action: u32, out: &[u8]) -> bool {
    let outer = match (kind.mode, kind.family) {
        ("ipip", 4) => 20,
        ("ipip", _) => 40,
        _ => 0,
    };
    if out.len() != frame.len() + outer {
        return false;
    }
    // Source address and port vary, all behind them does not.
    let behind = if kind.family == 4 { 36 } else { 56 };
    let same = out[behind + outer..] == frame[behind..];
    if kind.mode == "pass" {
        return same && action == XDP_PASS && out[..14] == frame[..14];
    }
    same && action == XDP_TX && out[..4] == [2, 0, 0, 1] && out[6..10] == [2, 0, 0, 2]
}

fn program_mut<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp> {
    Ok(ebpf.program_mut(name).with_context(|| format!("no program {name}"))?.try_into()?)
}
