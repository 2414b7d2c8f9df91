//! The backends' servers: one thread each, which does as little as it can.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    thread::JoinHandle,
};

use anyhow::{Context as _, Result, anyhow};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::oneshot,
};

use super::sched::{self, Priority};
use crate::{
    cluster::{ECHO_PORT, HTTP_PORT},
    netns::Netns,
    topology::VIP4,
};

/// What every request is answered with.
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
/// A request that wants its connection closed afterwards has this line; clients of the bench write it so.
pub const CLOSE: &[u8] = b"connection: close\r\n";
/// The end of a request.
const END: &[u8] = b"\r\n\r\n";

/// TCP echo, which sends one byte of its own at first, UDP echo and HTTP. Dropping it ends all connections at once, as if
/// its process was killed.
#[derive(Debug)]
pub struct Server {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<()>>>,
    /// Number of its thread, by which its run time is looked up.
    pub thread_id: u32,
}

/// Sockets are made in the backend's namespace and stay there.
struct Sockets {
    echo: std::net::TcpListener,
    http: std::net::TcpListener,
    /// One per address: an answer leaves from the address that its socket is bound to.
    datagrams: Vec<std::net::UdpSocket>,
}

impl Server {
    /// Starts it on a CPU. It answers on all TCP addresses, and for UDP on the service's address and `own`, if any.
    pub fn start(netns: &Netns, own: Option<Ipv4Addr>, nth_cpu: usize) -> Result<Self> {
        let sockets = netns.enter(|| Sockets::bind(own))?.context("can't listen at a backend")?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let (ready, started) = std::sync::mpsc::sync_channel(1);
        let thread = std::thread::Builder::new().name("backend".into()).spawn(move || {
            sched::settle(nth_cpu, Priority::High)?;
            runtime.block_on(async move {
                sockets.serve()?;
                // Who started us waits for this.
                let _ = ready.send(sched::thread_id());
                let _ = stopped.await;
                Ok(())
            })
        })?;
        let thread_id = started.recv().map_err(|_| anyhow!("a backend's server did not start"))?;
        Ok(Self { stop: Some(stop), thread: Some(thread), thread_id })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(Err(error))) => eprintln!("a backend's server: {error:#}"),
            Some(Err(_)) => eprintln!("a backend's server panicked"),
            _ => {}
        }
    }
}

impl Sockets {
    fn bind(own: Option<Ipv4Addr>) -> io::Result<Self> {
        let listen = |port| {
            let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
            // A killed server leaves connections behind that would keep its successor from the port.
            socket.set_reuse_address(true)?;
            socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)).into())?;
            socket.listen(4096)?;
            socket.set_nonblocking(true)?;
            io::Result::Ok(std::net::TcpListener::from(socket))
        };
        let datagrams = [Some(VIP4), own].into_iter().flatten().map(|address| {
            let socket = std::net::UdpSocket::bind((address, ECHO_PORT))?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        });
        Ok(Self {
            echo: listen(ECHO_PORT)?,
            http: listen(HTTP_PORT)?,
            datagrams: datagrams.collect::<io::Result<_>>()?,
        })
    }

    fn serve(self) -> io::Result<()> {
        let (echo, http) = (TcpListener::from_std(self.echo)?, TcpListener::from_std(self.http)?);
        // A client that goes away is its own affair.
        tokio::spawn(async move {
            while let Ok((stream, _)) = echo.accept().await {
                tokio::spawn(echo_connection(stream));
            }
        });
        tokio::spawn(async move {
            while let Ok((stream, _)) = http.accept().await {
                tokio::spawn(http_connection(stream));
            }
        });
        for socket in self.datagrams {
            tokio::spawn(echo_datagrams(UdpSocket::from_std(socket)?));
        }
        Ok(())
    }
}

async fn echo_connection(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.write_all(b"!").await?;
    let mut buffer = [0; 2048];
    loop {
        let length = stream.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..length]).await?;
    }
}

async fn echo_datagrams(socket: UdpSocket) -> io::Result<()> {
    let mut buffer = [0; 2048];
    loop {
        let (length, from) = socket.recv_from(&mut buffer).await?;
        // The client may be gone.
        let _ = socket.send_to(&buffer[..length], from).await;
    }
}

async fn http_connection(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = [0; 4096];
    let mut filled = 0;
    loop {
        let length = stream.read(&mut buffer[filled..]).await?;
        filled += length;
        // The end of the connection, or of the room for a request.
        if length == 0 {
            return Ok(());
        }
        if !buffer[..filled].ends_with(END) {
            continue;
        }
        stream.write_all(RESPONSE).await?;
        if buffer[..filled].windows(CLOSE.len()).any(|window| window == CLOSE) {
            return Ok(());
        }
        filled = 0;
    }
}
