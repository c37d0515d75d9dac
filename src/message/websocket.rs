//! What proves that a WebSocket's handshake was understood (RFC 6455 section 4.2.2). Only HTTP/1.1 has it: between it and HTTP/2, where
//! the protocol is named in the request (RFC 8441), it is left out or made.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;

/// What a key is hashed with, so that nobody proves anything by accident.
const PROOF: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// `Sec-WebSocket-Accept` for a `Sec-WebSocket-Key`.
pub fn websocket_accept(key: &[u8]) -> HeaderValue {
    let proof = STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key, PROOF].concat()));
    // Base64 is always a valid value.
    HeaderValue::try_from(proof).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_key_is_answered_as_in_the_standard() {
        assert_eq!(super::websocket_accept(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
