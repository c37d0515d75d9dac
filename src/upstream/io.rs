//! The byte stream under a connection, with the two facts that a retry needs and hyper does not tell: how much was written,
//! and whether an idle connection has been closed by the other side.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use socket2::SockRef;
use tokio::net::TcpStream;

/// A TCP stream that is watched.
#[derive(Debug)]
pub struct Io {
    stream: TokioIo<TcpStream>,
    facts: Arc<Facts>,
}

/// What is known of the stream from outside. One thread uses both; atomics only because hyper asks for `Send`.
#[derive(Debug, Default)]
pub(super) struct Facts {
    written: AtomicU64,
    probe: AtomicBool,
}

impl Facts {
    /// Bytes that the kernel took, ever.
    pub(super) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Has the next read ask the kernel even if no event has come: a close that the event loop has not seen yet is seen.
    pub(super) fn probe(&self) {
        self.probe.store(true, Ordering::Relaxed);
    }
}

impl Io {
    pub(super) fn new(stream: TcpStream) -> (Self, Arc<Facts>) {
        let facts = Arc::new(Facts::default());
        (Io { stream: TokioIo::new(stream), facts: Arc::clone(&facts) }, facts)
    }

    /// The stream itself, when HTTP has ended on it.
    pub fn into_inner(self) -> TcpStream {
        self.stream.into_inner()
    }

    fn count(&self, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(count)) = polled {
            let written = self.facts.written() + count as u64;
            self.facts.written.store(written, Ordering::Relaxed);
        }
        polled
    }
}

impl Read for Io {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        if self.facts.probe.load(Ordering::Relaxed) {
            self.facts.probe.store(false, Ordering::Relaxed);
            match SockRef::from(self.stream.inner()).peek(&mut [MaybeUninit::uninit()]) {
                // Nothing read is how an end is told.
                Ok(0) => return Poll::Ready(Ok(())),
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Poll::Ready(Err(error)),
                Ok(_) | Err(_) => {}
            }
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl Write for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.count(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.count(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
