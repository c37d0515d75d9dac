//! A connection that has switched protocols: bytes both ways until either side ends or both are silent for too long.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::header::{CONNECTION, HeaderValue, UPGRADE};
use http::{Response, Version, response};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf, copy_bidirectional};
use tokio::net::TcpStream;
use tracing::debug;

use super::Worker;
use super::answer::{Body, Refusal};
use super::forward::{Guard, Record};
use crate::health::Outcome;
use crate::message;
use crate::upstream::{Error, Exchange};

/// What lasts as long as the tunnel does.
pub(super) struct Held {
    guard: Guard,
    record: Record,
}

impl Held {
    pub(super) fn new(guard: Guard, record: Record) -> Self {
        Held { guard, record }
    }
}

/// Answers 101 and moves bytes from then on, as a task of the worker's.
pub(super) fn open(
    worker: &Rc<Worker>,
    mut head: response::Parts,
    (client, exchange): (OnUpgrade, Box<Exchange>),
    mut held: Held,
    idle: Duration,
) -> Response<Body> {
    let Some((endpoint, connected, early)) = exchange.into_stream() else {
        let refusal = Refusal::Upstream(Error::unexpected_answer());
        held.record.code = refusal.status().0.as_u16();
        return refusal.answer();
    };
    held.guard.answered(&Response::from_parts(head.clone(), ()));
    let draining = worker.draining.clone();
    worker.tunnels.borrow_mut().spawn_local(async move {
        if let Err(error) = run(client, endpoint, &early, idle).await {
            debug!(%error, "tunnel ended");
        }
        // However it ended: the endpoint has served.
        held.guard.judge(Outcome::Success);
        drop((held, connected, draining));
    });
    let protocol = head.headers.get(UPGRADE).cloned();
    message::end_to_end(&mut head.headers);
    head.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    if let Some(protocol) = protocol {
        head.headers.insert(UPGRADE, protocol);
    }
    head.version = Version::HTTP_11;
    head.extensions.clear();
    Response::from_parts(head, Body::Text(None))
}

async fn run(client: OnUpgrade, endpoint: TcpStream, early: &[u8], idle: Duration) -> io::Result<()> {
    let client = client.await.map_err(io::Error::other)?;
    let moved = Rc::new(Cell::new(Instant::now()));
    let mut client = Watched { stream: TokioIo::new(client), moved: Rc::clone(&moved) };
    let mut endpoint = Watched { stream: endpoint, moved: Rc::clone(&moved) };
    client.write_all(early).await?;
    tokio::select! {
        copied = copy_bidirectional(&mut client, &mut endpoint) => copied.map(drop),
        () = silence(&moved, idle) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// Returns when nothing has moved for so long.
async fn silence(moved: &Cell<Instant>, idle: Duration) {
    let mut due = moved.get() + idle;
    while due > Instant::now() {
        tokio::time::sleep_until(due.into()).await;
        due = moved.get() + idle;
    }
}

/// A stream that notes when bytes move.
struct Watched<S> {
    stream: S,
    moved: Rc<Cell<Instant>>,
}

impl<S> Watched<S> {
    fn note<T>(&self, polled: Poll<T>) -> Poll<T> {
        if polled.is_ready() {
            self.moved.set(Instant::now());
        }
        polled
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.note(polled)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.note(polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
