//! The byte stream under a downstream connection: notes when bytes come, and lets interim answers (1xx) out before the final
//! ones, which hyper's server cannot send itself.
//!
//! hyper calls `poll_flush` only when all that it had to write is written, so that is when an interim answer cannot end up
//! inside another message.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use socket2::SockRef;
use tokio::net::TcpStream;

use super::pulse::Pulse;
use super::room::Place;

/// Interim answers that wait; an endpoint that sends more has the rest dropped.
const MAX_WAITING: usize = 16 * 1024;

/// Answers up to this size are written in one piece.
const SMALL: usize = 1024;

/// The server's side of a connection.
#[derive(Debug)]
pub(super) struct Io {
    stream: TokioIo<TcpStream>,
    pulse: Arc<Pulse>,
    informer: Informer,
    // Nothing was written since all was written.
    clean: bool,
    // Read before, and to be read again.
    early: Bytes,
    // Given back after the socket is closed, whoever holds it by then: a tunnel, perhaps.
    _place: Option<Place>,
}

/// Sends interim answers to a client.
#[derive(Debug, Clone, Default)]
pub struct Informer(Arc<Outbox>);

#[derive(Debug, Default)]
struct Outbox {
    waiting: AtomicBool,
    bytes: Mutex<Vec<u8>>,
}

impl Informer {
    /// Has an interim answer written before the final one. It is advice: where it does not fit, it is dropped.
    pub fn inform(&self, status: StatusCode, headers: &HeaderMap) {
        let mut bytes = self.bytes();
        let start = bytes.len();
        let reason = status.canonical_reason().unwrap_or_default();
        bytes.extend_from_slice(format!("HTTP/1.1 {} {reason}\r\n", status.as_str()).as_bytes());
        for (name, value) in headers {
            bytes.extend_from_slice(name.as_str().as_bytes());
            bytes.extend_from_slice(b": ");
            bytes.extend_from_slice(value.as_bytes());
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        if bytes.len() > MAX_WAITING {
            bytes.truncate(start);
        }
        self.0.waiting.store(!bytes.is_empty(), Ordering::Relaxed);
    }

    fn is_waiting(&self) -> bool {
        self.0.waiting.load(Ordering::Relaxed)
    }

    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        // Never contended: one thread serves the connection.
        self.0.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Io {
    pub(super) fn new(stream: TcpStream, place: Option<Place>, pulse: Arc<Pulse>, informer: Informer) -> Self {
        Io { stream: TokioIo::new(stream), pulse, informer, clean: true, early: Bytes::new(), _place: place }
    }

    /// The same, with bytes that were read from it and not used.
    pub(super) fn with_early(mut self, early: Bytes) -> Self {
        // Empty, it would still hold on to the buffer that it was part of.
        self.early = if early.is_empty() { Bytes::new() } else { early };
        self
    }

    pub(super) fn has_early(&self) -> bool {
        !self.early.is_empty()
    }

    pub(super) fn stream(&self) -> &TcpStream {
        self.stream.inner()
    }

    /// Writes the interim answers that wait.
    fn poll_inform(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut bytes = self.informer.bytes();
        while !bytes.is_empty() {
            let count = ready!(Pin::new(&mut self.stream).poll_write(cx, &bytes))?;
            bytes.drain(..count);
        }
        self.informer.0.waiting.store(false, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }

    /// Before hyper writes: interim answers that still wait go first, or not at all if a message is half out.
    fn poll_before_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.informer.is_waiting() {
            if self.clean {
                ready!(self.poll_inform(cx))?;
            } else {
                self.informer.bytes().clear();
                self.informer.0.waiting.store(false, Ordering::Relaxed);
            }
        }
        self.clean = false;
        Poll::Ready(Ok(()))
    }
}

/// All of the slices as one, if they are small: a copy of so little costs less than telling the kernel about pieces.
fn gather<'a>(slices: &[IoSlice<'_>], room: &'a mut [u8; SMALL]) -> Option<&'a [u8]> {
    let mut length = 0;
    for slice in slices {
        room.get_mut(length..length + slice.len())?.copy_from_slice(slice);
        length += slice.len();
    }
    Some(&room[..length])
}

impl Drop for Io {
    fn drop(&mut self) {
        if self.pulse.is_cut() {
            // Has the close be a reset; a socket that refuses is closed all the same.
            let _ = SockRef::from(self.stream.inner()).set_linger(Some(Duration::ZERO));
        }
    }
}

impl Read for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if self.has_early() {
            let count = self.early.len().min(buffer.remaining());
            buffer.put_slice(&self.early.split_to(count));
            self.pulse.received();
            return Poll::Ready(Ok(()));
        }
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if polled.is_ready() {
            self.pulse.received();
        }
        polled
    }
}

impl Write for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_before_write(cx))?;
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.pulse.wrote(polled.is_ready());
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_before_write(cx))?;
        let polled = match gather(slices, &mut [0; SMALL]) {
            Some(bytes) => Pin::new(&mut self.stream).poll_write(cx, bytes),
            None => Pin::new(&mut self.stream).poll_write_vectored(cx, slices),
        };
        self.pulse.wrote(polled.is_ready());
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.clean = true;
        if self.informer.is_waiting() {
            ready!(self.poll_inform(cx))?;
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
