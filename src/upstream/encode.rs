//! Requests as bytes (RFC 9112).

use std::io::Write as _;

use bytes::{BufMut, BytesMut};
use http::{HeaderMap, request};

/// Ends a chunked body without trailers.
pub(super) const LAST_CHUNK: &[u8] = b"0\r\n\r\n";
/// Ends a chunk's data.
pub(super) const CHUNK_END: &[u8] = b"\r\n";

/// The request line and the headers, as they are.
pub(super) fn head(out: &mut BytesMut, head: &request::Parts) {
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
    out.reserve(target.len() + 64 + 48 * head.headers.len());
    out.put_slice(head.method.as_str().as_bytes());
    out.put_slice(b" ");
    out.put_slice(target.as_bytes());
    out.put_slice(b" HTTP/1.1\r\n");
    fields(out, &head.headers);
    out.put_slice(b"\r\n");
}

/// The size line of a chunk.
pub(super) fn chunk(out: &mut BytesMut, length: usize) {
    // Writing to memory does not fail.
    let _ = write!(out.writer(), "{length:x}\r\n");
}

/// The last chunk and the trailers after it.
pub(super) fn trailers(out: &mut BytesMut, trailers: &HeaderMap) {
    out.put_slice(b"0\r\n");
    fields(out, trailers);
    out.put_slice(b"\r\n");
}

fn fields(out: &mut BytesMut, fields: &HeaderMap) {
    for (name, value) in fields {
        out.put_slice(name.as_str().as_bytes());
        out.put_slice(b": ");
        out.put_slice(value.as_bytes());
        out.put_slice(b"\r\n");
    }
}
