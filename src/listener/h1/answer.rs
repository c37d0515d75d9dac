//! An answer on its way to a client: how its end is told, and whether the connection can go on after it (RFC 9112 section 6).

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use http::{Method, StatusCode, Version};
use http_body::{Body, Frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::poll_meanwhile;
use super::wire::{State, Wire};
use crate::listener::screen::{Refused, SERVED};
use crate::listener::{Service, Talk, Unread};
use crate::message::{Fields, Moved, Passing, framing};

/// A client that is still sending may not see an answer if its connection is closed on it; so what it sends is read for so long,
/// and so much of it.
const LINGER: Duration = Duration::from_secs(1);
const MAX_LINGER: usize = 256 * 1024;

/// An answer that has begun.
pub(super) struct Answer {
    coding: Coding,
    /// The client takes trailers.
    trailers: bool,
    /// Another request may follow on the connection.
    pub(super) keep: bool,
    /// Nothing of HTTP follows on the connection.
    pub(super) switches: bool,
}

/// Status and fields of an answer.
type Head<'a> = (StatusCode, &'a mut Fields);

/// Writes what time it is, for answers that do not say it.
type Date<'a> = &'a dyn Fn(&mut BytesMut);

/// How the end of the body is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    None,
    Length(u64),
    Chunked,
    UntilClose,
}

/// A body on its way.
pub(super) struct Sending {
    coding: Coding,
    trailers: bool,
    pub(super) data: Bytes,
    pub(super) tail: &'static [u8],
    pub(super) ended: bool,
}

/// What an answer has to know of its request.
pub(super) struct Question {
    pub(super) method: Method,
    pub(super) version: Version,
    /// The client keeps the connection.
    pub(super) keep_alive: bool,
    /// It takes trailers.
    pub(super) trailers: bool,
}

impl Question {
    /// Of a request that cannot be read, on whose connection nothing can follow.
    const UNREADABLE: Question =
        Question { method: Method::GET, version: Version::HTTP_11, keep_alive: false, trailers: false };
}

impl Answer {
    /// Puts the head where it is written from.
    pub(super) fn begin<S, B: Body>(wire: &Wire, talk: &Talk<S>, head: Head<'_>, asked: &Question, body: &B) -> Answer {
        let state = &mut *wire.0.borrow_mut();
        // Whoever is still sending has to be heard to the end, or not to be answered again.
        let may_stay = state.framing.has_ended() && !state.leaving;
        state.answering = true;
        let date = |out: &mut BytesMut| out.put_slice(&talk.clock.now());
        Answer::put(state.outbox(), head, asked, (body, may_stay, &date))
    }

