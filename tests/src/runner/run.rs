//! One run of a loaded program, and what its counters grew by.

use anyhow::{Context as _, Result, anyhow, bail};
use aya::{
    Ebpf,
    maps::{PerCpuArray, ProgramArray},
    programs::{Program, TestRun as _, TestRunOptions, Xdp},
};
use lb_common::{maps, stats::Counter};

use super::{Action, Counters, Label};

/// Verdict of a program of traffic control that leaves the packet to the next one.
const TCX_NEXT: u32 = u32::MAX;

/// Loads the program of this name.
pub(super) fn load_program(ebpf: &mut Ebpf, name: &str) -> Result<()> {
    let loaded = match ebpf.program_mut(name).with_context(|| format!("no program {name}"))? {
        Program::Xdp(program) => program.load(),
        Program::SchedClassifier(program) => program.load(),
        _ => bail!("{name} is no program of a packet"),
    };
    loaded.map_err(|error| anyhow!("the verifier refuses {name}: {error:?}"))
}

/// Loads the stages that the main program goes on to, and puts them in its map. A program of another build may have none.
pub(super) fn fill_stages(ebpf: &mut Ebpf) -> Result<()> {
    if ebpf.map(maps::STAGES).is_none() {
        return Ok(());
    }
    load_program(ebpf, "translate")?;
    let program: &Xdp = ebpf.program("translate").context("no program translate")?.try_into()?;
    let program = program.fd()?.try_clone()?;
    let map = ebpf.map_mut(maps::STAGES).context("no STAGES")?;
    Ok(ProgramArray::try_from(map)?.set(maps::STAGE_TRANSLATE, &program, 0)?)
}

/// One run of a program: its verdict and the frame afterwards.
pub(super) fn run(ebpf: &Ebpf, name: &str, frame: &[u8], metadata: Option<u32>) -> Result<(Action, Vec<u8>)> {
    let program = ebpf.program(name).with_context(|| format!("no program {name}"))?;
    let metadata = metadata.unwrap_or(0);
    let data: Vec<u8> = std::iter::repeat_n(0, metadata as usize).chain(frame.iter().copied()).collect();
    // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
    let context: Vec<u8> =
        [metadata, data.len() as u32, 0, 1, 0, 0].iter().flat_map(|field| field.to_ne_bytes()).collect();
    let mut out = vec![0; frame.len() + 128 + metadata as usize];
    let options = TestRunOptions {
        data_in: Some(&data),
        data_out: Some(&mut out),
        ctx_in: (metadata != 0).then_some(&context[..]),
        ..TestRunOptions::default()
    };
    let result = match program {
        Program::Xdp(program) => program.test_run(options)?,
        Program::SchedClassifier(program) => program.test_run(options)?,
        _ => bail!("{name} is no program of a packet"),
    };
    out.truncate(result.data_size_out as usize);
    out.drain(..metadata as usize);
    let action = match result.return_value {
        1 => Action::Drop,
        2 => Action::Pass,
        3 => Action::Transmit,
        4 => Action::Redirect,
        TCX_NEXT => Action::Pass,
        _ => Action::Aborted,
    };
    Ok((action, out))
}

/// The counters of a map that are not zero.
pub(super) fn counters_of(ebpf: &Ebpf, map: &str, length: u32, label: fn(u32) -> Label) -> Result<Counters> {
    let map = ebpf.map(map).with_context(|| format!("no map {map}"))?;
    let counters: PerCpuArray<_, Counter> = PerCpuArray::try_from(map)?;
    let mut sums = Counters::new();
    for index in 0..length {
        let sum: Counter = counters.get(&index, 0)?.iter().copied().sum();
        if sum != Counter::default() {
            sums.insert(label(index), sum);
        }
    }
    Ok(sums)
}

/// What counters grew by.
pub(super) fn delta(before: &Counters, after: &Counters) -> Counters {
    let mut delta = Counters::new();
    for (label, sum) in after {
        let was = before.get(label).copied().unwrap_or_default();
        if *sum != was {
            delta
                .insert(*label, Counter { packets: sum.packets - was.packets, bytes: sum.bytes - was.bytes });
        }
    }
    delta
}
