//! What proves that a WebSocket's handshake was understood (RFC 6455 section 4.2.2). Only HTTP/1.1 has it: between it and HTTP/2, where
//! the protocol is named in the request (RFC 8441), it is left out or made.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{HeaderValue, SEC_WEBSOCKET_KEY};
use http::{StatusCode, Version, request};

use super::Fields;
use super::headers::{switches, upgrade};

/// What a key is hashed with, so that nobody proves anything by accident.
const PROOF: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// `Sec-WebSocket-Accept` for a `Sec-WebSocket-Key`.
pub fn websocket_accept(key: &[u8]) -> HeaderValue {
    let proof = STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key, PROOF].concat()));
    // Base64 is always a valid value.
    HeaderValue::try_from(proof).unwrap_or(HeaderValue::from_static(""))
}

/// Another protocol that a request asks for on its connection, or on its stream of one.
#[derive(Debug)]
pub struct Switch {
    protocol: HeaderValue,
    /// What a WebSocket's endpoint has to say where the client cannot judge it: over HTTP/2 the key is ours (RFC 8441).
    accept: Option<HeaderValue>,
}

impl Switch {
    /// What a request asks for, if it asks for anything.
    pub fn asked(head: &request::Parts) -> Option<Box<Self>> {
        let protocol = upgrade(&head.headers)?;
        let key = head.headers.get(SEC_WEBSOCKET_KEY).filter(|_| head.version == Version::HTTP_2);
        Some(Box::new(Switch { protocol, accept: key.map(|key| websocket_accept(key.as_bytes())) }))
    }

    /// True if the head of a 101 switches to what was asked for.
    pub fn is_met_by(&self, fields: &Fields) -> bool {
        let accept = self.accept.as_ref().map(HeaderValue::as_bytes);
        switches(fields, &self.protocol)
            && accept.is_none_or(|accept| fields.get("sec-websocket-accept") == Some(accept))
    }

    /// True if a final answer of that status would tell the client that it has been switched, over HTTP/2, and it has not.
    pub fn is_belied_by(&self, status: StatusCode) -> bool {
        self.accept.is_some() && status.is_success()
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_key_is_answered_as_in_the_standard() {
        assert_eq!(super::websocket_accept(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
