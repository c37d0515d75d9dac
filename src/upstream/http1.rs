//! One request and its answer on an HTTP/1.1 connection, which it has for itself. The end of the body gives the connection back
//! to the pool; dropping it before closes it, which is how an endpoint learns that nobody listens any more.

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http_body::Frame;
use tokio::net::TcpStream;

use super::connection::Connection;
use super::head::{self, Head};
use super::pool::Pool;
use super::sending::Sending;
use super::tunnel::Tunnel;
use super::watch::{Sent, Watch};
use super::{Call, Error, Kind, Progress, exchange};
use crate::message::{Fields, Framing, Moved, Step, Upload};
use crate::tls;

#[derive(Debug)]
pub(super) struct Http1 {
    // None once it was given back or has failed.
    pub(super) connection: Option<Box<Connection>>,
    pub(super) sending: Sending,
    // Read of the head.
    head: BytesMut,
    // Read behind the head, and not yet passed on.
    bytes: Bytes,
    pub(super) framing: Framing,
    keep_alive: bool,
    pool: Rc<Pool>,
}

impl Http1 {
    /// The request of a call on a connection that is free.
    pub(super) fn new(connection: Box<Connection>, call: &mut Call<'_>, pool: &Rc<Pool>) -> Self {
        let told = (call.way, call.parent.as_ref());
        let sending = Sending::new(pool.outbox.take(), &call.head.borrow(), told, std::mem::take(call.upload));
        let (head, bytes, framing, pool) = (BytesMut::new(), Bytes::new(), Framing::NONE, Rc::clone(pool));
        Http1 { connection: Some(connection), sending, head, bytes, framing, keep_alive: false, pool }
    }

