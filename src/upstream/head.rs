//! The head of an answer (RFC 9112): status, headers, and from them how the body's end is told and whether the connection can
//! be used again. What leaves room for two readings is refused.

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING};
use http::{Method, StatusCode};

use crate::message::{Framing, framing};

/// Longest head; more is an error, not a reason to grow.
pub(super) const MAX_HEAD: usize = 64 * 1024;
const MAX_FIELDS: usize = 100;

/// A head.
#[derive(Debug)]
pub struct Head {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// How the end of the body is told.
    pub framing: Framing,
    /// Whether the endpoint keeps the connection after the body.
    pub keep_alive: bool,
}

/// A head that is none.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed answer: {0}")]
pub struct Malformed(&'static str);

/// Takes a head off the bytes; none if it is not whole yet. `spare` gives a map to fill for a final answer of that status.
pub fn parse(
    bytes: &mut Bytes,
    method: &Method,
    spare: impl FnOnce(StatusCode) -> HeaderMap,
) -> Result<Option<Head>, Malformed> {
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
    let headers = if status.is_informational() { HeaderMap::new() } else { spare(status) };
    let mut facts = Facts { headers, length: None, chunked: false, close: false, keep: is_http11 };
    facts.headers.reserve(answer.headers.len());
    for field in answer.headers.iter() {
        facts.add(field, bytes)?;
    }
    let keep_alive = facts.keep && !facts.close;
    let framing = facts.framing(status, method, is_http11)?;
    let headers = facts.headers;
    let _ = bytes.split_to(length);
    Ok(Some(Head { status, headers, framing, keep_alive }))
}

/// What the headers say.
struct Facts {
    headers: HeaderMap,
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep: bool,
}

impl Facts {
    fn add(&mut self, field: &httparse::Header<'_>, bytes: &Bytes) -> Result<(), Malformed> {
        let name =
            HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| Malformed("it has a wrong header name"))?;
        // Shares the bytes that were read.
        let value = HeaderValue::from_maybe_shared(bytes.slice_ref(field.value));
        let value = value.map_err(|_| Malformed("it has a wrong header value"))?;
        if name == CONTENT_LENGTH {
            if self.length.is_some() {
                return Err(Malformed("it has more than one Content-Length"));
            }
            self.length = Some(framing::length(field.value).ok_or(Malformed("its Content-Length is not a number"))?);
        } else if name == TRANSFER_ENCODING {
            if self.chunked || !field.value.eq_ignore_ascii_case(b"chunked") {
                return Err(Malformed("its Transfer-Encoding is not chunked and nothing else"));
            }
            self.chunked = true;
        } else if name == CONNECTION {
            let mut options = field.value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
            self.close |= options.clone().any(|option| option.eq_ignore_ascii_case(b"close"));
            self.keep |= options.clone().any(|option| option.eq_ignore_ascii_case(b"keep-alive"));
            if options.all(|option| option.eq_ignore_ascii_case(b"close") || option.eq_ignore_ascii_case(b"keep-alive"))
            {
                // Said all that it has to say.
                return Ok(());
            }
        }
        self.headers.append(name, value);
        Ok(())
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
        parse(&mut Bytes::copy_from_slice(text.as_bytes()), &method, |_| HeaderMap::new())
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
        assert!(head.framing.has_ended() && head.headers["content-length"] == "3");
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
