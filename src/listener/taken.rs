//! A connection that HTTP has been left on: bytes both ways.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use super::connection::Revocation;
use super::h1::Wire;
use super::h2::Ending;
use crate::message::Duplex;
use crate::tls::Bare;

/// A connection that will be somebody else's, once the answer has left that says so.
pub struct Takeover(oneshot::Receiver<Taken>);

/// A connection, or a stream of one, that speaks something else than HTTP from now on.
pub struct Taken {
    carrier: Carrier,
    /// Nothing comes any more once that is over.
    revocation: Option<Revocation>,
    is_revoked: bool,
}

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
    /// A whole connection, for as long as its client may be here.
    pub(super) fn wire(wire: Wire, revocation: Option<Revocation>) -> Self {
        Taken { carrier: Carrier::Wire(wire), revocation, is_revoked: false }
    }

    /// A stream, which ends with its connection.
    pub(super) fn stream(stream: Duplex, ending: Ending) -> Self {
        Taken { carrier: Carrier::Stream(stream, ending), revocation: None, is_revoked: false }
    }

    /// An error once its client may not be here any more. Whoever waits for bytes is woken then.
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if !self.is_revoked {
            let Some(revocation) = &mut self.revocation else { return Ok(()) };
            if revocation.as_mut().poll(cx).is_pending() {
                return Ok(());
            }
            self.is_revoked = true;
        }
        Err(io::ErrorKind::PermissionDenied.into())
    }
}

impl Bare for Taken {
    fn bare<R>(&self, show: impl FnOnce(&TcpStream) -> R) -> Option<R> {
        match (&self.carrier, &self.revocation) {
            (Carrier::Wire(wire), None) => wire.bare(show),
            // Whoever may have to go is looked at with each piece.
            _ => None,
        }
    }
}

impl AsyncRead for Taken {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        match &mut self.carrier {
            Carrier::Wire(wire) => Pin::new(wire).poll_read(cx, buffer),
            Carrier::Stream(stream, _) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Taken {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        match &mut self.carrier {
            Carrier::Wire(wire) => Pin::new(wire).poll_write(cx, bytes),
            Carrier::Stream(stream, _) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.carrier {
            Carrier::Wire(wire) => Pin::new(wire).poll_flush(cx),
            Carrier::Stream(stream, _) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.carrier {
            Carrier::Wire(wire) => Pin::new(wire).poll_shutdown(cx),
            Carrier::Stream(stream, _) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