    /// Moves both directions until a head is there.
    pub(super) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        call: &mut Call<'_>,
        watch: &mut Watch,
    ) -> Poll<Result<(StatusCode, Fields), Error>> {
        loop {
            if !self.head.is_empty() {
                let parsed = head::parse(&mut self.head, &call.head.borrow().method);
                match parsed {
                    Ok(Some(head)) => return Poll::Ready(self.take(head, call, watch)),
                    Ok(None) => {}
                    Err(malformed) => return Poll::Ready(Err(self.error(Kind::Protocol).caused_by(malformed))),
                }
            }
            match ready!(self.poll_more(cx, watch)) {
                Ok(bytes) if bytes.is_empty() => return Poll::Ready(Err(self.error(Kind::Reset))),
                // Said before we asked: not an answer to this request.
                Ok(_) if self.sending.written() == 0 => return Poll::Ready(Err(self.error(Kind::Reset))),
                Ok(bytes) => self.append(bytes),
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    fn take(&mut self, head: Head, call: &Call<'_>, watch: &mut Watch) -> Result<(StatusCode, Fields), Error> {
        if exchange::is_interim(head.status) {
            return Ok((head.status, head.fields));
        }
        self.bytes = std::mem::take(&mut self.head).freeze();
        // What a server says to a connection on which it waited in vain (RFC 9110 section 15.5.9), not of this request.
        if head.status == StatusCode::REQUEST_TIMEOUT && self.was_idle(&head) && !call.probe {
            return Err(Error::new(Kind::Reset, Progress::NothingSent, true));
        }
        self.framing = head.framing;
        // One with a preface is its client's alone.
        self.keep_alive = head.keep_alive && call.preface.is_none();
        if self.framing.has_ended() && head.status != StatusCode::SWITCHING_PROTOCOLS {
            self.finish(watch);
        }
        Ok((head.status, head.fields))
    }

    /// Sends what can be sent and reads what is there; nothing at the end of the stream.
    fn poll_more(&mut self, cx: &mut Context<'_>, watch: &mut Watch) -> Poll<Result<BytesMut, Error>> {
        let Some(connection) = &mut self.connection else { return Poll::Ready(Ok(BytesMut::new())) };
        if !self.sending.is_done() {
            match self.sending.poll(&mut connection.stream, cx) {
                // A head alone leaves at once, and has been noted.
                Ok(true) if !self.sending.upload.is_empty() => watch.stir(),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Err(self.error(Kind::Downstream).caused_by(error))),
            }
            if self.sending.is_done() {
                self.pool.outbox.give(self.sending.lead());
            }
        }
        match connection.poll_read(cx, self.framing.is_long()) {
            Poll::Ready(Ok(bytes)) => {
                watch.stir();
                Poll::Ready(Ok(bytes))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(self.broken(error))),
            Poll::Pending => self.poll_expired(cx, watch).map(Err),
        }
    }

    fn poll_expired(&mut self, cx: &mut Context<'_>, watch: &mut Watch) -> Poll<Error> {
        let Some(connection) = &mut self.connection else { return Poll::Pending };
        let (whole, awaits_sender) = (self.sending.is_done(), self.sending.upload.awaits_sender());
        let expired = watch.poll_expired(cx, &mut connection.stall, Sent { whole, awaits_sender });
        expired.map(|kind| self.error(kind))
    }

    fn broken(&self, error: io::Error) -> Error {
        let is_new = self.connection.as_ref().is_some_and(|connection| !connection.is_reused());
        if is_new && tls::is_refusal(&error) {
            return Error::connect(Kind::Tls, tls::explain(&error).to_string());
        }
        self.error(Kind::Reset).caused_by(error)
    }

    /// Puts bytes behind those that are there: only a head that came in pieces has any.
    fn append(&mut self, bytes: BytesMut) {
        if self.head.is_empty() {
            self.head = bytes;
        } else {
            self.head.extend_from_slice(&bytes);
        }
    }

    /// True if the answer is the last on a connection that had been waiting for a request.
    fn was_idle(&self, head: &Head) -> bool {
        !head.keep_alive && self.connection.as_ref().is_some_and(|connection| connection.is_reused())
    }

    pub(super) fn error(&self, kind: Kind) -> Error {
        let progress = if self.sending.written() == 0 { Progress::NothingSent } else { Progress::Sent };
        let reused = self.connection.as_ref().is_some_and(|connection| connection.is_reused());
        Error::new(kind, progress, reused)
    }

    /// Gives the connection back if the next answer on it can only be the next request's, else closes it.
    fn finish(&mut self, watch: &Watch) {
        if let Some(mut connection) = self.connection.take()
            && self.keep_alive
            && self.sending.is_done()
            && self.bytes.is_empty()
        {
            connection.rest(watch.moved);
            self.pool.give(&watch.endpoint, connection);
        }
    }

    /// The request's body, as far as it is left.
    pub(super) fn upload(&self) -> &Upload {
        &self.sending.upload
    }

    /// The stream under the connection, and what was read beyond the head: for an answer that switched protocols.
    pub(super) fn into_tunnel(self) -> Option<(Tunnel, Bytes)> {
        // The rest of a request must not be taken for the other protocol.
        let connection = self.connection.filter(|_| self.sending.is_done())?;
        let (stream, connected) = connection.into_parts();
        Some((Tunnel::own(stream, connected), self.bytes))
    }

    pub(super) fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        watch: &mut Watch,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        loop {
            let step = match self.framing.decode(&mut self.bytes) {
                Ok(step) => step,
                Err(malformed) => return Poll::Ready(Some(Err(self.error(Kind::Protocol).caused_by(malformed)))),
            };
            match step {
                Step::Frame(frame) => {
                    if self.framing.has_ended() {
                        self.finish(watch);
                    }
                    return Poll::Ready(Some(Ok(frame)));
                }
                Step::End => {
                    self.finish(watch);
                    return Poll::Ready(None);
                }
                Step::More => {}
            }
            match ready!(self.poll_more(cx, watch)) {
                Ok(bytes) if bytes.is_empty() => {
                    if !matches!(self.framing, Framing::UntilClose) {
                        return Poll::Ready(Some(Err(self.error(Kind::Reset))));
                    }
                    // Its end is the stream's: it is whole, and nothing follows on this connection.
                    (self.framing, self.connection) = (Framing::NONE, None);
                    return Poll::Ready(None);
                }
                Ok(bytes) => match watch.gave() {
                    Ok(()) => self.bytes = bytes.freeze(),
                    Err(kind) => return Poll::Ready(Some(Err(self.error(kind)))),
                },
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
    }

    /// Moves the next piece of a body to a socket, unless it has to be read: what was read already, what has a frame around it, and
    /// as long as the request is not through, since then both directions have to move.
    pub(super) fn poll_pass(
        &mut self,
        cx: &mut Context<'_>,
        watch: &mut Watch,
        to: &TcpStream,
    ) -> Poll<Option<Result<Moved, Error>>> {
        let Some(from) = self.connection.as_ref().and_then(|connection| connection.stream.plain()) else {
            return Poll::Ready(None);
        };
        if !self.bytes.is_empty() || !self.sending.is_done() {
            return Poll::Ready(None);
        }
        match self.pool.pipe.poll_move(cx, (from, to), self.framing.left()) {
            Poll::Pending => self.poll_expired(cx, watch).map(|error| Some(Err(error))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(self.broken(error)))),
            Poll::Ready(Some(Ok(moved))) => {
                watch.stir();
                if let Err(kind) = watch.gave() {
                    return Poll::Ready(Some(Err(self.error(kind))));
                }
                self.framing.skip(moved.count);
                if self.framing.has_ended() {
                    self.finish(watch);
                }
                Poll::Ready(Some(Ok(moved)))
            }
        }
    }
}
