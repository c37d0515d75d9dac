//! Answers of an origin that is broken, or in somebody's hands: what is ambiguous is never passed on, what ends too soon never seems
//! whole, and nothing said in excess is taken for the answer to somebody else.

use super::lies::Fate::{self, Bad, BadOr, Cut, Got};
use super::lies::{self, Row, got, lie};

const ABC: Fate = BadOr(got("abc"));

#[rustfmt::skip] // one row, one line
const FRAMING: &[Row] = &[
    lie("plain", "9112 6.2", b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc", Got(got("abc").has(&["content-length: 3"]))),
    lie("chunks", "9112 7.1", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", Got(got("abc"))),
    lie("chunks with extensions", "9112 7.1.1", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0;z\r\n\r\n", Got(got("abc"))),
    lie("until the close", "9112 6.3", b"HTTP/1.1 200 OK\r\n\r\nabc", Got(got("abc"))).closes(),
    lie("HTTP/1.0 until the close", "9112 6.3", b"HTTP/1.0 200 OK\r\n\r\nabc", Got(got("abc"))).closes(),
    lie("nothing until the close", "9112 6.3", b"HTTP/1.1 200 OK\r\n\r\n", Got(got(""))).closes(),
    lie("length and chunked", "9112 6.3", b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", Bad),
    lie("chunked and length", "9112 6.3", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n3\r\nabc\r\n0\r\n\r\n", Bad),
    lie("length and identity", "9112 6.1", b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: identity\r\n\r\nabc", Bad),
    lie("lengths that differ", "9112 6.3", b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd", Bad),
    lie("lengths that agree", "9112 6.3", b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 3\r\n\r\nabc", ABC),
    lie("list of lengths that differ", "9112 6.3", b"HTTP/1.1 200 OK\r\ncontent-length: 3, 4\r\n\r\nabcd", Bad),
    lie("list of lengths that agree", "9112 6.3", b"HTTP/1.1 200 OK\r\ncontent-length: 3, 3\r\n\r\nabc", ABC),
    lie("length +3", "9110 8.6", b"HTTP/1.1 200 OK\r\ncontent-length: +3\r\n\r\nabc", Bad),
    lie("length -3", "9110 8.6", b"HTTP/1.1 200 OK\r\ncontent-length: -3\r\n\r\nabc", Bad),
    lie("length 0x3", "9110 8.6", b"HTTP/1.1 200 OK\r\ncontent-length: 0x3\r\n\r\nabc", Bad),
    lie("length 3x", "9110 8.6", b"HTTP/1.1 200 OK\r\ncontent-length: 3x\r\n\r\nabc", Bad),
    lie("length 1 3", "9110 8.6", b"HTTP/1.1 200 OK\r\ncontent-length: 1 3\r\n\r\nabc", Bad),
    lie("length empty", "9110 8.6", b"HTTP/1.1 200 OK\r\ncontent-length:\r\n\r\nabc", Bad),
    lie("length of 2^64", "9110 8.6", b"HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551616\r\n\r\nabc", Bad),
    lie("length with zeros", "9110 8.6", b"HTTP/1.1 200 OK\r\ncontent-length: 003\r\n\r\nabc", ABC),
    lie("xchunked", "9112 6.1", b"HTTP/1.1 200 OK\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n", Bad),
    lie("gzip, chunked", "9112 6.1", b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", Bad),
    lie("chunked, gzip", "9112 6.3", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, gzip\r\n\r\n0\r\n\r\n", Bad),
    lie("chunked, chunked", "9112 6.1", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n", Bad),
    lie("chunked twice", "9112 6.1", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", Bad),
    lie("chunked behind vertical tab", "9112 6.1", b"HTTP/1.1 200 OK\r\ntransfer-encoding: \x0bchunked\r\n\r\n0\r\n\r\n", Bad),
    lie("chunked;q=1", "9112 7", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked;q=1\r\n\r\n0\r\n\r\n", Bad),
    lie("coding empty", "9112 6.1", b"HTTP/1.1 200 OK\r\ntransfer-encoding:\r\n\r\nabc", Bad).closes(),
    lie("coding in HTTP/1.0", "9112 6.1", b"HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", Bad),
    lie("coding in a 204", "9112 6.1", b"HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", BadOr(got("").status(204).lacks(&["transfer-encoding"]).spent())),
    lie("length in a 204", "9110 8.6", b"HTTP/1.1 204 No Content\r\ncontent-length: 3\r\n\r\n", BadOr(got("").status(204).lacks(&["content-length"]))),
    lie("coding in a 304", "9112 6.1", b"HTTP/1.1 304 Not Modified\r\ntransfer-encoding: chunked\r\n\r\n", BadOr(got("").status(304))),
    lie("length in a 304", "9110 8.6", b"HTTP/1.1 304 Not Modified\r\ncontent-length: 3\r\n\r\n", Got(got("").status(304))),
    lie("length in a 103", "9110 8.6", b"HTTP/1.1 103 Early Hints\r\ncontent-length: 3\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc", ABC),
    lie("coding in a 103", "9112 6.1", b"HTTP/1.1 103 Early Hints\r\ntransfer-encoding: chunked\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc", ABC),
    lie("length for a HEAD", "9110 8.6", b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", Got(got("").has(&["content-length: 5"]))).to("HEAD"),
    lie("coding for a HEAD", "9112 6.1", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", Got(got(""))).to("HEAD"),
    lie("body for a HEAD", "9112 6.3", b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc", Got(got("").spent())).to("HEAD"),
    lie("excess behind a length", "9112 9.2", b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabcHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil", Got(got("abc").spent())),
    lie("one byte behind a length", "9112 9.2", b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc\n", Got(got("abc").spent())),
    lie("excess behind chunks", "9112 9.2", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil", Got(got("abc").spent())),
    lie("excess behind a 204", "9112 9.2", b"HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil", Got(got("").status(204).spent())),
    lie("excess behind a 304", "9112 9.2", b"HTTP/1.1 304 Not Modified\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil", Got(got("").status(304).spent())),
    lie("excess behind a HEAD", "9112 9.2", b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil", Got(got("").spent())).to("HEAD"),
    lie("excess behind a length of 0", "9112 9.2", b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil", Got(got("").spent())),
    lie("an answer that nobody asked for", "9112 9.2", b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc", Got(got("abc").spent())).then(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"),
    lie("a 408 that nobody asked for", "9110 15.5.9", b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc", Got(got("abc").spent())).then(b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 4\r\n\r\nlate"),
    lie("a 204, and late a body", "9112 9.2", b"HTTP/1.1 204 No Content\r\n\r\n", Got(got("").status(204).spent())).then(b"abc"),
    lie("before the request is done", "9112 9.3", b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc", Got(got("abc"))).early(),
    lie("in chunks before the request is done", "9112 9.3", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", Got(got("abc"))).early(),
    lie("a refusal before the request is done, and a close", "9112 9.6", b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 3\r\nconnection: close\r\n\r\nabc", Got(got("abc").status(413))).early().closes(),
    lie("two answers before the request is done", "9112 9.2", b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabcHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil", Got(got("abc").spent())).early(),
];

#[rustfmt::skip]
const BODIES: &[Row] = &[
    lie("length cut short", "9112 8", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc", Cut).closes(),
    lie("length without a byte", "9112 8", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n", Cut).closes(),
    lie("length of 2^63", "9112 8", b"HTTP/1.1 200 OK\r\ncontent-length: 9223372036854775808\r\n\r\nabc", Cut).closes(),
    lie("HTTP/1.0 cut short", "9112 8", b"HTTP/1.0 200 OK\r\ncontent-length: 9\r\n\r\nabc", Cut).closes(),
    lie("no chunk", "9112 8", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", Cut).closes(),
    lie("half a size", "9112 8", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3", Cut).closes(),
    lie("half a chunk", "9112 8", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nab", Cut).closes(),
    lie("no last chunk", "9112 8", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n", Cut).closes(),
    lie("half a last chunk", "9112 8", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n", Cut).closes(),
    lie("half a trailer", "9112 8", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx: y\r\n", Cut).closes(),
    lie("size 0x3", "9112 7.1", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n", Cut),
    lie("size -3", "9112 7.1", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n-3\r\nabc\r\n0\r\n\r\n", Cut),
    lie("size g", "9112 7.1", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\ng\r\nabc\r\n0\r\n\r\n", Cut),
    lie("size empty", "9112 7.1", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\r\nabc\r\n0\r\n\r\n", Cut),
    lie("size before a space", "9112 7.1", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3 \r\nabc\r\n0\r\n\r\n", Fate::Cut),
    lie("size behind a space", "9112 7.1", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n 3\r\nabc\r\n0\r\n\r\n", Cut),
    lie("size that wraps to 3", "9112 7.1", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n10000000000000003\r\nabc\r\n0\r\n\r\n", Cut),
    lie("bare LF behind the size", "9112 7.1", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n", Cut),
    lie("bare LF behind the data", "9112 7.1", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\n0\r\n\r\n", Cut),
    lie("nothing behind the data", "9112 7.1", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc0\r\n\r\n", Cut),
    lie("data longer than its size", "9112 7.1", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n", Cut),
    lie("not in chunks at all", "9112 7.1", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n<html></html>", Cut).closes(),
    lie("second size bad", "9112 7.1", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\nx\r\n", Cut),
    lie("extension with LF", "9112 7.1.1", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3;\nx\r\nabc\r\n0\r\n\r\n", Cut),
    lie("extension with NUL", "9112 7.1.1", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3;\0\r\nabc\r\n0\r\n\r\n", Cut),
    lie("extension of 20,000 bytes", "9112 7.1.1", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3;{{x*20000}}\r\nabc\r\n0\r\n\r\n", Cut),
    lie("trailer without a name", "9110 5.1", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n: x\r\n\r\n", Cut),
    lie("trailer with a space in its name", "9110 5.1", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx y: z\r\n\r\n", Cut),
    lie("trailer with a bare CR", "9112 2.2", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx: y\rz\r\n\r\n", Cut),
    lie("trailer that is an answer", "9112 7.1.2", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nHTTP/1.1 200 OK\r\n\r\n", Cut),
    lie("trailers without end", "9112 7.1.2", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n{{x-{#}: y\r\n*5000}}\r\n", Cut),
    lie("trailers that frame", "9110 6.5.1", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\ncontent-length: 9\r\ntransfer-encoding: chunked\r\nset-cookie: a=b\r\n\r\n", Got(got("abc").lacks(&["content-length", "set-cookie"]))).asked_with("te: trailers\r\nconnection: te\r\n"),
    lie("trailers to whom asks for them", "9110 6.5", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-sum: 6\r\n\r\n", Got(got("abc"))).asked_with("te: trailers\r\nconnection: te\r\n"),
];

#[tokio::test]
async fn an_answer_ends_in_one_place_or_is_not_passed_on() {
    lies::hold("answers", FRAMING).await;
}

#[tokio::test]
async fn an_answer_that_breaks_off_never_seems_whole() {
    lies::hold("bodies", BODIES).await;
}
