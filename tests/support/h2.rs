//! Scripted origins that speak HTTP/2 well, on the crate h2: what they were asked is recorded, what they answer is the test's.
//!
//! For what no library would say, there is `frames`.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use h2::server::{self, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

/// What it answers.
#[derive(Clone, Debug)]
pub enum Reply {
    /// This status and body.
    Text(u16, Vec<u8>),
    /// A head with these fields, these pieces, and these trailers.
    Whole { head: Vec<(&'static str, &'static str)>, pieces: Vec<Vec<u8>>, trailers: Vec<(&'static str, &'static str)> },
    /// Every piece of the request as it comes, and its trailers with what announced them.
    Echo,
    /// Nothing, until the other side resets the stream.
    Hang,
    /// A first piece, and then nothing.
    Begin(&'static str),
    /// This, but only once the test says so.
    After(Arc<Notify>, Box<Reply>),
    /// This, without having read the request's body.
    Early(u16, &'static str),
    /// 103 with a link, then this.
    Hinted(Box<Reply>),
    /// 200, and then every byte back: for what has become a tunnel.
    Tunnel,
    /// The stream is reset.
    Reset(Reason),
}

/// What it was asked.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    pub method: Method,
    pub uri: Uri,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    pub trailers: HeaderMap,
    /// On which of the accepted connections it came, from 0.
    pub connection: usize,
    /// All of it came.
    pub complete: bool,
}

/// What it says in its SETTINGS.
#[derive(Clone, Copy, Debug, Default)]
pub struct Taking {
    /// Streams at once.
    pub streams: Option<u32>,
    /// Bytes of a stream before it has read them.
    pub window: Option<u32>,
    /// Extended CONNECT.
    pub connect: bool,
}

/// A running origin. Dropped, it is gone with all its connections.
pub struct H2Origin {
    address: SocketAddr,
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

#[derive(Default)]
struct Shared {
    taking: Taking,
    next: Mutex<VecDeque<Reply>>,
    asked: Mutex<Vec<Asked>>,
    resets: Mutex<Vec<Reason>>,
    accepted: AtomicUsize,
    open: AtomicUsize,
    leave: watch::Sender<usize>,
}

impl H2Origin {
    /// One that takes HTTP/2 without being asked, and answers "one".
    pub async fn start() -> H2Origin {
        H2Origin::taking(Taking::default()).await
    }

    /// The same with these SETTINGS.
    pub async fn taking(taking: Taking) -> H2Origin {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared { taking, ..Shared::default() });
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, Arc::clone(&shared)));
        H2Origin { address, shared, _tasks: tasks }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers the next request like this.
    pub fn once(&self, reply: Reply) {
        self.shared.next.lock().unwrap().push_back(reply);
    }

    /// The requests so far, in the order in which their heads came.
    pub fn asked(&self) -> Vec<Asked> {
        self.shared.asked().clone()
    }

    /// With what streams were reset from the other side while the origin had nothing to say.
    pub fn resets(&self) -> Vec<Reason> {
        self.shared.resets.lock().unwrap().clone()
    }

