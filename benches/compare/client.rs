//! The load: a closed loop of raw keep-alive connections, each with one request at a time, all on the measuring thread. It
//! reads an answer just closely enough to know that it was whole and right.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::histogram::Histogram;
use crate::origin::BODY;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: lictor.test\r\nUser-Agent: compare\r\nAccept: */*\r\n\r\n";
const ANSWER_LIMIT: usize = 8 * 1024;
/// After a failure, so that a proxy that refuses everything is not hammered.
const PAUSE: Duration = Duration::from_millis(20);
/// How long an answer may take once the round is over, or in the check; a connection that waits longer has failed.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the load counted. Requests and latencies are of the window; failures are of the whole round.
#[derive(Debug, Default, Serialize)]
pub struct Tally {
    /// Answers completed within the window.
    pub requests: u64,
    /// Requests without a whole answer.
    pub errors: u64,
    /// Whole answers with another status or body than the origin's.
    pub wrong: u64,
    /// Half of the answers took no longer, in nanoseconds.
    pub p50_ns: u64,
    /// 99 % of the answers took no longer, in nanoseconds.
    pub p99_ns: u64,
    /// The first failure, in words.
    pub first_trouble: Option<String>,
}

/// How one request can fail: the two are counted apart.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// No whole answer.
    #[error("no answer: {0}")]
    Lost(#[from] io::Error),
    /// An answer that is not the origin's.
    #[error("wrong answer: {0}")]
    Wrong(String),
}

/// A running load.
#[derive(Debug)]
pub struct Load {
    shared: Rc<RefCell<Shared>>,
    tasks: Vec<JoinHandle<()>>,
    window_began: Instant,
}

#[derive(Debug)]
struct Shared {
    in_window: bool,
    ended: bool,
    tally: Tally,
    latencies: Histogram,
}

impl Load {
    /// Starts asking. Must be called within a `LocalSet`.
    pub fn start(address: SocketAddr, connections: u16) -> Self {
        let shared = Shared { in_window: false, ended: false, tally: Tally::default(), latencies: Histogram::new() };
        let shared = Rc::new(RefCell::new(shared));
        let tasks =
            (0..connections).map(|_| tokio::task::spawn_local(keep_asking(address, Rc::clone(&shared)))).collect();
        Self { shared, tasks, window_began: Instant::now() }
    }

    /// Counts answers from now on.
    pub fn begin_window(&mut self) {
        self.window_began = Instant::now();
        self.shared.borrow_mut().in_window = true;
    }

    /// Counts no more answers. Returns how long the window was.
    pub fn end_window(&mut self) -> Duration {
        self.shared.borrow_mut().in_window = false;
        self.window_began.elapsed()
    }

    /// Waits for the answers under way, closes the connections and hands out what was counted.
    pub async fn end(self) -> Tally {
        self.shared.borrow_mut().ended = true;
        let deadline = tokio::time::Instant::now() + PATIENCE;
        for task in self.tasks {
            let stop = task.abort_handle();
            if tokio::time::timeout_at(deadline, task).await.is_err() {
                stop.abort();
                self.shared.borrow_mut().count(&Trouble::Lost(io::ErrorKind::TimedOut.into()));
            }
        }
        let mut shared = self.shared.borrow_mut();
        shared.tally.p50_ns = shared.latencies.quantile(0.50);
        shared.tally.p99_ns = shared.latencies.quantile(0.99);
        std::mem::take(&mut shared.tally)
    }
}

impl Shared {
    fn count(&mut self, trouble: &Trouble) {
        match trouble {
            Trouble::Lost(_) => self.tally.errors += 1,
            Trouble::Wrong(_) => self.tally.wrong += 1,
        }
        self.tally.first_trouble.get_or_insert_with(|| trouble.to_string());
    }
}

/// Asks `requests` times, one after another, and fails at the first answer that is missing or wrong.
pub async fn ask_in_turn(address: SocketAddr, requests: u64) -> Result<(), Trouble> {
    let ask_all = async {
        let mut connection = None;
        for _ in 0..requests {
            connection = ask(address, connection).await?;
        }
        Ok(())
    };
    match tokio::time::timeout(PATIENCE, ask_all).await {
        Ok(asked) => asked,
        Err(_) => Err(Trouble::Lost(io::ErrorKind::TimedOut.into())),
    }
}

async fn keep_asking(address: SocketAddr, shared: Rc<RefCell<Shared>>) {
    let mut connection = None;
    let mut asked = Instant::now();
    while !shared.borrow().ended {
        match ask(address, connection.take()).await {
            Ok(next) => {
                connection = next;
                // One reading of the clock serves as the end of this request and the start of the next.
                let answered = Instant::now();
                let mut shared = shared.borrow_mut();
                if shared.in_window {
                    shared.tally.requests += 1;
                    shared.latencies.record((answered - asked).as_nanos() as u64);
                }
                asked = answered;
            }
            Err(trouble) => {
                shared.borrow_mut().count(&trouble);
                tokio::time::sleep(PAUSE).await;
                asked = Instant::now();
            }
        }
    }
}

/// A connection between two requests.
#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    buffer: Box<[u8]>,
}

/// Sends one request and reads its answer, on a new connection where none is given. Returns the connection if it may be
/// used again.
async fn ask(address: SocketAddr, connection: Option<Connection>) -> Result<Option<Connection>, Trouble> {
    let mut connection = match connection {
        Some(connection) => connection,
        None => {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Connection { stream, buffer: vec![0; ANSWER_LIMIT].into_boxed_slice() }
        }
    };
    connection.stream.write_all(REQUEST).await?;
    let mut filled = 0;
    let mut head = None;
    loop {
        let read = connection.stream.read(&mut connection.buffer[filled..]).await?;
        if read == 0 {
            return Err(Trouble::Lost(io::ErrorKind::UnexpectedEof.into()));
        }
        filled += read;
        let received = &connection.buffer[..filled];
        if head.is_none() {
            head = Head::parse(received)?;
        }
        let Some(head) = &head else { continue };
        let body = &received[head.end..];
        if body.len() >= head.length {
            return match body {
                BODY if head.status == 200 => Ok((!head.close).then_some(connection)),
                _ => Err(Trouble::Wrong(format!("status {}, body {:?}", head.status, String::from_utf8_lossy(body)))),
            };
        }
    }
}

/// What we need to know of an answer's head.
#[derive(Debug)]
struct Head {
    /// Where the body starts.
    end: usize,
    status: u16,
    /// `Content-Length`.
    length: usize,
    /// `Connection: close`.
    close: bool,
}

impl Head {
    /// `None` while the head is not whole.
    fn parse(received: &[u8]) -> Result<Option<Self>, Trouble> {
        let Some(blank) = received.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
            return match received.len() {
                ANSWER_LIMIT => Err(Trouble::Wrong("a head larger than 8 KiB".to_owned())),
                _ => Ok(None),
            };
        };
        let text = std::str::from_utf8(&received[..blank]).map_err(|error| Trouble::Wrong(error.to_string()))?;
        let mut lines = text.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|word| word.parse().ok());
        let mut length = None;
        let mut close = false;
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().ok();
            } else if name.eq_ignore_ascii_case("connection") {
                close = value.trim().eq_ignore_ascii_case("close");
            }
        }
        match (status, length) {
            (Some(status), Some(length)) if length <= ANSWER_LIMIT / 2 => {
                Ok(Some(Self { end: blank + 4, status, length, close }))
            }
            _ => Err(Trouble::Wrong(format!("no status or no usable Content-Length in {text:?}"))),
        }
    }
}
