//! One request and its answer on one connection. While its head is awaited and while its body is read, both directions move:
//! an endpoint may answer before it has taken the whole request. The end of the body gives the connection back to the pool;
//! dropping the exchange before closes it, which is how an endpoint learns that nobody listens any more.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::tls::Stream;
use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode, request};
use http_body::{Body, Frame, SizeHint};

use super::connection::Connection;
use super::head::{self, Head};
use super::pool::Pool;
use super::sending::Sending;
use super::{Call, Error, Kind, Limits, Progress};
use crate::endpoint::{Connected, Endpoint};
use crate::message::{Framing, Step, Upload};

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
    limits: Limits,
    // When the whole request had left, while the head of the answer is awaited and that is bounded.
    sent: Option<Instant>,
    // The head of the answer came.
    answered: bool,
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
    connection.arm(call.limits.first_due(moved));
    let sending = Sending::new(&call.head.borrow(), call.way, std::mem::take(call.upload));
    // Boxed at once: it is moved a few times on its way to the client.
    let mut exchange = Box::new(Exchange {
        connection: Some(connection),
        sending,
        bytes: Bytes::new(),
        framing: Framing::NONE,
        keep_alive: false,
        limits: call.limits,
        sent: None,
        answered: false,
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
    exchange.answered = true;
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

/// What is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    Idle,
    Deadline,
    Try,
    Patience,
    Drain,
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
                Poll::Pending => {
                    call.late.set(call.late.get() || call.limits.patience.is_some() && self.limits.patience.is_none());
                    return Poll::Pending;
                }
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
            Poll::Pending => {
                self.awaited = true;
                self.poll_expired(cx).map(|kind| Err(self.error(kind)))
            }
        }
    }

    /// Ready once something is over, with what went wrong by that.
    fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<Kind> {
        if self.limits.first_byte.is_some() && self.sent.is_none() && !self.answered && self.sending.is_done() {
            self.sent = Some(Instant::now());
            let due = self.due().0;
            if let Some(connection) = &mut self.connection {
                connection.arm(due);
            }
        }
        loop {
            let Some(mut connection) = self.connection.take() else { return Poll::Pending };
            let polled = connection.poll_due(cx, || self.due().0);
            self.connection = Some(connection);
            if polled.is_pending() {
                return Poll::Pending;
            }
            match self.due().1 {
                Due::Patience => self.limits.patience = None,
                Due::Idle | Due::Deadline | Due::Try if self.sending.upload.awaits_sender() => {
                    return Poll::Ready(Kind::DownstreamTimeout);
                }
                Due::Idle => return Poll::Ready(Kind::Timeout),
                Due::Deadline => return Poll::Ready(Kind::Deadline),
                Due::Try => return Poll::Ready(Kind::TryTimeout),
                Due::Drain => return Poll::Ready(Kind::Drained),
            }
        }
    }

    /// What is over first, as things are.
    fn due(&self) -> (Instant, Due) {
        let Limits { deadline, per_try, patience, first_byte, drain, idle, .. } = self.limits;
        let is_sought = |_: &Instant| !self.answered;
        let first_byte = self.sent.zip(first_byte).map(|(sent, within)| sent + within);
        let departed = self.endpoint.departed().map(|at| at + drain);
        let dues = [
            (deadline, Due::Deadline),
            (departed, Due::Drain),
            (per_try.filter(is_sought), Due::Try),
            (first_byte.filter(is_sought), Due::Try),
            (patience.filter(is_sought), Due::Patience),
        ];
        let first = (self.moved + idle, Due::Idle);
        let sooner = |first: (Instant, Due), (at, due): (Option<Instant>, Due)| match at {
            Some(at) if at < first.0 => (at, due),
            _ => first,
        };
        dues.into_iter().fold(first, sooner)
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
        self.limits.deadline.is_some_and(|deadline| deadline <= self.moved)
    }

    /// The request's body, as far as it is left, for an answer that is not passed on.
    pub fn upload(&self) -> &Upload {
        &self.sending.upload
    }

    /// Takes the body out; nothing more of it is sent here.
    pub fn take_upload(&mut self) -> Upload {
        self.sending.give_up()
    }

    /// How long the head of the answer took, for whom has just got it.
    pub fn answered_after(&self) -> Duration {
        self.moved.saturating_duration_since(self.limits.began)
    }

    /// When the head of the answer came, or whatever moved last.
    pub fn moved(&self) -> Instant {
        self.moved
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
    pub fn into_stream(self) -> Option<(Stream, Connected, Bytes)> {
        // The rest of a request must not be taken for the other protocol.
        let connection = self.connection.filter(|_| self.sending.is_done())?;
        let (stream, connected) = connection.into_parts();
        Some((stream, connected, self.bytes))
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
                    let kind = if self.awaited { Kind::Deadline } else { Kind::DownstreamTimeout };
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
fn parse(bytes: &mut Bytes, call: &Call<'_>) -> Result<Option<Head>, head::Malformed> {
    let request::Parts { method, headers, .. } = &mut *call.head.borrow_mut();
    head::parse(bytes, method, |status| {
        // A 408 may turn out not to be meant for this request at all.
        if status == StatusCode::REQUEST_TIMEOUT || (call.may_repeat)(status) {
            return HeaderMap::new();
        }
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
