//! A line as one JSON object. Its keys are told in `deploy/README.md` and stay; what there is nothing to say of is left out, but for those
//! that every line has. What clients control is written such that a line stays one, and valid: text in UTF-8, bytes that are none as
//! U+FFFD, and nothing that a terminal takes for a command.

use std::time::Duration;

use super::combined::{display, protocol};
use super::stamp::{Stamp, digits};
use crate::account::{Account, Facts, Kind, Side, Word};

/// Names of the headers that are written down, of requests and of answers, in lower case.
#[derive(Debug, Clone, Copy)]
pub(super) struct Names<'a> {
    pub(super) request: &'a [Box<str>],
    pub(super) response: &'a [Box<str>],
}

/// Adds the line of a request.
pub(super) fn write(out: &mut Vec<u8>, facts: &Facts<'_>, names: Names<'_>, stamp: &mut Stamp) {
    out.extend_from_slice(b"{\"time\":\"");
    stamp.iso(out, facts.at);
    out.extend_from_slice(match facts.account.kind {
        Kind::Request => b"\",\"kind\":\"request\"".as_slice(),
        Kind::Tunnel => b"\",\"kind\":\"tunnel\"",
        Kind::Tcp => b"\",\"kind\":\"tcp\"",
    });
    string(out, "listener", facts.listener.as_bytes());
    asked(out, facts);
    answered(out, facts);
    endpoints(out, facts);
    client(out, facts);
    ids(out, facts.account);
    headers(out, facts.account, "request_headers", (Side::Request, names.request));
    headers(out, facts.account, "response_headers", (Side::Response, names.response));
    out.extend_from_slice(b"}\n");
}

fn asked(out: &mut Vec<u8>, facts: &Facts<'_>) {
    let account = facts.account;
    if let Some(version) = account.version {
        string(out, "protocol", protocol(version).as_bytes());
    }
    if let Some(method) = &account.method {
        string(out, "method", method.as_str().as_bytes());
        string(out, "scheme", facts.scheme.as_bytes());
    }
    word(out, account, "authority", Word::Authority);
    word(out, account, "target", Word::Target);
}

fn answered(out: &mut Vec<u8>, facts: &Facts<'_>) {
    number(out, "status", u64::from(facts.status));
    out.extend_from_slice(b",\"flags\":[");
    for (place, flag) in facts.account.flags.iter().enumerate() {
        out.extend_from_slice(if place > 0 { b",\"" } else { b"\"" });
        out.extend_from_slice(flag.code().as_bytes());
        out.push(b'"');
    }
    out.push(b']');
    number(out, "bytes_received", facts.received);
    number(out, "bytes_sent", facts.sent);
    seconds(out, "duration", facts.took);
    if let Some(first_byte) = facts.first_byte {
        seconds(out, "time_to_first_byte", first_byte);
    }
}

fn endpoints(out: &mut Vec<u8>, facts: &Facts<'_>) {
    string(out, "route", facts.route.as_bytes());
    string(out, "cluster", facts.cluster.as_bytes());
    number(out, "attempts", u64::from(facts.account.attempts));
    let Some(last) = facts.account.last() else { return };
    // Hosts are checked when they are read: nothing in them has to be escaped.
    quoted(out, "endpoint", last.endpoint.address());
    if let Some(end) = last.end {
        seconds(out, "upstream_time", end.at.saturating_duration_since(last.began));
    }
    out.extend_from_slice(if last.reused { b",\"upstream_reused\":true" } else { b",\"upstream_reused\":false" });
}

fn client(out: &mut Vec<u8>, facts: &Facts<'_>) {
    if let Some(client) = facts.account.client {
        quoted(out, "client", client);
    }
    if let Some(peer) = facts.peer {
        quoted(out, "peer", peer);
    }
    if let Some(security) = facts.security {
        string(out, "tls_version", security.version.as_bytes());
        string(out, "tls_cipher", security.cipher.as_bytes());
        if let Some(identity) = security.identity {
            string(out, "client_identity", identity.as_bytes());
        }
    }
    if let Some(server_name) = facts.security.and_then(|security| security.server_name) {
        string(out, "server_name", server_name.as_bytes());
    }
    word(out, facts.account, "user_agent", Word::UserAgent);
    word(out, facts.account, "referer", Word::Referer);
}

