//! What a proxy tells an endpoint about the request's way: `X-Forwarded-*`, `Via` (RFC 9110 section 7.6.3) and a request id.

use std::net::IpAddr;

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue, VIA};

use super::proxy_protocol::Ends;

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const PSEUDONYM: HeaderValue = HeaderValue::from_static("1.1 lictor");
/// Longest request id that is taken over; more is somebody's payload, not a name.
const LONGEST_ID: usize = 128;

/// What the connection says of the client, once for all its requests.
#[derive(Debug, Clone)]
pub struct Downstream {
    address: HeaderValue,
    scheme: HeaderValue,
    ends: Option<Ends>,
}

impl Downstream {
    /// A client that speaks plain HTTP from this address.
    pub fn plain(client: IpAddr) -> Self {
        // An address has only characters that a header may have.
        let address = HeaderValue::from_str(&client.to_canonical().to_string());
        let address = address.unwrap_or_else(|_| HeaderValue::from_static("unknown"));
        Downstream { address, scheme: HeaderValue::from_static("http"), ends: None }
    }

    /// The same, whose connection has these ends.
    pub fn between(self, ends: Ends) -> Self {
        Downstream { ends: Some(ends), ..self }
    }

    /// The ends of its connection, where they are known.
    pub fn ends(&self) -> Option<Ends> {
        self.ends
    }

    /// The same, by TLS.
    pub fn secured(self) -> Self {
        Downstream { scheme: HeaderValue::from_static("https"), ..self }
    }

    /// The client's IP address.
    pub fn address(&self) -> &HeaderValue {
        &self.address
    }
}

/// The headers of the way: sent behind a request's own, which do not hold any of them.
#[derive(Debug)]
pub struct Way([(HeaderName, HeaderValue); 5]);

impl Way {
    /// Each with its name.
    pub fn iter(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
        self.0.iter().map(|(name, value)| (name, value))
    }
}

/// The way of a request that has its end-to-end headers only: the client's address behind those that are there, and our own
/// word on scheme and host in place of whatever a client wrote. Takes out of the request what it replaces.
pub fn way(headers: &mut HeaderMap, downstream: &Downstream, host: HeaderValue, request_id: HeaderValue) -> Way {
    let mut way = Way([
        (FOR, downstream.address.clone()),
        (VIA, PSEUDONYM),
        (PROTO, downstream.scheme.clone()),
        (FORWARDED_HOST, host),
        (REQUEST_ID, request_id),
    ]);
    // Most requests have none of them.
    if headers.keys().any(is_of_the_way) {
        for (name, value) in &mut way.0 {
            if *name == FOR || *name == VIA {
                append(headers, name, value);
            }
            headers.remove(&*name);
        }
    }
    way
}

/// True for the name of a header that says something of a request's way, and that whoever comes after us takes for our word.
pub fn is_ours(name: &str) -> bool {
    name.starts_with("x-forwarded-")
        || matches!(name, "forwarded" | "via" | "x-request-id" | "x-real-ip" | "traceparent" | "tracestate")
}

fn is_of_the_way(name: &HeaderName) -> bool {
    matches!(name.as_str(), "x-forwarded-for" | "via" | "x-forwarded-proto" | "x-forwarded-host" | "x-request-id")
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

/// The id that the request came with if it is a plain one, else a new one of 128 random bits.
pub fn accept_request_id(headers: &HeaderMap, rng: &mut fastrand::Rng) -> HeaderValue {
    let plain = |id: &&HeaderValue| {
        let bytes = id.as_bytes();
        (1..=LONGEST_ID).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
    };
    headers.get(REQUEST_ID).filter(plain).cloned().unwrap_or_else(|| new_request_id(rng))
}

fn new_request_id(rng: &mut fastrand::Rng) -> HeaderValue {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut bits = rng.u128(..);
    let mut id = [0; 32];
    for digit in &mut id {
        *digit = DIGITS[(bits & 15) as usize];
        bits >>= 4;
    }
    // Hexadecimal digits are always a valid value.
    HeaderValue::from_bytes(&id).unwrap_or(HeaderValue::from_static("0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forwarded(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        let mut headers: HeaderMap = lines.iter().map(pair).collect();
        let id = accept_request_id(&headers, &mut fastrand::Rng::with_seed(1));
        let downstream = Downstream::plain("::ffff:10.1.2.3".parse().unwrap());
        let way = way(&mut headers, &downstream, HeaderValue::from_static("shop:80"), id);
        assert!(!headers.keys().any(is_of_the_way), "none is sent twice");
        headers.extend(way.iter().map(|(name, value)| (name.clone(), value.clone())));
        headers
    }

    #[test]
    fn the_client_is_added_behind_those_before_it() {
        assert_eq!(forwarded(&[])["x-forwarded-for"], "10.1.2.3");
        let headers = forwarded(&[("x-forwarded-for", "1.1.1.1"), ("via", "1.0 fred")]);
        assert_eq!(headers["x-forwarded-for"], "1.1.1.1, 10.1.2.3");
        assert_eq!(headers["via"], "1.0 fred, 1.1 lictor");
    }

    #[test]
    fn scheme_and_host_are_ours_to_say() {
        let headers = forwarded(&[("x-forwarded-proto", "https"), ("x-forwarded-host", "evil")]);
        assert_eq!(
            (&headers["x-forwarded-proto"], &headers["x-forwarded-host"]),
            (&"http".parse().unwrap(), &"shop:80".parse().unwrap())
        );
    }

    #[test]
    fn a_plain_request_id_is_kept_and_another_replaced() {
        assert_eq!(forwarded(&[("x-request-id", "abc-1")])["x-request-id"], "abc-1");
        let made = forwarded(&[("x-request-id", "two words")])["x-request-id"].clone();
        assert_eq!(made.len(), 32);
    }
}
