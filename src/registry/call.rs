//! One call of the API: its method, decoded path, parameters and body.

use super::answer::Refusal;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper::{Method, Request, StatusCode};
use serde_json::Value;
use std::str::FromStr;
use std::time::Duration;

/// The largest value of a key, in bytes, as in Consul.
pub const MAX_VALUE: usize = 512 * 1024;
/// The largest body of any other call, in bytes.
const MAX_BODY: usize = 1024 * 1024;
/// Where Consul explains its limit.
const LIMIT_DOCS: &str = "https://www.consul.io/docs/agent/options.html#kv_max_value_size";
/// How long a caller may take to send a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// A call, read whole.
#[derive(Debug)]
pub struct Call {
    /// The method.
    pub method: Method,
    /// The path, percent-decoded.
    pub path: String,
    /// The body; empty for methods without one.
    pub body: Bytes,
    /// Parameters in order, percent-decoded.
    parameters: Vec<(String, String)>,
}

impl Call {
    /// Reads a request and its body within the limits of size and time.
    pub async fn read(request: Request<Incoming>) -> Result<Self, Refusal> {
        let (head, body) = request.into_parts();
        let path = decode(head.uri.path(), Plus::Stays).ok_or_else(|| Refusal::bad("400 Bad Request"))?;
        let takes_body = matches!(head.method, Method::PUT | Method::POST);
        let limit = if path.starts_with("/v1/kv/") { MAX_VALUE } else { MAX_BODY };
        let body = if takes_body { read_body(body, limit).await? } else { Bytes::new() };
        Ok(Self { method: head.method, path, body, parameters: parameters(head.uri.query().unwrap_or("")) })
    }

    /// The first value of a parameter; empty where it has none.
    pub fn find(&self, name: &str) -> Option<&str> {
        let first = self.parameters.iter().find(|(key, _)| key == name);
        first.map(|(_, value)| value.as_str())
    }

    /// Every value of a parameter.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let same = self.parameters.iter().filter(move |(key, _)| key == name);
        same.map(|(_, value)| value.as_str())
    }

    /// Whether a parameter is there, with whatever value.
    pub fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// The parameter's value, unless it is absent or empty.
    pub fn filled(&self, name: &str) -> Option<&str> {
        self.find(name).filter(|value| !value.is_empty())
    }

    /// A number in a parameter, for which Consul answers 500 where it is none.
    pub fn number(&self, name: &str) -> Result<Option<u64>, Refusal> {
        let Some(text) = self.filled(name) else {
            return Ok(None);
        };
        u64::from_str(text)
            .map(Some)
            .map_err(|_| Refusal::failed(&format!("strconv.ParseUint: parsing {text:?}: invalid syntax")))
    }

    /// Refuses every method but these.
    pub fn only(&self, methods: &[Method]) -> Result<(), Refusal> {
        if methods.contains(&self.method) {
            return Ok(());
        }
        let mut refusal = match self.method {
            // Whoever asks for the options is told them in the same way.
            Method::OPTIONS => Refusal::new(StatusCode::OK, ""),
            _ => Refusal::new(StatusCode::METHOD_NOT_ALLOWED, &format!("method {} not allowed", self.method)),
        };
        refusal.allow = methods.iter().fold("OPTIONS".to_owned(), |all, one| all + "," + one.as_str());
        Err(refusal)
    }

    /// The body as JSON.
    pub fn json(&self) -> Result<Value, Refusal> {
        // Go's decoder reads one value and does not look behind it.
        let mut values = serde_json::Deserializer::from_slice(&self.body).into_iter();
        let text = match values.next() {
            Some(Ok(value)) => return Ok(value),
            Some(Err(error)) if error.is_eof() => "unexpected EOF".to_owned(),
            Some(Err(error)) => error.to_string(),
            None => "EOF".to_owned(),
        };
        Err(Refusal::bad(&format!("Request decode failed: {text}")))
    }
}

/// Reads a boolean as Go does; none for any other word.
pub fn flag(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

async fn read_body(body: Incoming, limit: usize) -> Result<Bytes, Refusal> {
    let too_large = |sent: &str| {
        let text = format!("Request body{sent} too large, max size: {limit} bytes. See {LIMIT_DOCS}.");
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, &text)
    };
    // A caller that says how much it will send is refused before it has sent it.
    if let Some(length) = body.size_hint().exact().filter(|length| *length > limit as u64) {
        return Err(too_large(&format!("({length} bytes)")));
    }
    match tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, limit).collect()).await {
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large("")),
        Ok(Err(error)) => Err(Refusal::bad(&format!("Request body failed: {error}"))),
        Err(_) => Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, "Request body took too long")),
    }
}

/// What a plus sign means: a space in a query, itself in a path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Plus {
    Stays,
    IsSpace,
}

fn parameters(query: &str) -> Vec<(String, String)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    // A pair that cannot be decoded is passed over, as in Go.
    let decoded = pairs.filter_map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        Some((decode(name, Plus::IsSpace)?, decode(value, Plus::IsSpace)?))
    });
    decoded.collect()
}

/// Percent-decodes; none for a broken escape. Bytes that are no UTF-8 are replaced.
fn decode(text: &str, plus: Plus) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut left = text.bytes();
    while let Some(byte) = left.next() {
        bytes.push(match byte {
            b'%' => {
                let high = char::from(left.next()?).to_digit(16)?;
                let low = char::from(left.next()?).to_digit(16)?;
                u8::try_from(high * 16 + low).ok()?
            }
            b'+' if plus == Plus::IsSpace => b' ',
            byte => byte,
        });
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_parameters_are_decoded_each_in_its_way() {
        assert_eq!(decode("/a%2Fb+c%20d", Plus::Stays).unwrap(), "/a/b+c d");
        assert_eq!(decode("%zz", Plus::Stays), None);
        assert_eq!(decode("%4", Plus::Stays), None);
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            parameters("passing&tag=a+b&tag=%22&bad=%&"),
            [pair("passing", ""), pair("tag", "a b"), pair("tag", "\"")]
        );
    }

    #[test]
    fn booleans_are_gos() {
        assert_eq!(flag("T"), Some(true));
        assert_eq!(flag("0"), Some(false));
        assert_eq!(flag("bogus"), None);
        assert_eq!(flag("yes"), None);
    }
}
