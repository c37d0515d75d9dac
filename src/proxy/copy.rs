//! Bytes both ways between a client and an endpoint, until both sides have said all, one breaks off, or the time is over: for
//! connections that have switched protocols, and for those that never had one that we know.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf, copy_bidirectional};

use crate::endpoint::Endpoint;

/// How long it sleeps at most: that an endpoint has left is noticed by then.
const LOOK: Duration = Duration::from_secs(5);

/// How it ended before both sides had said all.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    /// Silence, or an endpoint that has left, for too long.
    #[error("nothing moved for too long, or the endpoint has left")]
    Late,
    /// The client's side failed.
    #[error("the client broke off: {0}")]
    Client(io::Error),
    /// The endpoint's side failed.
    #[error("the endpoint broke off: {0}")]
    Endpoint(io::Error),
}

/// One side, and who is told how many bytes came from it.
pub(super) struct Side<'a, S> {
    pub(super) stream: &'a mut S,
    pub(super) received: &'a dyn Fn(usize),
}

/// How long it may last.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    /// Silence in both directions.
    pub(super) idle: Duration,
    /// Since the endpoint has left.
    pub(super) drain: Duration,
}

impl Times {
    /// When it is over if nothing moves any more, or even so.
    fn end(self, moved: Instant, endpoint: &Endpoint) -> Instant {
        let silent = moved + self.idle;
        endpoint.departed().map_or(silent, |departed| silent.min(departed + self.drain))
    }
}

/// Copies, after `early`: what was read from the client and from the endpoint before. An end of one side is passed on to the
/// other, which may go on.
pub(super) async fn copy<C, E>(
    client: Side<'_, C>,
    endpoint: Side<'_, E>,
    early: (&[u8], &[u8]),
    (times, who): (Times, &Endpoint),
) -> Result<(), Broken>
where
    C: AsyncRead + AsyncWrite + Unpin,
    E: AsyncRead + AsyncWrite + Unpin,
{
    let (moved, failed) = (Cell::new(Instant::now()), Cell::new(false));
    let mut endpoint = Watched { side: endpoint, moved: &moved, failed: &failed };
    let mut client = Watched { side: client, moved: &moved, failed: &Cell::new(false) };
    let copying = async {
        endpoint.write_all(early.0).await?;
        client.write_all(early.1).await?;
        copy_bidirectional(&mut client, &mut endpoint).await
    };
    let copied = tokio::select! {
        copied = copying => copied,
        () = over(|| times.end(moved.get(), who)) => return Err(Broken::Late),
    };
    match copied {
        Ok(_) => Ok(()),
        Err(error) if failed.get() => Err(Broken::Endpoint(error)),
        Err(error) => Err(Broken::Client(error)),
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

/// A stream that notes when bytes move, and whether it fails.
struct Watched<'a, S> {
    side: Side<'a, S>,
    moved: &'a Cell<Instant>,
    failed: &'a Cell<bool>,
}

impl<S> Watched<'_, S> {
    fn note<T>(&self, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match &polled {
            Poll::Ready(Ok(_)) => self.moved.set(Instant::now()),
            Poll::Ready(Err(_)) => self.failed.set(true),
            Poll::Pending => {}
        }
        polled
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<'_, S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut *self.side.stream).poll_read(cx, buffer);
        if polled.is_ready() {
            (self.side.received)(buffer.filled().len() - before);
        }
        self.note(polled)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<'_, S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut *self.side.stream).poll_write(cx, bytes);
        self.note(polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut *self.side.stream).poll_flush(cx);
        if matches!(polled, Poll::Ready(Err(_))) {
            self.failed.set(true);
        }
        polled
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut *self.side.stream).poll_shutdown(cx);
        if matches!(polled, Poll::Ready(Err(_))) {
            self.failed.set(true);
        }
        polled
    }
}
