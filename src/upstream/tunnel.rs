//! The endpoint's side of a connection that has switched protocols, whichever HTTP it was before.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::http2::Seat;
use crate::endpoint::Connected;
use crate::message::Duplex;
use crate::tls::{Bare, Stream};

/// Bytes both ways, counted as a connection or as a stream for as long as it is held.
#[derive(Debug)]
pub struct Tunnel(Way);

#[derive(Debug)]
enum Way {
    Own(Stream, #[expect(dead_code, reason = "held")] Connected),
    // The place is given back after the stream.
    Shared(Duplex, #[expect(dead_code, reason = "held")] Seat),
}

impl Tunnel {
    pub(super) fn own(stream: Stream, connected: Connected) -> Self {
        Tunnel(Way::Own(stream, connected))
    }

    pub(super) fn shared(stream: Duplex, seat: Seat) -> Self {
        Tunnel(Way::Shared(stream, seat))
    }
}

impl Bare for Tunnel {
    fn bare<R>(&self, show: impl FnOnce(&TcpStream) -> R) -> Option<R> {
        match &self.0 {
            Way::Own(stream, _) => stream.bare(show),
            Way::Shared(..) => None,
        }
    }
}

impl AsyncRead for Tunnel {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Way::Own(stream, _) => Pin::new(stream).poll_read(cx, buffer),
            Way::Shared(stream, _) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Way::Own(stream, _) => Pin::new(stream).poll_write(cx, bytes),
            Way::Shared(stream, _) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Way::Own(stream, _) => Pin::new(stream).poll_flush(cx),
            Way::Shared(stream, _) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Way::Own(stream, _) => Pin::new(stream).poll_shutdown(cx),
            Way::Shared(stream, _) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
