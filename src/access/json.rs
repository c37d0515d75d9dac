//! A line as one JSON object. Its keys are told in `deploy/README.md` and stay; what there is nothing to say of is left out, but for those
//! that every line has. What clients control is written such that a line stays one, and valid: text in UTF-8, bytes that are none as
//! U+FFFD, and nothing that a terminal takes for a command.

use std::time::Duration;

use http::HeaderName;

use super::combined::protocol;
use super::stamp::Stamp;
use super::text;
use crate::account::{Account, Facts, Kind, Side, Word};

/// Names of the headers that are written down, of requests and of answers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Names<'a> {
    pub(super) request: &'a [HeaderName],
    pub(super) response: &'a [HeaderName],
}

/// What stands before a value.
macro_rules! key {
    ($name:literal) => {
        concat!(",\"", $name, "\":")
    };
}

/// Adds the line of a request.
pub(super) fn write(out: &mut Vec<u8>, facts: &Facts<'_>, names: Names<'_>, stamp: &mut Stamp) {
    add(out, "{\"time\":\"");
    let began = stamp.began(facts.started, facts.took);
    stamp.iso(out, began);
    add(
        out,
        match facts.account.kind {
            Kind::Request => "\",\"kind\":\"request\"",
            Kind::Tunnel => "\",\"kind\":\"tunnel\"",
            Kind::Tcp => "\",\"kind\":\"tcp\"",
        },
    );
    string(out, key!("listener"), facts.listener.as_bytes());
    asked(out, facts);
    answered(out, facts);
    endpoints(out, facts);
    client(out, facts);
    ids(out, facts.account);
    headers(out, facts.account, key!("request_headers"), (Side::Request, names.request));
    headers(out, facts.account, key!("response_headers"), (Side::Response, names.response));
    add(out, "}\n");
}

fn asked(out: &mut Vec<u8>, facts: &Facts<'_>) {
    let account = facts.account;
    if let Some(version) = account.version {
        plain(out, key!("protocol"), protocol(version));
    }
    if let Some(method) = &account.method {
        plain(out, key!("method"), method.as_str());
        plain(out, key!("scheme"), facts.scheme);
    }
    word(out, account, key!("authority"), Word::Authority);
    word(out, account, key!("target"), Word::Target);
}

fn answered(out: &mut Vec<u8>, facts: &Facts<'_>) {
    number(out, key!("status"), u64::from(facts.status));
    add(out, key!("flags"));
    let mut before = "[\"";
    for flag in facts.account.flags.iter() {
        add(out, before);
        add(out, flag.code());
        before = "\",\"";
    }
    add(out, if facts.account.flags.is_empty() { "[]" } else { "\"]" });
    number(out, key!("bytes_received"), facts.received);
    number(out, key!("bytes_sent"), facts.sent);
    seconds(out, key!("duration"), facts.took);
    if let Some(first_byte) = facts.first_byte {
        seconds(out, key!("time_to_first_byte"), first_byte);
    }
}

fn endpoints(out: &mut Vec<u8>, facts: &Facts<'_>) {
    string(out, key!("route"), facts.route.as_bytes());
    string(out, key!("cluster"), facts.cluster.as_bytes());
    number(out, key!("attempts"), u64::from(facts.account.attempts));
    let Some(last) = facts.account.last() else { return };
    add(out, key!("endpoint"));
    add(out, "\"");
    text::address(out, last.endpoint.address());
    add(out, "\"");
    if let Some(end) = last.end {
        seconds(out, key!("upstream_time"), end.at.saturating_duration_since(last.began));
    }
    add(out, if last.reused { ",\"upstream_reused\":true" } else { ",\"upstream_reused\":false" });
}

fn client(out: &mut Vec<u8>, facts: &Facts<'_>) {
    if let Some(client) = facts.account.client {
        add(out, ",\"client\":\"");
        text::ip(out, client);
        add(out, "\"");
    }
    if let Some(peer) = facts.peer {
        add(out, ",\"peer\":\"");
        text::socket(out, peer);
        add(out, "\"");
    }
    if let Some(security) = facts.security {
        plain(out, key!("tls_version"), security.version);
        plain(out, key!("tls_cipher"), security.cipher);
        if let Some(identity) = security.identity {
            string(out, key!("client_identity"), identity.as_bytes());
        }
    }
    if let Some(server_name) = facts.server_name {
        string(out, key!("server_name"), server_name.as_bytes());
    }
    word(out, facts.account, key!("user_agent"), Word::UserAgent);
    word(out, facts.account, key!("referer"), Word::Referer);
}

fn ids(out: &mut Vec<u8>, account: &Account) {
    word(out, account, key!("request_id"), Word::RequestId);
    let Some(trace) = account.trace else { return };
    add(out, ",\"trace_id\":\"");
    text::hexadecimal(out, &trace.id.to_be_bytes());
    if trace.span != 0 {
        add(out, "\",\"span_id\":\"");
        text::hexadecimal(out, &trace.span.to_be_bytes());
    }
    add(out, "\"");
}

