//! A row of a table of requests: what is sent, where it is written that it is wrong, and what must become of it.

/// One request, or several, as bytes.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub name: &'static str,
    /// Document and section.
    pub rfc: &'static str,
    shape: Shape,
    bytes: &'static [u8],
    pub verdict: Verdict,
    /// The client's writing half is closed behind the bytes.
    pub ends: bool,
}

/// What stands around the bytes of a row.
#[derive(Clone, Copy, Debug)]
enum Shape {
    Raw,
    /// A request line, with a Host behind it.
    Line,
    /// A target.
    Target,
    /// Lines in the head of a GET that has a Host.
    Field,
    /// The only lines in the head of a GET.
    Head,
    /// The rest of the head of a POST that has a Host, and what follows.
    Post,
    /// What follows the head of a POST whose body is chunked.
    Chunks,
}

/// What must become of a row. Where it is not said otherwise, the connection is closed behind an answer that refuses.
#[derive(Clone, Copy, Debug)]
pub enum Verdict {
    /// This answer, and nothing reaches the origin.
    Refused(&'static [u16]),
    /// The same; the framing is beyond doubt, and the connection may go on.
    Declined(&'static [u16]),
    /// The origin hears exactly this, and its answer comes back.
    Passed(Seen),
    /// One or the other; the beginning of a request, which is then broken off, may have reached the origin.
    Either(&'static [u16], Seen),
    /// This answer, or none; at most the beginning of a request reaches the origin, and is broken off.
    Broken(&'static [u16]),
    /// These answers in this order, then the connection is closed; the origin hears exactly these.
    InOrder(&'static [u16], &'static [Seen]),
}

/// What an origin hears of a request.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// The request line; empty for any.
    pub line: &'static str,
    /// Fields as `name: value`.
    pub has: &'static [&'static str],
    pub lacks: &'static [&'static str],
    pub body: &'static str,
    pub trailers: &'static [&'static str],
}

/// The refusal of what cannot be read in one way only.
pub const BAD: Verdict = Verdict::Refused(&[400]);
/// A body that turns out to be none while it is passed on.
pub const BROKEN: Verdict = Verdict::Broken(&[400]);
/// What a plain GET comes to.
pub const PASSED: Verdict = Verdict::Passed(seen("GET / HTTP/1.1"));
/// Not clean, and not dangerous if it is passed on without it.
pub const EITHER: Verdict = Verdict::Either(&[400], seen("GET / HTTP/1.1"));

pub const fn seen(line: &'static str) -> Seen {
    Seen { line, has: &[], lacks: &[], body: "", trailers: &[] }
}

/// A POST with this body.
pub const fn post_of(body: &'static str) -> Seen {
    Seen { body, ..seen("POST / HTTP/1.1") }
}

impl Seen {
    pub const fn has(self, has: &'static [&'static str]) -> Seen {
        Seen { has, ..self }
    }

    pub const fn lacks(self, lacks: &'static [&'static str]) -> Seen {
        Seen { lacks, ..self }
    }

    pub const fn trailers(self, trailers: &'static [&'static str]) -> Seen {
        Seen { trailers, ..self }
    }
}

/// A GET with these fields beside its Host passes, and the origin sees those and not these.
pub const fn passed(has: &'static [&'static str], lacks: &'static [&'static str]) -> Verdict {
    Verdict::Passed(seen("GET / HTTP/1.1").has(has).lacks(lacks))
}

const fn shaped(shape: Shape, name: &'static str, rfc: &'static str, bytes: &'static [u8], verdict: Verdict) -> Row {
    Row { name, rfc, shape, bytes, verdict, ends: false }
}

pub const fn raw(name: &'static str, rfc: &'static str, bytes: &'static [u8], verdict: Verdict) -> Row {
    shaped(Shape::Raw, name, rfc, bytes, verdict)
}

pub const fn line(name: &'static str, rfc: &'static str, bytes: &'static [u8], verdict: Verdict) -> Row {
    shaped(Shape::Line, name, rfc, bytes, verdict)
}

pub const fn target(name: &'static str, rfc: &'static str, bytes: &'static [u8], verdict: Verdict) -> Row {
    shaped(Shape::Target, name, rfc, bytes, verdict)
}

pub const fn field(name: &'static str, rfc: &'static str, bytes: &'static [u8], verdict: Verdict) -> Row {
    shaped(Shape::Field, name, rfc, bytes, verdict)
}

pub const fn head(name: &'static str, rfc: &'static str, bytes: &'static [u8], verdict: Verdict) -> Row {
    shaped(Shape::Head, name, rfc, bytes, verdict)
}

pub const fn post(name: &'static str, rfc: &'static str, bytes: &'static [u8], verdict: Verdict) -> Row {
    shaped(Shape::Post, name, rfc, bytes, verdict)
}

pub const fn chunks(name: &'static str, rfc: &'static str, bytes: &'static [u8], verdict: Verdict) -> Row {
    shaped(Shape::Chunks, name, rfc, bytes, verdict)
}

impl Row {
    /// The same, and the client says that nothing follows.
    pub const fn and_ends(self) -> Row {
        Row { ends: true, ..self }
    }

    /// All that is sent. `{{x*1000}}` in a row stands for a thousand of that text, `{#}` in it for the number of each.
    pub fn bytes(&self) -> Vec<u8> {
        let (before, behind): (&[u8], &[u8]) = match self.shape {
            Shape::Raw => (b"", b""),
            Shape::Line => (b"", b"\r\nhost: a\r\n\r\n"),
            Shape::Target => (b"GET ", b" HTTP/1.1\r\nhost: a\r\n\r\n"),
            Shape::Field => (b"GET / HTTP/1.1\r\nhost: a\r\n", b"\r\n\r\n"),
            Shape::Head => (b"GET / HTTP/1.1\r\n", b"\r\n\r\n"),
            Shape::Post => (b"POST / HTTP/1.1\r\nhost: a\r\n", b""),
            Shape::Chunks => (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n", b""),
        };
        [before, &expand(self.bytes), behind].concat()
    }
}

/// Writes out what is repeated.
pub fn expand(bytes: &[u8]) -> Vec<u8> {
    let find = |bytes: &[u8], what: &[u8]| bytes.windows(what.len()).position(|window| window == what);
    let Some(begin) = find(bytes, b"{{") else { return bytes.to_vec() };
    let end = begin + find(&bytes[begin..], b"}}").unwrap();
    let inner = &bytes[begin + 2..end];
    let star = inner.iter().rposition(|byte| *byte == b'*').unwrap();
    let times: usize = std::str::from_utf8(&inner[star + 1..]).unwrap().parse().unwrap();
    let mut out = bytes[..begin].to_vec();
    for time in 0..times {
        match find(&inner[..star], b"{#}") {
            Some(at) => {
                out.extend_from_slice(&inner[..at]);
                out.extend_from_slice(time.to_string().as_bytes());
                out.extend_from_slice(&inner[at + 3..star]);
            }
            None => out.extend_from_slice(&inner[..star]),
        }
    }
    out.extend(expand(&bytes[end + 2..]));
    out
}
