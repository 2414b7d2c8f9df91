//! The HTTP check: a GET is answered with an expected status.

use std::{future::Future, net::SocketAddr, time::Duration};

use futures_util::{
    FutureExt,
    future::{Either, select},
};
use http_body_util::{BodyExt, Empty};
use hyper::{
    Request, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1,
    header,
};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use super::{report::Outcome, reset_on_close::ResetOnClose, tcp};

/// Most bytes of a response head that are read.
const MAX_HEAD: usize = 16 * 1024;
/// Most bytes of a body that are read.
const MAX_BODY: usize = 64 * 1024;
/// How long a healthy backend's body is read, so that the backend is the one that closes.
const BODY_TIME: Duration = Duration::from_millis(50);

/// What is asked, and which answers are good.
pub(super) struct Question<'a> {
    pub(super) path: &'a str,
    pub(super) host: Option<&'a str>,
    /// Lowest and highest status that counts as healthy.
    pub(super) status: (u16, u16),
}

/// Asks once. The caller sets the time limit.
pub(super) async fn check(address: SocketAddr, question: &Question<'_>) -> Outcome {
    let request = match request(address, question) {
        Ok(request) => request,
        Err(error) => return Outcome::Failure(format!("the check's path or host is not valid: {error}")),
    };
    let stream = match tcp::connect(address).await {
        Ok(stream) => stream,
        Err(outcome) => return outcome,
    };
    let stream = TokioIo::new(ResetOnClose(stream));
    let (mut sender, connection) = match http1::Builder::new().max_buf_size(MAX_HEAD).handshake(stream).await
    {
        Ok(parts) => parts,
        Err(error) => return Outcome::Failure(describe(&error)),
    };
    // It may end with the head already, and is not to be asked again then.
    let mut connection = Box::pin(connection.fuse());
    let response = match drive(&mut connection, sender.send_request(request)).await {
        Ok(response) => response,
        Err(error) => return Outcome::Failure(describe(&error)),
    };
    let status = response.status();
    let outcome = verdict(status.as_u16(), question.status);
    if matches!(outcome, Outcome::Success(_)) && status != StatusCode::NO_CONTENT {
        // The verdict stands, and is not kept waiting: this only spares the backend a reset in its answer's middle.
        tokio::spawn(async move {
            let rest = drive(&mut connection, drain(response.into_body()));
            let _ = timeout(BODY_TIME, rest).await;
            drop(sender);
        });
    }
    outcome
}

/// Runs the connection until something is over that needs it.
async fn drive<T>(connection: &mut (impl Future + Unpin), exchange: impl Future<Output = T>) -> T {
    let exchange = std::pin::pin!(exchange);
    match select(exchange, connection).await {
        Either::Left((outcome, _)) => outcome,
        // The connection ended first; the exchange learns of it, or has what it needs already.
        Either::Right((_, exchange)) => exchange.await,
    }
}

fn request(
    address: SocketAddr,
    question: &Question<'_>,
) -> Result<Request<Empty<Bytes>>, hyper::http::Error> {
    let host = question.host.map_or_else(|| default_host(address), str::to_owned);
    Request::get(question.path)
        .header(header::HOST, host)
        .header(header::USER_AGENT, concat!("lb/", env!("CARGO_PKG_VERSION")))
        .header(header::ACCEPT, "*/*")
        .header(header::CONNECTION, "close")
        .body(Empty::new())
}

/// The address as a Host header: without the port if that is HTTP's own.
fn default_host(address: SocketAddr) -> String {
    match address {
        SocketAddr::V4(v4) if v4.port() == 80 => v4.ip().to_string(),
        SocketAddr::V6(v6) if v6.port() == 80 => format!("[{}]", v6.ip()),
        other => other.to_string(),
    }
}

fn verdict(status: u16, (low, high): (u16, u16)) -> Outcome {
    if (low..=high).contains(&status) {
        return Outcome::Success(format!("status {status}"));
    }
    let expected = if low == high { low.to_string() } else { format!("{low} to {high}") };
    Outcome::Failure(format!("status {status}, expected {expected}"))
}

