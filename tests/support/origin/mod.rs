//! Scripted origins: HTTP/1.1 servers on raw sockets that answer well, badly, late or never, as the test says.
//!
//! Not a server for anything but tests, and no judge of requests: whatever comes is recorded as it came and answered by the
//! next script in the queue, else by the default one. What a script does to the connection (FIN, RST, silence) is exact, since
//! that is what a proxy must tell apart.

mod exchange;
mod script;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use socket2::{Domain, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::client::{Fields, Wire, fields, find};
use exchange::{Session, Then};
pub use script::{Drip, Flow, Script, slow_body};

/// As many as any test opens at once; the kernel refuses no one before.
const BACKLOG: i32 = 1024;

/// A request as an origin received it.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The raw head, one character a byte, with its empty line.
    pub head: String,
    /// The body, as far as it was read.
    pub body: Vec<u8>,
    /// Trailer fields after a chunked body.
    pub trailers: Fields,
    /// Whether the body was read to its end.
    pub complete: bool,
    /// On which of the accepted connections it came, from 0.
    pub connection: usize,
}

impl Request {
    /// The first word of the request line.
    pub fn method(&self) -> &str {
        self.head.split(' ').next().unwrap_or_default()
    }

    /// The request target as written.
    pub fn target(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }

    /// The header fields as written, in their order.
    pub fn headers(&self) -> Fields {
        fields(&self.head)
    }

    /// The first header of that name, in any letter case.
    pub fn header(&self, name: &str) -> Option<String> {
        find(&self.headers(), name).map(str::to_owned)
    }
}

/// A scripted server on a port of its own at 127.0.0.1. It keeps its port and its records while stopped; dropped, it is gone.
pub struct Origin {
    address: SocketAddr,
    shared: Arc<Shared>,
    running: Mutex<Option<Running>>,
    /// Bound and never listening: while the origin is stopped its port refuses, and nobody else can take it.
    _reserved: Socket,
}

struct Running {
    /// Dropping it resets every connection and ends the accepting.
    halt: watch::Sender<()>,
    accepting: JoinHandle<()>,
}

impl Origin {
    /// Starts an origin that answers everything with 200 and its name.
    pub async fn start(name: &str) -> Origin {
        let reserved = bind(SocketAddr::from(([127, 0, 0, 1], 0)));
        let address = reserved.local_addr().unwrap().as_socket().unwrap();
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            default: Mutex::new(Script::answer(200, name)),
            queue: Mutex::default(),
            requests: Mutex::default(),
            accepted: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            paused: watch::Sender::new(false),
        });
        let origin = Origin { address, shared, running: Mutex::new(None), _reserved: reserved };
        origin.restart().await;
        origin
    }

    pub fn name(&self) -> &str {
        &self.shared.name
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://` and the address.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Queues a script for one request.
    pub fn once(&self, script: Script) {
        lock(&self.shared.queue).push_back(script);
    }

    /// Sets the script for every request that finds the queue empty.
    pub fn always(&self, script: Script) {
        *lock(&self.shared.default) = script;
    }

    /// How many requests came.
    pub fn hits(&self) -> usize {
        lock(&self.shared.requests).len()
    }

    /// The requests that came, in their order.
    pub fn requests(&self) -> Vec<Request> {
        lock(&self.shared.requests).clone()
    }

    /// How many connections are open now.
    pub fn connections(&self) -> usize {
        self.shared.open.load(Ordering::Relaxed)
    }

    /// How many connections were ever accepted.
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::Relaxed)
    }

    /// Accepts, reads and writes nothing from now on, as a process under SIGSTOP: connecting still works, answers do not come.
    pub fn pause(&self) {
        self.shared.paused.send_replace(true);
    }

    /// Goes on after a pause.
    pub fn resume(&self) {
        self.shared.paused.send_replace(false);
    }

    /// As a killed process: the port refuses, and every connection is reset.
    pub async fn stop(&self) {
        let running = lock(&self.running).take();
        if let Some(Running { halt, accepting }) = running {
            drop(halt);
            accepting.await.expect("the origin's tasks end well");
        }
    }

    /// Stops if need be, and listens again on the same port; records, scripts and a pause stay.
    pub async fn restart(&self) {
        self.stop().await;
        let socket = bind(self.address);
        socket.listen(BACKLOG).unwrap();
        let listener = TcpListener::from_std(socket.into()).unwrap();
        let (halt, halted) = watch::channel(());
        let accepting = tokio::spawn(accept(listener, self.shared.clone(), halted));
        *lock(&self.running) = Some(Running { halt, accepting });
    }
}

/// A socket that shares its port with the other sockets of the same origin, and with no one else's: a port 0 is never one in use.
fn bind(address: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.set_reuse_port(true).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket.bind(&address.into()).unwrap();
    socket
}

struct Shared {
    name: String,
    default: Mutex<Script>,
    queue: Mutex<VecDeque<Script>>,
    requests: Mutex<Vec<Request>>,
    accepted: AtomicUsize,
    open: AtomicUsize,
    paused: watch::Sender<bool>,
}

impl Shared {
    async fn resumed(&self) {
        let mut paused = self.paused.subscribe();
        paused.wait_for(|paused| !paused).await.expect("the sender is ours");
    }

    fn script(&self) -> Script {
        let queued = lock(&self.queue).pop_front();
        queued.unwrap_or_else(|| lock(&self.default).clone())
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, halted: watch::Receiver<()>) {
    let mut connections = JoinSet::new();
    let mut halt = halted.clone();
    loop {
        let accepted = async {
            shared.resumed().await;
            listener.accept().await
        };
        tokio::select! {
            _ = halt.changed() => break,
            Some(_) = connections.join_next() => {}
            Ok((stream, _)) = accepted => {
                connections.spawn(connection(stream, shared.clone(), halted.clone()));
            }
        }
    }
    drop(listener);
    connections.join_all().await;
}

async fn connection(stream: TcpStream, shared: Arc<Shared>, mut halted: watch::Receiver<()>) {
    let id = shared.accepted.fetch_add(1, Ordering::Relaxed);
    shared.open.fetch_add(1, Ordering::Relaxed);
    let mut session = Session::new(Wire::new(stream), shared.clone(), id);
    let then = tokio::select! {
        _ = halted.changed() => Then::Reset,
        then = session.serve() => then,
    };
    match then {
        Then::Reset => session.wire.reset(),
        Then::Close | Then::Next => drop(session),
    }
    shared.open.fetch_sub(1, Ordering::Relaxed);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no test panics with this lock held")
}

#[cfg(test)]
mod tests;
