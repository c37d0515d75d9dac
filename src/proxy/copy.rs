//! Bytes both ways between a client and an endpoint, until both sides have said all, one breaks off, or the time is over: for
//! connections that have switched protocols, and for those that never had one that we know.
//!
//! What is said goes through one buffer of the worker's, and where much is said past this process, by way of a [`Pipe`]. Only what a
//! receiver does not take is kept for it, so a tunnel in which nothing moves holds no buffer.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncWrite, ReadBuf};

use crate::endpoint::Endpoint;
use crate::message::{Moved, Pipe};
use crate::tls::Bare;

/// How long it sleeps at most: that an endpoint has left is noticed by then.
const LOOK: Duration = Duration::from_secs(5);
/// What is read at once.
const ROOM: usize = 64 * 1024;
/// Whoever says so much at once will go on: from then on it is worth a pipe, which needs more system calls than a message does.
const MUCH: usize = ROOM / 2;

/// How it ended before both sides had said all.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    /// Silence for too long.
    #[error("nothing moved for too long")]
    Silent,
    /// The endpoint has left, and its time is over.
    #[error("the endpoint has left")]
    Departed,
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

/// What a worker copies with, whoever says something. Nothing stays in it.
#[derive(Debug, Default)]
pub(super) struct Ferry {
    room: RefCell<Vec<u8>>,
    pipe: Pipe,
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

    /// Why it is over.
    fn why(self, moved: Instant) -> Broken {
        if moved.elapsed() >= self.idle { Broken::Silent } else { Broken::Departed }
    }
}

/// Copies, after `early`: what was read from the client and from the endpoint before. An end of one side is passed on to the
/// other, which may go on.
pub(super) async fn copy<C: Bare, E: Bare>(
    mut client: Side<'_, C>,
    mut endpoint: Side<'_, E>,
    early: (&[u8], &[u8]),
    ferry: &Ferry,
    (times, who): (Times, &Endpoint),
) -> Result<(), Broken> {
    let moved = Cell::new(Instant::now());
    let (mut forth, mut back) = (Way::after(early.0), Way::after(early.1));
    let mut turns = 0_u32;
    let copying = poll_fn(|cx| {
        let mut done = true;
        turns = turns.wrapping_add(1);
        // In turn, so that whoever has much to say does not keep the other from it.
        for is_forth in [turns.is_multiple_of(2), !turns.is_multiple_of(2)] {
            let polled = if is_forth {
                forth.poll(cx, &mut client, endpoint.stream, (ferry, &moved)).map_err(Failed::forth)
            } else {
                back.poll(cx, &mut endpoint, client.stream, (ferry, &moved)).map_err(Failed::back)
            };
            match polled {
                Poll::Ready(ended) => ended?,
                Poll::Pending => done = false,
            }
        }
        if done { Poll::Ready(Ok(())) } else { Poll::Pending }
    });
    tokio::select! {
        biased;
        copied = copying => copied,
        () = over(|| times.end(moved.get(), who)) => Err(times.why(moved.get())),
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

/// One direction.
struct Way {
    /// What the receiver has not taken.
    rest: Bytes,
    stage: Stage,
    /// Much was said at once.
    much: bool,
    /// Something was written, and has perhaps not left.
    leaves: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Stage {
    Going,
    /// The sender has said all.
    Ending,
    Over,
}

/// Which side of a direction has failed.
enum Failed {
    Sender(io::Error),
    Receiver(io::Error),
}

impl Failed {
    fn forth(self) -> Broken {
        match self {
            Failed::Sender(error) => Broken::Client(error),
            Failed::Receiver(error) => Broken::Endpoint(error),
        }
    }

    fn back(self) -> Broken {
        match self {
            Failed::Sender(error) => Broken::Endpoint(error),
            Failed::Receiver(error) => Broken::Client(error),
        }
    }
}

impl Way {
    fn after(early: &[u8]) -> Self {
        Way { rest: Bytes::copy_from_slice(early), stage: Stage::Going, much: false, leaves: false }
    }

    /// Passes on what there is; ready when the end was passed on as well.
    fn poll<F: Bare, T: Bare>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Side<'_, F>,
        to: &mut T,
        (ferry, moved): (&Ferry, &Cell<Instant>),
    ) -> Poll<Result<(), Failed>> {
        while self.stage != Stage::Over {
            if self.rest.has_remaining() {
                ready!(self.poll_rest(cx, to)).map_err(Failed::Receiver)?;
                moved.set(Instant::now());
            }
            if self.stage == Stage::Ending {
                ready!(Pin::new(&mut *to).poll_shutdown(cx)).map_err(Failed::Receiver)?;
                self.stage = Stage::Over;
                break;
            }
            let Poll::Ready(passed) = self.poll_pass(cx, from, to, ferry) else {
                if self.leaves {
                    ready!(Pin::new(&mut *to).poll_flush(cx)).map_err(Failed::Receiver)?;
                    self.leaves = false;
                }
                return Poll::Pending;
            };
            passed?;
            moved.set(Instant::now());
        }
        Poll::Ready(Ok(()))
    }

    fn poll_rest<T: AsyncWrite + Unpin>(&mut self, cx: &mut Context<'_>, to: &mut T) -> Poll<io::Result<()>> {
        while self.rest.has_remaining() {
            let count = ready!(Pin::new(&mut *to).poll_write(cx, &self.rest))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.rest.advance(count);
            self.leaves = true;
        }
        self.rest = Bytes::new();
        Poll::Ready(Ok(()))
    }

    /// Passes on what is said next, of which the rest is what could not be.
    fn poll_pass<F: Bare, T: Bare>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Side<'_, F>,
        to: &mut T,
        ferry: &Ferry,
    ) -> Poll<Result<(), Failed>> {
        if self.much
            && let Some(moved) = ready!(ferry.poll_move(cx, from.stream, to))
        {
            let Moved { count, rest } = moved.map_err(Failed::Sender)?;
            (from.received)(count);
            (self.much, self.rest) = (count >= MUCH, rest);
            return Poll::Ready(Ok(()));
        }
        let room = &mut *ferry.room.borrow_mut();
        room.resize(ROOM, 0);
        let mut read = ReadBuf::new(room);
        ready!(Pin::new(&mut *from.stream).poll_read(cx, &mut read)).map_err(Failed::Sender)?;
        let said = read.filled();
        (from.received)(said.len());
        if said.is_empty() {
            self.stage = Stage::Ending;
            return Poll::Ready(Ok(()));
        }
        self.much = said.len() >= MUCH;
        self.leaves = true;
        let taken = match Pin::new(to).poll_write(cx, said) {
            Poll::Ready(taken) => taken.map_err(Failed::Receiver)?,
            Poll::Pending => 0,
        };
        if taken < said.len() {
            self.rest = Bytes::copy_from_slice(&said[taken..]);
        }
        Poll::Ready(Ok(()))
    }
}

impl Ferry {
    /// Moves what has come, where both are sockets and nothing else.
    fn poll_move<F: Bare, T: Bare>(&self, cx: &mut Context<'_>, from: &F, to: &T) -> Poll<Option<io::Result<Moved>>> {
        let polled = from.bare(|from| to.bare(|to| self.pipe.poll_move(cx, (from, to), u64::MAX)));
        polled.flatten().unwrap_or(Poll::Ready(None))
    }
}
