//! Heads of HTTP/2 that would mean something else, or more, once they are written as HTTP/1.1 (RFC 9113 sections 8.2, 8.3 and 10.3), and
//! header blocks that are none (RFC 7541).

use super::attack::Fate::{self, Ends, Refused, RefusedOr, Reset, Served};
use super::attack::{self, COMPRESSION, PROTOCOL, Row, row};
use super::frames::*;
use super::row::{Seen, post_of, seen};

/// A GET whose pseudo header of that place is this.
fn with(place: usize, value: &[u8]) -> Vec<u8> {
    let mut fields = GET;
    fields[place].1 = value;
    headers(1, WHOLE, &fields)
}

fn method(value: &[u8]) -> Vec<u8> {
    with(0, value)
}

fn scheme(value: &[u8]) -> Vec<u8> {
    with(1, value)
}

fn path(value: &[u8]) -> Vec<u8> {
    with(2, value)
}

fn authority(value: &[u8]) -> Vec<u8> {
    with(3, value)
}

fn field(name: &[u8], value: &[u8]) -> Vec<u8> {
    get(1, &[(name, value)])
}

/// A GET whose block goes on with these bytes.
fn bytes(more: &[u8]) -> Vec<u8> {
    frame(HEADERS, WHOLE, 1, &[&block(&GET), more].concat())
}

const PLAIN: Fate = Served(seen("GET / HTTP/1.1"));

