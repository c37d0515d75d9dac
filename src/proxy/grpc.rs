//! Answers of our own for gRPC's clients, who look for the outcome in `grpc-status` and not in the status of HTTP: a head that is all
//! of the answer ("Trailers-Only", gRPC over HTTP/2).

use std::fmt::Write as _;

use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Response, StatusCode};

use super::answer::Body;

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// The answer that says what one of that status and text says elsewhere.
pub(super) fn answer(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = Response::new(Body::Text(None));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(STATUS, HeaderValue::from(code(status)));
    if let Ok(message) = HeaderValue::from_str(&encoded(text.trim())) {
        headers.insert(MESSAGE, message);
    }
    response
}

/// gRPC's own mapping ("HTTP to gRPC Status Code Mapping"), which leaves out what a proxy has run out of time for.
fn code(status: StatusCode) -> u16 {
    match status.as_u16() {
        // INTERNAL, UNAUTHENTICATED, PERMISSION_DENIED
        400 => 13,
        401 => 16,
        403 => 7,
        // UNIMPLEMENTED: such a method is not here.
        404 | 405 | 501 => 12,
        // DEADLINE_EXCEEDED
        408 | 504 => 4,
        // UNAVAILABLE: worth another try.
        429 | 502 | 503 => 14,
        // UNKNOWN
        _ => 2,
    }
}

/// Percent-encoded: what is not printable ASCII, and the sign itself.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => encoded.push(char::from(byte)),
            // Writing to memory does not fail.
            _ => drop(write!(encoded, "%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_is_said_as_grpc_says_it() {
        let said = |status: u16, text: &str| {
            let answer = answer(StatusCode::from_u16(status).unwrap(), text);
            let text = |name| answer.headers()[name].to_str().unwrap().to_owned();
            assert_eq!((answer.status(), text("content-type").as_str()), (StatusCode::OK, "application/grpc"));
            (text("grpc-status"), text("grpc-message"))
        };
        assert_eq!(said(503, "no endpoint\n"), ("14".to_owned(), "no endpoint".to_owned()));
        assert_eq!(said(504, "100 % ü\u{7f}"), ("4".to_owned(), "100 %25 %C3%BC%7F".to_owned()));
        for (status, code) in [(400, "13"), (401, "16"), (403, "7"), (404, "12"), (429, "14"), (502, "14"), (418, "2")]
        {
            assert_eq!(said(status, "x").0, code);
        }
    }
}
