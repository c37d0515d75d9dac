//! A connection that HTTP has been left on: bytes both ways.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

use super::h1::Wire;
use super::h2::Ending;
use crate::message::Duplex;

/// A connection that will be somebody else's, once the answer has left that says so.
pub struct Takeover(oneshot::Receiver<Taken>);

/// A connection, or a stream of one, that speaks something else than HTTP from now on.
pub struct Taken(Carrier);

enum Carrier {
    Wire(Wire),
    Stream(Duplex, #[expect(dead_code, reason = "held")] Ending),
}

impl Takeover {
    /// The connection, and a way to hand it over.
    pub(super) fn new() -> (oneshot::Sender<Taken>, Takeover) {
        let (give, take) = oneshot::channel();
        (give, Takeover(take))
    }

    /// The connection; none if the client left before.
    pub async fn take(self) -> Option<Taken> {
        self.0.await.ok()
    }
}

impl Taken {
    pub(super) fn wire(wire: Wire) -> Self {
        Taken(Carrier::Wire(wire))
    }

    pub(super) fn stream(stream: Duplex, ending: Ending) -> Self {
        Taken(Carrier::Stream(stream, ending))
    }
}

impl AsyncRead for Taken {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Carrier::Wire(wire) => Pin::new(wire).poll_read(cx, buffer),
            Carrier::Stream(stream, _) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Taken {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Carrier::Wire(wire) => Pin::new(wire).poll_write(cx, bytes),
            Carrier::Stream(stream, _) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Carrier::Wire(wire) => Pin::new(wire).poll_flush(cx),
            Carrier::Stream(stream, _) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Carrier::Wire(wire) => Pin::new(wire).poll_shutdown(cx),
            Carrier::Stream(stream, _) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
