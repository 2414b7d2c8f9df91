//! A QUIC client and servers, of which each puts its id into the connection ids that it issues.

use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher as _, Hasher as _},
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result};
use lb_tests::netns::Netns;
use quinn::{
    ClientConfig, Connection, ConnectionId, ConnectionIdGenerator, Endpoint, EndpointConfig, ServerConfig,
    TokioRuntime, TransportConfig,
    rustls::{RootCertStore, pki_types::PrivatePkcs8KeyDer},
};

/// UDP port of the servers.
pub const PORT: u16 = 443;
/// Bytes of a connection id: one, a server id of four, seven at random.
const CONNECTION_ID: usize = 12;
/// Longest message.
const MESSAGE: usize = 100;
const NAME: &str = "quic.test";

/// What server and client agree on.
pub struct Pki {
    server: ServerConfig,
    client: ClientConfig,
}

impl Pki {
    /// A certificate for all servers, and a client that trusts it. A connection is given up after `silence`.
    pub fn new(silence: Duration) -> Result<Self> {
        let made = rcgen::generate_simple_self_signed([NAME.to_owned()])?;
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone())?;
        let mut transport = TransportConfig::default();
        transport.max_idle_timeout(Some(silence.try_into()?));
        // So that only a lost way ends a connection.
        transport.keep_alive_interval(Some(silence / 8));
        // veth in native mode hands frames over as they are.
        transport.enable_segmentation_offload(false);
        let transport = Arc::new(transport);
        let mut server = ServerConfig::with_single_cert(vec![made.cert.der().clone()], key.into())?;
        server.transport_config(Arc::clone(&transport));
        let mut client = ClientConfig::with_root_certificates(Arc::new(roots))?;
        client.transport_config(transport);
        Ok(Self { server, client })
    }

    /// A server in a namespace that answers each message with its number. It runs as long as the endpoint.
    pub fn serve(&self, netns: &Netns, address: IpAddr, number: u8) -> Result<Endpoint> {
        let socket = netns.enter(|| UdpSocket::bind((address, PORT)))??;
        let mut config = EndpointConfig::default();
        config.cid_generator(move || Box::new(Named { number }));
        let endpoint = Endpoint::new(config, Some(self.server.clone()), socket, Arc::new(TokioRuntime))?;
        let accepting = endpoint.clone();
        tokio::spawn(async move {
            while let Some(incoming) = accepting.accept().await {
                // A client that goes away is its own affair.
                tokio::spawn(async move { answer(incoming.await?, number).await });
            }
        });
        Ok(endpoint)
    }
}

async fn answer(connection: Connection, number: u8) -> Result<()> {
    loop {
        let (mut send, mut receive) = connection.accept_bi().await?;
        receive.read_to_end(MESSAGE).await?;
        send.write_all(&[number]).await?;
        send.finish()?;
    }
}

/// The server id of a server, as `lb backend add` takes it.
pub fn server_id(number: u8) -> String {
    format!("51c0de{number:02x}")
}

/// Makes connection ids that name a server: its id begins at byte 1.
struct Named {
    number: u8,
}

impl ConnectionIdGenerator for Named {
    fn generate_cid(&mut self) -> ConnectionId {
        let random = RandomState::new().build_hasher().finish().to_le_bytes();
        let [first, rest @ ..] = random;
        let id = [&[first, 0x51, 0xc0, 0xde, self.number][..], &rest].concat();
        ConnectionId::new(&id)
    }

    fn cid_len(&self) -> usize {
        CONNECTION_ID
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// A client with one connection.
pub struct Client {
    endpoint: Endpoint,
    connection: Connection,
    /// Who answered first.
    pub server: u8,
}

impl Client {
    /// Connects from an address of a namespace and asks who answers.
    pub async fn connect(pki: &Pki, netns: &Netns, from: IpAddr, to: SocketAddr) -> Result<Self> {
        let socket = bind(netns, from)?;
        let endpoint = Endpoint::new(EndpointConfig::default(), None, socket, Arc::new(TokioRuntime))?;
        let connection = endpoint.connect_with(pki.client.clone(), to, NAME)?.await.context("connect")?;
        let server = ask(&connection).await.with_context(|| format!("first question from {from}"))?;
        Ok(Self { endpoint, connection, server })
    }

    /// Goes on from another address, as a client does whose network changes. Who answers.
    pub async fn move_to(&self, netns: &Netns, from: IpAddr) -> Result<u8> {
        self.endpoint.rebind(bind(netns, from)?)?;
        ask(&self.connection).await
    }

    /// Ends the connection.
    pub fn close(&self) {
        self.connection.close(0u8.into(), b"done");
    }
}

fn bind(netns: &Netns, from: IpAddr) -> Result<UdpSocket> {
    netns.enter(|| UdpSocket::bind((from, 0)))?.with_context(|| format!("bind to {from}"))
}

async fn ask(connection: &Connection) -> Result<u8> {
    let (mut send, mut receive) = connection.open_bi().await?;
    send.write_all(b"who are you?").await?;
    send.finish()?;
    let answer = receive.read_to_end(MESSAGE).await?;
    answer.first().copied().context("an empty answer")
}
