//! Scripted origins: HTTP/1.1 servers on raw sockets that answer well, badly, late or never, as the test says.
//!
//! Not a server for anything but tests, and no judge of requests: whatever comes is recorded as it came and answered by the
//! next script in the queue, else by the default one. What a script does to the connection (FIN, RST, silence) is exact, since
//! that is what a proxy must tell apart.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use socket2::{Domain, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{handshake::derive_accept_key, protocol::Role};

use super::client::{Body, Fields, Wire, fields, find};

/// As many as any test opens at once; the kernel refuses no one before.
const BACKLOG: i32 = 1024;

/// What an origin does with one request. Unless said otherwise it reads the whole request first and keeps the connection.
#[derive(Clone, Debug)]
pub enum Script {
    /// A response with `content-length`, unless the headers bring their own framing.
    Answer { status: u16, headers: Fields, body: Vec<u8> },
    /// A 200 in exactly these chunks, with trailers after them.
    Chunked { chunks: Vec<Vec<u8>>, trailers: Fields },
    /// Reads the head and is silent until the other side leaves.
    Hang,
    /// RST in place of an answer.
    ResetBeforeHead,
    /// A head that promises 1,000 bytes, four of them, RST.
    ResetMidBody,
    /// FIN in place of an answer.
    CloseBeforeHead,
    /// The answer, then FIN, without a `connection: close` that warns of it.
    CloseAfter(Box<Script>),
    /// The same, so much later.
    Delay(Duration, Box<Script>),
    /// These bytes, verbatim.
    Raw(Vec<u8>),
    /// A 103 with a `link`, then the answer.
    Informational(Box<Script>),
    /// The answer at once after the head; the request's body is read after it.
    Early(Box<Script>),
    /// A 101 to whatever `upgrade` asks for, then every byte back until the other side ends.
    UpgradeEcho,
    /// A 101, then every WebSocket message back: for true WebSocket clients, which refuse a bare echo of their frames.
    WebSocketEcho,
    /// The request's body as a chunked answer, piece by piece while it is being received.
    EchoBody,
    /// A chunked answer that flows as the test's `Tap` says; see `slow_body`.
    SlowBody(Drip),
}

impl Script {
    /// An answer with a status and a body, and no headers to speak of.
    pub fn answer(status: u16, body: impl Into<Vec<u8>>) -> Script {
        Script::Answer { status, headers: Fields::new(), body: body.into() }
    }

    /// Whether the request's body is left to the script instead of being read before it.
    fn takes_body(&self) -> bool {
        match self {
            Script::Delay(_, script) | Script::CloseAfter(script) | Script::Informational(script) => {
                script.takes_body()
            }
            Script::Early(_) | Script::EchoBody | Script::Hang => true,
            _ => false,
        }
    }
}

/// A body in the test's hands: the script gives the head at once, and what the tap gives.
pub fn slow_body() -> (Tap, Script) {
    let (tap, drip) = mpsc::unbounded_channel();
    (Tap(tap), Script::SlowBody(Arc::new(tokio::sync::Mutex::new(drip))))
}

/// The test's end of a slow body. Dropped, it ends the body well.
pub struct Tap(mpsc::UnboundedSender<Flow>);

impl Tap {
    /// Sends one chunk.
    pub fn send(&self, chunk: impl Into<Vec<u8>>) {
        self.0.send(Flow::Chunk(chunk.into())).ok();
    }

    /// Ends the body as it should end.
    pub fn end(self) {}

    /// Resets the connection in the middle of the body.
    pub fn reset(self) {
        self.0.send(Flow::Reset).ok();
    }

    /// Returns when nobody listens any more: the other side left, or the origin was stopped.
    pub async fn left(&self) {
        self.0.closed().await;
    }
}

/// The origin's end of a slow body.
pub type Drip = Arc<tokio::sync::Mutex<mpsc::UnboundedReceiver<Flow>>>;

/// What comes out of a tap.
#[derive(Debug)]
pub enum Flow {
    Chunk(Vec<u8>),
    Reset,
}

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
    let mut session = Session { wire: Wire::new(stream), shared: shared.clone(), id };
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

/// What becomes of a connection after a script.
enum Then {
    Next,
    Close,
    Reset,
}

struct Session {
    wire: Wire,
    shared: Arc<Shared>,
    id: usize,
}

