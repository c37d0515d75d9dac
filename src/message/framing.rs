//! A body out of the bytes that carry it in HTTP/1.1, and into them (RFC 9112 sections 6 and 7). Strictly: what is not exactly a
//! body ends the connection, since whatever follows it could be taken for the next message.

use std::io::Write as _;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http_body::Frame;

use super::forwarded::is_ours;
use super::headers::frames;

/// Chunk extensions mean nothing to us; more of them than this means harm.
const MAX_EXTENSION: u32 = 1024;
/// More digits than a size in 64 bits can have are not a size.
const MAX_DIGITS: u32 = 15;
const MAX_TRAILERS: usize = 16 * 1024;
const MAX_FIELDS: usize = 64;
/// Ends a chunked body without trailers.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";
/// Ends a chunk's data.
pub const CHUNK_END: &[u8] = b"\r\n";
/// Above this a body is read in larger pieces.
const LONG: u64 = 8 * 1024;

/// How a body's end is told.
#[derive(Debug)]
pub enum Framing {
    /// So many bytes are left.
    Length(u64),
    /// Chunks are.
    Chunked(Chunked),
    /// The stream's end is the body's.
    UntilClose,
}

/// Where in a chunked body we are.
#[derive(Debug)]
pub struct Chunked {
    place: Place,
    /// Of the chunk's size while that is read, then of its data.
    left: u64,
    /// Digits of the size, or bytes of the extension.
    count: u32,
    trailers: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Size,
    Extension,
    SizeEnd,
    Data,
    DataEnd,
    DataEndLine,
    Trailers,
    End,
}

/// What came of some bytes.
#[derive(Debug)]
pub enum Step {
    /// A piece of the body.
    Frame(Frame<Bytes>),
    /// All bytes are used up.
    More,
    /// The body has ended; the rest of the bytes are not its own.
    End,
}

