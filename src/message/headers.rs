//! Headers that belong to one connection and end here (RFC 9110 section 7.6.1), and what has to be read from them first.

use http::Uri;
use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE,
};

/// Removes what is meant for one connection only, and what `Connection` names besides. `Trailer` stays: it announces
/// fields that travel on. Fields that frame or address the message stay even if they are named.
pub fn end_to_end(headers: &mut HeaderMap) {
    // Most messages have at most one of them, so look before removing.
    let mut ends_here: Vec<HeaderName> = Vec::new();
    for (name, value) in headers.iter() {
        if name == CONNECTION {
            ends_here.push(CONNECTION);
            ends_here.extend(tokens(value).filter(names_a_field).filter_map(field));
        } else if is_hop_by_hop(name) {
            ends_here.push(name.clone());
            if name == TRANSFER_ENCODING {
                // The message was read by its chunks; whatever length it also names must not travel on (RFC 9112 section 6.3).
                ends_here.push(CONTENT_LENGTH);
            }
        }
    }
    for name in ends_here {
        headers.remove(name);
    }
}

fn is_hop_by_hop(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "te" | "transfer-encoding"
            | "upgrade"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "keep-alive"
            | "proxy-connection"
    )
}

/// The usual options are none, and need not be parsed.
fn names_a_field(option: &&[u8]) -> bool {
    !option.eq_ignore_ascii_case(b"close") && !option.eq_ignore_ascii_case(b"keep-alive")
}

fn field(option: &[u8]) -> Option<HeaderName> {
    HeaderName::from_bytes(option).ok().filter(|name| ![HOST, CONTENT_LENGTH].contains(name))
}

fn tokens(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|token| !token.is_empty())
}

fn names(headers: &HeaderMap, header: HeaderName, token: &str) -> bool {
    headers.get_all(header).iter().flat_map(tokens).any(|have| have.eq_ignore_ascii_case(token.as_bytes()))
}

/// The protocol that the message asks to switch to, if it does so properly. `h2c` is not passed on: its frames would go
/// unseen through a proxy that reads HTTP/1.1 (RFC 9113 dropped it for that reason).
pub fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let protocol = headers.get(UPGRADE)?;
    let asked = names(headers, CONNECTION, "upgrade") && !names(headers, UPGRADE, "h2c");
    asked.then(|| protocol.clone())
}

/// True if the sender can take trailers (RFC 9110 section 10.1.4).
pub fn accepts_trailers(headers: &HeaderMap) -> bool {
    headers.contains_key(TE) && names(headers, TE, "trailers")
}

/// The host that a request is for: that of an absolute target, else the one `Host` header. None if there is none, several,
/// or one that is not a host; then the request is ambiguous and must not be forwarded (RFC 9112 section 3.2).
pub fn host(uri: &Uri, headers: &HeaderMap) -> Option<HeaderValue> {
    let mut hosts = headers.get_all(HOST).iter();
    let header = hosts.next();
    if hosts.next().is_some() {
        return None;
    }
    let host = match uri.authority() {
        Some(authority) => HeaderValue::from_str(authority.as_str()).ok()?,
        None => header?.clone(),
    };
    is_host(host.as_bytes()).then_some(host)
}

fn is_host(host: &[u8]) -> bool {
    !host.is_empty() && host.iter().all(|byte| HOST_BYTES[usize::from(*byte)])
}

/// What a host and port may be made of (RFC 3986 section 3.2.2), as a table: it is looked at with every request.
const HOST_BYTES: [bool; 256] = {
    let mut table = [false; 256];
    let others = b"-._~:[]!$&'()*+,;=%";
    let mut index = 0;
    while index < others.len() {
        table[others[index] as usize] = true;
        index += 1;
    }
    let mut byte = 0;
    while byte < 128 {
        if (byte as u8).is_ascii_alphanumeric() {
            table[byte] = true;
        }
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&str, &str)| {
            (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap())
        };
        lines.iter().map(pair).collect()
    }

    #[test]
    fn hop_by_hop_headers_and_those_that_connection_names_end_here() {
        let mut headers = headers(&[
            ("connection", "X-Private, close"),
            ("connection", "x-other"),
            ("x-private", "1"),
            ("x-other", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("proxy-authorization", "Basic x"),
            ("te", "gzip"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("trailer", "x-sum"),
            ("accept", "*/*"),
        ]);
        end_to_end(&mut headers);
        let mut left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["accept", "trailer"]);
    }

    #[test]
    fn a_length_beside_chunks_ends_here() {
        let mut headers = headers(&[("content-length", "3"), ("transfer-encoding", "chunked")]);
        end_to_end(&mut headers);
        assert!(headers.is_empty());
    }

    #[test]
    fn connection_cannot_remove_what_frames_or_addresses_the_message() {
        let mut headers = headers(&[("connection", "host, content-length"), ("host", "a"), ("content-length", "3")]);
        end_to_end(&mut headers);
        assert_eq!(headers.len(), 2);
    }

    #[test]
    fn an_upgrade_must_be_named_by_connection_and_not_be_h2c() {
        let asked = |connection: &str, protocol: &str| {
            upgrade(&headers(&[("connection", connection), ("upgrade", protocol)])).is_some()
        };
        assert!(asked("keep-alive, Upgrade", "websocket"));
        assert!(!asked("keep-alive", "websocket"));
        assert!(!asked("upgrade", "h2c"));
        assert!(!asked("upgrade, http2-settings", "websocket, H2C"));
    }

    #[test]
    fn a_request_has_one_host() {
        let uri = Uri::from_static("/");
        assert_eq!(host(&uri, &headers(&[("host", "a:80")])).unwrap(), "a:80");
        assert_eq!(host(&uri, &headers(&[])), None);
        assert_eq!(host(&uri, &headers(&[("host", "a"), ("host", "a")])), None);
        assert_eq!(host(&uri, &headers(&[("host", "a/b")])), None);
        let absolute = Uri::from_static("http://b/path");
        assert_eq!(host(&absolute, &headers(&[("host", "a")])).unwrap(), "b");
    }
}
