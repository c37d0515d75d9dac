//! The head of an HTTP/1.1 answer: all that the load needs of it, read strictly, but each different head only once.

use crate::load::Trouble;

/// Larger than the head of any of our answers.
pub const HEAD_LIMIT: usize = 8 * 1024;
/// Header fields that an answer may have.
const FIELDS: usize = 64;

/// What follows a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Bytes of the head itself, its blank line included.
    pub size: usize,
    /// The status.
    pub status: u16,
    /// `Content-Length`; `None` without it.
    pub length: Option<usize>,
    /// Whether the connection ends after this.
    pub close: bool,
}

/// Reads heads. Nearly every head is the one before it, byte for byte, and then nothing needs to be parsed: the same bytes
/// mean the same.
#[derive(Debug, Default)]
pub struct Heads {
    bytes: Vec<u8>,
    head: Option<Head>,
}

impl Heads {
    /// `None` while the head is not whole.
    pub fn read(&mut self, received: &[u8]) -> Result<Option<Head>, Trouble> {
        if self.head.is_some() && received.starts_with(&self.bytes) {
            return Ok(self.head);
        }
        let head = parse(received)?;
        if let Some(head) = head {
            self.bytes.clear();
            self.bytes.extend_from_slice(&received[..head.size]);
            self.head = Some(head);
        }
        Ok(head)
    }
}

fn parse(received: &[u8]) -> Result<Option<Head>, Trouble> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut answer = httparse::Response::new(&mut fields);
    let size = match answer.parse(received) {
        Ok(httparse::Status::Complete(size)) => size,
        Ok(httparse::Status::Partial) if received.len() < HEAD_LIMIT => return Ok(None),
        Ok(httparse::Status::Partial) => return Err(Trouble::wrong("a head larger than 8 KiB")),
        Err(error) => return Err(Trouble::Wrong(format!("a head that cannot be read: {error}"))),
    };
    let mut head =
        Head { size, status: answer.code.unwrap_or_default(), length: None, close: answer.version == Some(0) };
    for field in answer.headers.iter() {
        let value = std::str::from_utf8(field.value).unwrap_or_default().trim();
        if field.name.eq_ignore_ascii_case("content-length") {
            let length = value.parse().map_err(|_| Trouble::Wrong(format!("Content-Length: {value}")))?;
            head.length = Some(length);
        } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(Trouble::Wrong(format!("Transfer-Encoding: {value}")));
        } else if field.name.eq_ignore_ascii_case("connection") {
            head.close = value.eq_ignore_ascii_case("close");
        }
    }
    Ok(Some(head))
}