async fn drain(mut body: Incoming) {
    let mut read = 0;
    while let Some(Ok(frame)) = body.frame().await {
        read += frame.data_ref().map_or(0, Bytes::len);
        if read > MAX_BODY {
            return;
        }
    }
}

/// What went wrong, for the operator.
fn describe(error: &hyper::Error) -> String {
    if error.is_incomplete_message() {
        "connection closed before a whole answer".into()
    } else if error.is_parse() {
        format!("the answer is not HTTP/1: {error}")
    } else {
        let cause = std::error::Error::source(error).map(ToString::to_string);
        cause.unwrap_or_else(|| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    const QUESTION: Question<'static> = Question { path: "/health?full=1", host: None, status: (200, 299) };

    /// Answers one connection with `answer` after reading the request, and gives the request back.
    async fn ask(question: &Question<'_>, answer: &'static [u8]) -> (Outcome, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(stream.read_u8().await.unwrap());
            }
            // The client may have seen enough and closed.
            let _ = stream.write_all(answer).await;
            String::from_utf8(request).unwrap()
        });
        let outcome = check(address, question).await;
        (outcome, server.await.unwrap())
    }

    #[tokio::test]
    async fn an_expected_status_is_a_success() {
        let (outcome, request) = ask(&QUESTION, b"HTTP/1.1 204 No Content\r\n\r\n").await;
        assert_eq!(outcome, Outcome::Success("status 204".into()));
        assert!(request.starts_with("GET /health?full=1 HTTP/1.1\r\n"), "{request}");
        assert!(request.contains("host: 127.0.0.1:"), "{request}");
        let answer = b"HTTP/1.0 200 OK\r\ncontent-length: 3\r\n\r\nyes";
        assert_eq!(ask(&QUESTION, answer).await.0, Outcome::Success("status 200".into()));
    }

    #[tokio::test]
    async fn the_host_header_can_be_set() {
        let question = Question { host: Some("www.example.com"), ..QUESTION };
        let (_, request) = ask(&question, b"HTTP/1.1 200 OK\r\n\r\n").await;
        assert!(request.contains("host: www.example.com\r\n"), "{request}");
    }

    #[tokio::test]
    async fn another_status_is_a_failure() {
        let answer = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
        let (outcome, _) = ask(&QUESTION, answer).await;
        assert_eq!(outcome, Outcome::Failure("status 503, expected 200 to 299".into()));
    }

    #[tokio::test]
    async fn what_is_not_http_is_a_failure() {
        for answer in [
            &b"SSH-2.0-OpenSSH_9.9\r\n"[..],
            b"\x16\x03\x01\x00\xff\xfe\x00\x00",
            b"HTTP/1.1 twohundred OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nno colon here\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nhalf: a he",
            b"",
            &[b'x'; 200_000],
        ] {
            let (outcome, _) = ask(&QUESTION, answer).await;
            assert!(matches!(outcome, Outcome::Failure(_)), "{outcome:?}");
        }
    }

    #[tokio::test]
    async fn an_endless_head_ends_in_a_failure() {
        const HEAD: &[u8] = &{
            let mut head = [b'a'; 100_000];
            let start = b"HTTP/1.1 200 OK\r\nlong: ";
            let mut at = 0;
            while at < start.len() {
                head[at] = start[at];
                at += 1;
            }
            head
        };
        let (outcome, _) = ask(&QUESTION, HEAD).await;
        assert!(matches!(outcome, Outcome::Failure(_)), "{outcome:?}");
    }

    #[test]
    fn hosts_are_written_as_http_wants_them() {
        for (address, host) in [
            ("192.0.2.1:80", "192.0.2.1"),
            ("192.0.2.1:8080", "192.0.2.1:8080"),
            ("[2001:db8::1]:80", "[2001:db8::1]"),
            ("[2001:db8::1]:8080", "[2001:db8::1]:8080"),
        ] {
            assert_eq!(default_host(address.parse().unwrap()), host);
        }
    }
}