impl Session {
    async fn serve(&mut self) -> Then {
        loop {
            let Ok(Some(head)) = self.wire.head().await else {
                return Then::Close;
            };
            self.shared.resumed().await;
            let mut exchange = Exchange::begin(self, head);
            match exchange.play().await {
                Ok(Then::Next) => {}
                Ok(then) => return then,
                Err(_) => return Then::Close, // the other side left
            }
        }
    }
}

/// One request and what is done about it.
struct Exchange<'a> {
    wire: &'a mut Wire,
    shared: &'a Shared,
    head: String,
    body: Body,
    /// Which of the recorded requests it is.
    index: usize,
}

impl Exchange<'_> {
    fn begin(session: &mut Session, head: String) -> Exchange<'_> {
        let request = Request { head: head.clone(), connection: session.id, ..Request::default() };
        let mut requests = lock(&session.shared.requests);
        requests.push(request);
        let (index, body) = (requests.len() - 1, Body::of_request(&fields(&head)));
        drop(requests);
        Exchange { wire: &mut session.wire, shared: &session.shared, head, body, index }
    }

    async fn play(&mut self) -> io::Result<Then> {
        let mut script = self.shared.script();
        let mut then = Then::Next;
        if !script.takes_body() {
            self.invite().await?;
            self.receive_all().await?;
        }
        loop {
            script = match script {
                Script::Delay(pause, script) => {
                    tokio::time::sleep(pause).await;
                    *script
                }
                Script::Informational(script) => {
                    self.write(b"HTTP/1.1 103 Early Hints\r\nlink: </style.css>; rel=preload\r\n\r\n").await?;
                    *script
                }
                Script::CloseAfter(script) => {
                    then = Then::Close;
                    *script
                }
                Script::Early(script) => *script,
                last => {
                    let ended = self.act(last).await?;
                    self.receive_all().await?;
                    return Ok(if matches!(ended, Then::Next) { then } else { ended });
                }
            }
        }
    }

    async fn act(&mut self, script: Script) -> io::Result<Then> {
        match script {
            Script::Answer { status, headers, body } => self.answer(status, &headers, &body).await?,
            Script::Chunked { chunks, trailers } => self.chunked(&chunks, &trailers).await?,
            Script::Raw(bytes) => self.write(&bytes).await?,
            Script::EchoBody => self.echo_body().await?,
            Script::SlowBody(drip) => return self.slow_body(&drip).await,
            Script::UpgradeEcho => {
                self.switch_protocols().await?;
                return self.echo_bytes().await;
            }
            Script::WebSocketEcho => {
                self.switch_protocols().await?;
                return self.echo_messages().await;
            }
            Script::Hang => {
                while self.wire.more().await? > 0 {}
                return Ok(Then::Close);
            }
            Script::ResetMidBody => {
                self.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\ncut.").await?;
                return Ok(Then::Reset);
            }
            Script::ResetBeforeHead => return Ok(Then::Reset),
            Script::CloseBeforeHead => return Ok(Then::Close),
            Script::Delay(..) | Script::Informational(_) | Script::CloseAfter(_) | Script::Early(_) => {
                unreachable!("unwrapped by play")
            }
        }
        Ok(Then::Next)
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.shared.resumed().await;
        self.wire.write(bytes).await
    }

    /// The next piece of the request's body, recorded; `None` at its end.
    async fn receive(&mut self) -> io::Result<Option<bytes::Bytes>> {
        let piece = self.wire.piece(&mut self.body).await?;
        self.shared.resumed().await;
        let request = &mut lock(&self.shared.requests)[self.index];
        request.body.extend_from_slice(piece.as_deref().unwrap_or_default());
        if let Body::Ended(trailers) = &self.body {
            request.complete = true;
            request.trailers.clone_from(trailers);
        }
        Ok(piece)
    }

    /// Asks for the body where the request waits to be asked.
    async fn invite(&mut self) -> io::Result<()> {
        match find(&fields(&self.head), "expect") {
            Some(_) => self.write(b"HTTP/1.1 100 Continue\r\n\r\n").await,
            None => Ok(()),
        }
    }

    async fn receive_all(&mut self) -> io::Result<()> {
        while self.receive().await?.is_some() {}
        Ok(())
    }

    async fn answer(&mut self, status: u16, headers: &Fields, body: &[u8]) -> io::Result<()> {
        let reason = http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
        let mut answer = format!("HTTP/1.1 {status} {}\r\n", reason.unwrap_or_default());
        push(&mut answer, headers);
        let framed = ["content-length", "transfer-encoding"].iter().any(|name| find(headers, name).is_some());
        if !framed && !matches!(status, 100..200 | 204 | 304) {
            answer += &format!("content-length: {}\r\n", body.len());
        }
        let mut answer = (answer + "\r\n").into_bytes();
        if !self.head.starts_with("HEAD ") {
            answer.extend_from_slice(body);
        }
        self.write(&answer).await
    }

    async fn chunked(&mut self, chunks: &[Vec<u8>], trailers: &Fields) -> io::Result<()> {
        self.begin_chunks().await?;
        for bytes in chunks {
            self.write(&chunk(bytes)).await?;
        }
        let mut end = "0\r\n".to_owned();
        push(&mut end, trailers);
        self.write((end + "\r\n").as_bytes()).await
    }

    async fn echo_body(&mut self) -> io::Result<()> {
        self.begin_chunks().await?;
        while let Some(piece) = self.receive().await? {
            self.write(&chunk(&piece)).await?;
        }
        self.write(b"0\r\n\r\n").await
    }

    async fn slow_body(&mut self, drip: &Drip) -> io::Result<Then> {
        let mut drip = drip.lock().await;
        self.begin_chunks().await?;
        loop {
            let flow = tokio::select! {
                flow = drip.recv() => flow,
                read = self.wire.more() => match read {
                    Ok(0) | Err(_) => {
                        drip.close();
                        return Ok(Then::Close);
                    }
                    Ok(_) => continue,
                },
            };
            match flow {
                Some(Flow::Chunk(bytes)) => self.write(&chunk(&bytes)).await?,
                Some(Flow::Reset) => return Ok(Then::Reset),
                None => break,
            }
        }
        self.write(b"0\r\n\r\n").await?;
        Ok(Then::Next)
    }

    async fn begin_chunks(&mut self) -> io::Result<()> {
        self.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await
    }

    async fn switch_protocols(&mut self) -> io::Result<()> {
        let headers = fields(&self.head);
        let protocol = find(&headers, "upgrade").unwrap_or("echo");
        let mut answer = format!("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: {protocol}\r\n");
        if let Some(key) = find(&headers, "sec-websocket-key") {
            answer += &format!("sec-websocket-accept: {}\r\n", derive_accept_key(key.as_bytes()));
        }
        self.write((answer + "\r\n").as_bytes()).await
    }

    async fn echo_bytes(&mut self) -> io::Result<Then> {
        loop {
            let bytes = self.wire.buffer.split();
            self.write(&bytes).await?;
            if self.wire.more().await? == 0 {
                return Ok(Then::Close);
            }
        }
    }

    async fn echo_messages(&mut self) -> io::Result<Then> {
        let read = self.wire.buffer.split().to_vec();
        let stream = &mut self.wire.stream;
        let mut socket = WebSocketStream::from_partially_read(stream, read, Role::Server, None).await;
        while let Some(Ok(message)) = socket.next().await {
            self.shared.resumed().await;
            if message.is_text() || message.is_binary() {
                socket.send(message).await.map_err(io::Error::other)?;
            }
        }
        Ok(Then::Close)
    }
}

