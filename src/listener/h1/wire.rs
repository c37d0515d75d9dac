//! A connection that speaks HTTP/1.1, shared by whoever is at work on it: the conversation, the body of the request that is being
//! answered, and in the end a tunnel. Borrowed for the length of a poll and never across one.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, StatusCode};
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::super::connection::Spares;
use super::super::io::Io;
use crate::message::{Broken, Framing, Moved, Passing, Step, framing};

/// What is read at once, unless a long body is on its way.
const READ: usize = 8 * 1024;
const READ_LONG: usize = 64 * 1024;
/// Interim answers that wait for a client to take them; those beyond are dropped.
const MAX_INTERIM: usize = 16 * 1024;
/// Pieces of a body that nobody wants; for more of them a connection is not worth it.
const MAX_SKIMMED: usize = 16;
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The connection.
#[derive(Clone)]
pub(in crate::listener) struct Wire(pub(super) Rc<RefCell<State>>);

pub(super) struct State {
    pub(super) io: Io,
    spares: Rc<Spares>,
    /// Read, and not looked at yet; first what is left of a body's last piece.
    rest: Bytes,
    pub(super) buffer: BytesMut,
    /// To be written: heads and what is between the pieces of a body.
    pub(super) out: BytesMut,
    /// Something was written, and has perhaps not left.
    pub(super) leaves: bool,
    /// Of the body of the request that is being answered.
    pub(super) framing: Framing,
    /// The client waits for a 100 before it sends its body.
    pub(super) expects: bool,
    /// An answer has begun.
    pub(super) answering: bool,
    /// Whoever had the body has let go of it.
    pub(super) unwanted: bool,
    /// It was none; nobody knows what the bytes behind it are.
    malformed: bool,
    /// Ends after the answer that is being given, or before the next request.
    pub(super) leaving: bool,
}

impl Wire {
    pub(in crate::listener) fn new(io: Io, spares: &Rc<Spares>) -> Self {
        Wire(Rc::new(RefCell::new(State {
            io,
            spares: Rc::clone(spares),
            rest: Bytes::new(),
            buffer: BytesMut::new(),
            out: BytesMut::new(),
            leaves: false,
            framing: Framing::NONE,
            expects: false,
            answering: false,
            unwanted: false,
            malformed: false,
            leaving: false,
        })))
    }

    /// Ends the connection with the answer that is on its way, or at once.
    pub(in crate::listener) fn leave(&self) {
        self.0.borrow_mut().leaving = true;
    }

    /// Lets go of buffers that are not used.
    pub(in crate::listener) fn shrink(&self) {
        let mut state = self.0.borrow_mut();
        (state.buffer, state.out, state.rest) = (BytesMut::new(), BytesMut::new(), Bytes::new());
    }

    /// True if something of a request has come.
    pub(in crate::listener) fn has_begun(&self) -> bool {
        !self.0.borrow().buffer.is_empty()
    }

    /// Waits for the socket to have something to say.
    pub(in crate::listener) async fn readable(&self) {
        let ready = |cx: &mut Context<'_>| self.0.borrow().io.stream().socket().poll_read_ready(cx);
        // An error is something to say.
        let _ = std::future::poll_fn(ready).await;
    }

    /// The stream and what was read of it and not used, if nobody else holds it.
    pub(in crate::listener) fn into_io(self) -> Option<Io> {
        let mut state = Rc::try_unwrap(self.0).ok()?.into_inner();
        let early = state.take_read();
        Some(state.io.with_early(early))
    }

    /// Shows the socket, where there is nothing else, nor anything that was read of it and not used.
    pub(in crate::listener) fn bare<R>(&self, show: impl FnOnce(&TcpStream) -> R) -> Option<R> {
        let state = self.0.borrow();
        state.io.plain().filter(|_| state.rest.is_empty() && state.buffer.is_empty()).map(show)
    }

    /// Says an interim answer. It is advice: where it does not fit any more, it is dropped.
    pub(super) fn inform(&self, status: StatusCode, headers: &HeaderMap) {
        let mut state = self.0.borrow_mut();
        if state.answering || state.out.len() > MAX_INTERIM {
            return;
        }
        let reason = status.canonical_reason().unwrap_or_default();
        state.out.extend_from_slice(format!("HTTP/1.1 {} {reason}\r\n", status.as_str()).as_bytes());
        framing::fields(&mut state.out, headers.iter());
        state.out.extend_from_slice(b"\r\n");
    }
}