fn headers(out: &mut Vec<u8>, account: &Account, key: &str, (side, names): (Side, &[HeaderName])) {
    let mut last = None;
    for (place, value) in account.headers(side) {
        let Some(header) = names.get(place) else { continue };
        match last {
            // Several lines of one name are one list.
            Some(before) if before == place => {
                out.truncate(out.len() - 1);
                add(out, ", ");
            }
            before => {
                add(out, if before.is_none() { key } else { "," });
                add(out, if before.is_none() { "{\"" } else { "\"" });
                add(out, header.as_str());
                add(out, "\":\"");
            }
        }
        escape(out, value);
        add(out, "\"");
        last = Some(place);
    }
    if last.is_some() {
        add(out, "}");
    }
}

fn word(out: &mut Vec<u8>, account: &Account, key: &str, word: Word) {
    if let Some(text) = account.word(word) {
        string(out, key, text);
    }
}

fn string(out: &mut Vec<u8>, key: &str, text: &[u8]) {
    add(out, key);
    add(out, "\"");
    escape(out, text);
    add(out, "\"");
}

/// A text of ours, or a method: nothing in it has to be escaped.
fn plain(out: &mut Vec<u8>, key: &str, text: &str) {
    add(out, key);
    add(out, "\"");
    add(out, text);
    add(out, "\"");
}

fn number(out: &mut Vec<u8>, key: &str, number: u64) {
    add(out, key);
    text::number(out, number);
}

/// To the microsecond.
fn seconds(out: &mut Vec<u8>, key: &str, took: Duration) {
    number(out, key, took.as_secs());
    add(out, ".");
    text::millionths(out, took.subsec_micros());
}

/// Inlined, so that what is known when it is compiled, as nearly all is, is copied without a call.
#[inline(always)]
fn add(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

/// A text inside of quotes.
fn escape(out: &mut Vec<u8>, text: &[u8]) {
    if is_plain(text) {
        return out.extend_from_slice(text);
    }
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' | '\\' => out.extend_from_slice(&[b'\\', c as u8]),
                c if is_hidden(c) => text::display(out, format_args!("\\u{:04x}", c as u32)),
                c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

/// Whether all of it stands for itself. It is looked at eight bytes at a time; the last eight begin where they have to.
fn is_plain(text: &[u8]) -> bool {
    match text.last_chunk() {
        Some(last) => text.as_chunks().0.iter().all(stand) && stand(last),
        None => {
            let mut piece = [b' '; 8];
            piece[..text.len()].copy_from_slice(text);
            stand(&piece)
        }
    }
}

/// Whether these are printable ASCII without quotes and backslashes. Of a byte that is not, one of these has the highest bit; what is carried
/// from one byte to the next comes only from such.
fn stand(piece: &[u8; 8]) -> bool {
    const EACH: u64 = u64::from_ne_bytes([1; 8]);
    let bytes = u64::from_ne_bytes(*piece);
    let control = bytes.wrapping_sub(EACH * 0x20);
    let delete = bytes.wrapping_add(EACH);
    let quote = (bytes ^ (EACH * b'"' as u64)).wrapping_sub(EACH);
    let backslash = (bytes ^ (EACH * b'\\' as u64)).wrapping_sub(EACH);
    (bytes | control | delete | quote | backslash) & (EACH * 0x80) == 0
}

/// Whether it does something other than be seen: both sets of control characters, since terminals obey the second as well; what some take
/// for the end of a line; and what has no width, or turns the direction of what follows.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_text_holds_it_is_one_string() {
        let late = format!("{}\"", "a".repeat(40));
        for text in ["", "plain", "\"\\\n\r\t\0\x1b[31m", "\u{9b}31m", "caf\u{e9} \u{2028}", "\u{10ffff}", &late] {
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
    fn a_byte_that_has_to_be_escaped_is_found_wherever_it_stands() {
        for byte in 0..=u8::MAX {
            let stands = (b' '..=b'~').contains(&byte) && byte != b'"' && byte != b'\\';
            for (length, place) in (1..20).flat_map(|length| (0..length).map(move |place| (length, place))) {
                for other in *b" a~!#[]" {
                    let mut text = vec![other; length];
                    text[place] = byte;
                    assert_eq!(is_plain(&text), stands, "{text:?}");
                }
            }
        }
    }

    #[test]
    fn nothing_turns_the_direction_of_a_line() {
        let mut out = Vec::new();
        escape(&mut out, "\u{202e}gpj.exe\u{feff}".as_bytes());
        assert_eq!(String::from_utf8(out).unwrap(), "\\u202egpj.exe\\ufeff");
    }

    #[test]
    fn times_are_written_to_the_microsecond() {
        let mut out = Vec::new();
        seconds(&mut out, key!("a"), Duration::new(3, 4_567));
        assert_eq!(String::from_utf8(out).unwrap(), ",\"a\":3.000004");
    }
}