fn ids(out: &mut Vec<u8>, account: &Account) {
    word(out, account, "request_id", Word::RequestId);
    let Some(trace) = account.trace else { return };
    key(out, "trace_id");
    hexadecimal(out, trace.id, 32);
    if trace.span != 0 {
        key(out, "span_id");
        hexadecimal(out, u128::from(trace.span), 16);
    }
}

fn headers(out: &mut Vec<u8>, account: &Account, name: &str, (side, names): (Side, &[Box<str>])) {
    let mut last = None;
    for (place, value) in account.headers(side) {
        let Some(header) = names.get(place) else { continue };
        match last {
            // Several lines of one name are one list.
            Some(before) if before == place => out.truncate(out.len() - 1),
            None => {
                key(out, name);
                out.push(b'{');
            }
            Some(_) => out.push(b','),
        }
        if last == Some(place) {
            out.extend_from_slice(b", ");
        } else {
            out.push(b'"');
            out.extend_from_slice(header.as_bytes());
            out.extend_from_slice(b"\":\"");
        }
        escape(out, value);
        out.push(b'"');
        last = Some(place);
    }
    if last.is_some() {
        out.push(b'}');
    }
}

fn word(out: &mut Vec<u8>, account: &Account, name: &str, word: Word) {
    if let Some(text) = account.word(word) {
        string(out, name, text);
    }
}

fn key(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

fn string(out: &mut Vec<u8>, name: &str, text: &[u8]) {
    key(out, name);
    out.push(b'"');
    escape(out, text);
    out.push(b'"');
}

/// What displays itself without anything that would have to be escaped.
fn quoted(out: &mut Vec<u8>, name: &str, what: impl std::fmt::Display) {
    key(out, name);
    out.push(b'"');
    display(out, what);
    out.push(b'"');
}

fn number(out: &mut Vec<u8>, name: &str, number: u64) {
    key(out, name);
    digits(out, number, 1);
}

/// To the microsecond.
fn seconds(out: &mut Vec<u8>, name: &str, took: Duration) {
    number(out, name, took.as_secs());
    out.push(b'.');
    digits(out, u64::from(took.subsec_micros()), 6);
}

fn hexadecimal(out: &mut Vec<u8>, number: u128, length: u32) {
    out.push(b'"');
    let digit = |place: u32| b"0123456789abcdef"[(number >> (4 * place) & 15) as usize];
    out.extend((0..length).rev().map(digit));
    out.push(b'"');
}

/// A text inside of quotes.
fn escape(out: &mut Vec<u8>, text: &[u8]) {
    let is_plain = |byte: &u8| (b' '..=b'~').contains(byte) && *byte != b'"' && *byte != b'\\';
    if text.iter().all(is_plain) {
        return out.extend_from_slice(text);
    }
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' | '\\' => out.extend_from_slice(&[b'\\', c as u8]),
                // Both sets of control characters: terminals obey the second as well. And what some take for the end of a line.
                '\0'..=' ' | '\x7f'..='\u{9f}' | '\u{2028}' | '\u{2029}' if c != ' ' => {
                    display(out, format_args!("\\u{:04x}", c as u32));
                }
                c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_text_holds_it_is_one_string() {
        for text in ["", "plain", "\"\\\n\r\t\0\x1b[31m", "\u{9b}31m", "caf\u{e9} \u{2028}", "\u{10ffff}"] {
            let mut out = b"\"".to_vec();
            escape(&mut out, text.as_bytes());
            out.push(b'"');
            assert!(!out.iter().any(|byte| *byte < b' ') && !out.contains(&0x7f));
            assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }
        let mut out = Vec::new();
        escape(&mut out, b"a\xff\xfeb\xc3");
        assert_eq!(String::from_utf8(out).unwrap(), "a\u{fffd}\u{fffd}b\u{fffd}");
    }

    #[test]
    fn numbers_are_written_whole() {
        let mut out = Vec::new();
        seconds(&mut out, "a", Duration::new(3, 4_567));
        number(&mut out, "b", u64::MAX);
        hexadecimal(&mut out, 0xab, 4);
        assert_eq!(String::from_utf8(out).unwrap(), ",\"a\":3.000004,\"b\":18446744073709551615\"00ab\"");
    }
}
