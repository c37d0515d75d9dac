//! One connection to an endpoint: a stream, and what must outlive a single exchange on it.

use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::io::AsyncReadExt;

use super::http2::Terms;
use super::stall::Stall;
use crate::endpoint::Connected;
use crate::message::Spare;
use crate::tls::Stream;

/// What is read at once, unless a long body is on its way: many an answer has 10 KiB, which then comes and goes in one piece.
const READ: usize = 16 * 1024;
const READ_LONG: usize = 64 * 1024;

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) stream: Stream,
    pub(super) stall: Stall,
    reused: bool,
    opened: Instant,
    /// 0 to 1, drawn when it was opened.
    haste: f64,
    idle_since: Instant,
    /// For what is short; all connections of a worker read into it.
    inbox: Rc<Spare>,
    /// For a long body.
    buffer: BytesMut,
    connected: Connected,
    terms: Terms,
}

impl Connection {
    pub(super) fn new(stream: Stream, connected: Connected, terms: Terms, inbox: &Rc<Spare>) -> Self {
        let (stall, opened) = (Stall::new(), Instant::now());
        Connection {
            stream,
            stall,
            reused: false,
            opened,
            haste: fastrand::f64(),
            idle_since: opened,
            inbox: Rc::clone(inbox),
            buffer: BytesMut::new(),
            connected,
            terms,
        }
    }

    /// True if it was made under these terms.
    pub(super) fn is_under(&self, terms: &Terms) -> bool {
        self.terms == *terms
    }

    /// True if its place is needed more elsewhere.
    pub(super) fn is_unwanted(&self) -> bool {
        self.connected.give_way()
    }

    /// The stream alone, still counted.
    pub(super) fn into_parts(self) -> (Stream, Connected) {
        (self.stream, self.connected)
    }

    /// True if an idle connection still stands: nothing has come on it, and no end. With `probe` the kernel is asked.
    pub(super) fn is_alive(&mut self, probe: bool) -> bool {
        self.stream.is_quiet(probe)
    }

    pub(super) fn is_reused(&self) -> bool {
        self.reused
    }

    pub(super) fn idle_since(&self) -> Instant {
        self.idle_since
    }

    /// Waits for the next request. Its buffer goes back to the allocator.
    pub(super) fn rest(&mut self, since: Instant) {
        self.reused = true;
        self.idle_since = since;
        self.buffer = BytesMut::new();
    }

    /// True if it has stood for longer than that at `now`, or for a little less: those that were opened together are not to be
    /// opened anew together.
    pub(super) fn is_older(&self, age: Duration, now: Instant) -> bool {
        now.saturating_duration_since(self.opened) >= age.mul_f64(1.0 - 0.1 * self.haste)
    }

    /// The next bytes; none at all at the end of the stream. `long` says that many more are expected.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, long: bool) -> Poll<io::Result<BytesMut>> {
        if long {
            return read(&mut self.stream, cx, (&mut self.buffer, READ_LONG));
        }
        self.inbox.with(|inbox| read(&mut self.stream, cx, (inbox, READ)))
    }
}

fn read(
    stream: &mut Stream,
    cx: &mut Context<'_>,
    (buffer, room): (&mut BytesMut, usize),
) -> Poll<io::Result<BytesMut>> {
    // From its beginning again, if nobody holds anything of it any more: that is the part which is in the nearest cache.
    if buffer.capacity() < room && !buffer.try_reclaim(room) && buffer.capacity() < room / 4 {
        buffer.reserve(room);
    }
    let read = pin!(stream.read_buf(buffer)).poll(cx);
    read.map_ok(|_| buffer.split())
}
