//! How long one client waits: for a connection and its first byte, and for answers on an open one.

use std::{
    collections::BTreeMap,
    io::{self, Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpStream, UdpSocket},
    sync::PoisonError,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use hdrhistogram::Histogram;
use socket2::{Domain, Socket, Type};

use super::{
    scene::{Mechanism, Scene, measured_cpu},
    sched::{self, Priority},
};
use crate::{
    cluster::ECHO_PORT,
    topology::{VIP4, client_address},
    wait,
};

/// An exchange that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(2);
/// Digits that histograms keep.
const DIGITS: u8 = 3;
/// Exchanges between two looks whether somebody wants us to end.
const LOOK_EVERY: u64 = 256;
/// A sample with a larger share of failed exchanges is none.
const FAILED_MAX: f64 = 0.5;
/// Clients' addresses in turn: ports of ended connections rest for a minute.
const CLIENTS: u64 = 2_000;

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exchange {
    /// A TCP connection until its first byte is there.
    Connect,
    /// One byte there and back over TCP.
    TcpRr,
    /// The same over UDP.
    UdpRr,
}

impl Exchange {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Connect, Self::TcpRr, Self::UdpRr];
}

/// One sample.
#[derive(Clone, Copy, Debug)]
pub struct Latency {
    /// Median, microseconds.
    pub p50: f64,
    /// 99 of 100 were faster, microseconds.
    pub p99: f64,
    /// 999 of 1,000 were faster, microseconds.
    pub p999: f64,
    /// What client, servers and proxy ran for per exchange, microseconds.
    pub cpu_us: f64,
    /// Exchanges that failed, of a million.
    pub failed_per_million: f64,
}

/// One sample of about `length`. With a `rate` exchanges begin at that rate (per second), whether the one before has
/// ended in time or not, and are timed from when they should have begun; without, each begins when the last one ended.
pub fn sample(scene: &Scene, exchange: Exchange, length: Duration, rate: Option<f64>) -> Result<Latency> {
    let before = run_times_ns(scene)?;
    let pace = rate.map(|rate| Duration::from_secs_f64(1.0 / rate));
    let run = scene.topology.client.enter(|| {
        // Below the servers: they end the last connection before the next begins, and not while that one is timed.
        sched::settle(measured_cpu(), Priority::Low)?;
        let began = sched::own_run_time_ns();
        let mut run = Run::new(length, pace)?;
        run.exchange(exchange)?;
        anyhow::Ok((run, sched::own_run_time_ns() - began))
    })??;
    let (run, client_ns) = run;
    let after = run_times_ns(scene)?;
    let servers_ns: u64 =
        after.iter().map(|(id, time)| time - before.get(id).copied().unwrap_or(0).min(*time)).sum();
    let times = &run.times;
    let us = |quantile| times.value_at_quantile(quantile) as f64 / 1e3;
    let total = (times.len() + run.failed) as f64;
    ensure!(run.failed as f64 <= FAILED_MAX * total, "{} of {total} exchanges failed", run.failed);
    Ok(Latency {
        p50: us(0.5),
        p99: us(0.99),
        p999: us(0.999),
        cpu_us: (client_ns + servers_ns) as f64 / 1e3 / total,
        failed_per_million: run.failed as f64 / total * 1e6,
    })
}

/// One exchange of each kind by which a scene is seen to work.
pub fn rehearse(client: u16) -> Result<()> {
    connect(u64::from(client)).map(drop).context("TCP to the service")
}

/// What the threads of servers, and a proxy if there is one, have run for. The kernel's work for them is done in their
/// name.
fn run_times_ns(scene: &Scene) -> Result<BTreeMap<u32, u64>> {
    let servers = scene.servers.iter().filter_map(|server| {
        let server = server.lock().unwrap_or_else(PoisonError::into_inner);
        server.as_ref().map(|server| server.thread_id)
    });
    let mut times: BTreeMap<_, _> =
        servers.map(|thread| Ok((thread, sched::thread_run_time_ns(thread)?))).collect::<Result<_>>()?;
    if let Mechanism::Daemon(daemon) = &scene.mechanism {
        times.insert(daemon.process(), sched::process_run_time_ns(daemon.process())?);
    }
    Ok(times)
}

