//! One request and its answer on one connection. While its head is awaited and while its body is read, both directions move:
//! an endpoint may answer before it has taken the whole request. The end of the body gives the connection back to the pool;
//! dropping the exchange before closes it, which is how an endpoint learns that nobody listens any more.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http::{Response, StatusCode, request};
use http_body::{Body, Frame, SizeHint};
use tokio::net::TcpStream;

use super::connection::Connection;
use super::decode::{Framing, Step};
use super::head::{self, Head};
use super::pool::Pool;
use super::sending::Sending;
use super::{Call, Error, Kind, Progress};
use crate::endpoint::Endpoint;

/// Interim answers to one request; an endpoint that gives more does not mean to answer.
const MAX_INTERIM: usize = 32;

/// An answer's body, and all that it hangs on.
#[derive(Debug)]
pub struct Exchange {
    // None once it was given back or has failed.
    connection: Option<Box<Connection>>,
    sending: Sending,
    // Read, and not yet passed on.
    bytes: Bytes,
    framing: Framing,
    keep_alive: bool,
    // The endpoint was waited for since it last gave something.
    awaited: bool,
    moved: Instant,
    pool: Rc<Pool>,
    endpoint: Arc<Endpoint>,
}

/// Sends a request and waits for the head of its answer.
pub(super) async fn open(
    mut connection: Box<Connection>,
    call: &mut Call<'_>,
    (pool, endpoint): (&Rc<Pool>, &Arc<Endpoint>),
) -> Result<Response<Box<Exchange>>, Error> {
    // A dial has taken its time; an idle connection was at hand.
    let moved = if connection.is_reused() { call.limits.began } else { Instant::now() };
    connection.arm(&call.limits, moved);
    // Boxed at once: it is moved a few times on its way to the client.
    let mut exchange = Box::new(Exchange {
        connection: Some(connection),
        sending: Sending::new(call.head, call.way, std::mem::take(call.upload)),
        bytes: Bytes::new(),
        framing: Framing::NONE,
        keep_alive: false,
        awaited: false,
        moved,
        pool: Rc::clone(pool),
        endpoint: Arc::clone(endpoint),
    });
    let head = match exchange.wait_for_head(call).await {
        Ok(head) => head,
        Err(error) => {
            *call.upload = std::mem::take(&mut exchange.sending.upload);
            return Err(error);
        }
    };
    exchange.framing = head.framing;
    exchange.keep_alive = head.keep_alive;
    if exchange.framing.has_ended() && head.status != StatusCode::SWITCHING_PROTOCOLS {
        exchange.finish();
    }
    let mut response = Response::new(exchange);
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    Ok(response)
}

/// All of 1xx but 101, which is final.
fn is_interim(status: StatusCode) -> bool {
    status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS
}

impl Exchange {
    /// The head of the final answer; tells of interim ones on the way.
    async fn wait_for_head(&mut self, call: &mut Call<'_>) -> Result<Head, Error> {
        for interim in 0..=MAX_INTERIM {
            let head = poll_fn(|cx| self.poll_head(cx, call)).await?;
            if !is_interim(head.status) {
                // What a server says to a connection on which it waited in vain (RFC 9110 section 15.5.9), not of this request.
                let is_stale = head.status == StatusCode::REQUEST_TIMEOUT && self.was_idle(&head) && !call.probe;
                let stale = || Error::new(Kind::Reset, Progress::NothingSent, true);
                return if is_stale { Err(stale()) } else { Ok(head) };
            }
            if interim < MAX_INTERIM {
                (call.interim)(head.status, &head.headers);
            }
        }
        Err(self.error(Kind::Protocol))
    }

