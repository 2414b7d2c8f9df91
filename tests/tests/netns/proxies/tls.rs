//! Certificates, and HTTPS on connections that may be kept.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpStream},
    sync::Arc,
};

use anyhow::{Context as _, Result, ensure};
use lb_tests::client::{self, PATIENCE};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, crypto::ring, pki_types::ServerName,
};

const NAME: &str = "shop.example";

/// A certificate that only its holder can have answered with, and clients that take no other.
#[derive(Clone)]
pub struct Identity {
    /// The certificate.
    pub certificate_pem: String,
    /// Its private key.
    pub key_pem: String,
    clients: Arc<ClientConfig>,
}

impl Identity {
    pub fn new() -> Result<Self> {
        let made = rcgen::generate_simple_self_signed([NAME.to_owned()])?;
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone())?;
        let clients = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            certificate_pem: made.cert.pem(),
            key_pem: made.signing_key.serialize_pem(),
            clients: Arc::new(clients),
        })
    }
}

/// An answer.
pub struct Answer {
    /// The backend whose application it comes from.
    pub backend: String,
    /// Whether the server ends the connection after it.
    pub is_last: bool,
}

/// An HTTPS connection.
pub struct Connection {
    stream: BufReader<StreamOwned<ClientConnection, TcpStream>>,
}

impl Connection {
    /// Opens one. Must be called on a thread inside the client's namespace.
    pub async fn open(identity: &Identity, source: IpAddr, target: SocketAddr) -> Result<Self> {
        let stream = client::connect(source, target).await?.into_std()?;
        stream.set_nonblocking(false)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let session = ClientConnection::new(Arc::clone(&identity.clients), ServerName::try_from(NAME)?)?;
        Ok(Self { stream: BufReader::new(StreamOwned::new(session, stream)) })
    }

    /// One request.
    pub fn get(&mut self, connection: &str) -> Result<Answer> {
        let request = format!("GET / HTTP/1.1\r\nhost: {NAME}\r\nconnection: {connection}\r\n\r\n");
        self.stream.get_mut().write_all(request.as_bytes()).context("can't send a request")?;
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let length = self.stream.read_line(&mut head).with_context(|| format!("after {head:?}"))?;
            ensure!(length > 0, "the connection ended after {head:?}");
        }
        let head = head.to_ascii_lowercase();
        ensure!(head.starts_with("http/1.1 200 "), "{head}");
        let field = |name: &str| {
            let mut fields = head.lines().filter_map(|line| line.split_once(": "));
            fields.find_map(|(key, value)| (key == name).then_some(value))
        };
        let length = field("content-length").context("no content-length")?.parse()?;
        let backend = field("x-backend").context("no x-backend")?.to_owned();
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).context("half an answer")?;
        ensure!(body == format!("{backend}\n").as_bytes(), "{body:?} from {backend}");
        Ok(Answer { backend, is_last: field("connection") == Some("close") })
    }

    /// Waits for the other side to end it, after its last answer.
    pub fn end(mut self) -> Result<()> {
        let more = self.stream.read_to_end(&mut Vec::new()).context("no end of a connection")?;
        ensure!(more == 0, "{more} bytes after the last answer");
        Ok(())
    }
}
