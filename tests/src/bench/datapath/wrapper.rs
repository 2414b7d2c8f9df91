//! The wrapper program: restores the packet, varies the flow, calls a program under test.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, ProgramArray},
    programs::{ProgramFd, TestRun as _, TestRunOptions, Xdp},
};
use lb_common::bench::Template;
use lb_userspace::objects;

use super::expect::Fate;

/// The wrapper, loaded, with the empty program.
pub struct Wrapper {
    ebpf: Ebpf,
    empty: ProgramFd,
}

/// What a call of the wrapper says.
pub struct Run {
    /// What a packet took, ns.
    pub ns: f64,
    /// CPU time of the calling thread, ns per packet.
    pub cpu_ns: f64,
    /// What the kernel measured, whole ns per packet.
    pub kernel_ns: f64,
    /// What became of the last packet.
    pub last: Fate,
}

impl Wrapper {
    /// Loads both programs.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn load() -> Result<Self> {
        let mut ebpf = EbpfLoader::new().load(objects::LB_BENCH).context("lb-bench")?;
        for name in ["empty", "wrap"] {
            let program: &mut Xdp =
                ebpf.program_mut(name).with_context(|| format!("no program {name}"))?.try_into()?;
            program.load().map_err(|error| anyhow!("{name}: {error:?}"))?;
        }
        let empty: &Xdp = ebpf.program("empty").context("no program empty")?.try_into()?;
        let empty = empty.fd()?.try_clone()?;
        Ok(Self { ebpf, empty })
    }

    /// The program that does nothing.
    ///
    /// # Errors
    /// If the process has no more descriptors.
    pub fn empty(&self) -> Result<ProgramFd> {
        Ok(self.empty.try_clone()?)
    }

    /// Runs a program on the packets of `packets` rounds from the `first` on.
    ///
    /// The time is the thread's CPU time around the call: the kernel's own figure is cut to whole nanoseconds, and the
    /// wall clock would count other processes' turns on this CPU. What the call itself takes, 0.2 ms or so, is the same
    /// for the empty program and small beside a sample; once in a while it waits for another CPU and is not. So a
    /// sample takes no more than the kernel's figure and what was cut off from that.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn run(
        &mut self,
        target: &ProgramFd,
        template: &Template,
        frame: &[u8],
        first: u32,
        packets: u32,
    ) -> Result<Run> {
        self.set("TEMPLATE", *template)?;
        self.set("ROUND", first)?;
        let map = self.ebpf.map_mut("TARGET").context("no TARGET")?;
        ProgramArray::try_from(map)?.set(0, target, 0)?;
        let mut bytes = vec![0; frame.len() + 128];
        let program: &Xdp = self.ebpf.program("wrap").context("no wrap")?.try_into()?;
        let before = thread_cpu_time();
        let result = program.test_run(TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut bytes),
            repeat: packets,
            ..TestRunOptions::default()
        })?;
        let cpu = thread_cpu_time() - before;
        bytes.truncate(result.data_size_out as usize);
        let cpu_ns = cpu.as_nanos() as f64 / f64::from(packets);
        let kernel_ns = result.duration.as_nanos() as f64;
        Ok(Run {
            ns: cpu_ns.min(kernel_ns + 1.0),
            cpu_ns,
            kernel_ns,
            last: Fate { action: result.return_value, bytes },
        })
    }

    fn set<T: aya::Pod>(&mut self, name: &str, value: T) -> Result<()> {
        let map = self.ebpf.map_mut(name).with_context(|| format!("no {name}"))?;
        let mut map: Array<_, T> = Array::try_from(map)?;
        Ok(map.set(0, value, 0)?)
    }
}

/// CPU time that this thread has had.
fn thread_cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock writes to a live local; it exists for every thread, so the call does not fail.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