impl State {
    /// Reads once; 0 at the end of the stream.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let room = if self.framing.is_long() { READ_LONG } else { READ };
        if self.buffer.capacity() == 0 {
            self.buffer = self.spares.inbox.take();
        }
        if self.buffer.capacity() - self.buffer.len() < room / 4 {
            self.buffer.reserve(room);
        }
        let read = pin!(self.io.read_buf(&mut self.buffer)).poll(cx);
        if read.is_pending() && self.buffer.is_empty() {
            self.spares.inbox.give(&mut self.buffer);
        }
        read
    }

    /// Where a head is written to.
    pub(super) fn outbox(&mut self) -> &mut BytesMut {
        if self.out.capacity() == 0 {
            self.out = self.spares.outbox.take();
        }
        &mut self.out
    }

    /// Writes what is to be written, with these behind it, as far as possible; ready when all is written.
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        data: &mut Bytes,
        tail: &mut &[u8],
    ) -> Poll<io::Result<()>> {
        while self.out.has_remaining() || data.has_remaining() || !tail.is_empty() {
            let io = Pin::new(&mut self.io);
            let count = match (self.out.is_empty(), data.is_empty(), tail.is_empty()) {
                (_, true, true) => ready!(io.poll_write(cx, &self.out))?,
                (true, _, true) => ready!(io.poll_write(cx, data))?,
                _ => {
                    let slices = [IoSlice::new(&self.out), IoSlice::new(data), IoSlice::new(tail)];
                    ready!(io.poll_write_vectored(cx, &slices))?
                }
            };
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let lead = count.min(self.out.len());
            self.out.advance(lead);
            let middle = (count - lead).min(data.len());
            data.advance(middle);
            *tail = &tail[count - lead - middle..];
        }
        self.spares.outbox.give(&mut self.out);
        Poll::Ready(Ok(()))
    }

    /// Writes what is to be written, and sees to it that it leaves.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.leaves = true;
        ready!(self.poll_write(cx, &mut Bytes::new(), &mut &b""[..]))?;
        ready!(Pin::new(&mut self.io).poll_flush(cx))?;
        self.leaves = false;
        Poll::Ready(Ok(()))
    }

    /// Puts what is left behind a body in front of what was read since.
    pub(super) fn turn_to_heads(&mut self) {
        let rest = std::mem::take(&mut self.rest);
        if !rest.is_empty() {
            let mut front = rest.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
            front.extend_from_slice(&self.buffer);
            self.buffer = front;
        }
    }

    /// All that was read and not used.
    fn take_read(&mut self) -> Bytes {
        self.turn_to_heads();
        self.buffer.split().freeze()
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        loop {
            if self.framing.has_ended() {
                return Poll::Ready(None);
            }
            match self.framing.decode(&mut self.rest) {
                Ok(Step::Frame(frame)) => return Poll::Ready(Some(Ok(frame))),
                Ok(Step::End) => return Poll::Ready(None),
                Ok(Step::More) => {}
                Err(malformed) => {
                    self.malformed = true;
                    return Poll::Ready(Some(Err(Broken(malformed.into()))));
                }
            }
            if self.buffer.is_empty() {
                self.say_continue(cx);
                match ready!(self.poll_fill(cx)) {
                    Ok(0) => return Poll::Ready(Some(Err(Broken("the connection ended within it".into())))),
                    Ok(_) => self.expects = false,
                    Err(error) => return Poll::Ready(Some(Err(Broken(error.into())))),
                }
            }
            self.rest = self.buffer.split().freeze();
        }
    }

    /// Moves the next piece of a body to a socket, unless it has to be read: what was read already, and what the client has to be
    /// told to send.
    fn poll_pass(&mut self, cx: &mut Context<'_>, to: &TcpStream) -> Poll<Option<Result<Moved, Broken>>> {
        let Some(from) = self.io.plain() else { return Poll::Ready(None) };
        if !self.rest.is_empty() || !self.buffer.is_empty() || self.expects || self.malformed {
            return Poll::Ready(None);
        }
        let moved = ready!(self.spares.pipe.poll_move(cx, (from, to), self.framing.left()));
        if let Some(Ok(moved)) = &moved {
            self.framing.skip(moved.count);
        }
        Poll::Ready(moved.map(|moved| moved.map_err(|error| Broken(error.into()))))
    }

    /// Reads what is there of a body that nobody wants: if that is all of it, the connection can go on.
    pub(super) fn skim(&mut self, cx: &mut Context<'_>) {
        // Whoever waits for a 100 may send the body or not: nobody knows what would come next.
        if !self.unwanted || self.malformed || self.expects {
            return;
        }
        for _ in 0..MAX_SKIMMED {
            if !matches!(self.poll_body(cx), Poll::Ready(Some(Ok(_)))) {
                return;
            }
        }
    }

    /// Tells a client that waits for it to go on, now that somebody wants its body.
    fn say_continue(&mut self, cx: &mut Context<'_>) {
        if std::mem::take(&mut self.expects) && !self.answering {
            self.out.extend_from_slice(CONTINUE);
        }
        if !self.answering && !self.out.is_empty() {
            // What cannot be written now is written by the conversation, which is polled as well.
            let _ = self.poll_flush(cx);
        }
    }
}

/// The body of the request that is being answered.
pub(super) struct Upload(pub(super) Wire);

impl Passing for Upload {
    fn poll_pass(self: Pin<&mut Self>, cx: &mut Context<'_>, to: &TcpStream) -> Poll<Option<Result<Moved, Broken>>> {
        self.0.0.borrow_mut().poll_pass(cx, to)
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        self.0.0.borrow_mut().poll_body(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.0.borrow().framing.has_ended()
    }

    fn size_hint(&self) -> SizeHint {
        match self.0.0.borrow().framing {
            Framing::Length(left) => SizeHint::with_exact(left),
            _ => SizeHint::default(),
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        // Nobody lets go of it while it is polled.
        if let Ok(mut state) = self.0.0.try_borrow_mut() {
            state.unwanted = true;
        }
    }
}

/// As a stream of bytes, for whoever has taken the connection over.
impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut state = self.0.borrow_mut();
        if state.rest.is_empty() && !state.buffer.is_empty() {
            state.rest = state.buffer.split().freeze();
        }
        if state.rest.is_empty() {
            return Pin::new(&mut state.io).poll_read(cx, buffer);
        }
        let count = state.rest.len().min(buffer.remaining());
        buffer.put_slice(&state.rest.split_to(count));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0.borrow_mut().io).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.borrow_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.borrow_mut().io).poll_shutdown(cx)
    }
}
