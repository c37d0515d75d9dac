//! Heads between the two versions (RFC 9113 section 8): a request's as HTTP/2 has it, and what an answer's may say.

use bytes::Bytes;
use h2::ext::Protocol;
use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, TE,
    TRANSFER_ENCODING, UPGRADE,
};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Request, StatusCode, Uri, Version, request, response};

use crate::message::framing::length;
use crate::message::{self, Way};

/// An answer, or a request, that is none.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Malformed(&'static str);

/// The request as it is sent: what HTTP/1.1 says by `Host` and the request line stands in the pseudo-header fields, and nothing is
/// said of the connection.
pub(super) fn request(head: &request::Parts, way: &Way, secured: bool) -> Result<Request<()>, Malformed> {
    let mut headers = HeaderMap::with_capacity(head.headers.len() + 8);
    for (name, value) in head.headers.iter().filter(|(name, _)| travels(name)) {
        headers.append(name.clone(), value.clone());
    }
    for (name, value) in way.iter() {
        let value = HeaderValue::from_bytes(value).map_err(|_| Malformed("its way cannot be told"))?;
        headers.append(HeaderName::from_static(name), value);
    }
    // Where gRPC says how it ended, whatever the client can read.
    if message::is_grpc(&headers) || head.headers.contains_key(TE) {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    let mut request = Request::new(());
    *request.method_mut() = head.method.clone();
    // Named in the request; there is nothing to prove (RFC 8441 section 5).
    if let Some(protocol) = head.headers.get(UPGRADE).and_then(|protocol| protocol.to_str().ok()) {
        *request.method_mut() = Method::CONNECT;
        request.extensions_mut().insert(Protocol::from(protocol));
        headers.remove(SEC_WEBSOCKET_KEY);
    }
    *request.uri_mut() = uri(head, secured)?;
    *request.version_mut() = Version::HTTP_2;
    *request.headers_mut() = headers;
    Ok(request)
}

fn uri(head: &request::Parts, secured: bool) -> Result<Uri, Malformed> {
    let wrong = || Malformed("its host cannot stand in an :authority");
    let host = head.headers.get(HOST).ok_or_else(wrong)?;
    let authority = Authority::from_maybe_shared(Bytes::copy_from_slice(host.as_bytes())).map_err(|_| wrong())?;
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(if secured { Scheme::HTTPS } else { Scheme::HTTP });
    parts.authority = Some(authority);
    let slash = || PathAndQuery::from_static("/");
    parts.path_and_query = Some(head.uri.path_and_query().cloned().unwrap_or_else(slash));
    Uri::from_parts(parts).map_err(|_| Malformed("its target cannot stand in a :path"))
}

/// All but what belongs to one connection of HTTP/1.1 (RFC 9113 section 8.2.2), and `TE`, which is said anew.
fn travels(name: &HeaderName) -> bool {
    ![HOST, CONNECTION, TRANSFER_ENCODING, UPGRADE, TE].contains(name)
        && !matches!(name.as_str(), "keep-alive" | "proxy-connection" | "http2-settings")
}

/// The answer to a request for a tunnel as HTTP/1.1 has it, where there is one now.
pub(super) fn switched(asked: &Asked, head: &mut response::Parts) {
    head.status = StatusCode::SWITCHING_PROTOCOLS;
    head.headers.remove(CONTENT_LENGTH);
    head.headers.insert(UPGRADE, asked.protocol.clone());
    if let Some(key) = &asked.key {
        head.headers.insert(SEC_WEBSOCKET_ACCEPT, message::websocket_accept(key.as_bytes()));
    }
}

/// A request for another protocol.
#[derive(Debug)]
pub(super) struct Asked {
    protocol: HeaderValue,
    key: Option<HeaderValue>,
}

impl Asked {
    /// What a request asks for, if it does.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        Some(Asked { protocol: headers.get(UPGRADE)?.clone(), key: headers.get(SEC_WEBSOCKET_KEY).cloned() })
    }
}

