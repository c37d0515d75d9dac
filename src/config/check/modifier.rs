//! What a route changes in the heads that pass it.

use http::header::{HeaderName, HeaderValue};

use super::super::{HeaderRules, raw};
use super::Problems;
use super::route::header_name;

/// What frames a message or belongs to one connection (RFC 9110 section 7.6.1): written anew by whoever sends it.
const FRAMING: [&str; 11] = [
    "connection",
    "content-length",
    "expect",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
/// What every request gets from lictor.
const OF_THE_WAY: [&str; 5] = ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-request-id", "via"];

/// Whose head it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Request,
    Response,
}

pub(super) fn headers(key: &str, written: raw::Headers, side: Side, problems: &mut Problems) -> HeaderRules {
    let mut rules = HeaderRules::default();
    for (place, name) in written.remove.iter().enumerate() {
        rules.remove.extend(may_change(&format!("{key}.remove[{place}]"), name, side, problems));
    }
    for (list, rules, word) in [(written.set, &mut rules.set, "set"), (written.add, &mut rules.add, "add")] {
        for (name, value) in list {
            let key = format!("{key}.{word}.{name}");
            let name = may_change(&key, &name, side, problems);
            rules.extend(name.zip(header_value(&key, &value, problems)));
        }
    }
    rules
}

pub(super) fn header_value(key: &str, written: &str, problems: &mut Problems) -> Option<HeaderValue> {
    let value = HeaderValue::from_str(written).ok().filter(|_| written.trim() == written);
    if value.is_none() {
        problems.add(key, format!("{written:?} is not a header's value: no control characters, nor spaces around it"));
    }
    value
}

fn may_change(key: &str, written: &str, side: Side, problems: &mut Problems) -> Option<HeaderName> {
    let name = header_name(key, written, problems)?;
    let forbidden = match name.as_str() {
        "host" => "is changed by host_header",
        name if FRAMING.contains(&name) => "frames the message or belongs to one connection, and is not to be changed",
        name if side == Side::Request && OF_THE_WAY.contains(&name) => "is lictor's own word on the request's way",
        _ => return Some(name),
    };
    problems.add(key, format!("\"{name}\" {forbidden}"));
    None
}
