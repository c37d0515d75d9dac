//! What of a request ties it to an endpoint, or to its part of a split: the same in every process.

use http::{HeaderMap, request};

use crate::balance::hash;
use crate::config::HashKey;
use crate::message::{self, Sender};

/// The hash of the first of these keys that a request has.
pub fn key(keys: &[HashKey], head: &request::Parts, sender: Sender<'_>) -> Option<u64> {
    keys.iter().find_map(|key| value(key, head, sender))
}

/// The cookie that can be followed, or else the first. One that was set for another path or domain may stand before it, and
/// would not go away by being replaced.
pub fn session<'a>(headers: &'a HeaderMap, name: &str, keeps: impl Fn(&str) -> bool) -> Option<&'a str> {
    let values = || message::cookies(headers, name).filter_map(|value| std::str::from_utf8(value).ok());
    values().find(|value| keeps(value)).or_else(|| values().next())
}

/// The hash of what a request has for this key, the same in every process.
pub fn value(key: &HashKey, head: &request::Parts, sender: Sender<'_>) -> Option<u64> {
    let value = match key {
        HashKey::Header(name) => head.headers.get(name)?.as_bytes(),
        HashKey::Cookie(name) => message::cookie(&head.headers, name)?,
        HashKey::Query(name) => message::query_parameter(head.uri.query()?, name)?,
        HashKey::Path => head.uri.path().as_bytes(),
        HashKey::ClientAddress if sender.is_trusted() => {
            return Some(hash(sender.client(&head.headers).to_string().as_bytes()));
        }
        HashKey::ClientAddress => sender.downstream().address().as_bytes(),
        HashKey::Identity => sender.downstream().identities().next()?.as_bytes(),
    };
    (!value.is_empty()).then(|| hash(value))
}
