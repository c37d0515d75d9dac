//! HTTP/1.1 as both sides of a run read it: strictly, in little code, and without a line of the proxy's own, so that a mistake
//! there is not made here as well.

use std::io;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const MAX_HEAD: usize = 64 * 1024;
/// Longer bodies than anybody sends here.
const MAX_BODY: usize = 16 * 1024 * 1024;

/// A connection, and what was read beyond the last message.
#[derive(Debug)]
pub struct Wire {
    pub stream: TcpStream,
    buffer: BytesMut,
}

/// The head of a request or an answer.
#[derive(Debug)]
pub struct Head {
    /// Method, target and version; or version, status and reason.
    pub first: Vec<String>,
    fields: Vec<(String, String)>,
}

/// How a body's end is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    Length(usize),
    Chunked,
    UntilClose,
}

impl Head {
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// How the body is framed; requests without a word on it have none, answers are `or_else`.
    pub fn framing(&self, or_else: Framing) -> io::Result<Framing> {
        match (self.field("transfer-encoding"), self.field("content-length")) {
            (Some("chunked"), None) => Ok(Framing::Chunked),
            (None, Some(length)) => Ok(Framing::Length(length.parse().map_err(|_| wrong("a length that is none"))?)),
            (None, None) => Ok(or_else),
            _ => Err(wrong("a body with two ends")),
        }
    }

    pub fn is_last(&self) -> bool {
        self.field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

pub fn wrong(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

fn cut() -> io::Error {
    io::ErrorKind::UnexpectedEof.into()
}

impl Wire {
    pub fn new(stream: TcpStream) -> Wire {
        let _ = stream.set_nodelay(true);
        Wire { stream, buffer: BytesMut::new() }
    }

    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// The next head; none if the other side closes where one may begin.
    pub async fn head(&mut self) -> io::Result<Option<Head>> {
        loop {
            if let Some(end) = self.buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                let head = self.buffer.split_to(end + 4);
                return parse(&head[..end]).map(Some);
            }
            if self.buffer.len() > MAX_HEAD {
                return Err(wrong("a head without an end"));
            }
            if !self.more().await? {
                return if self.buffer.is_empty() { Ok(None) } else { Err(cut()) };
            }
        }
    }

    /// A whole body.
    pub async fn body(&mut self, framing: Framing) -> io::Result<Vec<u8>> {
        match framing {
            Framing::Length(length) => self.exactly(length).await,
            Framing::Chunked => self.chunks().await,
            Framing::UntilClose => {
                while self.more().await? {}
                Ok(self.buffer.split().to_vec())
            }
        }
    }

    /// True if nothing was read beyond the last message.
    pub fn is_clean(&self) -> bool {
        self.buffer.is_empty()
    }

    /// True if the other side has neither sent anything nor closed.
    pub fn is_open(&self) -> bool {
        matches!(self.stream.try_read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    async fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.line().await?;
            let size = usize::from_str_radix(&line, 16).map_err(|_| wrong(format!("a chunk's size of {line:?}")))?;
            if size == 0 {
                // Nobody sends trailers here.
                return if self.line().await?.is_empty() { Ok(body) } else { Err(wrong("trailers")) };
            }
            if body.len() + size > MAX_BODY {
                return Err(wrong("a body without an end"));
            }
            body.extend(self.exactly(size).await?);
            if !self.line().await?.is_empty() {
                return Err(wrong("a chunk without an end"));
            }
        }
    }

    async fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|bytes| bytes == b"\r\n") {
                let line = self.buffer.split_to(end);
                self.buffer.advance(2);
                return String::from_utf8(line.to_vec()).map_err(|_| wrong("a line that is no text"));
            }
            if self.buffer.len() > MAX_HEAD {
                return Err(wrong("a line without an end"));
            }
            if !self.more().await? {
                return Err(cut());
            }
        }
    }

    async fn exactly(&mut self, length: usize) -> io::Result<Vec<u8>> {
        if length > MAX_BODY {
            return Err(wrong("a body longer than any here"));
        }
        while self.buffer.len() < length {
            if !self.more().await? {
                return Err(cut());
            }
        }
        Ok(self.buffer.split_to(length).to_vec())
    }

    async fn more(&mut self) -> io::Result<bool> {
        Ok(self.stream.read_buf(&mut self.buffer).await? > 0)
    }
}

fn parse(head: &[u8]) -> io::Result<Head> {
    let text = std::str::from_utf8(head).map_err(|_| wrong("a head that is no text"))?;
    let mut lines = text.split("\r\n");
    let first: Vec<String> = lines.next().unwrap_or_default().splitn(3, ' ').map(str::to_owned).collect();
    let field = |line: &str| {
        let (name, value) = line.split_once(':').ok_or_else(|| wrong(format!("a header line {line:?}")))?;
        Ok((name.to_ascii_lowercase(), value.trim().to_owned()))
    };
    let fields = lines.map(field).collect::<io::Result<_>>()?;
    if first.len() < 2 { Err(wrong(format!("a first line {first:?}"))) } else { Ok(Head { first, fields }) }
}
