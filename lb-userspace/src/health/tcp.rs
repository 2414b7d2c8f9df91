//! The TCP check: the backend accepts a connection.

use std::{io, net::SocketAddr};

use tokio::net::{TcpSocket, TcpStream};

use super::report::Outcome;

/// Connects and closes.
pub(super) async fn check(address: SocketAddr) -> Outcome {
    match connect(address).await {
        Ok(_stream) => Outcome::Success("connected".into()),
        Err(outcome) => outcome,
    }
}

/// A connection to the backend that leaves nothing behind when it is closed.
pub(super) async fn connect(address: SocketAddr) -> Result<TcpStream, Outcome> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }
    .map_err(|error| judge(&error))?;
    // Closing sends a reset, so that checks do not fill the port range with connections in TIME_WAIT.
    socket.set_zero_linger().map_err(|error| judge(&error))?;
    socket.connect(address).await.map_err(|error| judge(&error))
}

/// Whose fault a failed connect is.
pub(super) fn judge(error: &io::Error) -> Outcome {
    match error.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE) => Outcome::Inconclusive(
            "not checked: the agent has too many open files; raise its limit (LimitNOFILE=)".into(),
        ),
        Some(libc::EADDRNOTAVAIL) => Outcome::Inconclusive(
            "not checked: no free local port; widen net.ipv4.ip_local_port_range".into(),
        ),
        Some(libc::ENOBUFS | libc::ENOMEM) => {
            Outcome::Inconclusive("not checked: this host is out of memory".into())
        }
        _ => Outcome::Failure(match error.kind() {
            io::ErrorKind::ConnectionRefused => "connection refused".into(),
            io::ErrorKind::ConnectionReset => "connection reset".into(),
            io::ErrorKind::HostUnreachable => "host unreachable".into(),
            io::ErrorKind::NetworkUnreachable => "network unreachable: no route".into(),
            _ => error.to_string(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn an_open_port_is_a_success() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(address).await.unwrap();
            let outcome = check(listener.local_addr().unwrap()).await;
            assert_eq!(outcome, Outcome::Success("connected".into()));
        }
    }

    #[tokio::test]
    async fn a_closed_port_is_a_failure() {
        // A socket that is bound but does not listen keeps the port from others and refuses.
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let outcome = check(socket.local_addr().unwrap()).await;
        assert_eq!(outcome, Outcome::Failure("connection refused".into()));
    }

    #[test]
    fn a_shortage_on_this_host_is_not_the_backends_fault() {
        for code in [libc::EMFILE, libc::ENFILE, libc::EADDRNOTAVAIL, libc::ENOBUFS] {
            let outcome = judge(&io::Error::from_raw_os_error(code));
            assert!(matches!(outcome, Outcome::Inconclusive(_)), "{outcome:?}");
        }
        let unreachable = judge(&io::Error::from_raw_os_error(libc::EHOSTUNREACH));
        assert_eq!(unreachable, Outcome::Failure("host unreachable".into()));
    }
}