    /// Moves both directions until a head is there.
    fn poll_head(&mut self, cx: &mut Context<'_>, call: &mut Call<'_>) -> Poll<Result<Head, Error>> {
        loop {
            if !self.bytes.is_empty() {
                match parse(&mut self.bytes, call) {
                    Ok(Some(head)) => return Poll::Ready(Ok(head)),
                    Ok(None) => {}
                    Err(malformed) => return Poll::Ready(Err(self.error(Kind::Protocol).caused_by(malformed))),
                }
            }
            match self.poll_more(cx) {
                Poll::Ready(Ok(bytes)) if bytes.is_empty() => return Poll::Ready(Err(self.error(Kind::Reset))),
                // Said before we asked: not an answer to this request.
                Poll::Ready(Ok(_)) if self.sending.written() == 0 => return Poll::Ready(Err(self.error(Kind::Reset))),
                Poll::Ready(Ok(bytes)) => self.append(bytes),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Sends what can be sent and reads what is there; nothing at the end of the stream.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, Error>> {
        let Some(connection) = &mut self.connection else { return Poll::Ready(Ok(Bytes::new())) };
        if !self.sending.is_done() {
            match self.sending.poll(&mut connection.stream, cx) {
                // A head alone leaves at once, and has been noted.
                Ok(true) if !self.sending.upload.is_empty() => self.moved = Instant::now(),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Err(self.error(Kind::Downstream).caused_by(error))),
            }
        }
        match connection.poll_read(cx, self.framing.is_long()) {
            Poll::Ready(Ok(bytes)) => {
                self.moved = Instant::now();
                Poll::Ready(Ok(bytes))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(self.error(Kind::Reset).caused_by(error))),
            Poll::Pending => match connection.poll_expired(cx, self.moved) {
                Poll::Pending => {
                    self.awaited = true;
                    Poll::Pending
                }
                Poll::Ready(()) if self.sending.upload.awaits_sender() => {
                    Poll::Ready(Err(self.error(Kind::DownstreamTimeout)))
                }
                Poll::Ready(()) => Poll::Ready(Err(self.error(Kind::Timeout))),
            },
        }
    }

    /// Puts bytes behind those that are there: only a head that came in pieces has any.
    fn append(&mut self, bytes: Bytes) {
        if self.bytes.is_empty() {
            self.bytes = bytes;
        } else {
            self.bytes = [&self.bytes[..], &bytes[..]].concat().into();
        }
    }

    /// True if the answer is the last on a connection that had been waiting for a request.
    fn was_idle(&self, head: &Head) -> bool {
        !head.keep_alive && self.connection.as_ref().is_some_and(|connection| connection.is_reused())
    }

    fn is_late(&self) -> bool {
        self.connection.as_ref().is_some_and(|connection| connection.is_late(self.moved))
    }

    fn error(&self, kind: Kind) -> Error {
        let progress = if self.sending.written() == 0 { Progress::NothingSent } else { Progress::Sent };
        let reused = self.connection.as_ref().is_some_and(|connection| connection.is_reused());
        Error::new(kind, progress, reused)
    }

    /// Gives the connection back if the next answer on it can only be the next request's, else closes it.
    fn finish(&mut self) {
        if let Some(mut connection) = self.connection.take()
            && self.keep_alive
            && self.sending.is_done()
            && self.bytes.is_empty()
        {
            connection.rest(self.moved);
            self.pool.give(&self.endpoint, connection);
        }
    }

    /// The stream under the connection, and what was read beyond the head: for an answer that switched protocols.
    pub fn into_stream(self) -> Option<(TcpStream, Bytes)> {
        let bytes = self.bytes;
        // The rest of a request must not be taken for the other protocol.
        self.connection.filter(|_| self.sending.is_done()).map(|connection| (connection.stream, bytes))
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        loop {
            let step = match self.framing.decode(&mut self.bytes) {
                Ok(step) => step,
                Err(malformed) => return Poll::Ready(Some(Err(self.error(Kind::Protocol).caused_by(malformed)))),
            };
            match step {
                Step::Frame(frame) => {
                    if self.framing.has_ended() {
                        self.finish();
                    }
                    return Poll::Ready(Some(Ok(frame)));
                }
                Step::End => {
                    self.finish();
                    return Poll::Ready(None);
                }
                Step::More => {}
            }
            match self.poll_more(cx) {
                Poll::Ready(Ok(bytes)) if bytes.is_empty() => {
                    // Only a body that ends with the stream is whole then.
                    let whole = matches!(self.framing, Framing::UntilClose);
                    return Poll::Ready((!whole).then(|| Err(self.error(Kind::Reset))));
                }
                // An endpoint that always had something to give was never waited for: then the client is the slow one.
                Poll::Ready(Ok(_)) if self.is_late() => {
                    let kind = if self.awaited { Kind::Timeout } else { Kind::DownstreamTimeout };
                    return Poll::Ready(Some(Err(self.error(kind))));
                }
                Poll::Ready(Ok(bytes)) => {
                    self.awaited = false;
                    self.bytes = bytes;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Some(Err(error))),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

/// The request's header map becomes the final answer's: it is not needed any more, and has the size.
fn parse(bytes: &mut Bytes, call: &mut Call<'_>) -> Result<Option<Head>, head::Malformed> {
    let request::Parts { method, headers, .. } = &mut *call.head;
    head::parse(bytes, method, || {
        headers.clear();
        std::mem::take(headers)
    })
}

impl Body for Exchange {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let polled = self.poll_body(cx);
        if let Poll::Ready(Some(Err(error))) = polled {
            self.connection = None;
            return Poll::Ready(Some(Err(error.after_the_head())));
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.framing.has_ended()
    }

    fn size_hint(&self) -> SizeHint {
        match self.framing {
            Framing::Length(left) => SizeHint::with_exact(left),
            _ => SizeHint::default(),
        }
    }
}
