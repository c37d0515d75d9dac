//! Requests as bytes (RFC 9112).

use bytes::{BufMut, BytesMut};
use http::{HeaderValue, request};

use crate::message::Way;
use crate::message::framing::{field, fields};

/// The request line, the headers as they are, and behind them those of the way, and the span that it comes from if there is one.
pub fn head(out: &mut BytesMut, head: &request::Parts, way: &Way, parent: Option<&HeaderValue>) {
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
    out.reserve(target.len() + 320 + 48 * head.headers.len());
    out.put_slice(head.method.as_str().as_bytes());
    out.put_slice(b" ");
    out.put_slice(target.as_bytes());
    out.put_slice(b" HTTP/1.1\r\n");
    fields(out, head.headers.iter());
    way.iter().for_each(|(name, value)| field(out, name, value));
    if let Some(parent) = parent {
        field(out, "traceparent", parent.as_bytes());
    }
    out.put_slice(b"\r\n");
}
