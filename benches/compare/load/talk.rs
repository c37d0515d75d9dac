//! One client connection: its bytes, and the protocol that they mean.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Instant;

use rustls::HandshakeKind;

use crate::load::http1::Http1;
use crate::load::http2::Http2;
use crate::load::websocket::WebSocket;
use crate::load::wire::Wire;
use crate::load::{Protocol, Ready, Script, Shared, Trouble};

/// A connection to the proxy.
#[derive(Debug)]
pub struct Talk {
    wire: Wire,
    speech: Speech,
}

#[derive(Debug)]
enum Speech {
    Http1(Http1),
    Http2(Http2),
    WebSocket(WebSocket),
}

impl Talk {
    /// Takes a connection that has just been opened.
    pub fn new(wire: Wire, script: &Arc<Script>) -> Self {
        let speech = match script.protocol {
            Protocol::Http1 => Speech::Http1(Http1::new(Arc::clone(script))),
            Protocol::Http2 { streams, trailers } => {
                Speech::Http2(Http2::new(Arc::clone(script), usize::from(streams), trailers))
            }
            Protocol::WebSocket => Speech::WebSocket(WebSocket::new(Arc::clone(script))),
        };
        Self { wire, speech }
    }

    /// How many more requests it can take now.
    pub fn room(&self) -> usize {
        match &self.speech {
            Speech::Http1(http1) => http1.room(),
            Speech::Http2(http2) => http2.room(),
            Speech::WebSocket(websocket) => websocket.room(),
        }
    }

    /// Requests without an answer.
    pub fn waiting(&self) -> usize {
        match &self.speech {
            Speech::Http1(http1) => http1.waiting(),
            Speech::Http2(http2) => http2.waiting(),
            Speech::WebSocket(websocket) => websocket.waiting(),
        }
    }

    /// Whether the other side has ended it, and nothing was under way.
    pub fn is_closed(&self) -> bool {
        match &self.speech {
            Speech::Http1(http1) => http1.is_closed(),
            Speech::Http2(http2) => http2.is_closed(),
            Speech::WebSocket(websocket) => websocket.is_closed(),
        }
    }

    /// Whether a TLS session was resumed.
    pub fn is_resumed(&self) -> bool {
        self.wire.handshake() == Some(HandshakeKind::Resumed)
    }

    /// Sends a request that was due then. Only where there is room.
    pub fn ask(&mut self, number: u64, due: Instant) -> Result<(), Trouble> {
        match &mut self.speech {
            Speech::Http1(http1) => http1.ask(&mut self.wire, number, due),
            Speech::Http2(http2) => http2.ask(&mut self.wire, due),
            Speech::WebSocket(websocket) => websocket.ask(&mut self.wire, due),
        }
    }

    /// Writes what is left, and reads if something has come.
    pub fn serve(&mut self, ready: Ready, shared: &mut Shared) -> Result<(), Trouble> {
        self.wire.flush()?;
        match &mut self.speech {
            Speech::Http1(http1) => {
                http1.go_on(&mut self.wire)?;
                http1.receive(&mut self.wire, ready, shared)
            }
            Speech::Http2(http2) => {
                http2.go_on(&mut self.wire)?;
                http2.receive(&mut self.wire, ready, shared)
            }
            Speech::WebSocket(websocket) => {
                websocket.go_on(&mut self.wire)?;
                websocket.receive(&mut self.wire, ready, shared)
            }
        }
    }
}

impl AsFd for Talk {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wire.as_fd()
    }
}
