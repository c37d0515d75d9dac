//! HTTP/2 towards endpoints (RFC 9113), on the crate h2: connections that many requests of a worker share.
//!
//! A [`Hub`] keeps a worker's connections to one endpoint and sees to it that those who need one at the same time do not all
//! dial. A [`Line`] is a connection as requests see it; its driver is a task of the worker's, which moves bytes, and asks
//! whether the other side is still there. An [`Http2`] is one stream: a request and its answer.

mod driver;
mod head;
mod hub;
mod line;
mod metered;
mod outflow;
mod stream;

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::poll_fn;
use std::hash::BuildHasherDefault;
use std::io::ErrorKind;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::{self, SendRequest};
use tokio::task::JoinSet;

use super::pool::IdHasher;
use super::{Error, Kind};
use crate::endpoint::{Endpoint, Id};
use crate::tls::Stream;

pub(super) use hub::{Hub, Place};
use line::Line;
pub(super) use line::{Seat, Terms};
pub(super) use stream::Http2;

use line::State;
use metered::Metered;

/// What an endpoint may send before we have taken it: on one stream, and on all of a connection. So much is waiting here at most
/// for clients that are slow.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// What of a request's body is kept for an endpoint that is slow.
const SEND_BUFFER: usize = 64 * 1024;
/// What small pieces that wait may cost beyond their bytes, which is 256 for each: h2 ends a connection for more, and with it what all
/// others have on it. So much that windows bound them, down to pieces of a few bytes; its default is used up by two thousand
/// of them, which come in one go.
const PIECES: usize = 64 * 1024 * 1024;
/// Longest head, as over HTTP/1.1.
const MAX_HEAD: u32 = super::head::MAX_HEAD as u32;
/// What no endpoint says: its SETTINGS have not come.
const UNTOLD: usize = usize::MAX - 1;
/// Streams that are remembered for a while after we have reset them, so that what was on its way is passed over and not answered:
/// as many as there are at once.
const RESET_STREAMS: usize = line::MOST_STREAMS;
/// Frames out of place that are answered with a reset over a connection's life, before it is ended for them. h2's own limit is met
/// by an endpoint that is slow to hear of clients who left, and ends the answers of all others; none at all, and one that does
/// not read would have us keep them.
const MOST_MISPLACED: usize = 100_000;
/// Without a stream for so long, a connection is closed.
const MAX_AGE: Duration = super::pool::MAX_AGE;

/// One worker's connections to all endpoints.
#[derive(Debug, Default)]
pub(super) struct Lines {
    hubs: RefCell<HashMap<Id, Rc<Hub>, BuildHasherDefault<IdHasher>>>,
    drivers: RefCell<JoinSet<()>>,
}

impl Lines {
    /// Those to this endpoint.
    pub(super) fn hub(&self, endpoint: &Arc<Endpoint>) -> Rc<Hub> {
        let mut hubs = self.hubs.borrow_mut();
        Rc::clone(hubs.entry(endpoint.id()).or_insert_with(|| Rc::new(Hub::new(endpoint))))
    }

    /// A connection of this hub on a stream that is to carry HTTP/2, once the endpoint has said what it takes. Before that,
    /// nothing of a request is sent: whoever does not speak HTTP/2 is found out in time.
    pub(super) async fn open(&self, stream: Stream, hub: &Rc<Hub>, terms: Terms) -> Result<Rc<Line>, Error> {
        let state = Rc::new(State::new(hub));
        let io = Metered::new(stream, Rc::clone(&state));
        let (sender, mut connection) = builder().handshake(io).await.map_err(not_spoken)?;
        let told: Result<(), h2::Error> = poll_fn(|cx| {
            let polled = Pin::new(&mut connection).poll(cx);
            match polled {
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                Poll::Ready(Ok(())) => Poll::Ready(Err(h2::Reason::NO_ERROR.into())),
                Poll::Pending if sender.current_max_send_streams() != UNTOLD => Poll::Ready(Ok(())),
                Poll::Pending => Poll::Pending,
            }
        })
        .await;
        told.map_err(not_spoken)?;
        self.drivers.borrow_mut().spawn_local(driver::drive(connection, Rc::clone(&state)));
        Ok(Rc::new(Line::new(sender, state, terms)))
    }

    /// Closes what nobody has used for a while, and whatever leads to a departed endpoint.
    pub(super) fn sweep(&self, now: Instant) {
        self.hubs.borrow_mut().retain(|_, hub| {
            hub.sweep(now);
            !hub.has_departed()
        });
        while self.drivers.borrow_mut().try_join_next().is_some() {}
    }

    /// Closes what nobody uses just now; false if there is nothing to close.
    pub(super) fn clear(&self) -> bool {
        let hubs = self.hubs.borrow();
        hubs.values().filter(|hub| hub.clear()).count() > 0
    }
}

fn builder() -> client::Builder {
    let mut builder = client::Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(MAX_HEAD)
        .max_send_buffer_size(SEND_BUFFER)
        .data_frame_budget(PIECES)
        .max_concurrent_reset_streams(RESET_STREAMS)
        .max_local_error_reset_streams(Some(MOST_MISPLACED))
        .initial_max_send_streams(UNTOLD);
    builder
}

/// How a new stream is opened.
type Sender = SendRequest<Bytes>;

/// Whoever wants to know who we are says so behind the handshake, which is over for us before that (RFC 8446 section 4.4.2).
fn not_spoken(error: h2::Error) -> Error {
    match error.get_io() {
        // What TLS says of its own; h2 keeps the words alone.
        Some(io) if io.kind() == ErrorKind::InvalidData => Error::connect(Kind::Tls, io.to_string()),
        _ => Error::connect(Kind::Protocol, NotSpoken(error)),
    }
}

/// An endpoint that was taken for one that speaks HTTP/2.
#[derive(Debug, thiserror::Error)]
#[error("the endpoint does not speak HTTP/2: {0}")]
struct NotSpoken(h2::Error);