/// A body that is none.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed body: {0}")]
pub struct Malformed(&'static str);

impl Framing {
    /// No body.
    pub const NONE: Framing = Framing::Length(0);

    /// Chunks, of which none has come.
    pub fn chunked() -> Self {
        Framing::Chunked(Chunked { place: Place::Size, left: 0, count: 0, trailers: Vec::new() })
    }

    /// True if nothing is left to come.
    pub fn has_ended(&self) -> bool {
        match self {
            Framing::Length(left) => *left == 0,
            Framing::Chunked(chunked) => chunked.place == Place::End,
            Framing::UntilClose => false,
        }
    }

    /// True if many bytes are expected.
    pub fn is_long(&self) -> bool {
        match self {
            Framing::Length(left) => *left > LONG,
            Framing::Chunked(chunked) => chunked.left > LONG,
            Framing::UntilClose => true,
        }
    }

    /// Bytes that are left, if that is known and nothing is between them.
    pub fn left(&self) -> u64 {
        match self {
            Framing::Length(left) => *left,
            Framing::Chunked(_) | Framing::UntilClose => 0,
        }
    }

    /// So many of the bytes that are left have gone another way.
    pub fn skip(&mut self, count: usize) {
        if let Framing::Length(left) = self {
            *left = left.saturating_sub(count as u64);
        }
    }

    /// What the next of these bytes are; takes them off.
    pub fn decode(&mut self, bytes: &mut Bytes) -> Result<Step, Malformed> {
        match self {
            Framing::Length(0) => Ok(Step::End),
            Framing::Chunked(chunked) => chunked.decode(bytes),
            _ if bytes.is_empty() => Ok(Step::More),
            Framing::Length(left) => Ok(Step::Frame(Frame::data(take(left, bytes)))),
            Framing::UntilClose => Ok(Step::Frame(Frame::data(std::mem::take(bytes)))),
        }
    }
}

/// As many bytes as are left and there.
fn take(left: &mut u64, bytes: &mut Bytes) -> Bytes {
    let count = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
    *left -= count as u64;
    bytes.split_to(count)
}

impl Chunked {
    fn decode(&mut self, bytes: &mut Bytes) -> Result<Step, Malformed> {
        loop {
            match self.place {
                Place::End => return Ok(Step::End),
                _ if bytes.is_empty() => return Ok(Step::More),
                Place::Data => {
                    let data = take(&mut self.left, bytes);
                    if self.left == 0 {
                        self.place = Place::DataEnd;
                    }
                    return Ok(Step::Frame(Frame::data(data)));
                }
                Place::Trailers => {
                    if let Some(trailers) = self.collect(bytes)? {
                        self.place = Place::End;
                        if !trailers.is_empty() {
                            return Ok(Step::Frame(Frame::trailers(trailers)));
                        }
                    }
                }
                _ => self.place = self.step(bytes.get_u8())?,
            }
        }
    }

    /// One byte of what is around the data.
    fn step(&mut self, byte: u8) -> Result<Place, Malformed> {
        match (self.place, byte) {
            (Place::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') if self.count < MAX_DIGITS => {
                self.left = self.left << 4 | u64::from(char::from(byte).to_digit(16).unwrap_or_default());
                self.count += 1;
                Ok(Place::Size)
            }
            (Place::Size, b'\r') if self.count > 0 => Ok(Place::SizeEnd),
            (Place::Size, b';') if self.count > 0 => {
                self.count = 0;
                Ok(Place::Extension)
            }
            (Place::Size, _) => Err(Malformed("a chunk's size is not one")),
            (Place::Extension, b'\r') => Ok(Place::SizeEnd),
            (Place::Extension, b'\t' | b' '..=b'~' | 0x80..) if self.count < MAX_EXTENSION => {
                self.count += 1;
                Ok(Place::Extension)
            }
            (Place::Extension, _) => Err(Malformed("a chunk's extension is not one")),
            (Place::SizeEnd, b'\n') => {
                self.count = 0;
                Ok(if self.left == 0 { Place::Trailers } else { Place::Data })
            }
            (Place::DataEnd, b'\r') => Ok(Place::DataEndLine),
            (Place::DataEndLine, b'\n') => Ok(Place::Size),
            _ => Err(Malformed("a chunk does not end where it should")),
        }
    }

    /// Gathers the trailers up to the empty line; none before that.
    fn collect(&mut self, bytes: &mut Bytes) -> Result<Option<HeaderMap>, Malformed> {
        while bytes.has_remaining() {
            self.trailers.push(bytes.get_u8());
            if self.trailers == b"\r\n" || self.trailers.ends_with(b"\r\n\r\n") {
                return parse(&self.trailers).map(Some);
            }
            if self.trailers.len() > MAX_TRAILERS {
                return Err(Malformed("the trailers are too long"));
            }
        }
        Ok(None)
    }
}

/// What a `Content-Length` says: digits and nothing else, no sign, no list, no white space.
pub fn length(value: &[u8]) -> Option<u64> {
    let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(value).ok().filter(|_| digits)?.parse().ok()
}

/// True if a line ends with a line feed alone: parsers take it for the end of a line, and others for a part of one.
pub fn has_bare_newline(lines: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', lines).any(|at| at == 0 || lines[at - 1] != b'\r')
}

/// The size line of a chunk.
pub fn chunk(out: &mut BytesMut, length: usize) {
    // Writing to memory does not fail.
    let _ = write!(out.writer(), "{length:x}\r\n");
}

/// The last chunk and the trailers after it.
pub fn trailers(out: &mut BytesMut, trailers: &HeaderMap) {
    // Those that would frame or address a message have no place here (RFC 9110 section 6.5.1).
    out.put_slice(b"0\r\n");
    fields(out, trailers.iter().filter(|(name, _)| travels(name)));
    out.put_slice(b"\r\n");
}

/// False for what would frame or address the message or tell of its way, where a recipient takes trailers for headers.
fn travels(name: &HeaderName) -> bool {
    !frames(name.as_str()) && !is_ours(name.as_str())
}

/// Header lines.
pub fn fields<'a>(out: &mut BytesMut, fields: impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)>) {
    fields.for_each(|(name, value)| field(out, name.as_str(), value.as_bytes()));
}

