//! HTTP/2 towards clients (RFC 9113), on the library that hyper is built on: used by itself for what hyper does not pass on, interim
//! answers, and the end of a connection whose client means harm. A stream is a task of its connection and ends with it.

mod frames;
#[doc(hidden)]
pub mod fuzzing;
mod guard;
mod head;
mod stream;

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, Connection};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::io::Io;
use super::{Service, Talk};
use guard::{Guard, Guarded};
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
/// For the client to be told why it has to go.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How a conversation has ended.
pub(super) type End = Result<(), h2::Error>;

/// Serves streams until the client leaves, or until `leaving` is set and those that are open have ended.
pub(super) async fn converse<S: Service>(io: Io, talk: &Talk<S>, leaving: &Cell<bool>, idle: Duration) -> End {
    let guard = Guard::new(&talk.pulse);
    let handshake = builder(talk).handshake(Guarded { io, guard: Rc::clone(&guard) }).await?;
    let streams = Rc::new(Streams::new(talk, &guard, idle));
    let mut open = Open { connection: handshake, streams, tasks: JoinSet::new(), left: false };
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
    tasks: JoinSet<()>,
    left: bool,
}

impl<S: Service> Open<S> {
    fn poll(&mut self, cx: &mut Context<'_>, talk: &Talk<S>, leaving: &Cell<bool>) -> Poll<End> {
        loop {
            if leaving.get() && !self.left {
                self.left = true;
                self.connection.graceful_shutdown();
            }
            while let Poll::Ready(Some(_)) = self.tasks.poll_join_next(cx) {}
            let polled = self.connection.poll_accept(cx);
            if self.streams.are_over() {
                talk.count_refused();
                return Poll::Ready(Ok(()));
            }
            match polled {
                Poll::Ready(Some(Ok((request, respond)))) => {
                    self.tasks.spawn_local(Rc::clone(&self.streams).serve(request, respond));
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}
