//! The origins: the cheapest servers that are still honest, so that the proxy's side of the work dominates. They are served
//! by the thread of [`crate::engine`], with the load, so that one wake-up does whatever there is to do on either side.

mod connection;
mod http1;
mod http2;
mod store;
mod websocket;

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::event::epoll::{self, EventData, EventFlags};

use crate::Failure;
use crate::load::{Ready, Wire};
use crate::peers::Back;

use connection::Connection;
pub use store::{GRPC_MESSAGE, LONG, SMALL, Store, TEN_KIB, UPLOADED, WEBSOCKET_KEY, bytes};

/// How many share a load.
pub const ORIGINS: usize = 3;
/// Connections accepted for one event, before others have their turn; more come with the next.
const ACCEPTED_AT_ONCE: usize = 64;

/// One origin, as seen from the measuring thread.
#[derive(Clone, Debug)]
pub struct Origin {
    /// Where it listens: loopback, a port of the system's choice.
    pub address: SocketAddr,
    ledger: Arc<Ledger>,
}

/// What an origin has served since its start.
#[derive(Clone, Copy, Debug)]
pub struct Count {
    /// Requests answered.
    pub requests: u64,
    /// Connections accepted.
    pub connections: u64,
}

#[derive(Debug, Default)]
struct Ledger {
    requests: AtomicU64,
    connections: AtomicU64,
    recording: AtomicBool,
    heads: Mutex<Vec<String>>,
}

impl Ledger {
    /// Before the answer, so that whoever has the answer finds it counted.
    fn count(&self, head: &[u8]) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        if self.recording.load(Ordering::Relaxed) {
            let head = String::from_utf8_lossy(head).into_owned();
            self.heads.lock().unwrap_or_else(PoisonError::into_inner).push(head);
        }
    }
}

impl Origin {
    /// Keeps the head of every request from now on, until `recorded`.
    pub fn record(&self) {
        self.ledger.recording.store(true, Ordering::Relaxed);
    }

    /// Ends the recording and hands out its heads.
    pub fn recorded(&self) -> Vec<String> {
        self.ledger.recording.store(false, Ordering::Relaxed);
        std::mem::take(&mut *self.ledger.heads.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// An origin's socket, before it is served.
#[derive(Debug)]
pub struct Socket {
    listener: TcpListener,
    protocol: Back,
    ledger: Arc<Ledger>,
}

/// Binds an origin; whoever has the socket serves it.
pub fn bind(protocol: Back) -> Result<(Origin, Socket), Failure> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let ledger = Arc::<Ledger>::default();
    let origin = Origin { address: listener.local_addr()?, ledger: Arc::clone(&ledger) };
    Ok((origin, Socket { listener, protocol, ledger }))
}

/// What every origin has served so far.
pub fn counts(origins: &[Origin]) -> Vec<Count> {
    let read = |origin: &Origin| Count {
        requests: origin.ledger.requests.load(Ordering::Relaxed),
        connections: origin.ledger.connections.load(Ordering::Relaxed),
    };
    origins.iter().map(read).collect()
}

/// What every origin served between two readings.
pub fn since(before: &[Count], after: &[Count]) -> Vec<Count> {
    let difference = |(before, after): (&Count, &Count)| Count {
        requests: after.requests - before.requests,
        connections: after.connections - before.connections,
    };
    before.iter().zip(after).map(difference).collect()
}

/// Whether a request's head names a client in `X-Forwarded-For`. Envoy says another address of the machine's for one that
/// comes by way of loopback.
pub fn has_forwarded_for(head: &str) -> bool {
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .any(|(name, value)| name.eq_ignore_ascii_case("x-forwarded-for") && value.trim().parse::<IpAddr>().is_ok())
}

/// All origins and their connections, on the thread that serves them.
#[derive(Debug)]
pub struct Servers {
    sockets: Vec<Socket>,
    connections: Vec<Option<Connection>>,
    vacant: Vec<usize>,
    store: Store,
    buffer: Vec<u8>,
}

impl Servers {
    /// Serves nothing yet.
    pub fn new(buffer: usize) -> Self {
        Self {
            sockets: Vec::new(),
            connections: Vec::new(),
            vacant: Vec::new(),
            store: Store::new(),
            buffer: vec![0; buffer],
        }
    }

    /// Adds an origin. Its events carry `token` of its number.
    pub fn add(&mut self, poll: BorrowedFd<'_>, socket: Socket, token: impl Fn(usize) -> u64) -> io::Result<()> {
        epoll::add(poll, socket.listener.as_fd(), EventData::new_u64(token(self.sockets.len())), EventFlags::IN)?;
        self.sockets.push(socket);
        Ok(())
    }

    /// Somebody connects. Exhaustion of descriptors leaves him waiting, and his requests fail, which the run reports.
    pub fn accept(&mut self, poll: BorrowedFd<'_>, number: usize, token: impl Fn(usize) -> u64) {
        for _ in 0..ACCEPTED_AT_ONCE {
            let Some(socket) = self.sockets.get(number) else { return };
            let Ok((stream, _)) = socket.listener.accept() else { return };
            socket.ledger.connections.fetch_add(1, Ordering::Relaxed);
            let Ok(wire) = Wire::accepted(stream) else { continue };
            let connection = Connection::new(wire, socket.protocol, Arc::clone(&socket.ledger));
            let index = self.vacant.pop().unwrap_or_else(|| {
                self.connections.push(None);
                self.connections.len() - 1
            });
            let events = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
            if epoll::add(poll, &connection, EventData::new_u64(token(index)), events).is_ok() {
                self.connections[index] = Some(connection);
            } else {
                self.vacant.push(index);
            }
        }
    }

    /// Something happened to this connection. One that fails is closed; whoever asked misses the answer.
    pub fn serve(&mut self, index: usize, ready: Ready) {
        let Some(connection) = self.connections.get_mut(index).and_then(Option::as_mut) else { return };
        let open = connection.serve(ready, &self.store, &mut self.buffer);
        if !matches!(open, Ok(true)) {
            self.connections[index] = None;
            self.vacant.push(index);
        }
    }
}
