//! HTTP/2 frames (RFC 9113) and header blocks (RFC 7541) as bytes, right or wrong, and a client that reads what comes back. Blocks are
//! written without compression; the server is told to keep no table, so that a status can be read without one.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const ACK: u8 = 1;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const PADDED: u8 = 8;
pub const HAS_PRIORITY: u8 = 32;
/// All of a message without a body.
pub const WHOLE: u8 = END_STREAM | END_HEADERS;

/// A field's name and value.
pub type Field<'a> = (&'a [u8], &'a [u8]);

/// A frame whose length is as it should be.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

pub fn settings(values: &[(u16, u32)]) -> Vec<u8> {
    let value = |(key, value): &(u16, u32)| [&key.to_be_bytes()[..], &value.to_be_bytes()].concat();
    frame(SETTINGS, 0, 0, &values.iter().flat_map(value).collect::<Vec<u8>>())
}

pub fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &code.to_be_bytes())
}

pub fn window(stream: u32, more: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &more.to_be_bytes())
}

/// Literals that no table keeps.
pub fn block(fields: &[Field<'_>]) -> Vec<u8> {
    fields.iter().flat_map(|(name, value)| [&[0][..], &string(name), &string(value)].concat()).collect()
}

/// A string without Huffman's code.
pub fn string(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    if text.len() < 127 {
        out.push(u8::try_from(text.len()).unwrap());
    } else {
        out.push(127);
        let mut left = text.len() - 127;
        while left >= 128 {
            out.push(u8::try_from(left % 128).unwrap() | 128);
            left /= 128;
        }
        out.push(u8::try_from(left).unwrap());
    }
    out.extend_from_slice(text);
    out
}

pub const GET: [Field<'_>; 4] = [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"a")];
pub const POST: [Field<'_>; 4] =
    [(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"a")];

/// The head of a request with these fields.
pub fn headers(stream: u32, flags: u8, fields: &[Field<'_>]) -> Vec<u8> {
    frame(HEADERS, flags, stream, &block(fields))
}

/// A whole GET with these fields as well.
pub fn get(stream: u32, more: &[Field<'_>]) -> Vec<u8> {
    headers(stream, WHOLE, &[&GET, more].concat())
}

/// The head of a POST with these fields as well.
pub fn post(stream: u32, more: &[Field<'_>]) -> Vec<u8> {
    headers(stream, END_HEADERS, &[&POST, more].concat())
}

/// A frame that came.
#[derive(Clone, Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    /// The code of a `RST_STREAM` or `GOAWAY`.
    pub fn code(&self) -> Option<u32> {
        let at = match self.kind {
            RST_STREAM => 0,
            GOAWAY => 4,
            _ => return None,
        };
        Some(u32::from_be_bytes(self.payload.get(at..at + 4)?.try_into().ok()?))
    }

    /// The status of the answer that this head begins.
    pub fn status(&self) -> Option<u16> {
        if self.kind != HEADERS {
            return None;
        }
        let block = &self.payload[self.payload.iter().position(|byte| byte & 0xe0 != 0x20)?..];
        match block {
            [index @ 0x88..=0x8e, ..] => Some([200, 204, 206, 304, 400, 404, 500][usize::from(index - 0x88)]),
            [0x48 | 0x08 | 0x18, 3, digits @ ..] => std::str::from_utf8(digits.get(..3)?).ok()?.parse().ok(),
            [0x48 | 0x08 | 0x18, length, digits @ ..] if length & 0x80 != 0 => unpack(digits),
            _ => None,
        }
    }
}

/// Three digits in Huffman's code (RFC 7541 appendix B).
fn unpack(bytes: &[u8]) -> Option<u16> {
    let bit = |at: usize| bytes.get(at / 8).map(|byte| u16::from(byte >> (7 - at % 8) & 1));
    let bits = |at: usize, count: usize| (at..at + count).try_fold(0, |all, at| Some(all << 1 | bit(at)?));
    let (mut at, mut number) = (0, 0);
    for _ in 0..3 {
        let short = bits(at, 5)?;
        let (digit, length) = if short < 3 { (short, 5) } else { (bits(at, 6)? - 0b01_1001 + 3, 6) };
        at += length;
        number = number * 10 + digit;
    }
    Some(number)
}

/// A connection from the client's side.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub async fn open(address: SocketAddr) -> Connection {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).ok();
        Connection { stream, buffer: Vec::new() }
    }

    /// As much as is taken until then; false if that is not all.
    pub async fn send(&mut self, bytes: &[u8], deadline: Instant) -> bool {
        matches!(timeout_at(deadline, self.stream.write_all(bytes)).await, Ok(Ok(())))
    }

    /// Sends to the end, or until the other side closes, and reads all the while.
    pub async fn flood(&mut self, bytes: &[u8], deadline: Instant) -> (bool, Vec<Frame>) {
        let (mut reader, mut writer) = self.stream.split();
        let mut heard = Vec::new();
        let read = async {
            let mut piece = vec![0; 64 * 1024];
            while let Ok(length @ 1..) = reader.read(&mut piece).await {
                heard.extend_from_slice(&piece[..length]);
            }
        };
        let sent = tokio::select! {
            sent = timeout_at(deadline, writer.write_all(bytes)) => matches!(sent, Ok(Ok(()))),
            () = read => false,
        };
        self.buffer.extend_from_slice(&heard);
        let mut frames = Vec::new();
        while let Some(frame) = self.parse() {
            frames.push(frame);
        }
        (sent, frames)
    }

    /// The next frame; none if the connection ended. Settings are acknowledged on the way.
    pub async fn frame(&mut self, deadline: Instant) -> Result<Option<Frame>, String> {
        loop {
            if let Some(frame) = self.parse() {
                if frame.kind == SETTINGS && frame.flags & ACK == 0 {
                    self.stream.write_all(&self::frame(SETTINGS, ACK, 0, b"")).await.ok();
                }
                return Ok(Some(frame));
            }
            let mut piece = vec![0; 64 * 1024];
            match timeout_at(deadline, self.stream.read(&mut piece)).await {
                Err(_) => return Err("nothing came of it in time".to_owned()),
                Ok(Ok(length @ 1..)) => self.buffer.extend_from_slice(&piece[..length]),
                Ok(_) => return Ok(None),
            }
        }
    }

    fn parse(&mut self) -> Option<Frame> {
        let head = self.buffer.get(..9)?;
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let stream = u32::from_be_bytes([head[5] & 127, head[6], head[7], head[8]]);
        let (kind, flags) = (head[3], head[4]);
        let payload = self.buffer.get(9..9 + length)?.to_vec();
        self.buffer.drain(..9 + length);
        Some(Frame { kind, flags, stream, payload })
    }
}

#[tokio::test]
async fn a_status_is_read_however_it_is_written() {
    let head = |payload: &[u8]| Frame { kind: HEADERS, flags: 4, stream: 1, payload: payload.to_vec() }.status();
    assert_eq!((head(&[0x88]), head(&[0x20, 0x8d, 0x88]), head(b"\x08\x03431")), (Some(200), Some(404), Some(431)));
    // 431, 100 and 502 in Huffman's code.
    assert_eq!(head(&[0x48, 0x83, 0b0110_1001, 0b1001_0000, 0b1111_1111]), Some(431));
    assert_eq!(head(&[0x48, 0x82, 0b0000_1000, 0b0000_0001]), Some(100));
    assert_eq!(head(&[0x48, 0x82, 0b0110_1100, 0b0000_0101]), None, "cut");
    assert_eq!(head(&[0x48, 0x82, 0b0110_1100, 0b0000_0010]), Some(502));
}
