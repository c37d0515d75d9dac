//! The head of a request (RFC 9112 sections 2 to 6): read so that nobody behind us can read it otherwise. What leaves room for a
//! second reading is refused, and the connection ends, since nobody knows where the next request would begin.

use std::mem::MaybeUninit;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING};
use http::uri::Uri;
use http::{Method, Request, StatusCode, Version, request};

use super::super::screen::{self, Refused, bad};
use crate::config::Http;
use crate::message::{Framing, framing};

/// More fields than this are not looked at; `limits.headers` is at most this.
const MAX_FIELDS: usize = 256;

/// A head, as it is meant.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) parts: Box<request::Parts>,
    /// How the end of its body is told.
    pub(super) framing: Framing,
    /// Whether the client keeps the connection.
    pub(super) keep_alive: bool,
    /// Whether it waits for a 100 before it sends its body.
    pub(super) expects: bool,
}

/// Takes a head off the buffer; none if it is not whole yet.
pub(super) fn take(
    buffer: &mut BytesMut,
    rules: &Http,
    spare: Option<Box<request::Parts>>,
) -> Result<Option<Head>, Refused> {
    let mut room = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_request_with_uninit_headers(&mut request, buffer, &mut room);
    let length = match parsed {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return too_long(buffer, rules).map_or(Ok(None), Err),
        Err(error) => return Err(unreadable(error, buffer)),
    };
    // By the same measure as one that comes in pieces.
    if let Some(refused) = too_long(&buffer[..length], rules) {
        return Err(refused);
    }
    if framing::has_bare_newline(&buffer[..length]) {
        return Err(bad("the end of a line, which is CR LF"));
    }
    let fields = request.headers.len();
    if fields > rules.max_headers {
        return Err(HEAD_TOO_LARGE);
    }
    let method = Method::from_bytes(request.method.unwrap_or_default().as_bytes()).map_err(|_| bad("its method"))?;
    let version = if request.version == Some(1) { Version::HTTP_11 } else { Version::HTTP_10 };
    let base = buffer.as_ptr().addr();
    let place = |text: &[u8]| text.as_ptr().addr() - base..text.as_ptr().addr() - base + text.len();
    let target = place(request.path.unwrap_or_default().as_bytes());
    if target.len() > rules.max_target {
        return Err(TARGET_TOO_LONG);
    }
    // The parser of targets would leave out what is behind it.
    if buffer[target.clone()].contains(&b'#') {
        return Err(bad("its target, which has a fragment"));
    }
    let is_about_all = method == Method::OPTIONS && has_no_path(&buffer[target.clone()]);
    let both = |field: &httparse::Header<'_>| (place(field.name.as_bytes()), place(field.value));
    // As many as there are: room for as many as there may be would cost more to clear than to ask for.
    let places: Vec<(Range<usize>, Range<usize>)> = request.headers.iter().map(both).collect();
    // From here on everything shares what was read.
    let bytes = buffer.split_to(length).freeze();
    let uri = Uri::from_maybe_shared(bytes.slice(target)).map_err(|_| bad("its target"))?;
    let mut parts = spare.unwrap_or_else(|| Box::new(Request::new(()).into_parts().0));
    let mut facts = Facts::new(std::mem::take(&mut parts.headers), fields);
    for (name, value) in places {
        facts.add(&bytes[name], bytes.slice(value))?;
    }
    let framing = facts.framing(version)?;
    if method == Method::CONNECT && !framing.has_ended() {
        return Err(bad("its body, which CONNECT has none of"));
    }
    let (keep_alive, expects) = (facts.keeps_alive(version), facts.expects(version)?);
    (parts.method, parts.uri, parts.version, parts.headers) = (method, uri, version, facts.headers);
    screen::screen(&mut parts, rules)?;
    if is_about_all {
        parts.uri = Uri::from_static("*");
    }
    Ok(Some(Head { parts, framing, keep_alive, expects }))
}

/// RFC 9112 section 3.2.4: OPTIONS for an absolute target without a path is about the server as a whole.
fn has_no_path(target: &[u8]) -> bool {
    let rest = target.windows(3).position(|window| window == b"://").map(|at| &target[at + 3..]);
    !target.starts_with(b"/") && rest.is_some_and(|rest| !rest.contains(&b'/') && !rest.contains(&b'?'))
}

const HEAD_TOO_LARGE: Refused =
    Refused { status: StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, what: "its head is too large" };
const TARGET_TOO_LONG: Refused = Refused { status: StatusCode::URI_TOO_LONG, what: "its target is too long" };

/// Why a head will not do that is as long as this already.
fn too_long(buffer: &[u8], rules: &Http) -> Option<Refused> {
    // A method of any use is shorter than what is left of this by the target.
    let longest = rules.max_target + 64;
    if buffer.len() > longest && !buffer[..longest].contains(&b'\n') {
        return Some(TARGET_TOO_LONG);
    }
    (buffer.len() > rules.max_head).then_some(HEAD_TOO_LARGE)
}

