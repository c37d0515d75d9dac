//! The head of an answer (RFC 9112): status, headers, and from them how the body's end is told and whether the connection can
//! be used again. What leaves room for two readings is refused.

use bytes::BytesMut;
use http::{Method, StatusCode};

use crate::message::{Fields, Framing, Places, framing};

/// Longest head; more is an error, not a reason to grow.
pub(super) const MAX_HEAD: usize = 64 * 1024;
const MAX_FIELDS: usize = 100;

/// A head.
#[derive(Debug)]
pub struct Head {
    /// Its status.
    pub status: StatusCode,
    /// Its fields.
    pub fields: Fields,
    /// How the end of the body is told.
    pub framing: Framing,
    /// Whether the endpoint keeps the connection after the body.
    pub keep_alive: bool,
}

/// A head that is none.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed answer: {0}")]
pub struct Malformed(&'static str);

/// Takes a head off the bytes; none if it is not whole yet.
pub fn parse(bytes: &mut BytesMut, method: &Method) -> Result<Option<Head>, Malformed> {
    let mut fields = [const { std::mem::MaybeUninit::uninit() }; MAX_FIELDS];
    let mut answer = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut answer, bytes, &mut fields);
    let length = match parsed {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if bytes.len() < MAX_HEAD => return Ok(None),
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            return Err(Malformed("its head is too large"));
        }
        Err(_) => return Err(Malformed("its head is not HTTP")),
    };
    if framing::has_bare_newline(&bytes[..length]) {
        return Err(Malformed("a line of its head does not end with CR LF"));
    }
    let status = answer
        .code
        .filter(|code| *code < 600)
        .and_then(|code| StatusCode::from_u16(code).ok())
        .ok_or(Malformed("it has no status"))?;
    let is_http11 = answer.version == Some(1);
    let base = bytes.as_ptr().addr();
    let place = |text: &[u8]| text.as_ptr().addr() - base..text.as_ptr().addr() - base + text.len();
    let mut places = Places::new(answer.headers.len());
    answer.headers.iter().for_each(|field| places.push(&place(field.name.as_bytes()), &place(field.value)));
    let mut lines = places.of(bytes.split_to(length));
    let mut facts = Facts { length: None, chunked: false, close: false, keep: is_http11 };
    lines.try_retain(|name, value| facts.learn(name, value))?;
    let keep_alive = facts.keep && !facts.close;
    let framing = facts.framing(status, method, is_http11)?;
    Ok(Some(Head { status, fields: lines.into(), framing, keep_alive }))
}

/// What the fields say of the message itself.
struct Facts {
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep: bool,
}

impl Facts {
    /// Takes what a field says; true if it is to be passed on.
    fn learn(&mut self, name: &[u8], value: &[u8]) -> Result<bool, Malformed> {
        match name {
            b"content-length" => {
                if self.length.is_some() {
                    return Err(Malformed("it has more than one Content-Length"));
                }
                self.length = Some(framing::length(value).ok_or(Malformed("its Content-Length is not a number"))?);
            }
            b"transfer-encoding" => {
                if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Malformed("its Transfer-Encoding is not chunked and nothing else"));
                }
                self.chunked = true;
            }
            b"connection" => {
                let mut options = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
                let is = |option: &[u8], known: &[u8]| option.eq_ignore_ascii_case(known);
                self.close |= options.clone().any(|option| is(option, b"close"));
                self.keep |= options.clone().any(|option| is(option, b"keep-alive"));
                // Perhaps that is all that it has to say.
                return Ok(!options.all(|option| is(option, b"close") || is(option, b"keep-alive")));
            }
            _ => {}
        }
        Ok(true)
    }

    fn framing(&self, status: StatusCode, method: &Method, is_http11: bool) -> Result<Framing, Malformed> {
        if self.chunked && (self.length.is_some() || !is_http11) {
            return Err(Malformed("its length is told in two ways"));
        }
        let is_bodiless = status.is_informational()
            || [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&status)
            || *method == Method::HEAD;
        Ok(match self.length {
            _ if is_bodiless => Framing::NONE,
            _ if self.chunked => Framing::chunked(),
            Some(length) => Framing::Length(length),
            None => Framing::UntilClose,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_text(text: &str, method: Method) -> Result<Option<Head>, Malformed> {
        parse(&mut BytesMut::from(text), &method)
    }

    fn get(head: &str) -> Head {
        parse_text(&format!("HTTP/1.1 {head}\r\n\r\n"), Method::GET).unwrap().unwrap()
    }

    #[test]
    fn the_body_ends_as_the_headers_say() {
        assert!(matches!(get("200 OK\r\nContent-Length: 12").framing, Framing::Length(12)));
        assert!(matches!(get("200 OK\r\nTransfer-Encoding: Chunked").framing, Framing::Chunked(_)));
        assert!(matches!(get("200 OK").framing, Framing::UntilClose));
        for bodiless in ["204 x\r\nContent-Length: 3", "304 x\r\nContent-Length: 3", "103 x", "101 x"] {
            assert!(get(bodiless).framing.has_ended(), "{bodiless}");
        }
        let head = parse_text("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", Method::HEAD).unwrap().unwrap();
        assert!(head.framing.has_ended() && head.fields.get("content-length") == Some(b"3"));
    }

    #[test]
    fn the_connection_is_kept_as_version_and_headers_say() {
        assert!(get("200 OK\r\nContent-Length: 0").keep_alive);
        assert!(!get("200 OK\r\nConnection: x, Close").keep_alive);
        let old = |headers: &str| {
            parse_text(&format!("HTTP/1.0 200 OK\r\n{headers}\r\n"), Method::GET).unwrap().unwrap().keep_alive
        };
        assert!(!old("") && old("Connection: keep-alive\r\n"));
        assert!(!old("Connection: close\r\nConnection: keep-alive\r\n"));
    }

    #[test]
    fn a_head_that_can_be_read_in_two_ways_is_refused() {
        for bad in [
            "Content-Length: 1\r\nTransfer-Encoding: chunked",
            "Content-Length: 1\r\nContent-Length: 1",
            "Content-Length: 1, 1",
            "Content-Length: +1",
            "Content-Length: 0x1",
            "Content-Length: ",
            "Content-Length: 99999999999999999999",
            "Transfer-Encoding: gzip, chunked",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "Bad Name: x",
            "Name : x",
            "X: a\r\n folded",
        ] {
            assert!(parse_text(&format!("HTTP/1.1 200 OK\r\n{bad}\r\n\r\n"), Method::GET).is_err(), "{bad}");
        }
        for bad in [
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/2 200\r\n\r\n",
            "hello\r\n\r\n",
            "HTTP/1.1 99 x\r\n\r\n",
        ] {
            assert!(parse_text(bad, Method::GET).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_head_is_waited_for_but_not_for_ever() {
        assert_eq!(parse_text("HTTP/1.1 200 OK\r\nX: y\r\n", Method::GET).map(|head| head.is_none()), Ok(true));
        let long = format!("HTTP/1.1 200 OK\r\nX: {}", "y".repeat(MAX_HEAD));
        assert!(parse_text(&long, Method::GET).is_err());
    }
}
