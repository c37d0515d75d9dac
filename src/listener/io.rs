//! The byte stream under a downstream connection: notes whether bytes go, for the connection's timeouts.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::pulse::Pulse;
use super::room::Place;
use crate::tls::Stream;

/// What is written in pieces is written as one up to this size: a copy of so little costs less than telling the kernel about pieces.
const SMALL: usize = 1024;

/// The server's side of a connection.
#[derive(Debug)]
pub(super) struct Io {
    stream: Stream,
    pulse: Arc<Pulse>,
    // Read before, and to be read again.
    early: Bytes,
    // Given back after the socket is closed, whoever holds it by then: a tunnel, perhaps.
    _place: Option<Place>,
}

impl Io {
    pub(super) fn new(stream: Stream, place: Option<Place>, pulse: Arc<Pulse>) -> Self {
        Io { stream, pulse, early: Bytes::new(), _place: place }
    }

    /// The same, with bytes that were read from it and not used.
    pub(super) fn with_early(mut self, early: Bytes) -> Self {
        self.early = early;
        self
    }

    /// The socket, if what comes from it is no more than what is said, and nothing of it was read before.
    pub(super) fn plain(&self) -> Option<&TcpStream> {
        self.stream.plain().filter(|_| self.early.is_empty())
    }

    pub(super) fn stream(&self) -> &Stream {
        &self.stream
    }
}

/// All of the slices as one, if they are small.
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
            let _ = SockRef::from(self.stream.socket()).set_linger(Some(Duration::ZERO));
        }
    }
}

impl AsyncRead for Io {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.early.has_remaining() {
            let count = self.early.len().min(buffer.remaining());
            buffer.put_slice(&self.early.split_to(count));
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.pulse.wrote(polled.is_ready());
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = match gather(slices, &mut [0; SMALL]) {
            Some(bytes) => Pin::new(&mut self.stream).poll_write(cx, bytes),
            None => Pin::new(&mut self.stream).poll_write_vectored(cx, slices),
        };
        self.pulse.wrote(polled.is_ready());
        polled
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(cx);
        // TLS takes what the socket does not: only here it shows that nobody takes it.
        self.pulse.wrote(polled.is_ready());
        polled
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
