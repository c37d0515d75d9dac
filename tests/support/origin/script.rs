//! What an origin does with one request, as the test says it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::support::client::Fields;

/// What an origin does with one request. Unless said otherwise it reads the whole request first and keeps the connection.
#[derive(Clone, Debug)]
pub enum Script {
    /// A response with `content-length`, unless the headers bring their own framing.
    Answer { status: u16, headers: Fields, body: Vec<u8> },
    /// A 200 in exactly these chunks, with trailers after them.
    Chunked { chunks: Vec<Vec<u8>>, trailers: Fields },
    /// Reads the head and is silent until the other side leaves.
    Hang,
    /// RST in place of an answer.
    ResetBeforeHead,
    /// A head that promises 1,000 bytes, four of them, RST.
    ResetMidBody,
    /// FIN in place of an answer.
    CloseBeforeHead,
    /// The answer, then FIN, without a `connection: close` that warns of it.
    CloseAfter(Box<Script>),
    /// The same, so much later.
    Delay(Duration, Box<Script>),
    /// These bytes, verbatim.
    Raw(Vec<u8>),
    /// A 103 with a `link`, then the answer.
    Informational(Box<Script>),
    /// The answer at once after the head; the request's body is read after it.
    Early(Box<Script>),
    /// A 101 to whatever `upgrade` asks for, then every byte back until the other side ends.
    UpgradeEcho,
    /// A 101, then every WebSocket message back: for true WebSocket clients, which refuse a bare echo of their frames.
    WebSocketEcho,
    /// The request's body as a chunked answer, piece by piece while it is being received.
    EchoBody,
    /// A chunked answer that flows as the test's `Tap` says; see `slow_body`.
    SlowBody(Drip),
}

impl Script {
    /// An answer with a status and a body, and no headers to speak of.
    pub fn answer(status: u16, body: impl Into<Vec<u8>>) -> Script {
        Script::Answer { status, headers: Fields::new(), body: body.into() }
    }

    /// Whether the request's body is left to the script instead of being read before it.
    pub(super) fn takes_body(&self) -> bool {
        match self {
            Script::Delay(_, script) | Script::CloseAfter(script) | Script::Informational(script) => {
                script.takes_body()
            }
            Script::Early(_) | Script::EchoBody | Script::Hang => true,
            _ => false,
        }
    }
}

/// A body in the test's hands: the script gives the head at once, and what the tap gives.
pub fn slow_body() -> (Tap, Script) {
    let (tap, drip) = mpsc::unbounded_channel();
    (Tap(tap), Script::SlowBody(Arc::new(tokio::sync::Mutex::new(drip))))
}

/// The test's end of a slow body. Dropped, it ends the body well.
pub struct Tap(mpsc::UnboundedSender<Flow>);

impl Tap {
    /// Sends one chunk.
    pub fn send(&self, chunk: impl Into<Vec<u8>>) {
        self.0.send(Flow::Chunk(chunk.into())).ok();
    }

    /// Ends the body as it should end.
    pub fn end(self) {}

    /// Resets the connection in the middle of the body.
    pub fn reset(self) {
        self.0.send(Flow::Reset).ok();
    }

    /// Returns when nobody listens any more: the other side left, or the origin was stopped.
    pub async fn left(&self) {
        self.0.closed().await;
    }
}

/// The origin's end of a slow body.
pub type Drip = Arc<tokio::sync::Mutex<mpsc::UnboundedReceiver<Flow>>>;

/// What comes out of a tap.
#[derive(Debug)]
pub enum Flow {
    Chunk(Vec<u8>),
    Reset,
}