    /// Connections so far.
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// Connections that are open now.
    pub fn open(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// Takes nothing new on the connections that there are, and finishes what runs.
    pub fn leave(&self) {
        self.shared.leave.send_modify(|times| *times += 1);
    }
}

impl Shared {
    fn asked(&self) -> MutexGuard<'_, Vec<Asked>> {
        self.asked.lock().unwrap()
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        stream.set_nodelay(true).unwrap();
        let connection = shared.accepted.fetch_add(1, Ordering::SeqCst);
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            shared.open.fetch_add(1, Ordering::SeqCst);
            serve(stream, connection, &shared).await;
            shared.open.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

async fn serve(stream: TcpStream, connection: usize, shared: &Arc<Shared>) {
    let mut builder = server::Builder::new();
    if let Some(streams) = shared.taking.streams {
        builder.max_concurrent_streams(streams);
    }
    if let Some(window) = shared.taking.window {
        builder.initial_window_size(window);
    }
    if shared.taking.connect {
        builder.enable_connect_protocol();
    }
    let Ok(mut connected) = builder.handshake(stream).await else { return };
    let mut leave = shared.leave.subscribe();
    leave.mark_unchanged();
    let mut streams = JoinSet::new();
    loop {
        tokio::select! {
            next = connected.accept() => {
                let Some(Ok((request, respond))) = next else { break };
                let place = begin(&request, connection, shared);
                let reply = shared.next.lock().unwrap().pop_front().unwrap_or(Reply::Text(200, b"one".to_vec()));
                let shared = Arc::clone(shared);
                streams.spawn(async move { drop(answer(request.into_body(), respond, (reply, place), &shared).await) });
            }
            Ok(()) = leave.changed() => connected.graceful_shutdown(),
        }
    }
}

fn begin(request: &Request<RecvStream>, connection: usize, shared: &Shared) -> usize {
    let mut asked = shared.asked();
    asked.push(Asked {
        method: request.method().clone(),
        uri: request.uri().clone(),
        headers: request.headers().clone(),
        connection,
        complete: request.body().is_end_stream(),
        ..Asked::default()
    });
    asked.len() - 1
}

async fn answer(
    mut body: RecvStream,
    mut respond: SendResponse<Bytes>,
    (mut reply, place): (Reply, usize),
    shared: &Shared,
) -> Result<(), h2::Error> {
    while let Reply::Hinted(inner) = reply {
        let hint = Response::builder().status(103).header("link", "</style.css>; rel=preload").body(()).unwrap();
        respond.send_informational(hint)?;
        reply = *inner;
    }
    let plain = |status: u16| Response::builder().status(status).body(()).unwrap();
    match reply {
        Reply::Reset(reason) => respond.send_reset(reason),
        Reply::Hang => {
            let reason = poll_fn(|cx| respond.poll_reset(cx)).await?;
            shared.resets.lock().unwrap().push(reason);
        }
        Reply::Begin(piece) => {
            let mut sending = respond.send_response(plain(200), false)?;
            sending.send_data(Bytes::from_static(piece.as_bytes()), false)?;
            let reason = poll_fn(|cx| sending.poll_reset(cx)).await?;
            shared.resets.lock().unwrap().push(reason);
        }
        Reply::Early(status, text) => {
            respond.send_response(plain(status), false)?.send_data(Bytes::from_static(text.as_bytes()), true)?;
        }
        Reply::Echo => {
            let mut head = plain(200);
            if let Some(announced) = shared.asked()[place].headers.get("trailer") {
                head.headers_mut().insert("trailer", announced.clone());
            }
            let mut sending = respond.send_response(head, false)?;
            while let Some(data) = take(&mut body, place, shared).await? {
                send(&mut sending, data).await?;
            }
            let trailers = finish(&mut body, place, shared).await?;
            sending.send_trailers(trailers)?;
        }
        Reply::Tunnel => {
            let mut sending = respond.send_response(plain(200), false)?;
            while let Some(data) = take(&mut body, place, shared).await? {
                send(&mut sending, data).await?;
            }
            sending.send_data(Bytes::new(), true)?;
        }
        Reply::After(gate, inner) => {
            gate.notified().await;
            Box::pin(answer(body, respond, (*inner, place), shared)).await?;
        }
        reply => {
            while take(&mut body, place, shared).await?.is_some() {}
            finish(&mut body, place, shared).await?;
            whole(respond, reply).await?;
        }
    }
    Ok(())
}

async fn whole(mut respond: SendResponse<Bytes>, reply: Reply) -> Result<(), h2::Error> {
    match reply {
        Reply::Whole { head, pieces, trailers } => {
            let mut response = Response::new(());
            *response.headers_mut() = fields(&head);
            if let Some((_, status)) = head.iter().find(|(name, _)| *name == "status") {
                *response.status_mut() = status.parse().unwrap();
            }
            let is_all = pieces.is_empty() && trailers.is_empty();
            let mut sending = respond.send_response(response, is_all)?;
            for piece in pieces {
                send(&mut sending, piece.into()).await?;
            }
            if !is_all && trailers.is_empty() {
                sending.send_data(Bytes::new(), true)?;
            } else if !trailers.is_empty() {
                sending.send_trailers(fields(&trailers))?;
            }
        }
        Reply::Text(status, body) => {
            let response = Response::builder().status(status).header("content-length", body.len());
            let mut sending = respond.send_response(response.body(()).unwrap(), false)?;
            send(&mut sending, body.into()).await?;
            sending.send_data(Bytes::new(), true)?;
        }
        other => panic!("not to be answered whole: {other:?}"),
    }
    Ok(())
}

/// The next piece of a request's body, recorded.
async fn take(body: &mut RecvStream, place: usize, shared: &Shared) -> Result<Option<Bytes>, h2::Error> {
    let Some(data) = body.data().await else { return Ok(None) };
    let data = data?;
    body.flow_control().release_capacity(data.len())?;
    shared.asked()[place].body.extend_from_slice(&data);
    Ok(Some(data))
}

async fn finish(body: &mut RecvStream, place: usize, shared: &Shared) -> Result<HeaderMap, h2::Error> {
    let trailers = body.trailers().await?.unwrap_or_default();
    let asked = &mut shared.asked()[place];
    (asked.trailers, asked.complete) = (trailers.clone(), true);
    Ok(trailers)
}

/// Sends as the other side's window allows.
async fn send(sending: &mut SendStream<Bytes>, mut data: Bytes) -> Result<(), h2::Error> {
    while !data.is_empty() {
        sending.reserve_capacity(data.len());
        let Some(count) = poll_fn(|cx| sending.poll_capacity(cx)).await else { return Ok(()) };
        sending.send_data(data.split_to(count?.min(data.len())), false)?;
    }
    Ok(())
}

fn fields(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    let pairs = pairs.iter().filter(|(name, _)| *name != "status");
    pairs.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
}