    /// The head as bytes, for a connection that may stay or not.
    pub(super) fn put<B: Body>(
        out: &mut BytesMut,
        (status, fields): Head<'_>,
        asked: &Question,
        (body, may_stay, date): (&B, bool, Date<'_>),
    ) -> Answer {
        let switches =
            status == StatusCode::SWITCHING_PROTOCOLS || asked.method == Method::CONNECT && status.is_success();
        let coding = coding((status, &mut *fields), asked, (switches, body));
        let keep = asked.keep_alive && may_stay && coding != Coding::UntilClose && !switches;
        write_head(out, (status, fields), coding, date);
        if !switches {
            match (keep, asked.version) {
                (false, _) => out.put_slice(b"connection: close\r\n"),
                (true, Version::HTTP_11) => {}
                (true, _) => out.put_slice(b"connection: keep-alive\r\n"),
            }
        }
        out.put_slice(b"\r\n");
        Answer { coding, trailers: asked.trailers, keep, switches }
    }

    /// True if only the close tells the client the end.
    pub(super) fn ends_with_close(&self) -> bool {
        self.coding == Coding::UntilClose
    }

    /// A body behind it, of which nothing has been sent.
    pub(super) fn sending(&self) -> Sending {
        let (ended, trailers) = (self.coding == Coding::None, self.trailers);
        Sending { coding: self.coding, trailers, data: Bytes::new(), tail: b"", ended }
    }

    /// Sends what was begun, to its end.
    pub(super) async fn send<B>(&self, wire: &Wire, body: B) -> io::Result<()>
    where
        B: Passing<Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
    {
        let mut body = pin!(body);
        let mut sending = self.sending();
        poll_fn(|cx| sending.poll(wire, body.as_mut(), cx)).await
    }
}

impl Sending {
    fn poll<B>(&mut self, wire: &Wire, mut body: Pin<&mut B>, cx: &mut Context<'_>) -> Poll<io::Result<()>>
    where
        B: Passing<Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
    {
        loop {
            let mut waits = false;
            // The first piece leaves together with the head, if it is there.
            while !self.ended && self.data.is_empty() && self.tail.is_empty() {
                match self.poll_next(wire, body.as_mut(), cx) {
                    Poll::Ready(staged) => staged?,
                    Poll::Pending => {
                        waits = true;
                        break;
                    }
                }
            }
            let state = &mut *wire.0.borrow_mut();
            ready!(state.poll_write(cx, &mut self.data, &mut self.tail))?;
            if self.ended {
                return state.poll_flush(cx);
            }
            if waits {
                return self.poll_wait(state, cx);
            }
        }
    }

    /// Puts the next piece of the body where it is written from, or has it moved past this process.
    fn poll_next<B>(&mut self, wire: &Wire, mut body: Pin<&mut B>, cx: &mut Context<'_>) -> Poll<io::Result<()>>
    where
        B: Passing<Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
    {
        let state = wire.0.borrow();
        if let (Coding::Length(left), Some(socket)) = (&mut self.coding, state.io.plain())
            && state.out.is_empty()
            && let Some(moved) = ready!(body.as_mut().poll_pass(cx, socket))
        {
            let Moved { count, rest } = moved.map_err(io::Error::other)?;
            *left = less(*left, count)?;
            self.data = rest;
            return Poll::Ready(Ok(()));
        }
        drop(state);
        let frame = ready!(body.poll_frame(cx));
        Poll::Ready(self.stage(frame, &mut wire.0.borrow_mut().out))
    }

    fn poll_wait(&self, state: &mut State, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Poll::Ready(Err(error)) = state.poll_flush(cx) {
            return Poll::Ready(Err(error));
        }
        poll_meanwhile(state, cx).map(Err)
    }

    /// Puts the next piece of the body where it is written from.
    pub(super) fn stage<E>(&mut self, frame: Option<Result<Frame<Bytes>, E>>, out: &mut BytesMut) -> io::Result<()>
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let Some(frame) = frame else {
            self.ended = true;
            return match self.coding {
                Coding::Chunked => {
                    out.extend_from_slice(framing::LAST_CHUNK);
                    Ok(())
                }
                Coding::Length(1..) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the answer is too short")),
                _ => Ok(()),
            };
        };
        match frame.map_err(io::Error::other)?.into_data() {
            Ok(data) if data.is_empty() => Ok(()),
            Ok(data) => self.stage_data(data, out),
            Err(frame) => {
                // RFC 9110 section 6.5.1: who does not ask for them gets the body without them.
                if let (Coding::Chunked, true, Ok(trailers)) = (self.coding, self.trailers, frame.into_trailers()) {
                    framing::trailers(out, &trailers);
                    self.ended = true;
                }
                Ok(())
            }
        }
    }

    fn stage_data(&mut self, data: Bytes, out: &mut BytesMut) -> io::Result<()> {
        match &mut self.coding {
            Coding::Length(left) => *left = less(*left, data.len())?,
            Coding::Chunked => {
                framing::chunk(out, data.len());
                self.tail = framing::CHUNK_END;
            }
            Coding::None | Coding::UntilClose => {}
        }
        self.data = data;
        Ok(())
    }
}

/// What is left of a body after so many bytes more.
fn less(left: u64, count: usize) -> io::Result<u64> {
    let too_long = || io::Error::new(io::ErrorKind::InvalidData, "the answer is too long");
    left.checked_sub(count as u64).ok_or_else(too_long)
}

/// How the end of the body is to be told, which the head then says.
fn coding<B: Body>((status, fields): Head<'_>, asked: &Question, (switches, body): (bool, &B)) -> Coding {
    let exact = body.size_hint().exact();
    if switches || status == StatusCode::NO_CONTENT {
        fields.remove("content-length");
        return Coding::None;
    }
    if asked.method == Method::HEAD || status == StatusCode::NOT_MODIFIED {
        // The length of what is not sent; of what is not known, none.
        if let Some(length @ 1..) = exact.filter(|_| asked.method == Method::HEAD) {
            fields.map().insert(CONTENT_LENGTH, length.into());
        }
        return Coding::None;
    }
    match exact {
        Some(length) => {
            let says = |text: &[u8]| framing::length(text) == Some(length) && (length == 0 || !text.starts_with(b"0"));
            if !fields.get("content-length").is_some_and(says) {
                fields.map().insert(CONTENT_LENGTH, length.into());
            }
            Coding::Length(length)
        }
        None => {
            fields.remove("content-length");
            if asked.version == Version::HTTP_11 { Coding::Chunked } else { Coding::UntilClose }
        }
    }
}

/// The status line and the headers, but for those of the connection.
fn write_head(out: &mut BytesMut, (status, fields): Head<'_>, coding: Coding, date: Date<'_>) {
    fields.remove("transfer-encoding");
    if status != StatusCode::SWITCHING_PROTOCOLS {
        fields.remove("connection");
    }
    out.reserve(256 + fields.size());
    out.put_slice(b"HTTP/1.1 ");
    out.put_slice(status.as_str().as_bytes());
    out.put_slice(b" ");
    out.put_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.put_slice(b"\r\n");
    fields.write(out);
    if coding == Coding::Chunked {
        out.put_slice(b"transfer-encoding: chunked\r\n");
    }
    if !fields.has("date") {
        // RFC 9110 section 6.6.1: whoever forwards an answer without one says when it came.
        out.put_slice(b"date: ");
        date(out);
        out.put_slice(b"\r\n");
    }
}

/// Answers a request that cannot be read; nothing follows it.
pub(super) async fn refuse<S: Service>(wire: &Wire, talk: &Talk<S>, refused: Refused) -> io::Result<bool> {
    talk.refuse(Unread { head: None, status: Some(refused.status) });
    let text = Bytes::from(format!("the request cannot be read: {}\n", refused.what));
    let mut fields = Fields::default();
    fields.map().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    if refused.status == StatusCode::METHOD_NOT_ALLOWED {
        fields.map().insert(ALLOW, HeaderValue::from_static(SERVED));
    }
    let body = http_body_util::Full::new(text);
    let answer = Answer::begin(wire, talk, (refused.status, &mut fields), &Question::UNREADABLE, &body);
    answer.send(wire, body).await?;
    close(wire).await;
    Ok(false)
}

/// Ends a connection such that the client sees what was written last: the end is said first, and what it still sends is read for a
/// while. Closing on it would have the kernel throw away what is under way.
pub(super) async fn close(wire: &Wire) {
    let is_read = wire.0.borrow().framing.has_ended() && !wire.has_begun();
    if is_read && wire.0.borrow().io.plain().is_some() {
        // The close says all of that. (Inside TLS its own end has to be said.)
        return;
    }
    let (mut wire, mut read, mut bytes) = (wire.clone(), 0, [0; 4096]);
    let ended = async {
        wire.shutdown().await?;
        while read < MAX_LINGER && !is_read {
            match wire.read(&mut bytes).await? {
                0 => break,
                count => read += count,
            }
        }
        io::Result::Ok(())
    };
    // However it ends, it is closed then.
    let _ = timeout(LINGER, ended).await;
}
