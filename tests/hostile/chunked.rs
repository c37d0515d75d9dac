//! Chunked bodies (RFC 9112 section 7.1), requests one behind the other, and bodies that wait to be asked for. The head of a
//! request may have gone out before its body turns out to be none: the origin must then never see an end of it.

use super::bed;
use super::row::{BAD, BROKEN, Row, Seen, Verdict, chunks, post, post_of, raw, seen};

const ABC: Verdict = Verdict::Passed(post_of("abc"));
const ABC_OR_BAD: Verdict = Verdict::Either(&[400], post_of("abc"));
const LARGE: Verdict = Verdict::Broken(&[400, 413, 431]);

/// Passed on without the trailers, or refused.
const DROPPED: Verdict = Verdict::Either(&[400], post_of("abc"));

#[rustfmt::skip] // one row, one line
const CHUNKS: &[Row] = &[
    chunks("plain", "9112 7.1", b"3\r\nabc\r\n0\r\n\r\n", ABC),
    chunks("in three", "9112 7.1", b"1\r\na\r\n1\r\nb\r\n1\r\nc\r\n0\r\n\r\n", ABC),
    chunks("upper and lower case sizes", "9112 7.1", b"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n", Verdict::Passed(post_of("01234567890123456789"))),
    chunks("leading zeros", "9112 7.1", b"0003\r\nabc\r\n000\r\n\r\n", ABC),
    chunks("many leading zeros", "9112 7.1", b"{{0*40}}3\r\nabc\r\n0\r\n\r\n", ABC_OR_BAD),
    chunks("extension", "9112 7.1.1", b"3;x\r\nabc\r\n0;y\r\n\r\n", ABC_OR_BAD),
    chunks("extension with a value", "9112 7.1.1", b"3;x=y\r\nabc\r\n0\r\n\r\n", ABC_OR_BAD),
    chunks("extension with a quoted value", "9112 7.1.1", b"3;x=\"y;z\"\r\nabc\r\n0\r\n\r\n", ABC_OR_BAD),
    chunks("extension behind spaces", "9112 7.1.1", b"3 ; x = y\r\nabc\r\n0\r\n\r\n", ABC_OR_BAD),
    chunks("trailer", "9112 7.1.2", b"3\r\nabc\r\n0\r\nx-sum: 6\r\n\r\n", Verdict::Passed(post_of("abc").trailers(&["x-sum: 6"]))),
    chunks("size 0x3", "9112 7.1", b"0x3\r\nabc\r\n0\r\n\r\n", BROKEN),
    chunks("size -3", "9112 7.1", b"-3\r\nabc\r\n0\r\n\r\n", BROKEN),
    chunks("size +3", "9112 7.1", b"+3\r\nabc\r\n0\r\n\r\n", BROKEN),
    chunks("size -0", "9112 7.1", b"-0\r\n\r\n", BROKEN),
    chunks("size 3_", "9112 7.1", b"3_\r\nabc\r\n0\r\n\r\n", BROKEN),
    chunks("size 1_1", "9112 7.1", b"1_1\r\n01234567890123456\r\n0\r\n\r\n", BROKEN),
    chunks("size 3.0", "9112 7.1", b"3.0\r\nabc\r\n0\r\n\r\n", BROKEN),
    chunks("size 3,3", "9112 7.1", b"3,3\r\nabc\r\n0\r\n\r\n", BROKEN),
    chunks("size in quotes", "9112 7.1", b"\"3\"\r\nabc\r\n0\r\n\r\n", BROKEN),
    chunks("size g", "9112 7.1", b"g\r\nabc\r\n0\r\n\r\n", BROKEN),
    chunks("size 3g", "9112 7.1", b"3g\r\nabc\r\n0\r\n\r\n", BROKEN),
    chunks("size empty", "9112 7.1", b"\r\nabc\r\n0\r\n\r\n", BROKEN),
    chunks("size of an extension only", "9112 7.1", b";x\r\nabc\r\n0\r\n\r\n", BROKEN),
    chunks("size behind a space", "9112 7.1", b" 3\r\nabc\r\n0\r\n\r\n", BROKEN),
    chunks("size behind a tab", "9112 7.1", b"\t3\r\nabc\r\n0\r\n\r\n", BROKEN),
    chunks("size before a space", "9112 7.1", b"3 \r\nabc\r\n0\r\n\r\n", BROKEN),
    chunks("size before a tab", "9112 7.1", b"3\t\r\nabc\r\n0\r\n\r\n", BROKEN),
    chunks("size with a space within", "9112 7.1", b"0 3\r\nabc\r\n0\r\n\r\n", BROKEN),
    chunks("size before NUL", "9112 7.1", b"3\0\r\nabc\r\n0\r\n\r\n", BROKEN),
    chunks("size before vertical tab", "9112 7.1", b"3\x0b\r\nabc\r\n0\r\n\r\n", BROKEN),
    chunks("size before bytes beyond ASCII", "9112 7.1", b"3\xa0\r\nabc\r\n0\r\n\r\n", BROKEN),
    chunks("size of 16 digits", "9112 7.1", b"ffffffffffffffff\r\nabc\r\n0\r\n\r\n", LARGE).and_ends(),
    chunks("size of 17 digits that wraps to 3", "9112 7.1", b"10000000000000003\r\nabc\r\n0\r\n\r\n", LARGE),
    chunks("size of 9 digits that wraps to 3", "9112 7.1", b"100000003\r\nabc\r\n0\r\n\r\n", LARGE).and_ends(),
    chunks("size of 2^63", "9112 7.1", b"8000000000000000\r\nabc\r\n0\r\n\r\n", LARGE).and_ends(),
    chunks("size of 70,000 digits", "9112 7.1", b"{{1*70000}}\r\nabc\r\n0\r\n\r\n", LARGE),
    chunks("last size 0x0", "9112 7.1", b"3\r\nabc\r\n0x0\r\n\r\n", BROKEN),
    chunks("last size in letters", "9112 7.1", b"3\r\nabc\r\nEND\r\n\r\n", BROKEN),
    chunks("bare LF behind the size", "9112 7.1", b"3\nabc\r\n0\r\n\r\n", BROKEN),
    chunks("bare CR behind the size", "9112 7.1", b"3\rabc\r\n0\r\n\r\n", BROKEN),
    chunks("CR CR LF behind the size", "9112 7.1", b"3\r\r\nabc\r\n0\r\n\r\n", BROKEN),
    chunks("LF CR behind the size", "9112 7.1", b"3\n\rabc\r\n0\r\n\r\n", BROKEN),
    chunks("bare LF behind the data", "9112 7.1", b"3\r\nabc\n0\r\n\r\n", BROKEN),
    chunks("bare CR behind the data", "9112 7.1", b"3\r\nabc\r0\r\n\r\n", BROKEN),
    chunks("nothing behind the data", "9112 7.1", b"3\r\nabc0\r\n\r\n", BROKEN),
    chunks("two other bytes behind the data", "9112 7.1", b"3\r\nabcXX0\r\n\r\n", BROKEN),
    chunks("empty line behind the data", "9112 7.1", b"3\r\nabc\r\n\r\n0\r\n\r\n", BROKEN),
    chunks("data longer than its size", "9112 7.1", b"3\r\nabcd\r\n0\r\n\r\n", BROKEN),
    chunks("data shorter than its size", "9112 7.1", b"5\r\nabc\r\n0\r\n\r\n", BROKEN).and_ends(),
    chunks("bare LF behind the last size", "9112 7.1", b"3\r\nabc\r\n0\n\r\n", BROKEN),
    chunks("bare LF at the end", "9112 7.1", b"3\r\nabc\r\n0\r\n\n", BROKEN).and_ends(),
    chunks("bare CR at the end", "9112 7.1", b"3\r\nabc\r\n0\r\n\rX", BROKEN).and_ends(),
    chunks("LF LF at the end", "9112 7.1", b"3\r\nabc\r\n0\n\n", BROKEN),
    chunks("extension with LF", "9112 7.1.1", b"3;x\ny\r\nabc\r\n0\r\n\r\n", BROKEN),
    chunks("extension with LF and a size", "9112 7.1.1", b"3;\n2\r\nab\r\n0\r\n\r\n", BROKEN),
    chunks("extension with CR", "9112 7.1.1", b"3;x\ry\r\nabc\r\n0\r\n\r\n", BROKEN),
    chunks("extension with CR in quotes", "9112 7.1.1", b"3;x=\"\r\n\"\r\nabc\r\n0\r\n\r\n", BROKEN),
    chunks("extension with NUL", "9112 7.1.1", b"3;x\0y\r\nabc\r\n0\r\n\r\n", BROKEN),
    chunks("extension of the last chunk with LF", "9112 7.1.1", b"3\r\nabc\r\n0;\n\r\n\r\n", BROKEN),
    chunks("extension of 20,000 bytes", "9112 7.1.1", b"3;{{x*20000}}\r\nabc\r\n0\r\n\r\n", LARGE),
    chunks("ten thousand extensions", "9112 7.1.1", b"{{1;xxxxxxxxx\r\na\r\n*10000}}0\r\n\r\n", Verdict::Either(&[400, 413], Seen { line: "", ..post_of(A10000) })),
    chunks("size and then nothing", "9112 8", b"3\r\n", BROKEN).and_ends(),
    chunks("half a size", "9112 8", b"3", BROKEN).and_ends(),
    chunks("half a chunk", "9112 8", b"3\r\nab", BROKEN).and_ends(),
    chunks("no last chunk", "9112 8", b"3\r\nabc\r\n", BROKEN).and_ends(),
    chunks("no end of trailers", "9112 8", b"3\r\nabc\r\n0\r\n", BROKEN).and_ends(),
    chunks("half a trailer", "9112 8", b"3\r\nabc\r\n0\r\nx-sum: 6\r\n", BROKEN).and_ends(),
    chunks("trailer Content-Length", "9110 6.5.1", b"3\r\nabc\r\n0\r\ncontent-length: 9\r\n\r\n", DROPPED),
    chunks("trailer Transfer-Encoding", "9110 6.5.1", b"3\r\nabc\r\n0\r\ntransfer-encoding: chunked\r\n\r\n", DROPPED),
    chunks("trailer Host", "9110 6.5.1", b"3\r\nabc\r\n0\r\nhost: evil\r\n\r\n", DROPPED),
    chunks("trailer Connection", "9110 6.5.1", b"3\r\nabc\r\n0\r\nconnection: close\r\n\r\n", DROPPED),
    chunks("trailer TE", "9110 6.5.1", b"3\r\nabc\r\n0\r\nte: gzip\r\n\r\n", DROPPED),
    chunks("trailer Trailer", "9110 6.5.1", b"3\r\nabc\r\n0\r\ntrailer: x\r\n\r\n", DROPPED),
    chunks("trailer without a name", "9110 5.1", b"3\r\nabc\r\n0\r\n: x\r\n\r\n", BROKEN),
    chunks("trailer with a space in its name", "9110 5.1", b"3\r\nabc\r\n0\r\nx y: z\r\n\r\n", BROKEN),
    chunks("trailer with a space before its colon", "9112 5.1", b"3\r\nabc\r\n0\r\nx : y\r\n\r\n", BROKEN),
    chunks("trailer without a colon", "9112 5", b"3\r\nabc\r\n0\r\nGET /evil HTTP/1.1\r\n\r\n", BROKEN),
    chunks("trailer folded", "9112 5.2", b"3\r\nabc\r\n0\r\nx: y\r\n z\r\n\r\n", BROKEN),
    chunks("trailer with NUL", "9110 5.5", b"3\r\nabc\r\n0\r\nx: y\0\r\n\r\n", BROKEN),
    chunks("trailer with a bare CR", "9112 2.2", b"3\r\nabc\r\n0\r\nx: y\rz\r\n\r\n", BROKEN),
    chunks("trailer with a bare LF", "9112 2.2", b"3\r\nabc\r\n0\r\nx: y\nz: w\r\n\r\n", BROKEN),
    chunks("trailers without end", "9112 7.1.2", b"3\r\nabc\r\n0\r\n{{x-{#}: y\r\n*2000}}\r\n", LARGE),
    chunks("a trailer too long", "9112 7.1.2", b"3\r\nabc\r\n0\r\nx: {{y*100000}}\r\n\r\n", LARGE),
];