fn push(head: &mut String, fields: &Fields) {
    for (name, value) in fields {
        *head += &format!("{name}: {value}\r\n");
    }
}

fn chunk(bytes: &[u8]) -> Vec<u8> {
    let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
    chunk.extend_from_slice(bytes);
    chunk.extend_from_slice(b"\r\n");
    chunk
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no test panics with this lock held")
}

#[cfg(test)]
mod tests {
    use super::super::client::{Client, eventually, get};
    use super::*;

    const GET: &str = "GET /a HTTP/1.1\r\nhost: o\r\n\r\n";
    const SOON: Duration = Duration::from_secs(10);

    async fn pair() -> (Origin, Client) {
        let origin = Origin::start("ada").await;
        let client = Client::connect(origin.address()).await;
        (origin, client)
    }

    #[tokio::test]
    async fn an_origin_answers_with_its_name_and_records_what_came() {
        let (origin, mut client) = pair().await;
        let post = "POST /b?c HTTP/1.1\r\nHost: o\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nt: 1\r\n\r\n";
        assert_eq!(client.exchange(GET).await.text(), "ada");
        assert_eq!(client.exchange(post).await.text(), origin.name());
        client.send(GET.replace("GET", "HEAD")).await;
        let (head, _) = client.head().await;
        assert_eq!(head.header("Content-Length"), Some("3"));
        assert_eq!(get(origin.address(), "o", "/").await.status, 200);

        let requests = origin.requests();
        assert_eq!((origin.hits(), origin.accepted(), requests.len()), (4, 2, 4));
        assert_eq!(requests[0].head, GET);
        assert_eq!((requests[1].method(), requests[1].target()), ("POST", "/b?c"));
        assert_eq!(requests[1].headers()[0], ("Host".to_owned(), "o".to_owned()));
        assert_eq!(requests[1].header("HOST"), Some("o".to_owned()));
        assert_eq!((requests[1].body.as_slice(), requests[1].complete), (b"abc".as_slice(), true));
        assert_eq!(requests[1].trailers, [("t".to_owned(), "1".to_owned())]);
        assert_eq!((requests[2].connection, requests[3].connection), (0, 1));
        let one_left = async || origin.connections() == 1;
        eventually("the second connection is seen to close", SOON, one_left).await;
    }

