//! What a proxy tells an endpoint about the request's way: `X-Forwarded-*`, `Via` (RFC 9110 section 7.6.3), `Forwarded` (RFC 7239,
//! where it came already) and a request id. Of what a request says of its way itself, only the word of trusted peers is kept.

use std::net::IpAddr;

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue, VIA};

use super::headers::is_host;
use super::trace;
use super::trust::{Sender, address, only};

pub(super) const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(super) const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const FORWARDED: HeaderName = HeaderName::from_static("forwarded");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const PSEUDONYM: &[u8] = b"1.1 lictor";
/// Longest request id that is taken over; more is somebody's payload, not a name.
const LONGEST_ID: usize = 128;

/// The headers of the way: sent behind a request's own, which do not hold any of them.
#[derive(Debug, Clone)]
pub struct Way {
    /// The addresses on it, the nearest last.
    addresses: HeaderValue,
    /// The proxies before this one and this one, if there were any before.
    via: Option<HeaderValue>,
    proto: HeaderValue,
    host: HeaderValue,
    id: HeaderValue,
}

impl Way {
    /// Each with its name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &[u8])> {
        let via = self.via.as_ref().map_or(PSEUDONYM, HeaderValue::as_bytes);
        [
            ("x-forwarded-for", self.addresses.as_bytes()),
            ("via", via),
            ("x-forwarded-proto", self.proto.as_bytes()),
            ("x-forwarded-host", self.host.as_bytes()),
            ("x-request-id", self.id.as_bytes()),
        ]
        .into_iter()
    }

    /// The request's id.
    pub fn id(&self) -> &HeaderValue {
        &self.id
    }

    /// How often it has led through a lictor, this one included.
    pub fn hops(&self) -> usize {
        let via = self.via.as_ref().map_or(PSEUDONYM, HeaderValue::as_bytes);
        via.split(|byte| *byte == b',').filter(|hop| hop.trim_ascii() == PSEUDONYM).count()
    }
}

/// The way of a request that has its end-to-end headers only. What those before us said of it stays if the peer is trusted, with
/// our own word behind it; from anybody else it is removed. Most requests come without any, which is `is_told` then.
pub fn way<'a>(
    (headers, is_told): (&mut HeaderMap, bool),
    sender: impl Into<Sender<'a>>,
    host: HeaderValue,
    rng: &mut fastrand::Rng,
) -> Way {
    let sender = sender.into();
    let is_believed = is_told && sender.is_trusted();
    let [proto, said_host, id] = if is_believed { said(headers, sender) } else { Default::default() };
    if is_believed {
        extend_forwarded(headers, sender, &host);
    }
    let mut way = Way {
        addresses: sender.downstream().address().clone(),
        via: None,
        proto: proto.unwrap_or_else(|| sender.downstream().scheme().clone()),
        host: said_host.unwrap_or(host),
        id: id.unwrap_or_else(|| trace::new_id(rng)),
    };
    if is_told {
        if is_believed {
            append(headers, &FOR, &mut way.addresses);
        }
        let mut via = HeaderValue::from_bytes(PSEUDONYM).ok();
        via.iter_mut().for_each(|via| append(headers, &VIA, via));
        way.via = via;
        trace::settle(headers, is_believed, rng);
        remove(headers, is_believed);
    }
    way
}

/// True for what tells of a request's way. With underscores as well: many servers take `X_Forwarded_For` for the same.
pub fn is_ours(name: &str) -> bool {
    let name = name.as_bytes();
    match name {
        [b'x', b'-' | b'_', ..] => {
            let begins = |known: &[u8]| name.len() >= known.len() && is_same(&name[..known.len()], known);
            let known: [&[u8]; 3] = [b"x-real-ip", b"x-request-id", b"x-lictor-mirror"];
            begins(b"x-forwarded") || known.iter().any(|known| is_same(name, known))
        }
        b"via" | b"forwarded" | b"traceparent" | b"tracestate" => true,
        _ => false,
    }
}

fn is_same(name: &[u8], known: &[u8]) -> bool {
    name.len() == known.len() && name.iter().zip(known).all(|(a, b)| a == b || (*a, *b) == (b'_', b'-'))
}

/// Scheme, host and id as a trusted peer names them, each if it can be right.
fn said(headers: &HeaderMap, sender: Sender<'_>) -> [Option<HeaderValue>; 3] {
    let is_id = |id: &&HeaderValue| {
        let bytes = id.as_bytes();
        (1..=LONGEST_ID).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
    };
    let host = only(headers, &FORWARDED_HOST).filter(|host| is_host(host.as_bytes()));
    let id = only(headers, &REQUEST_ID).filter(is_id);
    [Some(sender.scheme(headers)), host.cloned(), id.cloned()]
}

/// Adds our element to `Forwarded`, where it is in use.
fn extend_forwarded(headers: &mut HeaderMap, sender: Sender<'_>, host: &HeaderValue) {
    if !headers.contains_key(FORWARDED) {
        return;
    }
    let (Ok(host), Ok(scheme)) = (host.to_str(), sender.downstream().scheme().to_str()) else { return };
    // A colon is no part of a token, so what may have one is quoted (section 6).
    let node = match sender.downstream().ip() {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("\"[{ip}]\""),
    };
    let Ok(mut value) = HeaderValue::from_str(&format!("for={node};host=\"{host}\";proto={scheme}")) else { return };
    append(headers, &FORWARDED, &mut value);
    headers.insert(FORWARDED, value);
}

