//! What goes back to a caller: answers and refusals, with Consul's headers.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue, LOCATION, VARY};
use hyper::{Response, StatusCode};
use serde::Serialize;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// An answer to a call that was understood.
#[derive(Debug)]
pub struct Answer {
    status: StatusCode,
    body: Bytes,
    kind: Option<HeaderValue>,
    seen: Option<Seen>,
    location: Option<HeaderValue>,
}

/// At which state of the data an answer was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    index: u64,
    /// None where Consul does not say.
    consistency: Option<Consistency>,
}

/// What the caller asked for; this registry is one process, so all three are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consistency {
    /// `default`
    Leader,
    /// `stale`
    Stale,
    /// `consistent`
    Consistent,
}

impl Consistency {
    fn header(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Leader => "leader",
            Self::Stale => "stale",
            Self::Consistent => "consistent",
        })
    }
}

impl Answer {
    /// An empty 200.
    pub fn done() -> Self {
        Self::of(StatusCode::OK, Bytes::new(), None)
    }

    /// A 200 with JSON.
    pub fn json(value: &impl Serialize) -> Result<Self, Refusal> {
        let body = serde_json::to_vec(value).map_err(|error| Refusal::failed(&error.to_string()))?;
        Ok(Self::of(StatusCode::OK, body.into(), Some(JSON)))
    }

    /// A 200 with the bytes themselves.
    pub fn raw(body: Bytes) -> Self {
        // Consul says text whatever it is, so that no browser runs it.
        Self::of(StatusCode::OK, body, Some(HeaderValue::from_static("text/plain")))
    }

    /// An empty 404 that is an answer: it carries an index to wait on.
    pub fn missing() -> Self {
        Self::of(StatusCode::NOT_FOUND, Bytes::new(), None)
    }

    /// A 301 to a path.
    pub fn moved(to: HeaderValue) -> Self {
        let mut answer = Self::of(StatusCode::MOVED_PERMANENTLY, Bytes::new(), None);
        answer.location = Some(to);
        answer
    }

    /// Says at which index the answer was given, and how fresh it is said to be.
    pub fn seen(mut self, index: u64, consistency: Consistency) -> Self {
        self.seen = Some(Seen { index, consistency: Some(consistency) });
        self
    }

    /// Leaves out how fresh the answer is, as Consul does with keys.
    pub fn without_consistency(mut self) -> Self {
        self.seen = self.seen.map(|seen| Seen { consistency: None, ..seen });
        self
    }

    fn of(status: StatusCode, body: Bytes, kind: Option<HeaderValue>) -> Self {
        Self { status, body, kind, seen: None, location: None }
    }

    /// The response that says it.
    pub fn into_response(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(self.body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
        if let Some(kind) = self.kind {
            headers.insert(CONTENT_TYPE, kind);
        }
        if let Some(location) = self.location {
            headers.insert(LOCATION, location);
        }
        if let Some(seen) = self.seen {
            // An index of 0 would make callers spin.
            headers.insert("x-consul-index", HeaderValue::from(seen.index.max(1)));
            headers.insert("x-consul-knownleader", HeaderValue::from_static("true"));
            headers.insert("x-consul-lastcontact", HeaderValue::from_static("0"));
            if let Some(consistency) = seen.consistency {
                headers.insert("x-consul-effective-consistency", consistency.header());
            }
        }
        response
    }
}

/// A call that was not done, and why.
#[derive(Debug)]
pub struct Refusal {
    status: StatusCode,
    text: String,
    /// The methods that would have been taken; empty where the method was not the trouble.
    pub allow: String,
    of_a_read: bool,
}

impl Refusal {
    /// A refusal with a text for the caller.
    pub fn new(status: StatusCode, text: &str) -> Self {
        Self { status, text: text.to_owned(), allow: String::new(), of_a_read: false }
    }

    /// A 400: the caller's mistake.
    pub fn bad(text: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, text)
    }

    /// A 500, which Consul also gives for many a caller's mistake.
    pub fn failed(text: &str) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, text)
    }

    /// Marks it as that of a read of the catalog, where a 500 has headers as if there were data: an index of 1, which
    /// callers must know not to wait on.
    pub fn of_a_read(mut self) -> Self {
        self.of_a_read = self.status == StatusCode::INTERNAL_SERVER_ERROR;
        self
    }

    /// A 404: no such path.
    pub fn unknown() -> Self {
        Self::new(StatusCode::NOT_FOUND, "")
    }

    /// The response that says it.
    pub fn into_response(self) -> Response<Full<Bytes>> {
        let empty = self.text.is_empty();
        let mut response = Response::new(Full::new(Bytes::from(self.text)));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
        if !empty {
            headers.insert(CONTENT_TYPE, TEXT);
        }
        if self.of_a_read {
            headers.insert("x-consul-index", HeaderValue::from_static("1"));
            headers.insert("x-consul-knownleader", HeaderValue::from_static("false"));
            headers.insert("x-consul-lastcontact", HeaderValue::from_static("0"));
        }
        if let Some(allow) = HeaderValue::try_from(self.allow).ok().filter(|allow| !allow.is_empty()) {
            headers.insert(ALLOW, allow);
        }
        response
    }
}
