//! One connection from a proxy: its bytes, and the protocol that they mean.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use crate::load::{Ready, Wire};
use crate::origin::http1::Http1;
use crate::origin::http2::Http2;
use crate::origin::websocket::WebSocket;
use crate::origin::{Ledger, Store};
use crate::peers::Back;

/// The origin's end of it.
#[derive(Debug)]
pub struct Connection {
    wire: Wire,
    ledger: Arc<Ledger>,
    speech: Speech,
}

#[derive(Debug)]
enum Speech {
    Http1(Http1),
    Http2(Http2),
    WebSocket(WebSocket),
}

impl Connection {
    /// One that has just been accepted.
    pub fn new(wire: Wire, protocol: Back, ledger: Arc<Ledger>) -> Self {
        let speech = match protocol {
            Back::Http1 => Speech::Http1(Http1::new()),
            Back::Http2 => Speech::Http2(Http2::new()),
        };
        Self { wire, ledger, speech }
    }

    /// Does what can be done now. Returns whether it is still open.
    pub fn serve(&mut self, ready: Ready, store: &Store, buffer: &mut [u8]) -> io::Result<bool> {
        let Self { wire, ledger, speech } = self;
        match speech {
            Speech::Http1(http1) => {
                let open = http1.serve(wire, ready, (ledger, store), buffer)?;
                if http1.is_upgraded() {
                    *speech = Speech::WebSocket(WebSocket::default());
                }
                Ok(open)
            }
            Speech::Http2(http2) => http2.serve(wire, ready, (ledger, store), buffer),
            Speech::WebSocket(websocket) => websocket.serve(wire, ready, ledger, buffer),
        }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wire.as_fd()
    }
}