struct Run {
    times: Histogram<u64>,
    failed: u64,
    done: u64,
    started: Instant,
    length: Duration,
    pace: Option<Duration>,
}

impl Run {
    fn new(length: Duration, pace: Option<Duration>) -> Result<Self> {
        let highest = 60 * Duration::from_secs(1).as_nanos() as u64;
        let times = Histogram::new_with_bounds(1, highest, DIGITS)?;
        Ok(Self { times, failed: 0, done: 0, started: Instant::now(), length, pace })
    }

    fn exchange(&mut self, exchange: Exchange) -> Result<()> {
        match exchange {
            Exchange::Connect => {
                let first = self.started.elapsed().as_nanos() as u64 ^ u64::from(sched::thread_id());
                self.repeat(|number| connect(first + number).map(Some))
            }
            Exchange::TcpRr => self.on_a_socket(connect, |stream| {
                stream.write_all(b"?")?;
                stream.read_exact(&mut [0])
            }),
            Exchange::UdpRr => self.on_a_socket(udp_socket, |socket| {
                socket.send(b"?")?;
                socket.recv(&mut [0; 16]).map(drop)
            }),
        }
    }

    /// Repeats an exchange on one socket, on another one after a failure: its backend may be gone.
    fn on_a_socket<S>(
        &mut self,
        make: impl Fn(u64) -> Result<S>,
        mut once: impl FnMut(&mut S) -> io::Result<()>,
    ) -> Result<()> {
        let mut open = None;
        let mut made = 0;
        self.repeat(move |_| {
            let mut socket = match open.take() {
                Some(socket) => socket,
                None => {
                    made += 1;
                    make(made)?
                }
            };
            once(&mut socket)?;
            open = Some(socket);
            Ok(None::<S>)
        })
    }

    /// Times `once` until the sample is long enough. What it returns is dropped after the time is taken.
    fn repeat<S>(&mut self, mut once: impl FnMut(u64) -> Result<Option<S>>) -> Result<()> {
        while self.started.elapsed() < self.length {
            if self.done.is_multiple_of(LOOK_EVERY) {
                wait::check_interrupted()?;
            }
            let begin = self.next_begin();
            let result = once(self.done);
            let took = begin.elapsed();
            match result {
                Ok(_) => self.times.record(took.as_nanos() as u64)?,
                Err(_) => self.failed += 1,
            }
            self.done += 1;
        }
        Ok(())
    }

    /// When the next exchange begins: now, or when it is due, for which it waits.
    fn next_begin(&self) -> Instant {
        let Some(pace) = self.pace else { return Instant::now() };
        let due = self.started + pace.mul_f64(self.done as f64);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        due
    }
}

/// A connection from another client than the last, with its first byte read.
fn connect(number: u64) -> Result<TcpStream> {
    let socket = socket(Type::STREAM, number)?;
    let mut stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    stream.read_exact(&mut [0])?;
    Ok(stream)
}

fn udp_socket(number: u64) -> Result<UdpSocket> {
    Ok(socket(Type::DGRAM, number)?.into())
}

fn socket(kind: Type, number: u64) -> Result<Socket> {
    let socket = Socket::new(Domain::IPV4, kind, None)?;
    let source: IpAddr = client_address(false, 1 + (number % CLIENTS) as u16);
    socket.bind(&SocketAddr::from((source, 0)).into())?;
    socket.set_read_timeout(Some(PATIENCE))?;
    // Bounds connecting as well.
    socket.set_write_timeout(Some(PATIENCE))?;
    socket.connect(&SocketAddr::from((VIP4, ECHO_PORT)).into())?;
    Ok(socket)
}
