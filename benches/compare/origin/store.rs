//! What the origins answer: fixed bytes, ready to be sent.

use std::fmt::Write as _;
use std::sync::Arc;

use memchr::memmem;

use crate::frames;

/// The body of a small answer.
pub const SMALL: &[u8] = b"hello lictor";
/// Length of a middling answer.
pub const TEN_KIB: usize = 10 * 1024;
/// Length of a long answer, and of an upload.
pub const LONG: usize = 1024 * 1024;
/// What is answered to an upload that came whole.
pub const UPLOADED: &[u8] = b"thanks";

/// A message as gRPC sends it, there and back: not compressed, 33 bytes.
pub const GRPC_MESSAGE: &[u8] = b"\0\0\0\0\x21a message of two and thirty bytes";
/// What a client sends with an upgrade, and what it is answered (RFC 6455, 1.3).
pub const WEBSOCKET_KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const WEBSOCKET_ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// All answers, each whole: head and body.
#[derive(Debug)]
pub struct Store {
    small: Arc<[u8]>,
    middling: Arc<[u8]>,
    long: Arc<[u8]>,
    uploaded: Arc<[u8]>,
    unknown: Arc<[u8]>,
    upgraded: Arc<[u8]>,
    grpc: Vec<u8>,
}

impl Store {
    /// Makes them.
    pub fn new() -> Self {
        Self {
            small: answer("200 OK", SMALL),
            middling: answer("200 OK", &bytes(TEN_KIB)),
            long: answer("200 OK", &bytes(LONG)),
            uploaded: answer("200 OK", UPLOADED),
            unknown: answer("404 Not Found", b"no such path"),
            upgraded: upgraded(),
            grpc: grpc(),
        }
    }

    /// The answer to a request for an upgrade to WebSocket by our own client.
    pub fn upgrade(&self, head: &[u8]) -> Option<Arc<[u8]>> {
        let asks = head.starts_with(b"GET /websocket ") && memmem::find(head, WEBSOCKET_KEY.as_bytes()).is_some();
        asks.then(|| Arc::clone(&self.upgraded))
    }

    /// The answer to every request over HTTP/2.
    pub fn grpc(&self) -> &[u8] {
        &self.grpc
    }

    /// The answer to a request whose head begins like this.
    pub fn find(&self, head: &[u8]) -> &Arc<[u8]> {
        match head {
            [b'G', b'E', b'T', b' ', b'/', b' ', ..] => &self.small,
            _ if head.starts_with(b"GET /r/") => &self.small,
            _ if head.starts_with(b"GET /10k ") => &self.middling,
            _ if head.starts_with(b"GET /1m ") => &self.long,
            _ if head.starts_with(b"POST /upload ") => &self.uploaded,
            _ => &self.unknown,
        }
    }
}

fn upgraded() -> Arc<[u8]> {
    let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n";
    format!("{head}Sec-WebSocket-Accept: {WEBSOCKET_ACCEPT}\r\n\r\n").into_bytes().into()
}

/// Without anything for the proxy to remember, so that the bytes are the same every time.
fn grpc() -> Vec<u8> {
    let mut head = vec![0x88];
    frames::put_literal(&mut head, "content-type", "application/grpc");
    let mut trailers = Vec::new();
    frames::put_literal(&mut trailers, "grpc-status", "0");
    let mut out = Vec::new();
    frames::put(&mut out, frames::HEADERS, frames::END_HEADERS, 0, &head);
    frames::put(&mut out, frames::DATA, 0, 0, GRPC_MESSAGE);
    frames::put(&mut out, frames::HEADERS, frames::END_HEADERS | frames::END_STREAM, 0, &trailers);
    out
}

/// So many bytes that are nowhere alike for long, the same each time: a piece out of place shows.
pub fn bytes(length: usize) -> Vec<u8> {
    let mut text = String::with_capacity(length + 16);
    for number in 0.. {
        if text.len() >= length {
            break;
        }
        let _ = write!(text, "{number} ");
    }
    text.truncate(length);
    text.into_bytes()
}

fn answer(status: &str, body: &[u8]) -> Arc<[u8]> {
    let head = format!("HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat().into()
}
