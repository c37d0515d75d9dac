//! Heads of answers that are none, or say what an origin must not say to somebody else's client: interim answers and switches of
//! protocol that nobody asked for, and fields that belong to the connection they came by.

use super::lies::Fate::{self, Bad, BadOr, Got};
use super::lies::{self, Row, got, lie};

const ABC: Fate = BadOr(got("abc"));

#[rustfmt::skip] // one row, one line
const HEADS: &[Row] = &[
    lie("no reason", "9112 4", b"HTTP/1.1 200 \r\ncontent-length: 3\r\n\r\nabc", Got(got("abc"))),
    lie("no reason and no space", "9112 4", b"HTTP/1.1 200\r\ncontent-length: 3\r\n\r\nabc", ABC),
    lie("a reason of ours would be another", "9112 4", b"HTTP/1.1 200 All is fine: really\r\ncontent-length: 3\r\n\r\nabc", Got(got("abc"))),
    lie("a status that nobody knows", "9110 15", b"HTTP/1.1 299 x\r\ncontent-length: 3\r\n\r\nabc", Got(got("abc").status(299))),
    lie("nothing", "9112 8", b"", Bad).closes(),
    lie("half a line", "9112 8", b"HTTP/1.1 20", Bad).closes(),
    lie("half a head", "9112 8", b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n", Bad).closes(),
    lie("HTTP/0.9", "9112 4", b"abc", Bad).closes(),
    lie("HTML", "9112 4", b"<html>\r\n\r\n</html>\r\n\r\n", Bad).closes(),
    lie("a request", "9112 2.1", b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", Bad),
    lie("an empty line before", "9112 2.2", b"\r\nHTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc", ABC),
    lie("a space before", "9112 4", b" HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc", Bad),
    lie("garbage before", "9112 4", b"xHTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc", Bad),
    lie("no status", "9112 4", b"HTTP/1.1\r\ncontent-length: 3\r\n\r\nabc", Bad),
    lie("no status but a reason", "9112 4", b"HTTP/1.1 OK\r\ncontent-length: 3\r\n\r\nabc", Bad),
    lie("status 0", "9110 15", b"HTTP/1.1 000 x\r\ncontent-length: 3\r\n\r\nabc", Bad),
    lie("status 99", "9110 15", b"HTTP/1.1 99 x\r\ncontent-length: 3\r\n\r\nabc", Bad),
    lie("status 099", "9110 15", b"HTTP/1.1 099 x\r\ncontent-length: 3\r\n\r\nabc", Bad),
    lie("status 600", "9110 15", b"HTTP/1.1 600 x\r\ncontent-length: 3\r\n\r\nabc", Bad),
    lie("status 999", "9110 15", b"HTTP/1.1 999 x\r\ncontent-length: 3\r\n\r\nabc", Bad),
    lie("status 1000", "9110 15", b"HTTP/1.1 1000 x\r\ncontent-length: 3\r\n\r\nabc", Bad),
    lie("status 2000", "9110 15", b"HTTP/1.1 2000 x\r\ncontent-length: 3\r\n\r\nabc", Bad),
    lie("status 20", "9110 15", b"HTTP/1.1 20 x\r\ncontent-length: 3\r\n\r\nabc", Bad),
    lie("status 2x0", "9112 4", b"HTTP/1.1 2x0 x\r\ncontent-length: 3\r\n\r\nabc", Bad),
    lie("status -200", "9112 4", b"HTTP/1.1 -200 x\r\ncontent-length: 3\r\n\r\nabc", Bad),
    lie("status +20", "9112 4", b"HTTP/1.1 +20 x\r\ncontent-length: 3\r\n\r\nabc", Bad),
    lie("status 200.0", "9112 4", b"HTTP/1.1 200.0 x\r\ncontent-length: 3\r\n\r\nabc", Bad),
    lie("status 200OK", "9112 4", b"HTTP/1.1 200OK\r\ncontent-length: 3\r\n\r\nabc", Bad),
    lie("two spaces before the status", "9112 4", b"HTTP/1.1  200 OK\r\ncontent-length: 3\r\n\r\nabc", Bad),
    lie("a tab before the status", "9112 4", b"HTTP/1.1\t200 OK\r\ncontent-length: 3\r\n\r\nabc", Bad),
    lie("no version", "9112 4", b"HTTP 200 OK\r\ncontent-length: 3\r\n\r\nabc", Bad),
    lie("only a status", "9112 4", b"200 OK\r\ncontent-length: 3\r\n\r\nabc", Bad),
    lie("HTTP/2.0", "9110 2.5", b"HTTP/2.0 200 OK\r\ncontent-length: 3\r\n\r\nabc", Bad),
    lie("HTTP/2", "9110 2.5", b"HTTP/2 200\r\ncontent-length: 3\r\n\r\nabc", Bad),
    lie("HTTP/0.9 as a version", "9110 2.5", b"HTTP/0.9 200 OK\r\ncontent-length: 3\r\n\r\nabc", Bad),
    lie("HTTP/1.10", "9112 2.3", b"HTTP/1.10 200 OK\r\ncontent-length: 3\r\n\r\nabc", Bad),
    lie("HTTP/1.2", "9110 2.5", b"HTTP/1.2 200 OK\r\ncontent-length: 3\r\n\r\nabc", ABC),
    lie("http/1.1", "9112 2.3", b"http/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc", Bad),
    lie("ICY", "9112 4", b"ICY 200 OK\r\ncontent-length: 3\r\n\r\nabc", Bad),
    lie("HTTP/2 frames", "9113 3.4", b"\0\0\0\x04\0\0\0\0\0\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\x01", Bad).closes(),
    lie("NUL in the reason", "9112 4", b"HTTP/1.1 200 O\0K\r\ncontent-length: 3\r\n\r\nabc", Bad),
    lie("ESC in the reason", "9112 4", b"HTTP/1.1 200 \x1b[2J\r\ncontent-length: 3\r\n\r\nabc", Bad),
    lie("bare CR in the reason", "9112 4", b"HTTP/1.1 200 O\rK\r\ncontent-length: 3\r\n\r\nabc", Bad),
    lie("obs-text in the reason", "9112 4", b"HTTP/1.1 200 caf\xe9\r\ncontent-length: 3\r\n\r\nabc", ABC),
    lie("bare LF everywhere", "9112 2.2", b"HTTP/1.1 200 OK\ncontent-length: 3\n\nabc", Bad),
    lie("bare LF behind the line", "9112 2.2", b"HTTP/1.1 200 OK\ncontent-length: 3\r\n\r\nabc", Bad),
    lie("bare LF behind a field", "9112 2.2", b"HTTP/1.1 200 OK\r\nx: y\ncontent-length: 3\r\n\r\nabc", Bad),
    lie("bare LF for the empty line", "9112 2.2", b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\nabc", Bad),
    lie("CR CR LF", "9112 2.2", b"HTTP/1.1 200 OK\r\nx: y\r\r\ncontent-length: 3\r\n\r\nabc", Bad),
    lie("folded", "9112 5.2", b"HTTP/1.1 200 OK\r\nx: y\r\n z\r\ncontent-length: 3\r\n\r\nabc", BadOr(got("abc").has(&["x: y z"]))),
    lie("folded length", "9112 5.2", b"HTTP/1.1 200 OK\r\ncontent-length:\r\n 3\r\n\r\nabc", Bad),
    lie("folded coding", "9112 5.2", b"HTTP/1.1 200 OK\r\ntransfer-encoding:\r\n chunked\r\n\r\n0\r\n\r\n", Bad),
    lie("space before the first field", "9112 2.2", b"HTTP/1.1 200 OK\r\n x: y\r\ncontent-length: 3\r\n\r\nabc", Bad),
    lie("space before the colon", "9112 5.1", b"HTTP/1.1 200 OK\r\nx : y\r\ncontent-length: 3\r\n\r\nabc", BadOr(got("abc").has(&["x: y"]))),
    lie("space before the colon of length", "9112 5.1", b"HTTP/1.1 200 OK\r\ncontent-length : 3\r\n\r\nabc", Bad),
    lie("space before the colon of coding", "9112 5.1", b"HTTP/1.1 200 OK\r\ntransfer-encoding : chunked\r\n\r\n0\r\n\r\n", Bad),
    lie("space in a name", "9110 5.1", b"HTTP/1.1 200 OK\r\nx y: z\r\ncontent-length: 3\r\n\r\nabc", Bad),
    lie("no name", "9110 5.1", b"HTTP/1.1 200 OK\r\n: z\r\ncontent-length: 3\r\n\r\nabc", Bad),
    lie("no colon", "9112 5", b"HTTP/1.1 200 OK\r\nxyz\r\ncontent-length: 3\r\n\r\nabc", Bad),
    lie("NUL in a name", "9110 5.1", b"HTTP/1.1 200 OK\r\nx\0: z\r\ncontent-length: 3\r\n\r\nabc", Bad),
    lie("name beyond ASCII", "9110 5.1", b"HTTP/1.1 200 OK\r\nx\xe9: z\r\ncontent-length: 3\r\n\r\nabc", Bad),
    lie("name in parentheses", "9110 5.6.2", b"HTTP/1.1 200 OK\r\n(x): z\r\ncontent-length: 3\r\n\r\nabc", Bad),
    lie("NUL in a value", "9110 5.5", b"HTTP/1.1 200 OK\r\nx: y\0z\r\ncontent-length: 3\r\n\r\nabc", Bad),
    lie("bare CR in a value", "9112 2.2", b"HTTP/1.1 200 OK\r\nx: y\rset-cookie: a=b\r\ncontent-length: 3\r\n\r\nabc", Bad),
    lie("ESC in a value", "9110 5.5", b"HTTP/1.1 200 OK\r\nx: \x1b[2J\r\ncontent-length: 3\r\n\r\nabc", Bad),
    lie("DEL in a value", "9110 5.5", b"HTTP/1.1 200 OK\r\nx: \x7f\r\ncontent-length: 3\r\n\r\nabc", Bad),
    lie("obs-text in a value", "9110 5.5", b"HTTP/1.1 200 OK\r\nx: caf\xe9\r\ncontent-length: 3\r\n\r\nabc", BadOr(got("abc").has(&["x: caf\u{e9}"]))),
    lie("a head too long", "9110 5.4", b"HTTP/1.1 200 OK\r\nx: {{y*100000}}\r\ncontent-length: 3\r\n\r\nabc", Bad),
    lie("a head without end", "9110 5.4", b"HTTP/1.1 200 OK\r\n{{x-{#}: y\r\n*20000}}", Bad),
    lie("too many fields", "9110 5.4", b"HTTP/1.1 200 OK\r\n{{x-{#}: y\r\n*300}}content-length: 3\r\n\r\nabc", Bad),
    lie("a reason too long", "9112 4", b"HTTP/1.1 200 {{y*100000}}\r\ncontent-length: 3\r\n\r\nabc", Bad),
    lie("reset after the head", "9112 8", b"HTTP/1.1 200 OK\r\ncontent-le", Bad).closes(),
];

const UPGRADE: &str = "connection: upgrade\r\nupgrade: websocket\r\n";

#[rustfmt::skip]
const FIELDS: &[Row] = &[
    lie("a 103 and the answer", "8297 2", b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc", Got(got("abc"))),
    lie("a 100 that nobody asked for", "9110 15.2.1", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc", Got(got("abc"))),
    lie("a 102 and a 199", "9110 15.2", b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 199 x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc", Got(got("abc"))),
    lie("a 103 with fields of its connection", "9110 7.6.1", b"HTTP/1.1 103 Early Hints\r\nconnection: x\r\nx: y\r\nkeep-alive: timeout=5\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc", Got(got("abc"))),
    lie("a bad 103", "9112 5.1", b"HTTP/1.1 103 Early Hints\r\nx y: z\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc", Bad),
    lie("interim answers without end", "9110 15.2", b"{{HTTP/1.1 103 Early Hints\r\n\r\n*1000}}HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc", Bad),
    lie("only an interim answer", "9110 15.2", b"HTTP/1.1 103 Early Hints\r\n\r\n", Bad).closes(),
    lie("a 101 that nobody asked for", "9110 15.2.2", b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nevil", Bad),
    lie("a 101 to h2c that nobody asked for", "9110 15.2.2", b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n", Bad),
    lie("a 101 without fields", "9110 15.2.2", b"HTTP/1.1 101 Switching Protocols\r\n\r\n", Bad),
    lie("a 101 to another protocol than asked for", "9110 7.8", b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\nevil", Bad).asked_with(UPGRADE),
    lie("a 101 without Upgrade", "9110 7.8", b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\r\nevil", Bad).asked_with(UPGRADE),
    lie("a 101 with a length", "9110 8.6", b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\ncontent-length: 3\r\n\r\nabc", Bad).asked_with(UPGRADE),
    lie("a 101 in chunks", "9112 6.1", b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", Bad).asked_with(UPGRADE),
    lie("a 200 to an upgrade", "9110 7.8", b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc", Got(got("abc"))).asked_with(UPGRADE),
    lie("a 426", "9110 15.5.22", b"HTTP/1.1 426 Upgrade Required\r\nconnection: upgrade\r\nupgrade: websocket\r\ncontent-length: 3\r\n\r\nabc", Got(got("abc").status(426))),
    lie("fields that Connection names", "9110 7.6.1", b"HTTP/1.1 200 OK\r\nconnection: x-a, X-B\r\nx-a: 1\r\nx-b: 2\r\nx-c: 3\r\ncontent-length: 3\r\n\r\nabc", Got(got("abc").has(&["x-c: 3"]).lacks(&["x-a", "x-b", "connection"]))),
    lie("fields that two Connections name", "9110 7.6.1", b"HTTP/1.1 200 OK\r\nx-a: 1\r\nconnection: x-a\r\nConnection: close, x-b\r\nx-b: 2\r\ncontent-length: 3\r\n\r\nabc", Got(got("abc").lacks(&["x-a", "x-b", "connection"]))),
    lie("fields that Connection names beside keep-alive", "9110 7.6.1", b"HTTP/1.1 200 OK\r\nconnection: keep-alive, x-a\r\nx-a: 1\r\ncontent-length: 3\r\n\r\nabc", Got(got("abc").lacks(&["x-a"]))),
    lie("Connection names Content-Length", "9110 7.6.1", b"HTTP/1.1 200 OK\r\nconnection: content-length\r\ncontent-length: 3\r\n\r\nabc", Got(got("abc"))),
    lie("Connection names Transfer-Encoding", "9110 7.6.1", b"HTTP/1.1 200 OK\r\nconnection: transfer-encoding\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", Got(got("abc"))),
    lie("Connection names what is no token", "9110 7.6.1", b"HTTP/1.1 200 OK\r\nconnection: a b, \"c\"\r\ncontent-length: 3\r\n\r\nabc", ABC),
    lie("Keep-Alive and its kind", "9110 7.6.1", b"HTTP/1.1 200 OK\r\nkeep-alive: timeout=5\r\nproxy-connection: keep-alive\r\nproxy-authenticate: Basic\r\nte: gzip\r\ncontent-length: 3\r\n\r\nabc", Got(got("abc"))),
    lie("Connection close ends ours, not theirs", "9112 9.6", b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 3\r\n\r\nabc", Got(got("abc").lacks(&["connection"]).spent())),
    lie("Upgrade to h2c offered", "9113 3.1", b"HTTP/1.1 200 OK\r\nconnection: upgrade\r\nupgrade: h2c\r\ncontent-length: 3\r\n\r\nabc", Got(got("abc").lacks(&["upgrade"]))),
    lie("Upgrade without Connection", "9110 7.8", b"HTTP/1.1 200 OK\r\nupgrade: h2,h2c\r\ncontent-length: 3\r\n\r\nabc", Got(got("abc").lacks(&["upgrade"]))),
    lie("cookies stay apart", "6265 3", b"HTTP/1.1 200 OK\r\nset-cookie: a=1; Expires=Wed, 09 Jun 2027 10:18:14 GMT\r\nset-cookie: b=2\r\ncontent-length: 3\r\n\r\nabc", Got(got("abc").has(&["set-cookie: a=1; Expires=Wed, 09 Jun 2027 10:18:14 GMT", "set-cookie: b=2"]))),
    lie("a 205 with a body", "9110 15.3.6", b"HTTP/1.1 205 Reset Content\r\ncontent-length: 0\r\n\r\n", Got(got("").status(205))),
];

#[tokio::test]
async fn the_head_of_an_answer_is_one_or_a_502() {
    lies::hold("replies", HEADS).await;
}

#[tokio::test]
async fn what_an_origin_says_to_us_ends_with_us() {
    lies::hold("origin-fields", FIELDS).await;
}
