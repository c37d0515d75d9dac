//! HTTP/2 towards clients (RFC 9113), on the library that hyper is built on: used by itself for what hyper does not pass on, interim
//! answers, and the end of a connection whose client means harm. Streams are served in the task of their connection and end with it.

mod frames;
#[doc(hidden)]
pub mod fuzzing;
mod guard;
mod head;
mod serving;
mod stream;

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, Connection};
use tokio::time::timeout;

use super::io::Io;
use super::{Service, Talk, Unread};
use guard::{Guard, Guarded};
use serving::Serving;
pub(super) use stream::Ending;
use stream::Streams;

/// What a client may send before it is asked for: on a stream, and on a connection. Together with the number of streams, what a
/// connection can have in memory.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// What small pieces that wait may cost beyond their bytes, which is 256 for each: h2 ends a connection for more. Its default is used
/// up by two thousand of them, which a client may send in one go without harm.
const PIECES: usize = 4 * 1024 * 1024;
/// What waits on a stream for its client to take it.
const SEND_BUFFER: usize = 64 * 1024;
/// Streams that were reset before they were looked at.
const MAX_RESET: usize = 50;
/// Streams that a client's errors had us reset (CVE-2025-8671), over the life of a connection: many people may share one.
const MAX_ERRORS: usize = 1024;
/// How often one turn looks for new requests: those that are there, and those that came while they were being taken up. A client with
/// more lets others come first.
const ROUNDS: usize = 2;
/// For the client to be told why it has to go.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How a conversation has ended.
pub(super) type End = Result<(), h2::Error>;

/// Serves streams until the client leaves, or until `leaving` is set and those that are open have ended.
pub(super) async fn converse<S: Service>(io: Io, talk: &Talk<S>, leaving: &Cell<bool>, idle: Duration) -> End {
    let guard = Guard::new(&talk.pulse);
    let handshake = builder(talk).handshake(Guarded { io, guard: Rc::clone(&guard) }).await?;
    let streams = Rc::new(Streams::new(talk, &guard, idle));
    let mut open = Open { connection: handshake, streams, serving: Serving::new(), left: false };
    let ended = poll_fn(|cx| open.poll(cx, talk, leaving)).await;
    if let Some(reason) = guard.verdict() {
        // Whoever takes nothing any more is let go all the same.
        open.connection.abrupt_shutdown(reason);
        let _ = timeout(LAST_WORDS, poll_fn(|cx| open.connection.poll_closed(cx))).await;
    }
    ended
}

fn builder<S>(talk: &Talk<S>) -> Builder {
    let mut builder = Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        .data_frame_budget(PIECES)
        .max_concurrent_streams(talk.rules.max_streams)
        .max_header_list_size(u32::try_from(talk.rules.max_head).unwrap_or(u32::MAX))
        .max_concurrent_reset_streams(MAX_RESET)
        .max_pending_accept_reset_streams(MAX_RESET)
        .max_local_error_reset_streams(Some(MAX_ERRORS))
        .enable_connect_protocol();
    builder
}

/// A connection that is being served.
struct Open<S> {
    connection: Connection<Guarded, Bytes>,
    streams: Rc<Streams<S>>,
    serving: Serving,
    left: bool,
}

impl<S: Service> Open<S> {
    fn poll(&mut self, cx: &mut Context<'_>, talk: &Talk<S>, leaving: &Cell<bool>) -> Poll<End> {
        let waker = self.serving.waker();
        if leaving.get() && !self.left {
            self.left = true;
            self.connection.graceful_shutdown();
            waker.wake_by_ref();
        }
        for _ in 0..ROUNDS {
            // First the streams, so that what they say leaves together.
            self.serving.poll();
            if !self.serving.is_connection_called() {
                break;
            }
            if let Poll::Ready(ended) = self.accept(&mut Context::from_waker(&waker), talk) {
                return Poll::Ready(ended);
            }
        }
        self.serving.rest(cx);
        Poll::Pending
    }

    /// Moves the connection's bytes, and takes up the requests that have come.
    fn accept(&mut self, cx: &mut Context<'_>, talk: &Talk<S>) -> Poll<End> {
        loop {
            let polled = self.connection.poll_accept(cx);
            if self.streams.are_over() {
                talk.refuse(Unread { head: None, status: None });
                return Poll::Ready(Ok(()));
            }
            match ready!(polled) {
                Some(Ok((request, respond))) => {
                    self.serving.add(Rc::clone(&self.streams).serve(request, respond));
                }
                Some(Err(error)) => return Poll::Ready(Err(error)),
                None => return Poll::Ready(Ok(())),
            }
        }
    }
}
