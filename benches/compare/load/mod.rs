//! The load: what is asked, how often, and what came of it. It runs on the thread of [`crate::engine`], beside the origins.

mod answer;
mod clients;
mod http1;
mod http2;
mod talk;
mod websocket;
mod wire;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::epoll::EventFlags;
use rustls::ClientConfig;
use serde::Serialize;

use crate::histogram::Histogram;

pub use answer::Heads;
pub use clients::Clients;
pub use wire::Wire;

/// Bytes that are read at once: long bodies in a few gulps.
const GULP: usize = 256 * 1024;

/// What the clients say, and what they must be told.
#[derive(Clone, Debug)]
pub struct Script {
    /// How it is said.
    pub protocol: Protocol,
    /// Whole requests, bodies included, sent one after another and then again; never empty. Over HTTP/2, the first on a
    /// connection and every later one; over WebSocket, the upgrade and every message.
    pub requests: Vec<Arc<[u8]>>,
    /// Bytes of body in each request.
    pub upload: usize,
    /// The body of every answer; over WebSocket, all of it.
    pub answer: Arc<[u8]>,
    /// Whether a connection takes more than one request.
    pub reuse: bool,
}

/// What is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1, one request at a time.
    Http1,
    /// HTTP/2.
    Http2 {
        /// Requests at once on a connection.
        streams: u16,
        /// Whether answers end with trailers.
        trailers: bool,
    },
    /// WebSocket, one message at a time.
    WebSocket,
}

/// Everything that makes up a load.
#[derive(Clone, Debug)]
pub struct Demand {
    /// The proxy.
    pub address: SocketAddr,
    /// What is asked.
    pub script: Script,
    /// Connections at once.
    pub connections: u16,
    /// How often.
    pub pace: Pace,
    /// TLS, a configuration for each connection in turn; empty: none.
    pub tls: Vec<Arc<ClientConfig>>,
}

/// When the next request is due.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// When there is an answer to the one before: a closed loop.
    Saturating,
    /// So many a second, evenly, whatever the answers do: an open loop.
    PerSecond(f64),
}

/// What the load saw.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Tally {
    /// Whole and right answers within the window.
    pub requests: u64,
    /// Connections or answers that failed, at any time.
    pub errors: u64,
    /// Answers with another status, length or body, at any time.
    pub wrong: u64,
    /// Connections that the load opened within the window.
    pub connections: u64,
    /// Of those over TLS, the ones that resumed a session.
    pub resumed: u64,
    /// Requests of the window that were never sent, because too few answers came.
    pub unsent: u64,
    /// From when a request was due to the end of its answer.
    pub p50_ns: u64,
    /// The same.
    pub p99_ns: u64,
    /// The same.
    pub p999_ns: u64,
    /// The first failure, for the notes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_trouble: Option<String>,
    /// Latencies of requests that were due within the window.
    #[serde(skip)]
    pub latencies: Histogram,
}

impl Tally {
    /// Notes a failure.
    pub fn count(&mut self, trouble: &Trouble) {
        match trouble {
            Trouble::Lost(_) => self.errors += 1,
            Trouble::Wrong(_) => self.wrong += 1,
        }
        self.first_trouble.get_or_insert_with(|| trouble.to_string());
    }

    /// Notes the latency of one answer.
    pub fn record(&mut self, latency: Duration) {
        self.latencies.record(latency.as_nanos() as u64);
    }

    /// Draws the sum when all is over.
    pub fn finish(&mut self) {
        self.p50_ns = self.latencies.quantile(0.50);
        self.p99_ns = self.latencies.quantile(0.99);
        self.p999_ns = self.latencies.quantile(0.999);
    }
}

/// Why a request does not count.
#[derive(Debug)]
pub enum Trouble {
    /// No answer, or half of one.
    Lost(io::Error),
    /// Another answer than expected.
    Wrong(String),
}

impl Trouble {
    /// An answer that is wrong in this way.
    pub fn wrong(what: &str) -> Self {
        Self::Wrong(what.to_owned())
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Lost(error)
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost(error) => write!(formatter, "no answer: {error}"),
            Self::Wrong(what) => write!(formatter, "a wrong answer: {what}"),
        }
    }
}

/// What has happened to a connection, as the kernel says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ready {
    /// There is room to write.
    Write,
    /// Bytes have come.
    Read,
    /// The other side will send no more: read what there is to the end, for no event will tell of it again.
    Ended,
}

impl Ready {
    /// From the flags of an event.
    pub fn of(flags: EventFlags) -> Self {
        if flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR) {
            Self::Ended
        } else if flags.contains(EventFlags::IN) {
            Self::Read
        } else {
            Self::Write
        }
    }
}

/// What all connections of a load use in turn.
#[derive(Debug)]
pub struct Shared {
    /// Bytes that have just been read.
    pub buffer: Vec<u8>,
    /// The head that was seen last.
    pub heads: Heads,
    /// When the requests were due whose answers have just become whole.
    pub done: Vec<std::time::Instant>,
}

impl Shared {
    /// With nothing in it.
    pub fn new() -> Self {
        Self { buffer: vec![0; GULP], heads: Heads::default(), done: Vec::new() }
    }
}