#[rustfmt::skip] // one row, one line
const PSEUDO: &[Row] = &[
    row("no :method", "9113 8.3.1", || headers(1, WHOLE, &GET[1..]), Refused),
    row("no :scheme", "9113 8.3.1", || headers(1, WHOLE, &[GET[0], GET[2], GET[3]]), Refused),
    row("no :path", "9113 8.3.1", || headers(1, WHOLE, &[GET[0], GET[1], GET[3]]), Refused),
    row("no :authority and no host", "9113 8.3.1", || headers(1, WHOLE, &GET[..3]), Refused),
    row("host in place of :authority", "9113 8.3.1", || headers(1, WHOLE, &[&GET[..3], &[(b"host", b"b")]].concat()), Served(seen("GET / HTTP/1.1").has(&["host: b"]))),
    row("no fields at all", "9113 8.3.1", || headers(1, WHOLE, &[]), Refused),
    row(":method twice", "9113 8.3", || get(1, &[(b":method", b"GET")]), Refused),
    row(":path twice", "9113 8.3", || get(1, &[(b":path", b"/evil")]), Refused),
    row(":authority twice", "9113 8.3", || get(1, &[(b":authority", b"b")]), Refused),
    row(":scheme twice", "9113 8.3", || get(1, &[(b":scheme", b"https")]), Refused),
    row(":path behind a field", "9113 8.3", || headers(1, WHOLE, &[GET[0], GET[1], GET[3], (b"x", b"y"), GET[2]]), Refused),
    row(":status in a request", "9113 8.3", || get(1, &[(b":status", b"200")]), Refused),
    row(":unknown", "9113 8.3", || get(1, &[(b":unknown", b"x")]), Refused),
    row(":protocol without CONNECT", "8441 4", || get(1, &[(b":protocol", b"websocket")]), Refused),
    row("only a colon", "9113 8.3", || get(1, &[(b":", b"x")]), Refused),
    row(":METHOD", "9113 8.2.1", || headers(1, WHOLE, &[(b":METHOD", b"GET"), GET[1], GET[2], GET[3]]), Refused),
    row(":method empty", "9113 8.3.1", || method(b""), Refused),
    row(":method with a space", "9113 10.3", || method(b"GET /evil HTTP/1.1\r\nhost: b\r\n\r\nGET"), Refused),
    row(":method of two words", "9113 10.3", || method(b"GET /evil"), Refused),
    row(":method with CRLF", "9113 10.3", || method(b"GET\r\n"), Refused),
    row(":method with NUL", "9113 10.3", || method(b"GE\0T"), Refused),
    row(":method that nobody knows", "9110 9.1", || method(b"PURGE"), Served(seen("PURGE / HTTP/1.1"))),
    row(":path empty", "9113 8.3.1", || path(b""), Refused),
    row(":path without a slash", "9113 8.3.1", || path(b"x"), Refused),
    row(":path that is a query", "9113 8.3.1", || path(b"?x"), RefusedOr(seen("GET /?x HTTP/1.1"))),
    row(":path that is absolute", "9113 8.3.1", || path(b"http://b/x"), Refused),
    row(":path that is an asterisk", "9113 8.3.1", || path(b"*"), Refused),
    row(":path that is an asterisk, for OPTIONS", "9113 8.3.1", || headers(1, WHOLE, &[(b":method", b"OPTIONS"), GET[1], (b":path", b"*"), GET[3]]), Served(seen("OPTIONS * HTTP/1.1"))),
    row(":path with a space", "9113 10.3", || path(b"/x y"), Refused),
    row(":path with a version", "9113 10.3", || path(b"/ HTTP/1.1"), Refused),
    row(":path with a whole request", "9113 10.3", || path(b"/ HTTP/1.1\r\nhost: b\r\n\r\nGET /evil"), Refused),
    row(":path with CR", "9113 10.3", || path(b"/x\ry"), Refused),
    row(":path with LF", "9113 10.3", || path(b"/x\ny"), Refused),
    row(":path with NUL", "9113 10.3", || path(b"/x\0y"), Refused),
    row(":path with a tab", "9113 10.3", || path(b"/x\ty"), Refused),
    row(":path with a fragment", "9113 8.3.1", || path(b"/x#y"), RefusedOr(seen("GET /x HTTP/1.1"))),
    row(":path beyond ASCII", "3986 2", || path(b"/caf\xe9"), Refused),
    row(":path with dots", "3986 5.2.4", || path(b"/x/../y"), Refused),
    row(":path with escaped dots", "3986 5.2.4", || path(b"/x/%2e%2e/y"), Refused),
    row(":path with an escaped slash", "3986 2.2", || path(b"/x%2fy"), RefusedOr(seen("GET /x%2fy HTTP/1.1"))),
    row(":path with two slashes", "3986 3.3", || path(b"//b/x"), RefusedOr(seen("GET //b/x HTTP/1.1"))),
    row(":path with a backslash", "3986 2", || path(b"/x\\y"), Refused),
    row(":path too long", "9110 15.5.15", || [headers(1, END_STREAM, &[GET[0], GET[1], GET[3]]), frame(CONTINUATION, 0, 1, &[&[0][..], &string(b":path"), b"\x7f\xa1\x9b\x01/"].concat()), frame(CONTINUATION, 0, 1, &[b'x'; 16_000]), frame(CONTINUATION, END_HEADERS, 1, &[b'x'; 3_999])].concat(), Fate::Answered(&[400, 414, 431])),
    row(":scheme empty", "9113 8.3.1", || scheme(b""), Refused),
    row(":scheme with a space", "9113 10.3", || scheme(b"http x"), Refused),
    row(":scheme with CRLF", "9113 10.3", || scheme(b"http\r\nx: y"), Refused),
    row(":scheme ftp", "9113 8.3.1", || scheme(b"ftp"), RefusedOr(seen("GET / HTTP/1.1").has(&["x-forwarded-proto: http"]))),
    row(":authority empty", "9113 8.3.1", || authority(b""), Refused),
    row(":authority with a user", "9113 8.3.1", || authority(b"u@a"), Refused),
    row(":authority with a path", "9113 8.3.1", || authority(b"a/x"), Refused),
    row(":authority with a space", "9113 10.3", || authority(b"a b"), Refused),
    row(":authority with CRLF", "9113 10.3", || authority(b"a\r\nx: y"), Refused),
    row(":authority with NUL", "9113 10.3", || authority(b"a\0"), Refused),
    row(":authority that is a list", "3986 3.2.2", || authority(b"a,b"), Refused),
    row(":authority with a bad port", "3986 3.2.3", || authority(b"a:x"), Refused),
    row(":authority with a port too large", "3986 3.2.3", || authority(b"a:65536"), Refused),
    row(":authority beyond ASCII", "3986 3.2.2", || authority(b"caf\xe9"), Refused),
    row(":authority and another host", "9113 8.3.1", || field(b"host", b"b"), RefusedOr(seen("GET / HTTP/1.1").has(&["host: a"]))),
    row(":authority and the same host", "9113 8.3.1", || field(b"host", b"a"), Served(seen("GET / HTTP/1.1").has(&["host: a"]))),
    row(":authority and two hosts", "9113 8.3.1", || get(1, &[(b"host", b"a"), (b"host", b"a")]), RefusedOr(seen("GET / HTTP/1.1").has(&["host: a"]))),
    row("CONNECT with a path", "9113 8.5", || method(b"CONNECT"), Refused),
    row("CONNECT", "9113 8.5", || headers(1, END_HEADERS, &[(b":method", b"CONNECT"), (b":authority", b"a:80")]), Fate::Answered(&[400, 405, 501])),
    row("CONNECT without a port", "9113 8.5", || headers(1, END_HEADERS, &[(b":method", b"CONNECT"), (b":authority", b"a")]), Fate::Answered(&[400, 405, 501])),
];

