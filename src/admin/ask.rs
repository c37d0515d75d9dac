//! A request to the operator's window once it is known which page it is for: what stands in its path, its query, its body, and who
//! sent it. Read strictly: what is not understood is refused by name, so that a slip of the pen is not a request for something else.

use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt, Limited};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::answer::Problem;
use super::dispatch::Segments;
use crate::message::Incoming;

/// Nothing that an operator has to say is longer.
const MAX_BODY: usize = 64 * 1024;
/// How long it may take to come.
const PATIENCE: Duration = Duration::from_secs(10);

/// A request.
pub(super) struct Ask {
    /// Who sent it.
    pub(super) who: Who,
    /// What stood in place of each `{name}` of the page's path, decoded.
    pub(super) segments: Segments,
    query: Vec<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
}

/// Who sent a request.
#[derive(Debug, Clone)]
pub(super) struct Who {
    /// For the log and the journal: an address, or what was proved.
    pub(super) name: String,
    /// Whether all is open to them, and not only what is open to everybody.
    pub(super) is_known: bool,
}

/// What a page may be asked with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key {
    pub(super) name: &'static str,
    many: bool,
}

/// A query key that stands once or not at all.
pub(super) const fn one(name: &'static str) -> Key {
    Key { name, many: false }
}

/// A query key that may stand several times.
pub(super) const fn many(name: &'static str) -> Key {
    Key { name, many: true }
}

impl Ask {
    pub(super) fn new(who: Who, segments: Segments, headers: HeaderMap) -> Self {
        Ask { who, segments, query: Vec::new(), headers, body: Bytes::new() }
    }

    /// The same with a query, whose keys are among these.
    pub(super) fn with_query(self, query: Option<&str>, keys: &[Key]) -> Result<Self, Problem> {
        Ok(Ask { query: pairs(query.unwrap_or_default(), keys)?, ..self })
    }

    /// The same with its body, once that has come.
    pub(super) async fn with_body(self, body: Option<Incoming>) -> Result<Self, Problem> {
        let Some(body) = body else { return Ok(self) };
        let too_long = || {
            let detail = format!("the body has more than {MAX_BODY} bytes");
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
        };
        let length = self.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if length.is_some_and(|length| length > MAX_BODY as u64) {
            return Err(too_long());
        }
        let late = |_| Problem::new(StatusCode::REQUEST_TIMEOUT, "the body has not come in time");
        match timeout(PATIENCE, Limited::new(body, MAX_BODY).collect()).await.map_err(late)? {
            Ok(body) => Ok(Ask { body: body.to_bytes(), ..self }),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => Err(too_long()),
            Err(error) => Err(Problem::bad(format!("the body is broken: {error}"))),
        }
    }

    /// What stands in the path for `{name}`.
    pub(super) fn segment(&self, name: &str) -> &str {
        let found = self.segments.iter().find(|(known, _)| *known == name);
        found.map_or("", |(_, value)| value)
    }

    /// The value of a query key, empty for one without `=`.
    pub(super) fn query(&self, name: &str) -> Option<&str> {
        let found = self.query.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    /// All values of a query key.
    pub(super) fn every<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.query.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The head's fields.
    pub(super) fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// A field of the head, if it is text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body as JSON. None at all is an empty object: who has nothing to say says nothing.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        let body: &[u8] = if self.body.trim_ascii().is_empty() { b"{}" } else { &self.body };
        serde_json::from_slice(body).map_err(|error| Problem::bad(format!("the body: {error}")))
    }
}

fn pairs(query: &str, keys: &[Key]) -> Result<Vec<(String, String)>, Problem> {
    let mut pairs = Vec::<(String, String)>::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let both = decoded(&key.replace('+', " ")).zip(decoded(&value.replace('+', " ")));
        let Some((key, value)) = both else {
            return Err(Problem::bad(format!("\"{pair}\" in the query is not percent-encoded UTF-8")));
        };
        let Some(known) = keys.iter().find(|known| known.name == key) else {
            let known: Vec<&str> = keys.iter().map(|key| key.name).collect();
            let known = if known.is_empty() { "there is none here".to_owned() } else { known.join(", ") };
            return Err(Problem::bad(format!("unknown query key \"{key}\"; known: {known}")));
        };
        if !known.many && pairs.iter().any(|(before, _)| *before == key) {
            return Err(Problem::bad(format!("the query has \"{key}\" twice")));
        }
        pairs.push((key, value));
    }
    Ok(pairs)
}

/// Percent-encoding undone; none if it is none, or not UTF-8.
pub(super) fn decoded(text: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let [first, more @ ..] = rest {
        rest = more;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let [high, low, after @ ..] = more else { return None };
        let digit = |byte: u8| char::from(byte).to_digit(16);
        bytes.push(u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()?);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_strictly() {
        let keys = [one("host"), Key { name: "header", many: true }];
        let read = |query| pairs(query, &keys).map_err(|problem| format!("{problem:?}"));
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(
            read("host=a+b&&header=A%3A1&header"),
            Ok(vec![pair("host", "a b"), pair("header", "A:1"), pair("header", "")])
        );
        assert_eq!(read(""), Ok(Vec::new()));
        assert!(read("hots=a").unwrap_err().contains("unknown query key \\\"hots\\\"; known: host, header"));
        assert!(read("host=a&host=b").unwrap_err().contains("twice"));
        for broken in ["host=%", "host=%2", "host=%zz", "host=%ff", "%=1"] {
            assert!(read(broken).unwrap_err().contains("percent-encoded"), "{broken}");
        }
    }
}
