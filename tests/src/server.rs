//! Small servers for backends: each answer names the backend that gave it.

use std::{
    future::Future,
    io,
    net::{Ipv6Addr, SocketAddr},
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::oneshot,
};

use crate::{
    netns::Netns,
    topology::{VIP4, VIP6},
};

/// Pause between the lines of `/stream`.
const TICK: Duration = Duration::from_millis(20);

/// A server on a thread of its own. Stopping or dropping it is like killing its process: every connection ends at once.
#[derive(Debug)]
pub struct Server {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// HTTP/1.1 on all addresses of a namespace. `/stream` sends a line every 20 ms for ever, `/bytes/N` a body of N
    /// bytes, every other path the server's name; the header `x-backend` has it always.
    pub fn http(netns: &Netns, name: &str, port: u16) -> Result<Self> {
        let name: &'static str = name.to_owned().leak();
        Self::tcp(netns, name, port, move |stream| http_connection(stream, name))
    }

    /// Sends its name as the first line, then every line back.
    pub fn tcp_echo(netns: &Netns, name: &str, port: u16) -> Result<Self> {
        let name: &'static str = name.to_owned().leak();
        Self::tcp(netns, name, port, move |stream| echo_connection(stream, name))
    }

    /// Answers each datagram to a service address with its name, a space and the datagram.
    pub fn udp_echo(netns: &Netns, name: &str, port: u16) -> Result<Self> {
        // One socket per address: an answer leaves from the address that its socket is bound to.
        let addresses = [SocketAddr::from((VIP4, port)), SocketAddr::from((VIP6, port))];
        let bind = || addresses.iter().map(std::net::UdpSocket::bind).collect::<io::Result<Vec<_>>>();
        let sockets = netns.enter(bind)?.with_context(|| format!("{name}: UDP port {port}"))?;
        let name: &'static str = name.to_owned().leak();
        Self::start(name, move || async move {
            for socket in sockets {
                socket.set_nonblocking(true)?;
                tokio::spawn(answer_datagrams(UdpSocket::from_std(socket)?, name));
            }
            Ok(())
        })
    }

    fn tcp<F>(
        netns: &Netns,
        name: &'static str,
        port: u16,
        serve: impl Fn(TcpStream) -> F + Send + 'static,
    ) -> Result<Self>
    where
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        // The unspecified IPv6 address takes IPv4 as well.
        let bind = || std::net::TcpListener::bind((Ipv6Addr::UNSPECIFIED, port));
        let listener = netns.enter(bind)?.with_context(|| format!("{name}: TCP port {port}"))?;
        Self::start(name, move || async move {
            listener.set_nonblocking(true)?;
            let listener = TcpListener::from_std(listener)?;
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    // A client that goes away is its own affair.
                    tokio::spawn(serve(stream));
                }
            });
            Ok(())
        })
    }

    /// Runs what `set_up` spawned until it is told to stop.
    fn start<F>(name: &str, set_up: impl FnOnce() -> F + Send + 'static) -> Result<Self>
    where
        F: Future<Output = io::Result<()>>,
    {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let (ready, started) = std::sync::mpsc::sync_channel(1);
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            runtime.block_on(async move {
                let result = set_up().await;
                let failed = result.is_err();
                // The one who starts us waits for this.
                let _ = ready.send(result);
                if !failed {
                    let _ = stopped.await;
                }
            });
        })?;
        started.recv().map_err(|_| anyhow!("{name} died at once"))??;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }

    /// Ends it: the port refuses connections, those that were open are cut.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(Err(panicked)) = self.thread.take().map(JoinHandle::join) {
            eprintln!("a server panicked: {panicked:?}");
        }
    }
}

async fn http_connection(stream: TcpStream, name: &str) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    loop {
        let mut request = String::new();
        let mut close = false;
        if stream.read_line(&mut request).await? == 0 {
            return Ok(());
        }
        loop {
            let mut header = String::new();
            if stream.read_line(&mut header).await? <= 2 {
                break;
            }
            close |= header.to_ascii_lowercase().starts_with("connection: close");
        }
        let path = request.split_whitespace().nth(1).unwrap_or("/");
        if path == "/stream" {
            return stream_lines(stream.get_mut(), name).await;
        }
        let body = match path.strip_prefix("/bytes/").and_then(|size| size.parse().ok()) {
            Some(size) => vec![b'x'; size],
            None => format!("{name}\n").into_bytes(),
        };
        let head = format!("HTTP/1.1 200 OK\r\nx-backend: {name}\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all(&[head.as_bytes(), &body].concat()).await?;
        if close {
            return stream.shutdown().await;
        }
    }
}

/// A response without an end, delimited by the connection.
async fn stream_lines(stream: &mut TcpStream, name: &str) -> io::Result<()> {
    let head = format!("HTTP/1.1 200 OK\r\nx-backend: {name}\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    loop {
        stream.write_all(b"tick\n").await?;
        tokio::time::sleep(TICK).await;
    }
}

async fn echo_connection(stream: TcpStream, name: &str) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    stream.write_all(format!("{name}\n").as_bytes()).await?;
    let mut line = Vec::new();
    while stream.read_until(b'\n', &mut line).await? > 0 {
        stream.write_all(&line).await?;
        line.clear();
    }
    Ok(())
}

async fn answer_datagrams(socket: UdpSocket, name: &str) -> io::Result<()> {
    let mut buffer = [0; 2048];
    loop {
        let (length, from) = socket.recv_from(&mut buffer).await?;
        let answer = [name.as_bytes(), b" ", &buffer[..length]].concat();
        // The client may be gone.
        let _ = socket.send_to(&answer, from).await;
    }
}
