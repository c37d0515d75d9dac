//! A request's head as an endpoint is to see it: end-to-end headers, the way it came, and framing that is ours.

use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE};
use http::request;
use http::uri::{PathAndQuery, Uri};
use hyper::upgrade::OnUpgrade;

use crate::message::{self, Downstream, Upload, Way};

/// Turns the head that came in into the one that goes out. Returns the headers of its way, which go out behind its own, and
/// the client's side of an upgrade that it asks for.
pub(super) fn prepare(
    head: &mut request::Parts,
    body: &Upload,
    host: HeaderValue,
    downstream: &Downstream,
    rng: &mut fastrand::Rng,
) -> (Way, Option<OnUpgrade>) {
    let upgrading = head.extensions.remove::<OnUpgrade>();
    let protocol = upgrading.as_ref().and_then(|_| message::upgrade(&head.headers));
    let trailers = message::accepts_trailers(&head.headers);
    let headers = &mut head.headers;
    let id = message::accept_request_id(headers, rng);
    message::end_to_end(headers);
    // hyper answers 100 itself when the body is first asked for, which is when an endpoint takes it.
    if headers.contains_key(EXPECT) {
        headers.remove(EXPECT);
    }
    if head.uri.authority().is_some() {
        headers.insert(HOST, host.clone());
        head.uri = origin_form(&head.uri);
    }
    let way = message::way(headers, downstream, host, id);
    if body.is_chunked() {
        headers.remove(CONTENT_LENGTH);
        headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(CONNECTION, HeaderValue::from_static("te"));
    }
    match protocol {
        Some(protocol) => {
            headers_for_upgrade(head, protocol, trailers);
            (way, upgrading)
        }
        None => (way, None),
    }
}

fn headers_for_upgrade(head: &mut request::Parts, protocol: HeaderValue, trailers: bool) {
    let connection = if trailers { "upgrade, te" } else { "upgrade" };
    head.headers.insert(CONNECTION, HeaderValue::from_static(connection));
    head.headers.insert(UPGRADE, protocol);
}

/// An absolute target without its scheme and authority, as a server expects it: with a path, if only the empty one.
fn origin_form(uri: &Uri) -> Uri {
    let target = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
    // It came out of a valid target, to which a slash was added at most.
    Uri::try_from(target).unwrap_or_default()
}