    #[tokio::test]
    async fn an_origin_answers_by_script_in_the_order_of_the_queue() {
        let (origin, mut client) = pair().await;
        let full = Script::Answer { status: 503, headers: vec![("x".into(), "y".into())], body: b"no".into() };
        let chunks = vec![b"ab".to_vec(), b"c".to_vec()];
        origin.once(Script::Informational(Box::new(full)));
        origin.once(Script::Chunked { chunks, trailers: vec![("sum".into(), "3".into())] });
        origin.once(Script::Raw(b"HTTP/1.1 299 Odd\r\nContent-Length: 0\r\n\r\n".into()));
        origin.always(Script::Delay(Duration::from_millis(1), Box::new(Script::answer(404, "late"))));

        let hint = client.exchange(GET).await;
        assert_eq!((hint.status, hint.header("link").is_some()), (103, true));
        let refusal = client.response().await;
        assert_eq!((refusal.status, refusal.header("x"), refusal.text()), (503, Some("y"), "no".into()));
        let chunked = client.exchange(GET).await;
        assert_eq!((chunked.text(), chunked.trailers), ("abc".into(), vec![("sum".into(), "3".into())]));
        assert_eq!(client.exchange(GET).await.status, 299);
        assert_eq!(client.exchange(GET).await.text(), "late");
        assert_eq!(client.exchange(GET).await.status, 404);
    }

    #[tokio::test]
    async fn an_origin_fails_exactly_as_told() {
        use io::ErrorKind::{ConnectionReset, UnexpectedEof};
        let origin = Origin::start("ada").await;
        for (script, head, end) in [
            (Script::ResetBeforeHead, false, Some(ConnectionReset)),
            (Script::ResetMidBody, true, Some(ConnectionReset)),
            (Script::CloseBeforeHead, false, Some(UnexpectedEof)),
            (Script::CloseAfter(Box::new(Script::answer(200, ""))), true, None),
        ] {
            let what = format!("{script:?}");
            origin.once(script);
            let mut client = Client::connect(origin.address()).await;
            client.send(GET).await;
            if head {
                let (answer, mut body) = client.head().await;
                assert_eq!(answer.header("connection"), None, "{what}");
                if let Some(kind) = end {
                    assert_eq!(client.piece(&mut body).await.unwrap().unwrap(), "cut.");
                    assert_eq!(client.piece(&mut body).await.unwrap_err().kind(), kind, "{what}");
                } else {
                    assert_eq!(client.closed().await.unwrap(), b"", "{what}");
                }
            } else {
                let error = client.try_response().await.unwrap_err();
                assert_eq!(Some(error.kind()), end, "{what}");
            }
        }
    }

    #[tokio::test]
    async fn a_silent_origin_notices_that_the_client_left() {
        let (origin, mut client) = pair().await;
        origin.once(Script::Hang);
        client.send(GET).await;
        eventually("the request is recorded", SOON, async || origin.hits() == 1).await;
        assert_eq!(origin.connections(), 1);
        drop(client);
        eventually("the connection is gone", SOON, async || origin.connections() == 0).await;
    }