#[rustfmt::skip]
const FIELDS: &[Row] = &[
    row("a field", "9113 8.2", || field(b"x-y", b"z"), Served(seen("GET / HTTP/1.1").has(&["x-y: z"]))),
    row("upper case", "9113 8.2.1", || field(b"X-Y", b"z"), Refused),
    row("one upper-case letter", "9113 8.2.1", || field(b"x-Y", b"z"), Refused),
    row("empty name", "9113 8.2.1", || field(b"", b"z"), Refused),
    row("name with a space", "9113 8.2.1", || field(b"x y", b"z"), Refused),
    row("name with a colon", "9113 8.2.1", || field(b"x:y", b"z"), Refused),
    row("name with CRLF", "9113 8.2.1", || field(b"x: y\r\nhost", b"evil"), Refused),
    row("name with LF", "9113 8.2.1", || field(b"x\ny", b"z"), Refused),
    row("name with NUL", "9113 8.2.1", || field(b"x\0", b"z"), Refused),
    row("name with DEL", "9113 8.2.1", || field(b"x\x7f", b"z"), Refused),
    row("name beyond ASCII", "9113 8.2.1", || field(b"x\xe9", b"z"), Refused),
    row("name with a trailing space", "9113 8.2.1", || field(b"content-length ", b"3"), Refused),
    row("value with CR", "9113 8.2.1", || field(b"x", b"y\rz"), Refused),
    row("value with LF", "9113 8.2.1", || field(b"x", b"y\nz"), Refused),
    row("value with NUL", "9113 8.2.1", || field(b"x", b"y\0z"), Refused),
    row("value with CRLF and a field", "9113 10.3", || field(b"x", b"y\r\nhost: evil"), Refused),
    row("value with CRLF and a request", "9113 10.3", || field(b"x", b"y\r\n\r\nGET /evil HTTP/1.1\r\nhost: a\r\n\r\n"), Refused),
    row("value that ends with CRLF", "9113 10.3", || field(b"x", b"y\r\n"), Refused),
    row("value behind a space", "9113 8.2.1", || field(b"x", b" y"), RefusedOr(seen("GET / HTTP/1.1").has(&["x: y"]))),
    row("value before a tab", "9113 8.2.1", || field(b"x", b"y\t"), RefusedOr(seen("GET / HTTP/1.1").has(&["x: y"]))),
    row("value with ESC", "9110 5.5", || field(b"x", b"\x1b[2J"), Refused),
    row("value with obs-text", "9110 5.5", || field(b"x", b"caf\xe9"), RefusedOr(seen("GET / HTTP/1.1").has(&["x: caf\u{e9}"]))),
    row("Connection", "9113 8.2.2", || field(b"connection", b"close"), Refused),
    row("Connection that names what we add", "9113 8.2.2", || field(b"connection", b"x-forwarded-for"), Refused),
    row("Keep-Alive", "9113 8.2.2", || field(b"keep-alive", b"timeout=5"), Refused),
    row("Proxy-Connection", "9113 8.2.2", || field(b"proxy-connection", b"keep-alive"), Refused),
    row("Transfer-Encoding", "9113 8.2.2", || field(b"transfer-encoding", b"chunked"), Refused),
    row("Transfer-Encoding with a body", "9113 8.2.2", || [post(1, &[(b"transfer-encoding", b"chunked")]), frame(DATA, END_STREAM, 1, b"0\r\n\r\nGET /evil HTTP/1.1\r\nhost: a\r\n\r\n")].concat(), Refused),
    row("Transfer-Encoding of identity", "9113 8.2.2", || field(b"transfer-encoding", b"identity"), Refused),
    row("Upgrade", "9113 8.2.2", || field(b"upgrade", b"websocket"), Refused),
    row("TE of gzip", "9113 8.2.2", || field(b"te", b"gzip"), Refused),
    row("TE of trailers and gzip", "9113 8.2.2", || field(b"te", b"trailers, gzip"), Refused),
    row("TE of trailers", "9113 8.2.2", || field(b"te", b"trailers"), Served(seen("GET / HTTP/1.1").has(&["te: trailers"]))),
    row("HTTP2-Settings", "9113 3.1", || field(b"http2-settings", b"AAMAAABkAAQAAP__"), PLAIN),
    row("Proxy-Authorization", "9110 11.7.1", || field(b"proxy-authorization", b"Basic eDp5"), PLAIN),
    row("Content-Length twice, differing", "9113 8.1.1", || [post(1, &[(b"content-length", b"3"), (b"content-length", b"4")]), frame(DATA, END_STREAM, 1, b"abc")].concat(), Refused),
    row("Content-Length twice, the same", "9113 8.1.1", || [post(1, &[(b"content-length", b"3"), (b"content-length", b"3")]), frame(DATA, END_STREAM, 1, b"abc")].concat(), RefusedOr(post_of("abc"))),
    row("Content-Length that is a list", "9113 8.1.1", || [post(1, &[(b"content-length", b"3, 3")]), frame(DATA, END_STREAM, 1, b"abc")].concat(), Refused),
    row("Content-Length +3", "9113 8.1.1", || [post(1, &[(b"content-length", b"+3")]), frame(DATA, END_STREAM, 1, b"abc")].concat(), Refused),
    row("Content-Length x", "9113 8.1.1", || [post(1, &[(b"content-length", b"x")]), frame(DATA, END_STREAM, 1, b"abc")].concat(), Refused),
    row("Content-Length of nothing", "9113 8.1.1", || [post(1, &[(b"content-length", b"")]), frame(DATA, END_STREAM, 1, b"abc")].concat(), Refused),
    row("Content-Length of 2^64 + 3", "9113 8.1.1", || [post(1, &[(b"content-length", b"18446744073709551619")]), frame(DATA, END_STREAM, 1, b"abc")].concat(), Refused),
    row("Content-Length with a zero", "9113 8.1.1", || [post(1, &[(b"content-length", b"03")]), frame(DATA, END_STREAM, 1, b"abc")].concat(), RefusedOr(post_of("abc"))),
    row("crumbs of a cookie", "9113 8.2.3", || get(1, &[(b"cookie", b"a=1"), (b"x", b"y"), (b"cookie", b"b=2")]), Served(seen("GET / HTTP/1.1").has(&["cookie: a=1; b=2"]))),
    row("trailers that frame", "9110 6.5.1", || [post(1, &[]), frame(DATA, 0, 1, b"abc"), headers(1, WHOLE, &[(b"content-length", b"9"), (b"host", b"evil")])].concat(), RefusedOr(post_of("abc"))),
    row("trailers with Transfer-Encoding", "9113 8.2.2", || [post(1, &[]), frame(DATA, 0, 1, b"abc"), headers(1, WHOLE, &[(b"transfer-encoding", b"chunked")])].concat(), RefusedOr(post_of("abc"))),
    row("trailers with CRLF", "9113 8.2.1", || [post(1, &[]), frame(DATA, 0, 1, b"abc"), headers(1, WHOLE, &[(b"x", b"y\r\n\r\nGET /evil HTTP/1.1")])].concat(), Refused),
    row("trailers in upper case", "9113 8.2.1", || [post(1, &[]), frame(DATA, 0, 1, b"abc"), headers(1, WHOLE, &[(b"X", b"y")])].concat(), Refused),
    row("a body that looks like chunks", "9113 8.1", || [post(1, &[]), frame(DATA, END_STREAM, 1, b"0\r\n\r\nGET /evil HTTP/1.1\r\n\r\n")].concat(), Served(post_of("0\r\n\r\nGET /evil HTTP/1.1\r\n\r\n"))),
    row("a body of a GET", "9110 9.3.1", || [headers(1, END_HEADERS, &GET), frame(DATA, END_STREAM, 1, b"abc")].concat(), RefusedOr(Seen { body: "abc", ..seen("GET / HTTP/1.1") })),
    row("Expect of something", "9110 10.1.1", || field(b"expect", b"200-ok"), Fate::AnsweredOr(&[400, 417], seen("GET / HTTP/1.1"))),
];

