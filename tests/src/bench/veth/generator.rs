//! The traffic generator: live frames out of the client's interface, from one thread per CPU.

use std::{net::Ipv4Addr, sync::Barrier};

use anyhow::{Context as _, Result, anyhow, ensure};
use aya::{
    Ebpf, EbpfLoader,
    maps::Array,
    programs::{TestRun as _, TestRunOptions, Xdp},
};
use lb_common::traffic::{TRAFFIC_FIRST_PORT, TRAFFIC_FRAME_LEN, TRAFFIC_PORT, Traffic};
use lb_userspace::objects;

use super::sched::{self, Priority};
use crate::{
    netns::Netns,
    packet::{self, checksum},
};

/// Frames that the kernel sends between two looks at its other work; a veth's ring has room for 256.
const BATCH: u32 = 64;

/// Where the fields stand that vary.
const IP: usize = 14;
const IP_CHECKSUM: usize = 24;
const ADDRESSES: usize = 26;
const SOURCE: usize = 28;
const TCP: usize = 34;
const TCP_CHECKSUM: usize = 50;

/// A generator for one thread.
pub struct Generator {
    ebpf: Ebpf,
    ifindex: u32,
    macs: ([u8; 6], [u8; 6]),
    vip: Ipv4Addr,
    /// What it is set to; flows go on where they ended while this stays.
    set_to: Option<(u8, u32, u32)>,
}

/// What one thread sent.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// Packets.
    pub packets: u32,
    /// As the kernel timed it: without the call's own set-up and while others had the CPU. Nanoseconds.
    pub took_ns: f64,
    /// What the thread ran for, nanoseconds.
    pub ran_ns: f64,
}

impl Generator {
    /// A generator that sends by `ifindex` of the client's namespace, to the MAC address `to`.
    pub fn load(ifindex: u32, from: [u8; 6], to: [u8; 6], vip: Ipv4Addr) -> Result<Self> {
        let mut ebpf = EbpfLoader::new().load(objects::LB_BASELINE).context("lb-baseline")?;
        let program: &mut Xdp = ebpf.program_mut("generate").context("no generate")?.try_into()?;
        program.load().map_err(|error| anyhow!("the verifier refuses generate: {error:?}"))?;
        Ok(Self { ebpf, ifindex, macs: (to, from), vip, set_to: None })
    }

    /// Lets it send segments with these TCP flags, of the flows from `first` to before `end` in turn.
    pub fn set(&mut self, flags: u8, first: u32, end: u32) -> Result<()> {
        if self.set_to == Some((flags, first, end)) {
            return Ok(());
        }
        let traffic = self.traffic(flags, first, end)?;
        let map = self.ebpf.map_mut("TRAFFIC").context("no TRAFFIC")?;
        Array::<_, Traffic>::try_from(map)?.set(0, traffic, 0)?;
        self.set_to = Some((flags, first, end));
        Ok(())
    }

    fn traffic(&self, flags: u8, first: u32, end: u32) -> Result<Traffic> {
        let source = Ipv4Addr::new(10, 1, 0, 1);
        let payload = [0; TRAFFIC_FRAME_LEN - 54];
        let segment = packet::tcp(TRAFFIC_FIRST_PORT, TRAFFIC_PORT, flags, &payload).v4(source, self.vip);
        let bytes = segment.frame().macs(self.macs.0, self.macs.1).bytes();
        ensure!(bytes.len() == TRAFFIC_FRAME_LEN, "a frame of {} bytes", bytes.len());
        let mut frame = [0u64; TRAFFIC_FRAME_LEN / 8];
        for (word, bytes) in frame.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = u64::from_ne_bytes(bytes.try_into()?);
        }
        // What is summed up for the packet at hand is left out here: checksums, half of the address, the port.
        let (mut ip, mut tcp) = (bytes[IP..TCP].to_vec(), bytes[ADDRESSES..].to_vec());
        for at in [IP_CHECKSUM, SOURCE] {
            ip[at - IP..][..2].fill(0);
        }
        for at in [SOURCE, TCP, TCP_CHECKSUM] {
            tcp[at - ADDRESSES..][..2].fill(0);
        }
        // The rest of the pseudo header: protocol and length of the segment.
        tcp.extend([0, 6]);
        tcp.extend(u16::try_from(bytes.len() - TCP)?.to_be_bytes());
        let sum = |bytes: &[u8]| u32::from(!checksum(bytes));
        Ok(Traffic {
            frame,
            ip_sum: sum(&ip),
            tcp_sum: sum(&tcp),
            next: first,
            first,
            end,
            ifindex: self.ifindex,
        })
    }

    /// Sends on the calling thread, which must be in the client's namespace.
    fn send(&self, packets: u32) -> Result<Sent> {
        let program: &Xdp = self.ebpf.program("generate").context("no generate")?.try_into()?;
        let before = sched::own_run_time_ns();
        let result = program
            .test_run(TestRunOptions {
                data_in: Some(&[0; TRAFFIC_FRAME_LEN]),
                repeat: packets,
                attrs: aya::programs::TestRunAttrs::new().xdp_live_frames(BATCH),
                ..TestRunOptions::default()
            })
            .context("can't send live frames (Linux 5.18 or newer)")?;
        let ran_ns = (sched::own_run_time_ns() - before) as f64;
        // The kernel divides by the number of packets, to whole nanoseconds.
        let took_ns = result.duration.as_nanos() as f64 * f64::from(packets);
        Ok(Sent { packets, took_ns, ran_ns })
    }
}

/// Sends `packets` by each generator at the same time, the nth on the nth CPU counted from the last.
pub fn send_together(client: &Netns, generators: &[Generator], packets: u32) -> Result<Vec<Sent>> {
    let start = Barrier::new(generators.len());
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let threads: Vec<_> = generators
            .iter()
            .enumerate()
            .map(|(nth, generator)| {
                let start = &start;
                scope.spawn(move || {
                    client.enter(|| {
                        let settled = sched::settle(cpus - 1 - nth % cpus, Priority::High);
                        start.wait();
                        settled.and_then(|()| generator.send(packets))
                    })?
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().map_err(|_| anyhow!("a generator panicked"))?)
            .collect()
    })
}
