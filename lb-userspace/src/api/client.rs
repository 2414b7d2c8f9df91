//! The command line's side: one request on one connection, within a deadline.

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
    time::Duration,
};

use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, body::Bytes, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tokio::net::UnixStream;

use super::Failure;
use crate::{
    desired::command::Command,
    error::{Error, Kind},
};

/// Asks the agent on a socket.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
    timeout: Duration,
}

impl Client {
    /// A client of the agent on `socket`, which waits `timeout` for each answer.
    pub fn new(socket: &Path, timeout: Duration) -> Self {
        Self { socket: socket.to_owned(), timeout }
    }

    /// Reads a view, such as `/v1/status`.
    ///
    /// # Errors
    /// The agent's own, and those of reaching it.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        self.ask(Method::GET, path, None::<&()>).await
    }

    /// Gives a command.
    ///
    /// # Errors
    /// The agent's own, and those of reaching it.
    pub async fn command(&self, command: &Command) -> Result<super::view::Outcome, Error> {
        self.ask(Method::POST, "/v1/commands", Some(command)).await
    }

    /// Asks what a command would touch.
    ///
    /// # Errors
    /// The agent's own, those of reaching it, and those that the command would have.
    pub async fn preview(&self, command: &Command) -> Result<super::view::Preview, Error> {
        self.ask(Method::POST, "/v1/preview", Some(command)).await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, Error> {
        let timeout = self.timeout;
        tokio::time::timeout(timeout, self.exchange(method, path, body)).await.unwrap_or_else(|_| {
            Err(Error::new(
                Kind::Timeout,
                format!("the agent did not answer within {timeout:?}; see its log, or give --timeout"),
            ))
        })
    }

    async fn exchange<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, Error> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| self.unreachable(&error))?;
        let broken = |error: hyper::Error| Error::failed(format!("talking to the agent: {error}"));
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        // Ends with the connection, at the latest with this process.
        tokio::spawn(connection);
        let encode = |error: serde_json::Error| Error::failed(format!("write the request: {error}"));
        let body = body.map(serde_json::to_vec).transpose().map_err(encode)?.unwrap_or_default();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "lb")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| Error::failed(format!("write the request: {error}")))?;
        let response = sender.send_request(request).await.map_err(broken)?;
        let status = response.status();
        let answer = response.into_body().collect().await.map_err(broken)?.to_bytes();
        if status.is_success() {
            return serde_json::from_slice(&answer).map_err(|error| {
                Error::failed(format!(
                    "the agent's answer is not understood ({error}); is it of another version than this lb?"
                ))
            });
        }
        Err(serde_json::from_slice::<Failure>(&answer).map_or_else(
            |_| Error::failed(format!("the agent answered {status}: {}", String::from_utf8_lossy(&answer))),
            |failure| failure.error,
        ))
    }

    fn unreachable(&self, error: &std::io::Error) -> Error {
        let socket = self.socket.display();
        match error.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused | ErrorKind::NotADirectory => Error::new(
                Kind::AgentNotRunning,
                format!(
                    "no agent answers on {socket}; start one with `sudo lb attach IFACE` or `sudo lb agent`"
                ),
            ),
            ErrorKind::PermissionDenied => Error::new(
                Kind::Permission,
                format!("no access to {socket}; run with sudo, or join group lb"),
            ),
            _ => Error::failed(format!("connect to {socket}: {error}")),
        }
    }
}
