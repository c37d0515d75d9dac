//! Headers that belong to one connection and end here (RFC 9110 section 7.6.1), and what has to be read from them first.

use std::net::Ipv6Addr;

use http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE,
};

use super::Fields;
use super::forwarded::is_ours;

/// Removes from a request what is meant for one connection only, and what `Connection` names besides. `Trailer` stays: it
/// announces fields that travel on. Fields that frame or address the message, or tell of its way, stay even if they are named.
pub fn end_to_end(headers: &mut HeaderMap) {
    strip(headers, |name| [HOST, CONTENT_LENGTH].contains(name) || is_ours(name.as_str()));
}

/// The same of an answer, which tells of no way.
pub fn end_to_end_of_answer(headers: &mut HeaderMap) {
    strip(headers, |name| *name == CONTENT_LENGTH);
}

fn strip(headers: &mut HeaderMap, stays: impl Fn(&HeaderName) -> bool) {
    // Most messages have at most one of them, so look before removing.
    let mut ends_here: Vec<HeaderName> = Vec::new();
    for (name, value) in headers.iter() {
        if name == CONNECTION {
            ends_here.push(CONNECTION);
            let named = tokens(value).filter(names_a_field).filter_map(|name| HeaderName::from_bytes(name).ok());
            ends_here.extend(named.filter(|name| !stays(name)));
        } else if is_hop_by_hop(name.as_str().as_bytes()) {
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

/// True for a field of one connection, other than `Connection` itself; by its name in lower case.
pub(super) fn is_hop_by_hop(name: &[u8]) -> bool {
    matches!(
        name,
        b"te"
            | b"transfer-encoding"
            | b"upgrade"
            | b"proxy-authenticate"
            | b"proxy-authorization"
            | b"keep-alive"
            | b"proxy-connection"
            | b"http2-settings"
    )
}

/// The usual options are none, and need not be parsed.
fn names_a_field(option: &&[u8]) -> bool {
    !option.eq_ignore_ascii_case(b"close") && !option.eq_ignore_ascii_case(b"keep-alive")
}

fn tokens(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    of_list(value.as_bytes())
}

fn of_list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|token| !token.is_empty())
}

fn names(headers: &HeaderMap, header: HeaderName, token: &str) -> bool {
    headers.get_all(header).iter().flat_map(tokens).any(|have| have.eq_ignore_ascii_case(token.as_bytes()))
}

/// The protocol that the message asks to switch to, if it does so properly. `h2c` is not passed on: its frames would go
/// unseen through a proxy that reads HTTP/1.1 (RFC 9113 dropped it for that reason).
pub fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let protocol = headers.get(UPGRADE)?;
    let asked = names(headers, CONNECTION, "upgrade") && !names(headers, UPGRADE, "h2c");
    let is_one = headers.get_all(UPGRADE).iter().nth(1).is_none() && tokens(protocol).next().is_some();
    (asked && is_one).then(|| protocol.clone())
}

/// True if the head of a 101 switches to a protocol that was asked for, and says no length: what follows has none.
pub fn switches(fields: &Fields, asked: &HeaderValue) -> bool {
    let mut to = fields.all("upgrade").flat_map(of_list);
    let (first, second) = (to.next(), to.next());
    let is_asked = |to: &[u8]| tokens(asked).any(|asked| asked.eq_ignore_ascii_case(to));
    first.is_some_and(is_asked) && second.is_none() && !fields.has("content-length") && !fields.has("transfer-encoding")
}

/// True for gRPC's messages: `application/grpc`, and what it has behind a `+` or `;`. Not gRPC-Web, which is another protocol.
pub fn is_grpc(headers: &HeaderMap) -> bool {
    is_of_grpc(headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes))
}

/// True for such a `Content-Type`.
pub fn is_of_grpc(kind: Option<&[u8]>) -> bool {
    let rest = kind.and_then(|kind| kind.strip_prefix(b"application/grpc"));
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';' | b' ')))
}

/// True if the sender can take trailers (RFC 9110 section 10.1.4).
pub fn accepts_trailers(headers: &HeaderMap) -> bool {
    headers.contains_key(TE) && names(headers, TE, "trailers")
}

/// True for a host with or without a port (RFC 3986 section 3.2.2): a name of letters, digits, hyphens, dots, underscores and
/// tildes, or an address. What else that section allows in a name, nobody resolves.
pub fn is_host(host: &[u8]) -> bool {
    let (name, port) = match host.strip_prefix(b"[") {
        Some(rest) => {
            let Some(end) = rest.iter().position(|byte| *byte == b']') else { return false };
            let address = std::str::from_utf8(&rest[..end]).ok();
            let is_address = address.is_some_and(|address| address.parse::<Ipv6Addr>().is_ok());
            (is_address, &rest[end + 1..])
        }
        None => {
            let end = host.iter().position(|byte| !NAME_BYTES[usize::from(*byte)]).unwrap_or(host.len());
            (end > 0, &host[end..])
        }
    };
    name && (port.is_empty() || is_port(port))
}

/// A colon and a number.
fn is_port(port: &[u8]) -> bool {
    let Some(digits) = port.strip_prefix(b":") else { return false };
    let number = std::str::from_utf8(digits).ok().filter(|_| digits.iter().all(u8::is_ascii_digit));
    number.is_some_and(|number| number.parse::<u16>().is_ok())
}

/// What a name may be made of, as a table: it is looked at with every request.
const NAME_BYTES: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        table[byte] = (byte as u8).is_ascii_alphanumeric() || matches!(byte as u8, b'-' | b'.' | b'_' | b'~');
        byte += 1;
    }
    table
};

/// True for the name of a header that frames a message, addresses it, or belongs to its connection.
pub fn frames(name: &str) -> bool {
    matches!(
        name,
        "content-length" | "host" | "connection" | "trailer" | "expect" | "te" | "transfer-encoding" | "upgrade"
    )
}

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
    fn an_answer_is_left_whatever_its_connection_names() {
        let named =
            [("connection", "via, x-forwarded-for, host, content-length"), ("via", "1.1 a"), ("content-length", "3")];
        let mut headers = headers(&named);
        end_to_end_of_answer(&mut headers);
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["content-length"]);
    }

    #[test]
    fn a_length_beside_chunks_ends_here() {
        let mut headers = headers(&[("content-length", "3"), ("transfer-encoding", "chunked")]);
        end_to_end(&mut headers);
        assert!(headers.is_empty());
    }

    #[test]
    fn connection_cannot_remove_what_frames_or_addresses_the_message() {
        let mut headers = headers(&[
            ("connection", "host, content-length, X-Forwarded-For"),
            ("host", "a"),
            ("content-length", "3"),
            ("x-forwarded-for", "1.1.1.1"),
        ]);
        end_to_end(&mut headers);
        assert_eq!(headers.len(), 3);
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
    fn a_host_is_a_name_or_an_address_and_perhaps_a_port() {
        for good in ["a", "A-b.c_d", "a.", "a:80", "10.0.0.1:8080", "[::1]", "[2001:db8::1]:443", "a:0"] {
            assert!(is_host(good.as_bytes()), "{good}");
        }
        for bad in [
            "", ":80", "a:", "a:x", "a:65536", "a:+1", "a b", "a,b", "u@a", "a/b", "[::1", "[a]", "[]", "::1",
            "[::1]x", "a\tb", "\u{e4}", "a?", "a:80:80",
        ] {
            assert!(!is_host(bad.as_bytes()), "{bad}");
        }
    }
}
