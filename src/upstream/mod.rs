//! How requests go out. Each worker has its own [`Upstream`]: a stack of idle connections for each endpoint, and the code
//! that dials, sends, and takes a connection back once its answer has been read.
//!
//! HTTP/1.1 towards endpoints is written here and not taken from a library, for what a balancer needs to know and a library
//! does not tell: how many bytes of a request left, whether an idle connection still stands, and that a request can be
//! encoded once more for another endpoint without having been copied before. There is no task for a connection: whoever waits
//! for its answer also drives it, so a request costs no switch between tasks, and a client that leaves takes the connection
//! with it. HTTP/2 (`http2`) is a library's, since streams of many share a connection, which therefore has a task.

mod connection;
mod dial;
mod encode;
mod error;
mod exchange;
mod head;
mod http1;
mod http2;
mod pool;
mod raw;
mod reach;
mod sending;
mod stall;
mod tunnel;
mod watch;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, request};

use crate::config::Protocol;
use crate::endpoint::Endpoint;
use crate::message::{Answer, Upload, Way};
use crate::tls;

pub use dial::dial;
#[doc(hidden)]
pub use encode::head as encode;
pub use error::{Error, Kind, Progress};
pub use exchange::Exchange;
#[doc(hidden)]
pub use head::{Head, parse};
pub use raw::Raw;
pub use reach::may_be_shared;
pub use tunnel::Tunnel;

use http2::Lines;
use pool::Pool;
use reach::Reached;

/// Connections that may end under one request before it was looked at, until that is the endpoint's way and not chance.
const MOST_MOVES: usize = 3;

/// What a connection is secured with, or why it cannot be; none for one in the clear.
type Tls<'a> = Option<&'a Arc<Result<tls::Client, tls::Error>>>;

/// One worker's connections to endpoints.
#[derive(Debug, Clone, Default)]
pub struct Upstream {
    pool: Rc<Pool>,
    lines: Rc<Lines>,
    /// Where nobody is led: whoever says who an endpoint is must not have us speak to our own window in their place.
    barred: Option<SocketAddr>,
}

/// A request, and how it is to be sent.
pub struct Call<'a> {
    /// Its head, with the headers that the endpoint is to see.
    pub head: &'a RefCell<Box<request::Parts>>,
    /// The headers of its way, sent behind its own.
    pub way: &'a Way,
    /// The span that the endpoint is told as its parent, where the request is recorded: `traceparent`.
    pub parent: Option<HeaderValue>,
    /// Its body, taken out when an answer came, and left in place otherwise.
    pub upload: &'a mut Upload,
    /// What it is held to.
    pub limits: Limits,
    /// What a connection begins with that serves this request's client and nobody else: neither taken from those that lie idle
    /// nor put there. Not for HTTP/2, where clients share.
    pub preface: Option<Bytes>,
    /// What the endpoint is spoken to in.
    pub protocol: Protocol,
    /// Whether it asks for another protocol.
    pub upgrades: bool,
    /// Whether it is a message of gRPC.
    pub grpc: bool,
    /// What the connection is secured with, if it is to be. The same connections are used only under the same.
    pub tls: Tls<'a>,
    /// Asks the kernel whether an idle connection still stands, at the price of a system call: for requests whose failure
    /// could not be repaired.
    pub probe: bool,
    /// Set once `limits.patience` is over without an answer.
    pub late: &'a Cell<bool>,
    /// Told of each interim answer (1xx).
    pub interim: &'a mut dyn FnMut(StatusCode, &HeaderMap),
}

/// How long an attempt may take, and what of an endpoint it may use.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// When the attempt began.
    pub began: Instant,
    /// Until a connection stands.
    pub connect: Duration,
    /// From the last byte of the request to the head of the answer, if that is bounded.
    pub first_byte: Option<Duration>,
    /// Silence in both directions.
    pub idle: Duration,
    /// The attempt's end unless its answer has begun by then, if it has one.
    pub per_try: Option<Instant>,
    /// The request's end, if it has one.
    pub deadline: Option<Instant>,
    /// When somebody wants to know that there is no answer yet.
    pub patience: Option<Instant>,
    /// What still runs at an endpoint that has left.
    pub drain: Duration,
    /// Age of a connection that takes no further request, if there is one.
    pub age: Option<Duration>,
    /// Connections to the endpoint, and to all of its cluster; 0 is no limit.
    pub connections: (u32, u32),
}

impl Limits {
    /// When something could be over first, as things are at the beginning.
    fn first_due(&self, moved: Instant) -> Instant {
        [self.deadline, self.per_try, self.patience].into_iter().flatten().fold(moved + self.idle, Instant::min)
    }
}

impl Upstream {
    /// One that leads nobody there.
    pub fn barring(barred: Option<SocketAddr>) -> Self {
        Upstream { barred, ..Upstream::default() }
    }

    /// The exchange of a call for which nobody has to be waited: there is a connection that it can have for itself.
    pub fn at_hand(&self, endpoint: &Arc<Endpoint>, call: &mut Call<'_>) -> Option<Box<Exchange>> {
        let connection = self.own(endpoint, call)?;
        Some(exchange::begin(connection, call, (&self.pool, endpoint)))
    }

    /// Sends a request to an endpoint and returns the head of the answer, whose body keeps the connection until it is read.
    pub async fn send(&self, endpoint: &Arc<Endpoint>, call: &mut Call<'_>) -> Result<Answer<Box<Exchange>>, Error> {
        let mut moves = MOST_MOVES;
        loop {
            let seat = match self.reach(endpoint, call).await? {
                Reached::Own(connection) => {
                    return exchange::begin(connection, call, (&self.pool, endpoint)).answer(call).await;
                }
                Reached::Shared(seat) => seat,
            };
            match exchange::open_stream(seat, call, endpoint).await {
                // A matter of this connection, and not of the endpoint's.
                Err(error) if error.kind == Kind::Leaving && moves > 0 && call.upload.can_repeat() => {
                    call.upload.rewind();
                    moves -= 1;
                }
                sent => return sent,
            }
        }
    }

    /// Closes connections that nobody has used for a while, and those to endpoints that have departed.
    pub fn sweep(&self, now: Instant) {
        self.pool.sweep(now);
        self.lines.sweep(now);
    }
}

#[cfg(test)]
mod tests {
    use http::Request;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::endpoint::{Address, Ids, Ledger};
    use crate::message::{Downstream, way};

    async fn get(upstream: &Upstream, endpoint: &Arc<Endpoint>) -> Result<StatusCode, Error> {
        let second = Duration::from_secs(1);
        let limits = Limits {
            began: Instant::now(),
            connect: second,
            first_byte: None,
            idle: second,
            per_try: None,
            deadline: None,
            patience: None,
            drain: second,
            age: None,
            connections: (0, 0),
        };
        let (head, ()) = Request::get("/").body(()).unwrap().into_parts();
        let (client, host) = (Downstream::plain([127, 0, 0, 1].into()), HeaderValue::from_static("x"));
        let way = way((&mut HeaderMap::new(), false), &client, host, &mut fastrand::Rng::with_seed(1));
        let (head, upload, late) = (&RefCell::new(Box::new(head)), &mut Upload::default(), &Cell::new(false));
        let mut call = Call {
            head,
            parent: None,
            way: &way,
            upload,
            limits,
            probe: false,
            late,
            interim: &mut |_, _| {},
            preface: None,
            protocol: Protocol::Auto,
            upgrades: false,
            grpc: false,
            tls: None,
        };
        upstream.send(endpoint, &mut call).await.map(|answer| answer.status)
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