/// Ten thousand, as the row sends them.
const A10000: &str = match std::str::from_utf8(&[b'a'; 10_000]) {
    Ok(text) => text,
    Err(_) => "",
};

#[rustfmt::skip]
const PIPELINES: &[Row] = &[
    raw("two good ones", "9112 9.3.2", b"GET /1 HTTP/1.1\r\nhost: a\r\n\r\nGET /2 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", Verdict::InOrder(&[200, 200], &[seen("GET /1 HTTP/1.1"), seen("GET /2 HTTP/1.1")])),
    raw("a POST and a GET", "9112 9.3.2", b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabcGET /2 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", Verdict::InOrder(&[200, 200], &[post_of("abc"), seen("GET /2 HTTP/1.1")])),
    raw("an empty line between two", "9112 2.2", b"GET /1 HTTP/1.1\r\nhost: a\r\n\r\n\r\nGET /2 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", Verdict::InOrder(&[200, 200], &[seen("GET /1 HTTP/1.1"), seen("GET /2 HTTP/1.1")])),
    raw("good, then bad", "9112 9.3.2", b"GET /1 HTTP/1.1\r\nhost: a\r\n\r\nGET /2 HTTP/1.1\r\nhost: a\r\nx y: z\r\n\r\nGET /3 HTTP/1.1\r\nhost: a\r\n\r\n", Verdict::InOrder(&[200, 400], &[seen("GET /1 HTTP/1.1")])),
    raw("good, then nonsense", "9112 9.3.2", b"GET /1 HTTP/1.1\r\nhost: a\r\n\r\nnonsense\r\n\r\n", Verdict::InOrder(&[200, 400], &[seen("GET /1 HTTP/1.1")])),
    raw("nothing behind a close", "9112 9.6", b"GET /1 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\nGET /2 HTTP/1.1\r\nhost: a\r\n\r\n", Verdict::InOrder(&[200], &[seen("GET /1 HTTP/1.1")])),
    raw("nothing behind HTTP/1.0", "9112 9.3", b"GET /1 HTTP/1.0\r\nhost: a\r\n\r\nGET /2 HTTP/1.0\r\nhost: a\r\n\r\n", Verdict::InOrder(&[200], &[seen("GET /1 HTTP/1.1")])),
    raw("bad, then good", "9112 2.2", b"GET /1 HTTP/1.1\r\nhost: a\r\nx y: z\r\n\r\nGET /2 HTTP/1.1\r\nhost: a\r\n\r\n", BAD),
    raw("a request within chunks", "9112 11.2", b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nGET\r\n0\r\n\r\nGET /2 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", Verdict::InOrder(&[200, 200], &[post_of("GET"), seen("GET /2 HTTP/1.1")])),
    raw("an upload behind Expect", "9110 10.1.1", b"POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\nabcGET /2 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", Verdict::InOrder(&[200, 200], &[post_of("abc"), seen("GET /2 HTTP/1.1")])),
    post("Expect in upper case", "9110 10.1.1", b"expect: 100-Continue\r\ncontent-length: 3\r\n\r\nabc", ABC),
    post("Expect of something else", "9110 10.1.1", b"expect: 200-ok\r\ncontent-length: 3\r\n\r\nabc", Verdict::Either(&[400, 417], post_of("abc").lacks(&["expect"]))),
    post("Expect of two things", "9110 10.1.1", b"expect: 100-continue, x\r\ncontent-length: 3\r\n\r\nabc", Verdict::Either(&[400, 417], post_of("abc").lacks(&["expect"]))),
    post("Expect twice", "9110 10.1.1", b"expect: 100-continue\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\nabc", Verdict::Either(&[400, 417], post_of("abc"))),
    post("Expect of nothing", "9110 10.1.1", b"expect:\r\ncontent-length: 3\r\n\r\nabc", Verdict::Either(&[400, 417], post_of("abc"))),
    post("Expect without a body", "9110 10.1.1", b"expect: 100-continue\r\n\r\n", Verdict::Passed(post_of(""))),
    post("Expect and bad chunks", "9112 7.1", b"expect: 100-continue\r\ntransfer-encoding: chunked\r\n\r\nx\r\n", BROKEN),
    raw("Expect in HTTP/1.0", "9110 10.1.1", b"POST / HTTP/1.0\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\nabc", ABC),
];

#[tokio::test]
async fn chunks_are_exactly_chunks() {
    bed::hold("chunks", CHUNKS).await;
}

#[tokio::test]
async fn one_request_ends_where_the_next_begins() {
    bed::hold("pipelines", PIPELINES).await;
}
