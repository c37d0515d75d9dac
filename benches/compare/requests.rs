//! The requests, each written once, byte for byte as it is sent.

use std::sync::Arc;

use crate::frames;
use crate::load::{Protocol, Script};
use crate::origin::{GRPC_MESSAGE, WEBSOCKET_KEY};
use crate::peers::WEBSOCKET_PATH;
use crate::work::HOST;

/// Mixed into what a client sends over WebSocket. A real one takes another for each message.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
/// A message over WebSocket.
const MESSAGE: &[u8; 32] = b"thirty-two bytes that come back.";
/// A whole message, binary; and whether it is masked, beside its length.
const BINARY: u8 = 0x82;
const MASKED: u8 = 0x80;

/// GET this path, on standing connections.
pub fn get(path: &str, answer: &[u8]) -> Script {
    script(vec![get_with(path, "")], answer)
}

/// GET requests each of which is the last on its connection.
pub fn last(answer: &[u8]) -> Script {
    Script { reuse: false, ..script(vec![get_with("/", "Connection: close\r\n")], answer) }
}

/// GET requests for each route in turn.
pub fn routes(count: usize, answer: &[u8]) -> Script {
    script((0..count).map(|number| get_with(&format!("/r/{number}/item"), "")).collect(), answer)
}

/// POST this body.
pub fn upload(body: &[u8], answer: &[u8]) -> Script {
    let head = format!(
        "POST /upload HTTP/1.1\r\nHost: {HOST}\r\nUser-Agent: compare\r\nAccept: */*\r\n\
         Content-Type: application/octet-stream\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    Script { upload: body.len(), ..script(vec![[head.as_bytes(), body].concat().into()], answer) }
}

/// GET `/` by HTTP/2. As a real client's, the second request says "as before" of what does not change.
pub fn get_by_http2(streams: u16, answer: &[u8]) -> Script {
    // GET, https, the path "/".
    let method = [0x82, 0x87, 0x84];
    let mut first = method.to_vec();
    frames::put_indexed(&mut first, 1, HOST);
    frames::put_indexed(&mut first, 58, "compare");
    frames::put_indexed(&mut first, 19, "*/*");
    // The three that were remembered, the last one as number 62.
    let later = [&method[..], &[0xc0, 0xbf, 0xbe]].concat();
    let request = |block: &[u8]| {
        let mut out = Vec::new();
        frames::put(&mut out, frames::HEADERS, frames::END_HEADERS | frames::END_STREAM, 0, block);
        out.into()
    };
    let requests = vec![request(&first), request(&later)];
    Script { protocol: Protocol::Http2 { streams, trailers: false }, ..script(requests, answer) }
}

/// A unary call.
pub fn grpc(streams: u16) -> Script {
    // POST, https.
    let method = [0x83, 0x87];
    let mut first = method.to_vec();
    frames::put_indexed(&mut first, 4, "/lictor.Echo/Say");
    frames::put_indexed(&mut first, 1, HOST);
    frames::put_indexed(&mut first, 58, "compare");
    frames::put_indexed(&mut first, 31, "application/grpc");
    frames::put_named(&mut first, "te", "trailers");
    let later = [&method[..], &[0xc2, 0xc1, 0xc0, 0xbf, 0xbe]].concat();
    let request = |block: &[u8]| {
        let mut out = Vec::new();
        frames::put(&mut out, frames::HEADERS, frames::END_HEADERS, 0, block);
        frames::put(&mut out, frames::DATA, frames::END_STREAM, 0, GRPC_MESSAGE);
        out.into()
    };
    let requests = vec![request(&first), request(&later)];
    let protocol = Protocol::Http2 { streams, trailers: true };
    Script { protocol, upload: GRPC_MESSAGE.len(), ..script(requests, GRPC_MESSAGE) }
}

/// An upgrade, and a message.
pub fn websocket() -> Script {
    let upgrade = get_with(
        WEBSOCKET_PATH,
        &format!(
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {WEBSOCKET_KEY}\r\n"
        ),
    );
    let length = MESSAGE.len() as u8;
    let masked: Vec<u8> = MESSAGE.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
    let message = [&[BINARY, MASKED | length][..], &MASK, &masked].concat();
    let answer = [&[BINARY, length][..], MESSAGE].concat();
    Script { protocol: Protocol::WebSocket, ..script(vec![upgrade, message.into()], &answer) }
}

fn script(requests: Vec<Arc<[u8]>>, answer: &[u8]) -> Script {
    Script { protocol: Protocol::Http1, requests, upload: 0, answer: answer.into(), reuse: true }
}

fn get_with(path: &str, more: &str) -> Arc<[u8]> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\nUser-Agent: compare\r\nAccept: */*\r\n{more}\r\n");
    request.into_bytes().into()
}