/// Takes out what is sent by the way's own headers, and what nobody is to be believed.
fn remove(headers: &mut HeaderMap, is_trusted: bool) {
    let may_stay = |name: &HeaderName| {
        let text = name.as_str();
        match text {
            "traceparent" | "tracestate" => true,
            "forwarded" | "x-lictor-mirror" => is_trusted,
            "x-real-ip" => is_trusted && only(headers, &REAL_IP).is_some_and(|ip| address(ip.as_bytes()).is_some()),
            "x-forwarded-port" => is_trusted && only(headers, &FORWARDED_PORT).is_some_and(is_port),
            "x-forwarded-for" | "x-forwarded-proto" | "x-forwarded-host" | "x-request-id" | "via" => false,
            // Such as a prefix that was stripped; but only in the spelling that is meant.
            other => is_trusted && !other.contains('_'),
        }
    };
    let of_the_way = headers.keys().filter(|name| is_ours(name.as_str()));
    let gone: Vec<HeaderName> = of_the_way.filter(|name| !may_stay(name)).cloned().collect();
    for name in gone {
        headers.remove(name);
    }
}

fn is_port(value: &HeaderValue) -> bool {
    let port = value.to_str().ok().and_then(|text| text.parse::<u16>().ok());
    port.is_some_and(|port| port > 0)
}

/// Puts what a request has under this name in front of the value: a comma-separated list, which several lines of one name are
/// as well (RFC 9110 section 5.3).
fn append(headers: &HeaderMap, name: &HeaderName, value: &mut HeaderValue) {
    let mut list = Vec::new();
    for have in headers.get_all(name) {
        list.extend_from_slice(have.as_bytes());
        list.extend_from_slice(b", ");
    }
    list.extend_from_slice(value.as_bytes());
    // Made of values and a separator that a value may have.
    if let Ok(joined) = HeaderValue::from_maybe_shared(Bytes::from(list)) {
        *value = joined;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Downstream, Trusted};

    fn forwarded(peer: &str, lines: &[(&str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&str, &str)| {
            (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap())
        };
        let mut headers: HeaderMap = lines.iter().map(pair).collect();
        let trusted = Trusted::new(&["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()]);
        let downstream = Downstream::plain(peer.parse().unwrap());
        let sender = Sender::new(&downstream, &trusted);
        let way =
            way((&mut headers, true), sender, HeaderValue::from_static("shop:80"), &mut fastrand::Rng::with_seed(1));
        assert!(way.iter().all(|(name, _)| !headers.contains_key(name)), "none is sent twice");
        let pair = |(name, value)| (HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap());
        headers.extend(way.iter().map(pair));
        headers
    }

    const ALL: &[(&str, &str)] = &[
        ("x-forwarded-for", "1.1.1.1"),
        ("via", "1.0 fred"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "before"),
        ("x-forwarded-port", "443"),
        ("x-forwarded-prefix", "/shop"),
        ("x-real-ip", "1.1.1.1"),
        ("x-request-id", "abc-1"),
        ("forwarded", "for=1.1.1.1"),
    ];

    #[test]
    fn a_trusted_peer_is_believed_and_stands_behind_those_before_it() {
        assert_eq!(forwarded("::ffff:10.1.2.3", &[])["x-forwarded-for"], "10.1.2.3");
        let headers = forwarded("::ffff:10.1.2.3", ALL);
        assert_eq!(headers["x-forwarded-for"], "1.1.1.1, 10.1.2.3");
        assert_eq!(headers["via"], "1.0 fred, 1.1 lictor");
        assert_eq!(headers["forwarded"], "for=1.1.1.1, for=10.1.2.3;host=\"shop:80\";proto=http");
        for (name, value) in ALL.iter().filter(|(name, _)| !["x-forwarded-for", "via", "forwarded"].contains(name)) {
            assert_eq!(headers[*name], value, "{name}");
        }
        let six = forwarded("fd00::1", &[("forwarded", "for=_x")]);
        assert_eq!(six["forwarded"], "for=_x, for=\"[fd00::1]\";host=\"shop:80\";proto=http");
    }

    #[test]
    fn nobody_else_is_believed() {
        let headers = forwarded("192.0.2.1", ALL);
        assert_eq!(headers["x-forwarded-for"], "192.0.2.1");
        assert_eq!(headers["via"], "1.0 fred, 1.1 lictor", "which proves nothing, and ends loops");
        assert_eq!(
            (&headers["x-forwarded-proto"], &headers["x-forwarded-host"]),
            (&"http".parse().unwrap(), &"shop:80".parse().unwrap())
        );
        assert_eq!(headers["x-request-id"].len(), 32);
        for gone in ["x-forwarded-port", "x-forwarded-prefix", "x-real-ip", "forwarded"] {
            assert!(!headers.contains_key(gone), "{gone}");
        }
    }

    #[test]
    fn no_other_spelling_gets_past() {
        for peer in ["192.0.2.1", "10.1.2.3"] {
            let spellings = ["x_forwarded_for", "x-forwarded_for", "x_real_ip", "x_request_id", "x_forwarded-proto"];
            let lines = spellings.map(|name| (name, "1.1.1.1"));
            let headers = forwarded(peer, &lines);
            for name in spellings {
                assert!(!headers.contains_key(name), "{name} from {peer}");
            }
        }
    }

    #[test]
    fn what_a_trusted_peer_says_has_to_be_possible() {
        let bad = [
            ("x-forwarded-proto", "gopher"),
            ("x-forwarded-host", "a/b"),
            ("x-forwarded-port", "0"),
            ("x-real-ip", "me"),
            ("x-request-id", "two words"),
        ];
        let headers = forwarded("10.1.2.3", &bad);
        assert_eq!(
            (&headers["x-forwarded-proto"], &headers["x-forwarded-host"]),
            (&"http".parse().unwrap(), &"shop:80".parse().unwrap())
        );
        assert_eq!(headers["x-request-id"].len(), 32);
        assert!(!headers.contains_key("x-forwarded-port") && !headers.contains_key("x-real-ip"));
    }
}
