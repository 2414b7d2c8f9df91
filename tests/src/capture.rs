//! What went over the wires of a test that failed, as a pcapng file with one interface per wire.

use std::{
    collections::VecDeque,
    os::fd::AsRawFd as _,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result};

use crate::{
    link::End,
    tap::{Seen, Tap},
};

/// Packets kept: the last ones matter.
const PACKETS: usize = 20_000;
/// Bytes kept of each packet.
const SNAP_LENGTH: usize = 256;

/// A recording under way. Unless [`Capture::discard`]ed, it is saved when dropped.
#[derive(Debug)]
pub struct Capture {
    path: PathBuf,
    interfaces: Vec<String>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<VecDeque<Packet>>>,
    save: bool,
}

#[derive(Debug)]
struct Packet {
    interface: usize,
    at_us: u64,
    length: usize,
    bytes: Vec<u8>,
}

impl Capture {
    /// Starts to record on these interfaces, for a test of this name. Packets that XDP takes or sends are seen at the
    /// other end of the wire only.
    pub fn start(name: &str, ends: &[End<'_>]) -> Result<Self> {
        let taps = ends.iter().map(|end| Tap::open(*end)).collect::<Result<Vec<_>>>()?;
        let stop = Arc::<AtomicBool>::default();
        let theirs = Arc::clone(&stop);
        let thread =
            std::thread::Builder::new().name("capture".into()).spawn(move || record(&taps, &theirs))?;
        let directory = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/pcap"));
        Ok(Self {
            path: directory.join(format!("{name}-{}.pcapng", std::process::id())),
            interfaces: ends
                .iter()
                .map(|(netns, interface)| format!("{}/{interface}", netns.name()))
                .collect(),
            stop,
            thread: Some(thread),
            save: true,
        })
    }

    /// The test has passed: nothing to keep.
    pub fn discard(mut self) {
        self.save = false;
    }

    fn save(&self, packets: &VecDeque<Packet>) -> Result<()> {
        std::fs::create_dir_all(self.path.parent().context("no directory")?)?;
        std::fs::write(&self.path, pcapng(&self.interfaces, packets))?;
        eprintln!("{} packets are in {}", packets.len(), self.path.display());
        Ok(())
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let Some(Ok(packets)) = self.thread.take().map(JoinHandle::join) else { return };
        if self.save
            && let Err(error) = self.save(&packets)
        {
            eprintln!("can't save {}: {error:#}", self.path.display());
        }
    }
}

fn record(taps: &[Tap], stop: &AtomicBool) -> VecDeque<Packet> {
    const WAKE_UP_MS: i32 = 50;
    let poll = |tap: &Tap| libc::pollfd { fd: tap.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let mut polled: Vec<_> = taps.iter().map(poll).collect();
    let mut packets = VecDeque::new();
    while !stop.load(Ordering::Relaxed) {
        // SAFETY: pointer and length are those of one vector, which nothing else uses meanwhile.
        unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, WAKE_UP_MS) };
        for (interface, tap) in taps.iter().enumerate() {
            while let Ok(Some(Seen { mut frame, .. })) = tap.receive() {
                let at_us =
                    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as u64;
                let length = frame.len();
                frame.truncate(SNAP_LENGTH);
                packets.push_back(Packet { interface, at_us, length, bytes: frame });
                if packets.len() > PACKETS {
                    packets.pop_front();
                }
            }
        }
    }
    packets
}

/// The file's contents: draft-ietf-opsawg-pcapng, a section header, an interface each, a packet each.
fn pcapng(interfaces: &[String], packets: &VecDeque<Packet>) -> Vec<u8> {
    let mut file = block(0x0a0d_0d0a, &[&0x1a2b_3c4d_u32.to_le_bytes(), &[1, 0, 0, 0], &[0xff; 8]]);
    for name in interfaces {
        let ethernet_and_snap = [1, 0, 0, 0, 0, 0, 0, 0];
        let name_option =
            [&2_u16.to_le_bytes()[..], &(name.len() as u16).to_le_bytes(), &padded(name.as_bytes())].concat();
        file.extend(block(1, &[&ethernet_and_snap, &name_option, &[0; 4]]));
    }
    for packet in packets {
        let numbers = [
            packet.interface as u32,
            (packet.at_us >> 32) as u32,
            packet.at_us as u32,
            packet.bytes.len() as u32,
            packet.length as u32,
        ];
        let head: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        file.extend(block(6, &[&head, &padded(&packet.bytes)]));
    }
    file
}

fn block(kind: u32, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let length = (body.len() as u32 + 12).to_le_bytes();
    [&kind.to_le_bytes()[..], &length, &body, &length].concat()
}

/// Filled up with zeros to a multiple of four.
fn padded(bytes: &[u8]) -> Vec<u8> {
    let mut padded = bytes.to_vec();
    padded.resize(bytes.len().next_multiple_of(4), 0);
    padded
}
