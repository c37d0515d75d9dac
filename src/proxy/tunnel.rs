//! A connection that has switched protocols: bytes both ways until either side ends, both are silent for too long, or the
//! endpoint has left and what ran there has had its time.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::header::{CONNECTION, HeaderValue, UPGRADE};
use http::{Response, response};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf, copy_bidirectional};
use tracing::debug;

use super::Worker;
use super::answer::{Body, Refusal};
use super::forward::{Guard, Record};
use crate::health::Outcome;
use crate::listener::Takeover;
use crate::message;
use crate::tls::Stream;
use crate::upstream::{Error, Exchange};

/// How long it sleeps at most: that an endpoint has left is noticed by then.
const LOOK: Duration = Duration::from_secs(5);

/// What lasts as long as the tunnel does.
pub(super) struct Held {
    guard: Guard,
    record: Record,
}

impl Held {
    pub(super) fn new(guard: Guard, record: Record) -> Self {
        Held { guard, record }
    }

    /// When it is over if nothing moves any more, or even so: after these times of silence, and since the endpoint has left.
    fn end(&self, moved: &Cell<Instant>, (idle, drain): (Duration, Duration)) -> Instant {
        let silent = moved.get() + idle;
        let departed = self.guard.attempt().endpoint().departed();
        departed.map_or(silent, |departed| silent.min(departed + drain))
    }
}

/// Answers 101 and moves bytes from then on, as a task of the worker's. The timeouts are those for silence, and for what still
/// runs at an endpoint that has left.
pub(super) fn open(
    worker: &Rc<Worker>,
    mut head: response::Parts,
    (client, exchange): (Takeover, Box<Exchange>),
    mut held: Held,
    timeouts: (Duration, Duration),
) -> Response<Body> {
    let Some((endpoint, connected, early)) = exchange.into_stream() else {
        let refusal = Refusal::Upstream(Error::unexpected_answer());
        held.record.code = refusal.status().0.as_u16();
        return refusal.answer();
    };
    held.guard.answered(&Response::from_parts(head.clone(), ()));
    let draining = worker.draining.clone();
    worker.tunnels.borrow_mut().spawn_local(async move {
        let end = |moved: &_| held.end(moved, timeouts);
        if let Err(error) = run((client, endpoint), &early, end).await {
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
    head.extensions.clear();
    Response::from_parts(head, Body::Text(None))
}

async fn run(
    (client, endpoint): (Takeover, Stream),
    early: &[u8],
    end: impl Fn(&Cell<Instant>) -> Instant,
) -> io::Result<()> {
    let client = client.take().await.ok_or(io::ErrorKind::NotConnected)?;
    let moved = Rc::new(Cell::new(Instant::now()));
    let mut client = Watched { stream: client, moved: Rc::clone(&moved) };
    let mut endpoint = Watched { stream: endpoint, moved: Rc::clone(&moved) };
    client.write_all(early).await?;
    tokio::select! {
        copied = copy_bidirectional(&mut client, &mut endpoint) => copied.map(drop),
        () = over(|| end(&moved)) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// Returns at the end, which moves.
async fn over(end: impl Fn() -> Instant) {
    loop {
        let (end, now) = (end(), Instant::now());
        if end <= now {
            return;
        }
        tokio::time::sleep_until(end.min(now + LOOK).into()).await;
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
