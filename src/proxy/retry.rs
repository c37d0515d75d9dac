//! Whether a failed attempt may be followed by another: decided from whose side failed, how far the attempt got, and what the
//! request is, never from guesses.

use http::Method;

use crate::health::Reason;
use crate::message::Upload;
use crate::upstream::{Error, Kind, Progress};

/// Nothing, or the reason why the request must not be sent again.
pub(super) fn refusal(error: &Error, method: &Method, body: &Upload) -> Option<&'static str> {
    match error.kind {
        Kind::Downstream | Kind::DownstreamTimeout => Some("downstream"),
        // Another endpoint would need the same.
        Kind::Local => Some("local"),
        // Whatever the method: the endpoint has not seen it.
        _ if error.progress == Progress::NothingSent && error.kind != Kind::Timeout => {
            if body.is_whole() {
                None
            } else {
                Some("body")
            }
        }
        Kind::Reset if !is_idempotent(method) => Some("method"),
        Kind::Reset if !body.is_empty() => Some("body"),
        Kind::Reset => None,
        Kind::Timeout => Some("timeout"),
        Kind::Protocol | Kind::Connect | Kind::ConnectTimeout => Some("answered"),
    }
}

/// True if a request may be repeated after it was sent and broken off.
pub(super) fn can_repeat(method: &Method, body: &Upload) -> bool {
    is_idempotent(method) && body.is_empty()
}

/// RFC 9110 section 9.2.2.
fn is_idempotent(method: &Method) -> bool {
    [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE, Method::PUT, Method::DELETE].contains(method)
}

/// What an error says of the endpoint; none if it is not the endpoint's fault.
pub(super) fn blame(error: &Error) -> Option<Reason> {
    match error.kind {
        Kind::Connect => Some(Reason::Connect),
        Kind::ConnectTimeout | Kind::Timeout => Some(Reason::Timeout),
        // A server may close an idle connection whenever it likes, also just when it is used again.
        Kind::Reset if error.reused && error.progress == Progress::NothingSent => None,
        Kind::Reset | Kind::Protocol => Some(Reason::Reset),
        Kind::Downstream | Kind::DownstreamTimeout | Kind::Local => None,
    }
}
