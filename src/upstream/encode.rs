//! Requests as bytes (RFC 9112).

use std::io::Write as _;

use bytes::{BufMut, BytesMut};
use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, request};

use crate::message::Way;

/// Ends a chunked body without trailers.
pub(super) const LAST_CHUNK: &[u8] = b"0\r\n\r\n";
/// Ends a chunk's data.
pub(super) const CHUNK_END: &[u8] = b"\r\n";

/// The request line, the headers as they are, and those of the way behind them.
pub(super) fn head(out: &mut BytesMut, head: &request::Parts, way: &Way) {
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
    out.reserve(target.len() + 320 + 48 * head.headers.len());
    out.put_slice(head.method.as_str().as_bytes());
    out.put_slice(b" ");
    out.put_slice(target.as_bytes());
    out.put_slice(b" HTTP/1.1\r\n");
    fields(out, head.headers.iter());
    fields(out, way.iter());
    out.put_slice(b"\r\n");
}

/// The size line of a chunk.
pub(super) fn chunk(out: &mut BytesMut, length: usize) {
    // Writing to memory does not fail.
    let _ = write!(out.writer(), "{length:x}\r\n");
}

/// The last chunk and the trailers after it.
pub(super) fn trailers(out: &mut BytesMut, trailers: &HeaderMap) {
    // Those that would frame or address a message have no place here (RFC 9110 section 6.5.1).
    let fits = |(name, _): &(&HeaderName, &HeaderValue)| ![CONTENT_LENGTH, TRANSFER_ENCODING, HOST].contains(name);
    out.put_slice(b"0\r\n");
    fields(out, trailers.iter().filter(fits));
    out.put_slice(b"\r\n");
}

fn fields<'a>(out: &mut BytesMut, fields: impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)>) {
    for (name, value) in fields {
        out.put_slice(name.as_str().as_bytes());
        out.put_slice(b": ");
        out.put_slice(value.as_bytes());
        out.put_slice(b"\r\n");
    }
}