    #[tokio::test]
    async fn an_origin_can_answer_before_and_while_it_reads_a_body() {
        let (origin, mut client) = pair().await;
        let post = "POST / HTTP/1.1\r\nhost: o\r\ncontent-length: 4\r\n";
        origin.once(Script::Early(Box::new(Script::answer(413, "no"))));
        origin.once(Script::EchoBody);

        assert_eq!(client.exchange(format!("{post}\r\nab")).await.status, 413);
        assert!(!origin.requests()[0].complete);
        client.send(format!("cd{post}\r\nef")).await;
        let (_, mut body) = client.head().await;
        assert_eq!(client.piece(&mut body).await.unwrap().unwrap(), "ef");
        client.send("gh").await;
        assert_eq!(client.piece(&mut body).await.unwrap().unwrap(), "gh");
        assert!(client.piece(&mut body).await.unwrap().is_none());
        assert_eq!(client.exchange(format!("{post}expect: 100-continue\r\n\r\n")).await.status, 100);
        assert_eq!(client.exchange("1234").await.text(), "ada");
        assert!(origin.requests().iter().all(|request| request.complete));
    }

    #[tokio::test]
    async fn a_slow_body_flows_as_the_test_says() {
        let (origin, mut client) = pair().await;
        let (tap, script) = slow_body();
        origin.once(script);
        client.send(GET).await;
        let (_, mut body) = client.head().await;
        tap.send("one");
        assert_eq!(client.piece(&mut body).await.unwrap().unwrap(), "one");
        tap.send("two");
        assert_eq!(client.piece(&mut body).await.unwrap().unwrap(), "two");
        tap.end();
        assert!(client.piece(&mut body).await.unwrap().is_none());

        let (tap, script) = slow_body();
        origin.once(script);
        client.send(GET).await;
        client.head().await;
        tap.reset();
        assert_eq!(client.closed().await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);

        let (tap, script) = slow_body();
        origin.always(script);
        let mut client = Client::connect(origin.address()).await;
        client.send(GET).await;
        client.head().await;
        drop(client);
        tap.left().await;
    }

    #[tokio::test]
    async fn an_origin_echoes_what_follows_an_upgrade() {
        let (origin, mut client) = pair().await;
        origin.once(Script::UpgradeEcho);
        let upgrade = "GET / HTTP/1.1\r\nhost: o\r\nconnection: upgrade\r\nupgrade: chat\r\n\r\nearly";
        let switched = client.exchange(upgrade).await;
        assert_eq!((switched.status, switched.header("upgrade")), (101, Some("chat")));
        assert_eq!(client.read(5).await, b"early");
        client.send("later").await;
        assert_eq!(client.read(5).await, b"later");

        origin.once(Script::WebSocketEcho);
        let url = format!("ws://{}/", origin.address());
        let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
        socket.send("hello".into()).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap().to_text().unwrap(), "hello");
        socket.close(None).await.unwrap();
    }

    #[tokio::test]
    async fn a_stopped_origin_refuses_resets_and_comes_back_on_its_port() {
        let (origin, mut client) = pair().await;
        client.exchange(GET).await;
        origin.stop().await;
        assert_eq!(client.closed().await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(origin.connections(), 0);
        let refused = TcpStream::connect(origin.address()).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);

        origin.restart().await;
        let mut client = Client::connect(origin.address()).await;
        assert_eq!(client.exchange(GET).await.text(), "ada");
        assert_eq!(origin.hits(), 2);
        drop(origin);
        assert_eq!(client.closed().await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn a_paused_origin_is_connected_to_and_silent() {
        let (origin, mut client) = pair().await;
        client.exchange(GET).await;
        origin.pause();
        let mut late = Client::connect(origin.address()).await;
        client.send(GET).await;
        late.send(GET).await;
        let silence = tokio::time::timeout(Duration::from_millis(50), client.response());
        assert!(silence.await.is_err());
        assert_eq!(origin.hits(), 1);
        origin.resume();
        assert_eq!(client.response().await.text(), "ada");
        assert_eq!(late.response().await.text(), "ada");
        assert_eq!(format!("http://{}", origin.address()), origin.url());
    }
}
