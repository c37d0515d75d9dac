//! How requests go out. Each worker has its own [`Upstream`]: a stack of idle connections for each endpoint, and the code
//! that dials, sends, and takes a connection back once its answer has been read.
//!
//! HTTP/1.1 towards endpoints is written here and not taken from a library, for what a balancer needs to know and a library
//! does not tell: how many bytes of a request left, whether an idle connection still stands, and that a request can be
//! encoded once more for another endpoint without having been copied before. There is no task for a connection: whoever waits
//! for its answer also drives it, so a request costs no switch between tasks, and a client that leaves takes the connection
//! with it.

mod connection;
mod decode;
mod dial;
mod encode;
mod error;
mod exchange;
mod head;
mod pool;
mod sending;
mod stall;

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderMap, Response, StatusCode, request};

use crate::endpoint::Endpoint;
use crate::message::{Upload, Way};

pub use error::{Error, Kind, Progress};
pub use exchange::Exchange;

use connection::Connection;
use pool::Pool;

/// One worker's connections to endpoints.
#[derive(Debug, Clone, Default)]
pub struct Upstream {
    pool: Rc<Pool>,
}

/// A request, and how it is to be sent.
pub struct Call<'a> {
    /// Its head, with the headers that the endpoint is to see. Once an answer came, its header map has become the answer's.
    pub head: &'a mut request::Parts,
    /// The headers of its way, sent behind its own.
    pub way: &'a Way,
    /// Its body, taken out when an answer came, and left in place otherwise.
    pub upload: &'a mut Upload,
    /// What it is held to.
    pub limits: Limits,
    /// Asks the kernel whether an idle connection still stands, at the price of a system call: for requests whose failure
    /// could not be repaired.
    pub probe: bool,
    /// Told of each interim answer (1xx).
    pub interim: &'a mut dyn FnMut(StatusCode, &HeaderMap),
}

/// How long an attempt may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// When the attempt began.
    pub began: Instant,
    /// Until a connection stands.
    pub connect: Duration,
    /// Silence in both directions.
    pub idle: Duration,
    /// The request's end, if it has one.
    pub deadline: Option<Instant>,
}

impl Upstream {
    /// Sends a request to an endpoint and returns the head of the answer, whose body keeps the connection until it is read.
    pub async fn send(&self, endpoint: &Arc<Endpoint>, call: &mut Call<'_>) -> Result<Response<Box<Exchange>>, Error> {
        let connection = self.connection(endpoint, call).await?;
        exchange::open(connection, call, (&self.pool, endpoint)).await
    }

    async fn connection(&self, endpoint: &Endpoint, call: &Call<'_>) -> Result<Box<Connection>, Error> {
        while let Some(idle) = self.pool.take(endpoint.id()) {
            if idle.is_alive(call.probe) {
                return Ok(idle);
            }
        }
        let limits = &call.limits;
        let within = limits
            .deadline
            .map_or(limits.connect, |deadline| limits.connect.min(deadline.saturating_duration_since(Instant::now())));
        Ok(Box::new(Connection::new(dial::dial(endpoint.address(), within).await?)))
    }

    /// Closes connections that nobody has used for a while, and those to endpoints that have departed.
    pub fn sweep(&self, now: Instant) {
        self.pool.sweep(now);
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Request};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::endpoint::{Address, Ids, Ledger};
    use crate::message::{Downstream, way};

    async fn get(upstream: &Upstream, endpoint: &Arc<Endpoint>) -> Result<StatusCode, Error> {
        let second = Duration::from_secs(1);
        let limits = Limits { began: Instant::now(), connect: second, idle: second, deadline: None };
        let (mut head, ()) = Request::get("/").body(()).unwrap().into_parts();
        let value = || HeaderValue::from_static("x");
        let way = way(&mut HeaderMap::new(), &Downstream::plain([127, 0, 0, 1].into()), value(), value());
        let (head, upload) = (&mut head, &mut Upload::default());
        let mut call = Call { head, way: &way, upload, limits, probe: false, interim: &mut |_, _| {} };
        upstream.send(endpoint, &mut call).await.map(|answer| answer.status())
    }

    #[tokio::test]
    async fn what_was_said_before_the_request_is_not_its_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = Address::from(listener.local_addr().unwrap());
        let endpoint = Arc::new(Endpoint::new(address, &Ids::default(), &Ledger::new(Instant::now())));
        let upstream = Upstream::default();
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
            stream
        };
        let (answer, mut stream) = tokio::join!(get(&upstream, &endpoint), serve);
        assert_eq!(answer.unwrap(), 200);
        stream
            .write_all(b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
            .await
            .unwrap();
        drop((stream, listener));
        // Whether the event loop has seen it or not: nobody listens any more, so that no answer can be right.
        assert!(get(&upstream, &endpoint).await.is_err());
    }
}
