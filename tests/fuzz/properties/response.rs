//! Answers over HTTP/1.1: the same bytes are the same answer however they come, and what goes on to the client can be read in one
//! way only, or breaks off where it can be seen.

use bytes::BytesMut;
use http::header::{CONTENT_LENGTH, HeaderMap};
use http::{Method, StatusCode, Version};
use lictor::listener::fuzzing::{Asked, Written, write};
use lictor::message::{self, Fields, Framing, framing};
use lictor::upstream::{Head, parse};

use super::body::{self, End, Pieces};
use super::choices;
use super::strict::{self, Message};

/// What was read.
enum Verdict {
    /// A head, the number of interim ones before it, and what stands behind it.
    Head(Box<Head>, Vec<HeaderMap>, Vec<u8>),
    Malformed,
    More,
}

pub fn check(data: &[u8]) {
    let Some((how, piece, bytes)) = choices(data) else { return };
    let method = if how & 1 != 0 { Method::HEAD } else { Method::GET };
    let whole = read(std::iter::once(bytes), &method);
    for size in [piece, 1] {
        compare(&whole, bytes, size, &method);
    }
    let Verdict::Head(head, interim, rest) = whole else { return };
    for headers in interim {
        judge_interim(headers);
    }
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        return;
    }
    let decoded = body::read(again(&head.framing), std::iter::once(&rest[..]));
    let version = if how & 2 != 0 { Version::HTTP_10 } else { Version::HTTP_11 };
    let asked = Asked { method: method.clone(), version, keep_alive: how & 4 == 0, trailers: how & 8 != 0 };
    let mut fields = head.fields.clone();
    fields.end_to_end();
    judge_lines(&fields);
    let length = if let Framing::Length(length) = head.framing { Some(length) } else { None };
    let written = write((head.status, &mut fields), asked, Pieces::new(&decoded, piece, length));
    judge(&written, &head, &decoded, (&method, version));
}

fn again(framing: &Framing) -> Framing {
    match framing {
        Framing::Length(length) => Framing::Length(*length),
        Framing::Chunked(_) => Framing::chunked(),
        Framing::UntilClose => Framing::UntilClose,
    }
}

/// Reads up to the final head, as it is done on a connection.
fn read<'a>(mut pieces: impl Iterator<Item = &'a [u8]>, method: &Method) -> Verdict {
    let (mut interim, mut bytes) = (Vec::new(), BytesMut::new());
    loop {
        match parse(&mut bytes, method) {
            Err(_) => return Verdict::Malformed,
            Ok(Some(head)) if head.status.is_informational() && head.status != StatusCode::SWITCHING_PROTOCOLS => {
                interim.push(head.fields.into_map());
            }
            Ok(Some(head)) => {
                let mut rest = bytes.to_vec();
                pieces.for_each(|piece| rest.extend_from_slice(piece));
                return Verdict::Head(Box::new(head), interim, rest);
            }
            Ok(None) => match pieces.next() {
                Some(piece) => bytes.extend_from_slice(piece),
                None => return Verdict::More,
            },
        }
    }
}

fn compare(whole: &Verdict, bytes: &[u8], size: usize, method: &Method) {
    match (whole, read(bytes.chunks(size), method)) {
        (Verdict::Head(one, interim, rest), Verdict::Head(other, other_interim, other_rest)) => {
            assert_eq!((interim, rest), (&other_interim, &other_rest), "in pieces of {size}");
            let facts = |head: &Head| {
                (head.status, head.fields.clone().into_map(), format!("{:?}", head.framing), head.keep_alive)
            };
            assert_eq!(facts(one), facts(&other), "in pieces of {size}");
            let of_whole = body::read(again(&one.framing), std::iter::once(&rest[..]));
            let of_parts = body::read(again(&one.framing), rest.chunks(size));
            assert_eq!(of_whole, of_parts, "the body in pieces of {size}");
        }
        (Verdict::Malformed, Verdict::Malformed) | (Verdict::More, Verdict::More) => {}
        _ => panic!("another verdict in pieces of {size}"),
    }
}

/// What passes as it came says, line by line, what a map of it says.
fn judge_lines(fields: &Fields) {
    let mut out = BytesMut::from("HTTP/1.1 200 OK\r\n");
    fields.write(&mut out);
    out.extend_from_slice(b"\r\n");
    let (map, message) = (fields.clone().into_map(), Message::read(&out));
    assert!(message.rest.is_empty());
    let written: Vec<(&str, &[u8])> = message.fields.iter().map(|(name, value)| (&name[..], *value)).collect();
    for name in map.keys() {
        let of_map: Vec<&[u8]> = map.get_all(name).iter().map(|value| value.as_bytes()).collect();
        let of_lines: Vec<&[u8]> =
            written.iter().filter(|(known, _)| *known == name.as_str()).map(|(_, value)| *value).collect();
        assert_eq!(of_map, of_lines, "{name}");
    }
    assert_eq!(map.len(), written.len());
}

fn judge_interim(mut headers: HeaderMap) {
    message::end_to_end(&mut headers);
    headers.remove(CONTENT_LENGTH);
    let mut out = BytesMut::from("HTTP/1.1 103 Early Hints\r\n");
    framing::fields(&mut out, headers.iter());
    out.extend_from_slice(b"\r\n");
    let message = Message::read(&out);
    assert!(message.rest.is_empty() && message.framing() == (None, false));
}

fn judge(written: &Written, head: &Head, decoded: &body::Read, (method, version): (&Method, Version)) {
    let message = Message::read(&written.bytes);
    let line = message.line.strip_prefix(b"HTTP/1.1 ").expect("a version");
    assert!(line.starts_with(head.status.as_str().as_bytes()) && line.get(3) == Some(&b' '), "{}", line.escape_ascii());
    message.one("connection");
    let is_whole = decoded.end == End::Whole && written.ended.is_ok();
    let has_none = *method == Method::HEAD || [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&head.status);
    match message.framing() {
        framing if has_none => {
            assert!(message.rest.is_empty() && !framing.1);
            assert!(head.status != StatusCode::NO_CONTENT || framing.0.is_none());
        }
        (Some(length), _) => {
            assert_eq!(message.rest, decoded.data);
            assert_eq!(is_whole, message.rest.len() as u64 == length, "{length}");
        }
        (None, true) => {
            assert_eq!(version, Version::HTTP_11);
            match strict::chunks(message.rest) {
                Some((data, _, rest)) => assert!(is_whole && data == decoded.data && rest.is_empty()),
                None => assert!(!is_whole),
            }
        }
        (None, false) => assert!(!written.keep && message.rest == decoded.data && version == Version::HTTP_10),
    }
}