fn unreadable(error: httparse::Error, buffer: &[u8]) -> Refused {
    match error {
        httparse::Error::TooManyHeaders => HEAD_TOO_LARGE,
        httparse::Error::Version if names_a_version(buffer) => {
            Refused { status: StatusCode::HTTP_VERSION_NOT_SUPPORTED, what: "its version is neither 1.1 nor 1.0" }
        }
        httparse::Error::Version => bad("its version"),
        httparse::Error::HeaderName => bad("the name of a header"),
        httparse::Error::HeaderValue => bad("the value of a header"),
        _ => bad("its head"),
    }
}

/// True if the request line ends with a version of HTTP, whichever.
fn names_a_version(buffer: &[u8]) -> bool {
    let line = buffer.split(|byte| *byte == b'\r' || *byte == b'\n').find(|line| !line.is_empty()).unwrap_or_default();
    let version = line.rsplit(|byte| *byte == b' ').next().and_then(|word| word.strip_prefix(b"HTTP/"));
    match version {
        // Then something else is wrong with the line.
        Some(b"1.1" | b"1.0") | None => false,
        Some(version) => matches!(version, [major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit()),
    }
}

/// What the headers say of the message itself.
struct Facts {
    headers: HeaderMap,
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep: bool,
    expect: Option<bool>,
}

impl Facts {
    fn new(mut headers: HeaderMap, fields: usize) -> Self {
        headers.clear();
        headers.reserve(fields);
        Facts { headers, length: None, chunked: false, close: false, keep: false, expect: None }
    }

    fn add(&mut self, name: &[u8], mut value: Bytes) -> Result<(), Refused> {
        let name = HeaderName::from_bytes(name).map_err(|_| bad("the name of a header"))?;
        if name == CONTENT_LENGTH {
            if self.length.is_some() {
                return Err(bad("Content-Length, of which there may be one"));
            }
            let length = framing::length(&value).ok_or(bad("Content-Length, which is digits"))?;
            if value.len() > 1 && value.starts_with(b"0") {
                // The number that it is, and not how somebody may read it.
                value = length.to_string().into();
            }
            self.length = Some(length);
        } else if name == TRANSFER_ENCODING {
            if self.chunked {
                return Err(bad("Transfer-Encoding, of which there may be one"));
            }
            is_chunked(&value)?;
            self.chunked = true;
        } else if name == CONNECTION {
            let mut options = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
            self.close |= options.clone().any(|option| option.eq_ignore_ascii_case(b"close"));
            self.keep |= options.any(|option| option.eq_ignore_ascii_case(b"keep-alive"));
        } else if name == EXPECT {
            self.expect = Some(self.expect.unwrap_or(true) && value.eq_ignore_ascii_case(b"100-continue"));
        } else if name == HOST && self.headers.contains_key(HOST) {
            return Err(bad("Host, of which there has to be one"));
        }
        let value = HeaderValue::from_maybe_shared(value).map_err(|_| bad("the value of a header"))?;
        self.headers.append(name, value);
        Ok(())
    }

    fn framing(&self, version: Version) -> Result<Framing, Refused> {
        match (self.chunked, self.length) {
            (true, Some(_)) => Err(bad("its length, which is told in two ways")),
            (true, None) if version < Version::HTTP_11 => Err(bad("Transfer-Encoding, which HTTP/1.0 does not know")),
            (true, None) => Ok(Framing::chunked()),
            (false, length) => Ok(Framing::Length(length.unwrap_or(0))),
        }
    }

    fn keeps_alive(&self, version: Version) -> bool {
        !self.close && (version == Version::HTTP_11 || self.keep)
    }

    fn expects(&self, version: Version) -> Result<bool, Refused> {
        match self.expect {
            Some(false) => {
                Err(Refused { status: StatusCode::EXPECTATION_FAILED, what: "only 100-continue can be expected" })
            }
            // RFC 9110 section 10.1.1: that of an HTTP/1.0 client is ignored.
            expect => Ok(expect.is_some() && version == Version::HTTP_11),
        }
    }
}

/// One coding, and that one. Others may well exist, but nobody knows how many of those behind us know them.
fn is_chunked(value: &[u8]) -> Result<(), Refused> {
    if value.eq_ignore_ascii_case(b"chunked") {
        return Ok(());
    }
    let token = |coding: &[u8]| !coding.is_empty() && coding.iter().all(u8::is_ascii_alphanumeric);
    let mut codings = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).rev();
    if codings.next().is_some_and(|last| last.eq_ignore_ascii_case(b"chunked"))
        && codings.all(|coding| token(coding) && !coding.eq_ignore_ascii_case(b"chunked"))
    {
        return Err(Refused { status: StatusCode::NOT_IMPLEMENTED, what: "no transfer coding but chunked is known" });
    }
    Err(bad("Transfer-Encoding, which is chunked and nothing else"))
}