/// Trailers without what would frame or address a message (RFC 9110 section 6.5.1).
pub(super) fn trailers(mut trailers: HeaderMap) -> HeaderMap {
    let misplaced: Vec<HeaderName> =
        trailers.keys().filter(|name| !travels(name) || **name == CONTENT_LENGTH).cloned().collect();
    for name in misplaced {
        trailers.remove(name);
    }
    trailers
}

/// How many bytes of a body an answer announces: none if it says nothing of it, 0 where there can be none. That there are so many,
/// is seen as they come.
pub(super) fn announced(status: StatusCode, headers: &HeaderMap, method: &Method) -> Result<Option<u64>, Malformed> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let first = lengths.next();
    if lengths.next().is_some() {
        return Err(Malformed("it has more than one Content-Length"));
    }
    let first = first.map(|value| length(value.as_bytes()).ok_or(Malformed("its Content-Length is not a number")));
    let first = first.transpose()?;
    let is_bodiless = [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&status) || *method == Method::HEAD;
    Ok(if is_bodiless { Some(0) } else { first })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Downstream, way};

    fn sent(lines: &[(&'static str, &'static str)], target: &'static str) -> Result<Request<()>, Malformed> {
        let (mut head, ()) = Request::get(target).body(()).unwrap().into_parts();
        for (name, value) in lines {
            head.headers.append(*name, HeaderValue::from_static(value));
        }
        let (client, host) = (Downstream::plain([127, 0, 0, 1].into()), HeaderValue::from_static("x"));
        let way = way((&mut HeaderMap::new(), false), &client, host, &mut fastrand::Rng::with_seed(1));
        request(&head, &way, true)
    }

    #[test]
    fn a_request_says_by_pseudo_headers_what_it_said_by_its_line_and_host() {
        let request = sent(&[("host", "shop:81"), ("x", "1"), ("x", "2")], "/a?b=c").unwrap();
        assert_eq!(request.uri(), "https://shop:81/a?b=c");
        assert_eq!(request.headers().get_all("x").iter().count(), 2);
        assert!(!request.headers().contains_key(HOST) && request.headers().contains_key("x-forwarded-for"));
    }

    #[test]
    fn a_request_says_nothing_of_the_connection() {
        let lines = [
            ("host", "a"),
            ("connection", "te, upgrade"),
            ("te", "trailers, deflate"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "websocket"),
            ("keep-alive", "1"),
            ("proxy-connection", "1"),
        ];
        let request = sent(&lines, "/").unwrap();
        assert_eq!(request.headers().get(TE).unwrap(), "trailers");
        assert!(request.headers().keys().all(|name| name == TE || travels(name)));
        let grpc = sent(&[("host", "a"), ("content-type", "application/grpc+proto")], "/a.B/C").unwrap();
        assert_eq!(grpc.headers().get(TE).unwrap(), "trailers", "whatever the client can read");
    }

    #[test]
    fn a_host_that_is_no_authority_is_not_sent() {
        assert!(sent(&[("host", "a:b:c")], "/").is_err());
        assert!(sent(&[], "/").is_err());
        assert_eq!(sent(&[("host", "[::1]:80")], "/").unwrap().uri().host(), Some("[::1]"));
    }

    #[test]
    fn an_answer_announces_one_length_or_none() {
        let of = |status: u16, lengths: &[&'static str], method: Method| {
            let lines = lengths.iter().map(|length| (CONTENT_LENGTH, HeaderValue::from_static(length)));
            let mut headers = HeaderMap::new();
            headers.extend(lines);
            announced(StatusCode::from_u16(status).unwrap(), &headers, &method)
        };
        assert_eq!(of(200, &["12"], Method::GET), Ok(Some(12)));
        assert_eq!(of(200, &[], Method::GET), Ok(None));
        for (status, method) in [(204, Method::GET), (304, Method::GET), (200, Method::HEAD)] {
            assert_eq!(of(status, &["12"], method), Ok(Some(0)));
        }
        assert!(of(200, &["1", "1"], Method::GET).is_err() && of(200, &["+1"], Method::GET).is_err());
    }
}
