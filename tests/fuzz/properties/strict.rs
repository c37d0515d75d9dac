//! A reader of HTTP/1.1 that shares nothing with the product and forgives nothing: what it cannot read in the only way there is must
//! not leave the proxy. It panics there.

/// A message with its head apart from what follows.
pub struct Message<'a> {
    pub line: &'a [u8],
    /// Names in lower case.
    pub fields: Vec<(String, &'a [u8])>,
    pub rest: &'a [u8],
}

impl<'a> Message<'a> {
    pub fn read(bytes: &'a [u8]) -> Self {
        let (line, rest) = cut_line(bytes);
        let mut message = Message { line, fields: Vec::new(), rest };
        loop {
            let (line, rest) = cut_line(message.rest);
            message.rest = rest;
            if line.is_empty() {
                return message;
            }
            message.fields.push(field(line));
        }
    }

    pub fn all(&self, name: &str) -> Vec<&'a [u8]> {
        self.fields.iter().filter(|(have, _)| have == name).map(|(_, value)| *value).collect()
    }

    /// The value of a field of which there may be one.
    pub fn one(&self, name: &str) -> Option<&'a [u8]> {
        let all = self.all(name);
        assert!(all.len() <= 1, "{name} {} times", all.len());
        all.first().copied()
    }

    /// What frames the body: its length, or that it is in chunks, or neither.
    pub fn framing(&self) -> (Option<u64>, bool) {
        let length = self.one("content-length").map(|value| number(value, 10));
        let chunked = self.one("transfer-encoding").inspect(|value| assert_eq!(*value, b"chunked"));
        assert!(length.is_none() || chunked.is_none(), "two framings");
        (length, chunked.is_some())
    }
}

/// Data, trailers and what is behind them; none if the last chunk is not there.
pub type Chunks<'a> = Option<(Vec<u8>, Vec<(String, &'a [u8])>, &'a [u8])>;

/// Takes chunks apart, which have to be right as far as they go.
pub fn chunks(mut bytes: &[u8]) -> Chunks<'_> {
    let mut data = Vec::new();
    loop {
        if bytes.is_empty() {
            return None;
        }
        let (line, rest) = cut_line(bytes);
        let size = usize::try_from(number(line, 16)).unwrap();
        if size == 0 {
            let message = Message::read(bytes);
            return Some((data, message.fields, message.rest));
        }
        data.extend_from_slice(&rest[..size]);
        assert_eq!(&rest[size..size + 2], b"\r\n", "the end of a chunk");
        bytes = &rest[size + 2..];
    }
}

pub fn is_token(text: &[u8]) -> bool {
    let is = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !text.is_empty() && text.iter().all(is)
}

fn cut_line(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n").expect("a line without its end");
    let line = &bytes[..end];
    assert!(!line.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)), "in a line: {}", line.escape_ascii());
    (line, &bytes[end + 2..])
}

fn field(line: &[u8]) -> (String, &[u8]) {
    let colon = line.iter().position(|byte| *byte == b':').expect("a field without a colon");
    let name = &line[..colon];
    assert!(is_token(name), "name {}", name.escape_ascii());
    let value = line[colon + 1..].trim_ascii();
    assert!(
        !value.iter().any(|byte| *byte < b' ' && *byte != b'\t' || *byte == 0x7f),
        "value {}",
        value.escape_ascii()
    );
    (String::from_utf8_lossy(name).to_lowercase(), value)
}

fn number(text: &[u8], radix: u32) -> u64 {
    assert!(!text.is_empty() && text.iter().all(|byte| char::from(*byte).is_digit(radix)), "{}", text.escape_ascii());
    u64::from_str_radix(std::str::from_utf8(text).unwrap(), radix).unwrap()
}