/// A header line.
pub fn field(out: &mut BytesMut, name: &str, value: &[u8]) {
    out.put_slice(name.as_bytes());
    out.put_slice(b": ");
    out.put_slice(value);
    out.put_slice(b"\r\n");
}

/// Trailers; those that would frame or address a message are left out (RFC 9110 section 6.5.1).
fn parse(bytes: &[u8]) -> Result<HeaderMap, Malformed> {
    const WRONG: Malformed = Malformed("the trailers cannot be read");
    if has_bare_newline(bytes) {
        return Err(WRONG);
    }
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let httparse::Status::Complete((_, fields)) = httparse::parse_headers(bytes, &mut fields).map_err(|_| WRONG)?
    else {
        return Err(WRONG);
    };
    let mut trailers = HeaderMap::with_capacity(fields.len());
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| WRONG)?;
        let value = HeaderValue::from_bytes(field.value).map_err(|_| WRONG)?;
        if travels(&name) {
            trailers.append(name, value);
        }
    }
    Ok(trailers)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The data, the trailers, and what is left over, with the bytes coming in pieces of the given size.
    fn decode(
        mut framing: Framing,
        bytes: &str,
        piece: usize,
    ) -> Result<(String, Option<HeaderMap>, String), Malformed> {
        let mut left = bytes.as_bytes();
        let (mut data, mut trailers, mut buffer) = (Vec::new(), None, Bytes::new());
        loop {
            match framing.decode(&mut buffer)? {
                Step::End => {
                    let rest = [&buffer[..], left].concat();
                    return Ok((String::from_utf8(data).unwrap(), trailers, String::from_utf8(rest).unwrap()));
                }
                Step::More if left.is_empty() => return Err(Malformed("cut")),
                Step::More => {
                    let (now, later) = left.split_at(piece.min(left.len()));
                    (buffer, left) = (Bytes::copy_from_slice(now), later);
                }
                Step::Frame(frame) => match frame.into_data() {
                    Ok(bytes) => data.extend_from_slice(&bytes),
                    Err(frame) => trailers = frame.into_trailers().ok(),
                },
            }
        }
    }

    #[test]
    fn a_body_ends_where_it_should_however_its_bytes_come() {
        let chunked = "3\r\nabc\r\n00A;x=\"y\"\r\n0123456789\r\n0\r\nX-Sum: 1\r\nHost: evil\r\n\r\nHTTP/1.1";
        for piece in 1..=chunked.len() {
            let (data, trailers, rest) = decode(Framing::chunked(), chunked, piece).unwrap();
            assert_eq!((data.as_str(), rest.as_str()), ("abc0123456789", "HTTP/1.1"));
            let trailers = trailers.unwrap();
            assert_eq!((trailers.len(), &trailers["x-sum"]), (1, &HeaderValue::from_static("1")));
            let (data, _, rest) = decode(Framing::Length(5), "helloHTTP", piece).unwrap();
            assert_eq!((data.as_str(), rest.as_str()), ("hello", "HTTP"));
        }
        assert_eq!(decode(Framing::chunked(), "0\r\n\r\n", 9).unwrap(), (String::new(), None, String::new()));
    }

    #[test]
    fn what_is_not_exactly_chunked_is_refused() {
        for bad in [
            "\r\n",
            "g\r\n",
            "-1\r\n",
            " 1\r\na\r\n",
            "1 \r\na\r\n",
            "1\na\r\n",
            "0x1\r\na",
            "1\r\nab\r\n",
            "1\r\na\n",
            ";\r\n",
            "1000000000000000\r\n",
            "1;\0\r\na\r\n",
            "1;\n\r\na\r\n",
            "0\r\nbad name: x\r\n\r\n",
            "0\r\n: x\r\n\r\n",
        ] {
            assert!(decode(Framing::chunked(), bad, 64).is_err(), "{bad:?}");
        }
        let long = format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(2000));
        assert!(decode(Framing::chunked(), &long, 64).is_err());
        let long = format!("0\r\nx: {}\r\n\r\n", "x".repeat(20_000));
        assert!(decode(Framing::chunked(), &long, 64).is_err());
    }
}
