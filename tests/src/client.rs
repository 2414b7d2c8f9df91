//! Clients: one request, datagram or connection at a time, from an address of choice.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpSocket, TcpStream, UdpSocket},
    time::timeout,
};

/// How long a client waits for anything. A request that takes longer has failed.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// A response, read to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// The backend that answered.
    pub backend: String,
    /// Body.
    pub body: Vec<u8>,
}

/// A TCP connection from a given address. Must be called on a thread inside the client's namespace.
pub async fn connect(source: IpAddr, target: SocketAddr) -> Result<TcpStream> {
    let socket = if target.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.bind((source, 0).into()).with_context(|| format!("can't bind to {source}"))?;
    let connected = timeout(PATIENCE, socket.connect(target)).await;
    let stream = connected.map_err(|_| io::Error::from(io::ErrorKind::TimedOut)).flatten();
    stream.with_context(|| format!("connecting from {source} to {target}"))
}

/// GET on a connection of its own.
pub async fn get(source: IpAddr, target: SocketAddr, path: &str) -> Result<Response> {
    let mut stream = connect(source, target).await?;
    let read = async {
        stream.write_all(request(target, path).as_bytes()).await?;
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await?;
        anyhow::Ok(all)
    };
    let all =
        timeout(PATIENCE, read).await.with_context(|| format!("GET {path} from {target}: no end"))??;
    parse(&all).with_context(|| format!("GET {path} from {target}"))
}

/// Opens `/stream` and returns the connection, after the head of the response, with the backend's name.
pub async fn open_stream(source: IpAddr, target: SocketAddr) -> Result<(BufReader<TcpStream>, String)> {
    let mut stream = connect(source, target).await?;
    stream.write_all(request(target, "/stream").as_bytes()).await?;
    let mut stream = BufReader::new(stream);
    let head = async {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            ensure!(stream.read_line(&mut head).await? > 0, "the connection ended in the head");
        }
        Ok(head)
    };
    let head = timeout(PATIENCE, head).await.context("no response")??;
    let name = header(&head, "x-backend").context("no x-backend in the response")?.to_owned();
    Ok((stream, name))
}

/// One line of an open stream.
pub async fn read_tick(stream: &mut BufReader<TcpStream>) -> Result<()> {
    let mut line = String::new();
    let length = timeout(PATIENCE, stream.read_line(&mut line)).await.context("silent")??;
    if length == 0 { bail!("ended by the other side") } else { Ok(()) }
}

/// Sends one datagram to a UDP echo server and returns the name of the backend that sent it back.
pub async fn udp_exchange(source: IpAddr, target: SocketAddr, payload: &str) -> Result<String> {
    let socket = UdpSocket::bind((source, 0)).await?;
    // Connected: an answer from another address than the service's would not arrive.
    socket.connect(target).await?;
    socket.send(payload.as_bytes()).await?;
    let mut buffer = vec![0; 4096];
    let length = timeout(PATIENCE, socket.recv(&mut buffer))
        .await
        .with_context(|| format!("no answer from {target}"))??;
    let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
    let (name, echoed) = text.split_once(' ').with_context(|| format!("strange answer {text:?}"))?;
    ensure!(echoed == payload, "sent {payload:?}, got {echoed:?} back");
    Ok(name.to_owned())
}

/// Sends lines to a TCP echo server, checks what comes back and returns the backend's name.
pub async fn tcp_exchange(source: IpAddr, target: SocketAddr, lines: &[&str]) -> Result<String> {
    let mut stream = BufReader::new(connect(source, target).await?);
    let exchange = async {
        let mut name = String::new();
        stream.read_line(&mut name).await?;
        for line in lines {
            stream.write_all(format!("{line}\n").as_bytes()).await?;
            let mut echoed = String::new();
            stream.read_line(&mut echoed).await?;
            ensure!(echoed.trim_end() == *line, "sent {line:?}, got {echoed:?} back");
        }
        Ok(name.trim_end().to_owned())
    };
    timeout(PATIENCE, exchange).await.with_context(|| format!("no echo from {target}"))?
}

fn request(target: SocketAddr, path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: {target}\r\nconnection: close\r\n\r\n")
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .filter_map(|line| line.split_once(": "))
        .find_map(|(key, value)| (key == name).then_some(value))
}

fn parse(all: &[u8]) -> Result<Response> {
    let end = all.windows(4).position(|window| window == b"\r\n\r\n").context("no end of the head")?;
    let head = String::from_utf8_lossy(&all[..end]);
    let body = all[end + 4..].to_vec();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).context("no status")?;
    let length: usize = header(&head, "content-length").context("no content-length")?.parse()?;
    ensure!(body.len() == length, "{} bytes of {length}", body.len());
    let backend = header(&head, "x-backend").context("no x-backend")?.to_owned();
    Ok(Response { status, backend, body })
}
