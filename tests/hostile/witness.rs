//! An origin that keeps every byte it hears, says to each request only what the request was, and lies where it is told to.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::strict::{Message, Read, Side, latin1, read};

/// The target that is answered with a [`Lie`].
pub const LIED_TO: &str = "/lie";

/// What is said to whoever asks for [`LIED_TO`], and what is done then.
#[derive(Clone, Debug, Default)]
pub struct Lie {
    pub bytes: Vec<u8>,
    /// Said as soon as the head of a request is there, whatever is missing of its body.
    pub early: bool,
    /// The connection is closed behind it.
    pub closes: bool,
    /// Said when nothing is expected any more.
    pub late: &'static [u8],
}

/// Long enough for a proxy to have taken the answer for all that there is.
const LATER: Duration = Duration::from_millis(10);

/// A running origin. Dropped, it is gone.
pub struct Witness {
    address: SocketAddr,
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

#[derive(Default)]
struct Shared {
    heard: Mutex<Vec<Heard>>,
    lie: Mutex<Lie>,
    said_late: Notify,
}

/// What one connection has brought since it was last asked for.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    /// Counted from 1 over all connections.
    pub connection: usize,
    /// Everything, as it came.
    pub bytes: Vec<u8>,
    /// What is whole.
    pub requests: Vec<Message>,
    /// The beginning of a request that is not whole, and what is there of it.
    pub begun: Option<Option<Message>>,
    /// Why it cannot be understood.
    pub garbled: Option<String>,
    pub closed: bool,
}

impl Witness {
    pub async fn start() -> Witness {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::<Shared>::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, Arc::clone(&shared)));
        Witness { address, shared, _tasks: tasks }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lies like this from now on.
    pub fn lie(&self, lie: Lie) {
        *self.shared.lie.lock().unwrap() = lie;
    }

    /// Waits until what is late has been said.
    pub async fn said_late(&self, patience: Duration) -> Result<(), String> {
        timeout(patience, self.shared.said_late.notified()).await.map_err(|_| "nothing was said late".to_owned())
    }

    /// What every connection has brought since the last `take`; those that brought nothing are left out.
    pub fn take(&self) -> Vec<Heard> {
        let mut heard = self.shared.heard.lock().unwrap();
        let taken: Vec<Heard> = heard.iter().filter(|heard| !heard.bytes.is_empty()).cloned().collect();
        for heard in heard.iter_mut() {
            heard.bytes.clear();
            heard.requests.clear();
        }
        taken
    }

    /// Whether no connection waits for the rest of a request.
    pub fn is_settled(&self) -> bool {
        let heard = self.shared.heard.lock().unwrap();
        heard.iter().all(|heard| heard.closed || heard.begun.is_none())
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let place = {
            let mut heard = shared.heard.lock().unwrap();
            let connection = heard.len() + 1;
            heard.push(Heard { connection, ..Heard::default() });
            connection - 1
        };
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            hear(stream, place, &shared).await;
            shared.heard.lock().unwrap()[place].closed = true;
        });
    }
}

/// Listens until the other side leaves, or says what is no request.
async fn hear(mut stream: TcpStream, place: usize, shared: &Shared) {
    stream.set_nodelay(true).ok();
    let (mut pending, mut piece) = (Vec::new(), vec![0; 64 * 1024]);
    let mut answered_early = false;
    loop {
        let Ok(length @ 1..) = stream.read(&mut piece).await else { return };
        pending.extend_from_slice(&piece[..length]);
        shared.heard.lock().unwrap()[place].bytes.extend_from_slice(&piece[..length]);
        loop {
            let lie = shared.lie.lock().unwrap().clone();
            let told = lie.bytes.clone();
            let (answer, closes) = match read(&pending, Side::Request) {
                Read::Bad(why) => {
                    shared.heard.lock().unwrap()[place].garbled = Some(format!("{why}: {:?}", latin1(&pending)));
                    return;
                }
                Read::Part(part) => {
                    let is_early = lie.early && !answered_early && part.as_ref().is_some_and(is_lied_to);
                    shared.heard.lock().unwrap()[place].begun = (!pending.is_empty()).then_some(part);
                    if !is_early {
                        break;
                    }
                    answered_early = true;
                    (lie.bytes, lie.closes)
                }
                Read::Whole(request, used) => {
                    pending.drain(..used);
                    let reply = reply(&request, place + 1, &lie, answered_early);
                    answered_early = false;
                    let mut heard = shared.heard.lock().unwrap();
                    (heard[place].begun, heard[place].closed) = (None, false);
                    heard[place].requests.push(request);
                    reply
                }
            };
            if stream.write_all(&answer).await.is_err() {
                return;
            }
            if !lie.late.is_empty() && answer == told {
                sleep(LATER).await;
                stream.write_all(lie.late).await.ok();
                shared.said_late.notify_one();
            }
            if closes {
                stream.shutdown().await.ok();
                return;
            }
        }
    }
}

fn is_lied_to(request: &Message) -> bool {
    request.line.split(' ').nth(1) == Some(LIED_TO)
}

/// The lie, or the request's first line.
fn reply(request: &Message, connection: usize, lie: &Lie, answered_early: bool) -> (Vec<u8>, bool) {
    if is_lied_to(request) {
        return if answered_early { (Vec::new(), false) } else { (lie.bytes.clone(), lie.closes) };
    }
    let line = &request.line;
    let body = if line.starts_with("HEAD ") { "" } else { line };
    let length = line.len();
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nx-connection: {connection}\r\n\r\n");
    ([head.as_bytes(), body.as_bytes()].concat(), false)
}
