//! A line in the format that Apache's "combined" has made common. What clients control is written such that a line stays a line, and
//! that no terminal takes it for a command: quotes, backslashes, and all that is not printable ASCII as `\xNN`.

use http::Version;

use super::stamp::Stamp;
use super::text;
use crate::account::{Facts, Kind, Word};

/// Adds the line of a request.
pub(super) fn write(out: &mut Vec<u8>, facts: &Facts<'_>, stamp: &mut Stamp) {
    let account = facts.account;
    match account.client {
        Some(client) => text::ip(out, client),
        None => out.push(b'-'),
    }
    out.extend_from_slice(b" - ");
    // Where a name of a user stands; one with a space in it would be two words.
    word(out, facts.security.and_then(|security| security.identity).map(str::as_bytes), b" \"\\");
    out.extend_from_slice(b" [");
    let began = stamp.began(facts.started, facts.took);
    stamp.common(out, began);
    out.extend_from_slice(b"] \"");
    line(out, facts);
    out.extend_from_slice(b"\" ");
    status(out, facts.status);
    out.push(b' ');
    text::number(out, facts.sent);
    for name in [Word::Referer, Word::UserAgent] {
        out.extend_from_slice(b" \"");
        word(out, account.word(name), b"\"\\");
        out.push(b'"');
    }
    out.push(b'\n');
}

/// What stands in the place of the request line.
fn line(out: &mut Vec<u8>, facts: &Facts<'_>) {
    let account = facts.account;
    if account.kind == Kind::Tcp {
        out.extend_from_slice(b"TCP ");
        return word(out, Some(facts.cluster.as_bytes()).filter(|name| !name.is_empty()), b"\"\\");
    }
    let Some(method) = &account.method else { return out.push(b'-') };
    out.extend_from_slice(method.as_str().as_bytes());
    out.push(b' ');
    word(out, account.word(Word::Target), b"\"\\");
    if let Some(version) = account.version {
        out.push(b' ');
        out.extend_from_slice(protocol(version).as_bytes());
    }
}

/// A version as request lines have it.
pub(super) fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "HTTP/0.9",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_3 => "HTTP/3",
        _ => "HTTP/1.1",
    }
}

/// In three digits, as readers of this format expect it; `000` where there is none.
fn status(out: &mut Vec<u8>, status: u16) {
    if status == 0 {
        out.extend_from_slice(b"00");
    }
    text::number(out, u64::from(status));
}

/// A text, or a dash for none.
fn word(out: &mut Vec<u8>, text: Option<&[u8]>, special: &[u8]) {
    let Some(text) = text else { return out.push(b'-') };
    for byte in text {
        if (b' '..=b'~').contains(byte) && !special.contains(byte) {
            out.push(*byte);
        } else {
            out.extend_from_slice(b"\\x");
            out.extend([byte >> 4, byte & 15].map(|digit| b"0123456789ABCDEF"[usize::from(digit)]));
        }
    }
}