#[rustfmt::skip]
const BLOCKS: &[Row] = &[
    row("index 0", "7541 6.1", || bytes(b"\x80"), Ends(COMPRESSION)),
    row("index of nothing", "7541 2.3.3", || bytes(b"\xc6"), Ends(COMPRESSION)),
    row("index without end", "7541 5.1", || bytes(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), Ends(COMPRESSION)),
    row("name of an index of nothing", "7541 2.3.3", || bytes(b"\x7f\x40\x01y"), Ends(COMPRESSION)),
    row("block cut in a name", "7541 5.2", || bytes(b"\0\x09abc"), Ends(COMPRESSION)),
    row("block cut in a value", "7541 5.2", || bytes(b"\0\x01x\x7f"), Ends(COMPRESSION)),
    row("length of 2^64", "7541 5.1", || bytes(b"\0\x7f\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01x"), Ends(COMPRESSION)),
    row("Huffman with EOS", "7541 5.2", || bytes(b"\0\x01x\x84\xff\xff\xff\xff"), Ends(COMPRESSION)),
    row("Huffman padded by zeros", "7541 5.2", || bytes(b"\0\x01x\x81\x00"), Ends(COMPRESSION)),
    row("Huffman padded by a byte", "7541 5.2", || bytes(b"\0\x01x\x82\x07\xff"), Ends(COMPRESSION)),
    row("table larger than allowed", "7541 6.3", || frame(HEADERS, WHOLE, 1, &[b"\x3f\xe1\xff\x03", &block(&GET)[..]].concat()), Ends(COMPRESSION)),
    row("table resized behind a field", "7541 4.2", || bytes(b"\x20"), Ends(COMPRESSION)),
    row("table resized first", "7541 4.2", || frame(HEADERS, WHOLE, 1, &[b"\x20", &block(&GET)[..]].concat()), PLAIN),
    row("a list too large", "9113 10.5.1", || long(200_000), Refused),
    row("a thousand fields", "9113 10.5.1", || many(1_000), Refused),
    row("a block that grows a thousandfold", "9113 10.5.1", bomb, Refused),
    row("a good block behind a bad field", "9113 8.1.1", || [get(1, &[(b"connection", b"close"), (b"x", b"y")]), get(3, &[])].concat(), Reset(PROTOCOL)).with_good(1),
];

