//! HTTP requests per second, with a connection for each and with connections that are kept.

use std::{
    cell::{Cell, RefCell},
    io,
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use super::{
    scene::{Scene, measured_cpu},
    sched::{self, Priority},
    server,
};
use crate::{
    cluster::HTTP_PORT,
    topology::{VIP4, client_address},
    wait,
};

/// Clients at the same time: enough that the CPU never waits for them.
const CLIENTS: u16 = 16;
/// A request that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(2);
/// A sample with a larger share of failed requests is none.
const FAILED_MAX: f64 = 0.5;

/// How connections are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connections {
    /// One per request.
    New,
    /// One per client.
    Kept,
}

/// One sample.
#[derive(Clone, Copy, Debug)]
pub struct Requests {
    /// Answered requests per second.
    pub per_s: f64,
    /// Requests that failed, of a million.
    pub failed_per_million: f64,
}

/// One sample of about `length`.
pub fn sample(scene: &Scene, connections: Connections, length: Duration) -> Result<Requests> {
    scene.topology.client.enter(|| {
        sched::settle(measured_cpu(), Priority::High)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime, run(connections, length))
    })?
}

#[derive(Default)]
struct Tally {
    answered: Cell<u64>,
    failed: Cell<u64>,
    /// Why the last one failed.
    error: RefCell<Option<io::Error>>,
    /// Numbers of clients' addresses.
    next: Cell<u16>,
}

async fn run(connections: Connections, length: Duration) -> Result<Requests> {
    let tally = Rc::<Tally>::default();
    let started = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..CLIENTS {
        let tally = Rc::clone(&tally);
        tasks.spawn_local(async move {
            let mut kept = None;
            while started.elapsed() < length && wait::check_interrupted().is_ok() {
                let result = timeout(PATIENCE, request(connections, &tally, &mut kept)).await;
                match result.map_err(io::Error::from).flatten() {
                    Ok(()) => tally.answered.set(tally.answered.get() + 1),
                    Err(error) => {
                        kept = None;
                        tally.failed.set(tally.failed.get() + 1);
                        *tally.error.borrow_mut() = Some(error);
                    }
                }
            }
        });
    }
    tasks.join_all().await;
    wait::check_interrupted()?;
    let took = started.elapsed();
    let (answered, failed) = (tally.answered.get() as f64, tally.failed.get() as f64);
    ensure!(
        failed <= FAILED_MAX * (answered + failed),
        "{failed} HTTP requests failed and {answered} did not; the last: {:?}",
        tally.error.borrow()
    );
    Ok(Requests {
        per_s: answered / took.as_secs_f64(),
        failed_per_million: failed / (answered + failed) * 1e6,
    })
}

async fn request(connections: Connections, tally: &Tally, kept: &mut Option<TcpStream>) -> io::Result<()> {
    let close = connections == Connections::New;
    let mut stream = match kept.take() {
        Some(stream) => stream,
        None => connect(tally).await?,
    };
    let last: &[u8] = if close { server::CLOSE } else { b"" };
    stream.write_all(&[b"GET / HTTP/1.1\r\nhost: bench\r\n", last, b"\r\n"].concat()).await?;
    let mut buffer = [0; 1024];
    let mut filled = 0;
    // The one response that the servers give ends with its body.
    while !buffer[..filled].ends_with(b"\r\n\r\nok") {
        let length = stream.read(&mut buffer[filled..]).await?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        filled += length;
    }
    if close {
        // The server closes first, so that its side keeps the port. More than one response is wrong.
        if stream.read(&mut buffer).await? != 0 {
            return Err(io::ErrorKind::InvalidData.into());
        }
    } else {
        *kept = Some(stream);
    }
    Ok(())
}

async fn connect(tally: &Tally) -> io::Result<TcpStream> {
    let number = tally.next.get() % 2_000 + 1;
    tally.next.set(number);
    let socket = TcpSocket::new_v4()?;
    socket.bind((client_address(false, number), 0).into())?;
    let stream = socket.connect(SocketAddr::from((VIP4, HTTP_PORT))).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
