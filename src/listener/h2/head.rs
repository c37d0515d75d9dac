//! A head between the two versions: what HTTP/2 says in fields of its own, HTTP/1.1 says in its first line and in `Host` (RFC 9113
//! sections 8.2 and 8.3), and a WebSocket is asked for in another way (RFC 8441).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use h2::ext::Protocol;
use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT,
    SEC_WEBSOCKET_KEY, UPGRADE,
};
use http::{Method, StatusCode, Version, request};

use super::super::screen::{self, Refused, bad};
use crate::config::Http;
use crate::message;

/// Why a request is not taken.
#[derive(Debug)]
pub(super) enum Wrong {
    /// Answered.
    Refused(Refused),
    /// Not even that: it is malformed (RFC 9113 section 8.1.1).
    Malformed,
}

/// What has to be put back in the answer.
pub(super) struct Asking {
    /// What a WebSocket's endpoint has to say, for a request that asked for one.
    accept: Option<HeaderValue>,
}

/// Brings a request's head into the form that those of HTTP/1.1 have.
pub(super) fn receive(head: &mut request::Parts, rules: &Http) -> Result<Asking, Wrong> {
    if head.headers.iter().any(|(name, value)| is_malformed(name, value)) || has_two(&head.headers, CONTENT_LENGTH) {
        return Err(Wrong::Malformed);
    }
    // Before fields are counted: a browser sends each cookie by itself.
    join_cookies(&mut head.headers);
    if head.headers.len() > rules.max_headers {
        return Err(Wrong::Refused(Refused {
            status: StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            what: "its head has too many fields",
        }));
    }
    if head.uri.path_and_query().is_some_and(|target| target.as_str().len() > rules.max_target) {
        let what = "its target is too long";
        return Err(Wrong::Refused(Refused { status: StatusCode::URI_TOO_LONG, what }));
    }
    if names_no_host(head) {
        return Err(Wrong::Malformed);
    }
    let asking = Asking { accept: ask_for_websocket(head)? };
    plain_length(&mut head.headers);
    expectation(head).map_err(Wrong::Refused)?;
    screen::screen(head, rules).map_err(Wrong::Refused)?;
    Ok(asking)
}

/// A value that ends in white space has another one in HTTP/1.1 (RFC 9113 section 8.2.1), and a transfer coding has none here.
fn is_malformed(name: &HeaderName, value: &HeaderValue) -> bool {
    let is_space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    is_space(value.as_bytes().first()) || is_space(value.as_bytes().last()) || screen::is_of_http1(name)
}

/// True if a request's host is said in two ways, or that of a CONNECT not in the one that it has (RFC 9113 sections 8.3.1 and 8.5).
fn names_no_host(head: &request::Parts) -> bool {
    let authority = head.uri.authority().map(|authority| authority.as_str().as_bytes());
    let plain_connect = head.method == Method::CONNECT && head.extensions.get::<Protocol>().is_none();
    let differs =
        |host: &HeaderValue| authority.is_some_and(|authority| !authority.eq_ignore_ascii_case(host.as_bytes()));
    plain_connect && (authority.is_none() || head.uri.scheme().is_some())
        || head.headers.get_all(HOST).iter().any(differs)
}

fn has_two(headers: &HeaderMap, name: HeaderName) -> bool {
    headers.get_all(name).iter().nth(1).is_some()
}

/// They may come in crumbs, which HTTP/1.1 does not know (RFC 9113 section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    if !has_two(headers, COOKIE) {
        return;
    }
    let crumbs: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    // What was made of values is one.
    if let Ok(cookie) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        headers.insert(COOKIE, cookie);
    }
}

/// The number that it is, and not how somebody may read it. That it is one, the library has seen to.
fn plain_length(headers: &mut HeaderMap) {
    let Some(length) = headers.get_mut(CONTENT_LENGTH).filter(|length| length.as_bytes().starts_with(b"0")) else {
        return;
    };
    if let Some(number) = length.to_str().ok().and_then(|text| text.parse::<u64>().ok()) {
        *length = number.into();
    }
}

fn expectation(head: &request::Parts) -> Result<(), Refused> {
    let expects = head.headers.get_all(EXPECT);
    if expects.iter().all(|expected| expected.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
        return Ok(());
    }
    Err(Refused { status: StatusCode::EXPECTATION_FAILED, what: "only 100-continue can be expected" })
}

/// Turns an extended CONNECT for a WebSocket into what asks for one in HTTP/1.1. Returns what the endpoint has to say to it.
fn ask_for_websocket(head: &mut request::Parts) -> Result<Option<HeaderValue>, Wrong> {
    let Some(protocol) = head.extensions.remove::<Protocol>() else { return Ok(None) };
    if protocol.as_str() != "websocket" {
        let what = "no protocol but websocket is known";
        return Err(Wrong::Refused(Refused { status: StatusCode::NOT_IMPLEMENTED, what }));
    }
    let key = STANDARD.encode(std::array::from_fn::<u8, 16, _>(|_| fastrand::u8(..)));
    let accept = message::websocket_accept(key.as_bytes());
    let key = HeaderValue::try_from(key).map_err(|_| Wrong::Refused(bad("its WebSocket")))?;
    head.method = Method::GET;
    head.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    head.headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    head.headers.insert(SEC_WEBSOCKET_KEY, key);
    Ok(Some(accept))
}

impl Asking {
    /// True for a request that asks for a WebSocket.
    pub(super) fn is_for_websocket(&self) -> bool {
        self.accept.is_some()
    }

    /// The answer's head as HTTP/2 says it; none if it is no answer to what was asked. True if the stream is a tunnel from then on.
    pub(super) fn answer(&self, head: &mut http::response::Parts, method: &Method) -> Option<bool> {
        head.version = Version::HTTP_2;
        let switches = match (&self.accept, head.status) {
            (Some(accept), StatusCode::SWITCHING_PROTOCOLS) => {
                if head.headers.get(SEC_WEBSOCKET_ACCEPT) != Some(accept) {
                    return None;
                }
                head.headers.remove(SEC_WEBSOCKET_ACCEPT);
                head.status = StatusCode::OK;
                true
            }
            (_, StatusCode::SWITCHING_PROTOCOLS) => return None,
            // Of an endpoint that saw a plain GET: passed on, it would say that the tunnel stands.
            (Some(_), status) if status.is_success() => return None,
            (Some(_), _) => false,
            (None, status) => *method == Method::CONNECT && status.is_success(),
        };
        let ours: Vec<HeaderName> = head.headers.keys().filter(|name| screen::is_of_http1(name)).cloned().collect();
        for name in ours {
            head.headers.remove(name);
        }
        if switches || head.status == StatusCode::NO_CONTENT {
            head.headers.remove(CONTENT_LENGTH);
        }
        Some(switches)
    }
}
