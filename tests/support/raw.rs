//! Origins of no protocol: a test accepts each connection itself, and says and hears what it likes on it.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::client::Client;

/// As a client's steps.
const PATIENCE: Duration = Duration::from_secs(20);

/// A port of its own at 127.0.0.1.
pub struct Raw(TcpListener);

impl Raw {
    pub async fn start() -> Raw {
        Raw(TcpListener::bind("127.0.0.1:0").await.expect("a port"))
    }

    pub fn address(&self) -> SocketAddr {
        self.0.local_addr().expect("its address")
    }

    /// The next connection, from its other end.
    pub async fn accept(&self) -> Client {
        Client::over(self.accept_stream().await)
    }

    /// The same, bare.
    pub async fn accept_stream(&self) -> TcpStream {
        let accepted = timeout(PATIENCE, self.0.accept()).await.expect("nobody connects");
        accepted.expect("accept").0
    }

    /// The next connection, and the beginning of it, of that length.
    pub async fn accept_after(&self, length: usize) -> (Vec<u8>, Client) {
        let mut accepted = self.accept().await;
        (accepted.read(length).await, accepted)
    }
}
