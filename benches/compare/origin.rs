//! The three origins: the cheapest HTTP/1.1 servers that are still honest, all on one thread, so that the proxy's side of
//! the work dominates. A request is a head without a body; the answer never changes.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::Failure;

/// How many there are.
pub const ORIGINS: usize = 3;
/// What every origin answers.
pub const BODY: &[u8] = b"hello lictor";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 12\r\n\r\nhello lictor";
/// Larger than any head that a proxy makes of our request.
const HEAD_LIMIT: usize = 8 * 1024;

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

/// Binds all origins and serves them on a thread of their own, which lasts as long as the process.
pub fn start() -> Result<Vec<Origin>, Failure> {
    let mut origins = Vec::new();
    let mut listeners = Vec::new();
    for _ in 0..ORIGINS {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        origins.push(Origin { address: listener.local_addr()?, ledger: Arc::default() });
        listeners.push(listener);
    }
    let served: Vec<Arc<Ledger>> = origins.iter().map(|origin| Arc::clone(&origin.ledger)).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listeners = {
        let _context = runtime.enter();
        listeners.into_iter().map(TcpListener::from_std).collect::<io::Result<Vec<_>>>()?
    };
    std::thread::Builder::new().name("origins".to_owned()).spawn(move || {
        for (listener, ledger) in listeners.into_iter().zip(served) {
            runtime.spawn(accept(listener, ledger));
        }
        runtime.block_on(std::future::pending::<()>());
    })?;
    Ok(origins)
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

/// Whether a request's head names our client in `X-Forwarded-For`; Envoy says the machine's own address for one on loopback.
pub fn has_forwarded_for(head: &str) -> bool {
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .any(|(name, value)| name.eq_ignore_ascii_case("x-forwarded-for") && value.trim().parse::<IpAddr>().is_ok())
}

async fn accept(listener: TcpListener, ledger: Arc<Ledger>) {
    // Only exhaustion of descriptors ends this, and then the proxies' answers fail, which the run reports.
    while let Ok((stream, _)) = listener.accept().await {
        ledger.connections.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(serve(stream, Arc::clone(&ledger)));
    }
}

/// Answers until the other side leaves; without pipelining a head ends where the bytes end.
async fn serve(mut stream: TcpStream, ledger: Arc<Ledger>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; HEAD_LIMIT];
    let mut filled = 0;
    loop {
        let read = stream.read(&mut buffer[filled..]).await?;
        if read == 0 {
            return Ok(());
        }
        filled += read;
        if !buffer[..filled].ends_with(b"\r\n\r\n") {
            continue;
        }
        if ledger.recording.load(Ordering::Relaxed) {
            let head = String::from_utf8_lossy(&buffer[..filled]).into_owned();
            ledger.heads.lock().unwrap_or_else(PoisonError::into_inner).push(head);
        }
        filled = 0;
        // Before the answer, so that whoever has the answer finds it counted.
        ledger.requests.fetch_add(1, Ordering::Relaxed);
        stream.write_all(ANSWER).await?;
    }
}