/// A GET with one field of that length, in as many frames as it takes.
fn long(length: usize) -> Vec<u8> {
    let value = vec![b'y'; length];
    split(&block(&[&GET[..], &[(b"x", &value)]].concat()))
}

/// A GET with so many fields.
fn many(count: usize) -> Vec<u8> {
    let names: Vec<String> = (0..count).map(|number| format!("x-{number}")).collect();
    let more = names.iter().map(|name| (name.as_bytes(), b"y" as &[u8]));
    split(&block(&GET.iter().copied().chain(more).collect::<Vec<_>>()))
}

/// A field of 4,000 bytes that is kept in the table, and named again in each of 14,000 bytes.
fn bomb() -> Vec<u8> {
    let kept = [&[0x40][..], &string(b"x"), &string(&vec![b'y'; 4_000])].concat();
    split(&[block(&GET), kept, vec![0xbe; 14_000]].concat())
}

fn split(block: &[u8]) -> Vec<u8> {
    let pieces: Vec<&[u8]> = block.chunks(16_000).collect();
    let mut out = Vec::new();
    for (place, piece) in pieces.iter().enumerate() {
        let end = if place + 1 == pieces.len() { END_HEADERS } else { 0 };
        let (kind, flags) = if place == 0 { (HEADERS, END_STREAM | end) } else { (CONTINUATION, end) };
        out.extend(frame(kind, flags, 1, piece));
    }
    out
}

#[tokio::test]
async fn pseudo_headers_are_right_or_refused() {
    attack::hold("h2-pseudo", PSEUDO).await;
}

#[tokio::test]
async fn fields_of_http_2_are_fields_of_http_1_or_refused() {
    attack::hold("h2-fields", FIELDS).await;
}

#[tokio::test]
async fn header_blocks_are_right_or_end_the_connection() {
    attack::hold("h2-blocks", BLOCKS).await;
}
