//! Connections and datagram flows that are held open, each under the test's control.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{IpAddr, SocketAddr, TcpStream, UdpSocket},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    client::{self, PATIENCE},
    netns::Netns,
};

/// Something that a backend answers, and must go on to answer.
pub trait Held: Sized {
    /// Opens one. Must be called on a thread inside the client's namespace.
    ///
    /// # Errors
    /// If no backend answers.
    fn open(source: IpAddr, target: SocketAddr) -> impl Future<Output = Result<Self>> + Send;

    /// The backend that answered first.
    fn backend(&self) -> &str;

    /// Says something, which the same backend must answer.
    ///
    /// # Errors
    /// If nobody answers, or another.
    fn talk(&mut self) -> Result<()>;
}

/// Opens one from each of these addresses, one after another.
///
/// # Errors
/// If one of them can't be opened.
pub fn open<T: Held + Send>(
    client: &Netns,
    target: SocketAddr,
    sources: impl IntoIterator<Item = IpAddr> + Send,
) -> Result<Vec<T>> {
    client.block_on(|| async {
        let mut held = Vec::new();
        for source in sources {
            held.push(T::open(source, target).await?);
        }
        Ok(held)
    })?
}

/// Each of them is still answered by its backend.
///
/// # Errors
/// If one is not.
pub fn talk<T: Held>(held: &mut [T]) -> Result<()> {
    held.iter_mut().try_for_each(Held::talk)
}

/// How many of them a backend answers.
pub fn of<T: Held>(held: &[T], backend: &str) -> usize {
    held.iter().filter(|one| one.backend() == backend).count()
}

/// A TCP connection with an echo server. Dropping it closes it (FIN).
#[derive(Debug)]
pub struct Connection {
    stream: BufReader<TcpStream>,
    backend: String,
}

impl Connection {
    /// Ends it with a reset (RST).
    ///
    /// # Errors
    /// If the socket refuses.
    pub fn reset(self) -> Result<()> {
        let stream = self.stream.into_inner();
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
        Ok(())
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        ensure!(self.stream.read_line(&mut line)? > 0, "ended by the other side");
        Ok(line)
    }

    fn echo(&mut self) -> Result<()> {
        self.stream.get_mut().write_all(b"still there?\n")?;
        let line = self.line()?;
        ensure!(line == "still there?\n", "got {line:?} back");
        Ok(())
    }
}

impl Held for Connection {
    async fn open(source: IpAddr, target: SocketAddr) -> Result<Self> {
        let stream = client::connect(source, target).await?.into_std()?;
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut this = Self { stream: BufReader::new(stream), backend: String::new() };
        this.backend = this.line().context("no greeting")?.trim_end().to_owned();
        Ok(this)
    }

    fn backend(&self) -> &str {
        &self.backend
    }

    /// Another backend would not know the connection.
    fn talk(&mut self) -> Result<()> {
        let socket = self.stream.get_ref().local_addr();
        self.echo().with_context(|| format!("{socket:?} with {}", self.backend))
    }
}

/// A flow of datagrams from one port to an echo server.
#[derive(Debug)]
pub struct Flow {
    socket: UdpSocket,
    backend: String,
}

impl Flow {
    /// One datagram and its echo, with the name of who sent it.
    fn exchange(&self) -> Result<String> {
        self.socket.send(b"still there?")?;
        let mut buffer = [0; 256];
        let length = self.socket.recv(&mut buffer).context("no answer")?;
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        let (name, echoed) = text.split_once(' ').with_context(|| format!("strange answer {text:?}"))?;
        ensure!(echoed == "still there?", "got {echoed:?} back");
        Ok(name.to_owned())
    }
}

impl Held for Flow {
    async fn open(source: IpAddr, target: SocketAddr) -> Result<Self> {
        let socket = UdpSocket::bind((source, 0))?;
        socket.connect(target)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let mut this = Self { socket, backend: String::new() };
        this.backend = this.exchange()?;
        Ok(this)
    }

    fn backend(&self) -> &str {
        &self.backend
    }

    fn talk(&mut self) -> Result<()> {
        let name = self.exchange().with_context(|| format!("{:?}", self.socket.local_addr()))?;
        ensure!(name == self.backend, "{:?} was {}'s, is {name}'s", self.socket.local_addr(), self.backend);
        Ok(())
    }
}
