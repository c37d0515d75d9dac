//! What belongs to one connection ends with it (RFC 9110 section 7.6.1), and what we add cannot be asked away. Every request that
//! reaches the origin in any table here is looked at for the way it came; these are the rows that attack it.

use super::bed;
use super::row::{BAD, EITHER, PASSED, Row, Verdict, field, passed, post, post_of, raw, seen};

const ABC: Verdict = Verdict::Passed(post_of("abc"));

#[rustfmt::skip] // one row, one line
const ROWS: &[Row] = &[
    field("a field that Connection names", "9110 7.6.1", b"connection: x-private\r\nx-private: 1\r\nx-public: 2", passed(&["x-public: 2"], &["x-private"])),
    field("fields that Connection names in a list", "9110 7.6.1", b"connection: X-A ,, x-b,\r\nx-a: 1\r\nx-b: 2\r\nx-c: 3", passed(&["x-c: 3"], &["x-a", "x-b"])),
    field("fields that two Connections name", "9110 7.6.1", b"connection: x-a\r\nconnection: x-b\r\nx-a: 1\r\nx-b: 2", passed(&[], &["x-a", "x-b"])),
    field("Connection behind what it names", "9110 7.6.1", b"x-a: 1\r\nconnection: x-a", passed(&[], &["x-a"])),
    field("Connection names X-Forwarded-For", "9110 7.6.1", b"connection: close, x-forwarded-for", PASSED),
    field("Connection names all that we add", "9110 7.6.1", b"connection: x-forwarded-for, x-forwarded-proto, x-forwarded-host, via, x-request-id, forwarded", PASSED),
    field("Connection names what we add, and a client's own", "9110 7.6.1", b"connection: x-forwarded-for, x-forwarded-proto\r\nx-forwarded-for: 6.6.6.6\r\nx-forwarded-proto: https", PASSED),
    field("Connection names Host", "9110 7.6.1", b"connection: host", passed(&["host: a"], &[])),
    field("Connection names HOST", "9110 7.6.1", b"connection: HOST", passed(&["host: a"], &[])),
    field("Connection names Connection", "9110 7.6.1", b"connection: connection", PASSED),
    field("Connection names Authorization and Cookie", "9110 7.6.1", b"connection: authorization, cookie\r\nauthorization: Basic x\r\ncookie: a=b", PASSED),
    field("Connection names Cache-Control", "9110 7.6.1", b"connection: cache-control\r\ncache-control: no-store", PASSED),
    field("Connection with what is no token", "9110 7.6.1", b"connection: a b, (c), \"d\"", EITHER),
    field("Connection empty", "9110 7.6.1", b"connection:", PASSED),
    field("Connection of commas", "9110 7.6.1", b"connection: ,,,", PASSED),
    field("Connection with ten thousand options", "9110 7.6.1", b"connection: {{x-{#},*10000}}z", Verdict::Refused(&[400, 431])),
    field("Connection with a thousand options", "9110 7.6.1", b"connection: {{x-{#},*1000}}z\r\nx-999: 1", Verdict::Either(&[400, 431], seen("GET / HTTP/1.1").lacks(&["x-999"]))),
    field("Connection close and keep-alive", "9112 9.3", b"connection: close, keep-alive", PASSED),
    post("Connection names Content-Length", "9110 7.6.1", b"connection: content-length\r\ncontent-length: 3\r\n\r\nabc", ABC),
    post("Connection names CONTENT-LENGTH first", "9110 7.6.1", b"Connection: Close, CONTENT-LENGTH\r\ncontent-length: 3\r\n\r\nabc", ABC),
    post("Connection names Transfer-Encoding", "9110 7.6.1", b"connection: transfer-encoding\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", ABC),
    post("Connection names Trailer", "9110 7.6.1", b"connection: trailer\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-sum: 1\r\n\r\n", Verdict::Passed(post_of("abc").trailers(&["x-sum: 1"]))),
    post("Connection names Expect", "9110 7.6.1", b"connection: expect\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\nabc", ABC),
    field("Keep-Alive", "9110 7.6.1", b"keep-alive: timeout=5", PASSED),
    field("Proxy-Connection", "9112 C.2.2", b"proxy-connection: keep-alive, x-a\r\nx-a: 1", passed(&["x-a: 1"], &[])),
    field("Proxy-Authorization", "9110 11.7.1", b"proxy-authorization: Basic eDp5", PASSED),
    field("Proxy-Authenticate", "9110 11.7.1", b"proxy-authenticate: Basic", PASSED),
    field("TE of gzip", "9110 10.1.4", b"connection: te\r\nte: gzip", passed(&[], &["te"])),
    field("TE of trailers and gzip", "9110 10.1.4", b"connection: te\r\nte: gzip, trailers;q=0.5", PASSED),
    field("TE that Connection does not name", "9110 10.1.4", b"te: gzip", passed(&[], &["te"])),
    field("TE of chunked", "9110 10.1.4", b"connection: te\r\nte: chunked", passed(&[], &["te"])),
    field("Upgrade to h2c", "9113 3.1", b"connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__", passed(&[], &["upgrade", "http2-settings", "connection"])),
    field("Upgrade to H2C and HTTP2-Settings left alone", "9113 3.1", b"connection: Upgrade\r\nupgrade: H2C\r\nhttp2-settings: AAMAAABkAAQAAP__", passed(&[], &["upgrade", "http2-settings", "connection"])),
    field("Upgrade to h2c without Connection", "9113 3.1", b"upgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__", passed(&[], &["upgrade", "http2-settings"])),
    field("Upgrade to h2c among others", "9113 3.1", b"connection: upgrade\r\nupgrade: websocket, h2c", Verdict::Either(&[400], seen("GET / HTTP/1.1"))),
    field("Upgrade to h2c in lines", "9113 3.1", b"connection: upgrade\r\nupgrade: h2c\r\nupgrade: websocket", Verdict::Either(&[400], seen("GET / HTTP/1.1"))),
    field("Upgrade to h2", "9113 3.1", b"connection: upgrade\r\nupgrade: h2", Verdict::Either(&[400, 501], seen("GET / HTTP/1.1"))),
    field("Upgrade to TLS", "2817 3", b"connection: upgrade\r\nupgrade: TLS/1.0", Verdict::Either(&[400, 501], seen("GET / HTTP/1.1"))),
    field("Upgrade without Connection", "9110 7.8", b"upgrade: websocket", passed(&[], &["upgrade", "connection"])),
    field("Connection without Upgrade", "9110 7.8", b"connection: upgrade", passed(&[], &["upgrade", "connection"])),
    field("Upgrade that is empty", "9110 7.8", b"connection: upgrade\r\nupgrade:", Verdict::Either(&[400], seen("GET / HTTP/1.1").lacks(&["upgrade"]))),
    raw("Upgrade in HTTP/1.0", "9110 7.8", b"GET / HTTP/1.0\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n", passed(&[], &["upgrade"])),
    field("an upgrade that is not taken goes on as HTTP", "9110 7.8", b"connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==", PASSED),
    field("a client's X-Forwarded-For", "7239 8.1", b"x-forwarded-for: 6.6.6.6, evil", PASSED),
    field("a client's X-Forwarded-Proto", "7239 8.1", b"x-forwarded-proto: https", passed(&["x-forwarded-proto: http"], &[])),
    field("a client's X-Forwarded-Host", "7239 8.1", b"x-forwarded-host: evil", passed(&["x-forwarded-host: a"], &[])),
    field("X_Forwarded_For, which CGI takes for ours", "3875 4.1.18", b"x_forwarded_for: 6.6.6.6", Verdict::Either(&[400], seen("GET / HTTP/1.1").lacks(&["x_forwarded_for"]))),
    field("another field with underscores", "9110 5.1", b"x_y: z", passed(&["x_y: z"], &[])),
    field("Max-Forwards of a GET", "9110 7.6.2", b"max-forwards: 0", PASSED),
    field("Range and If-Range pass", "9110 14.2", b"range: bytes=0-1\r\nif-range: \"x\"", passed(&["range: bytes=0-1", "if-range: \"x\""], &[])),
    field("one name in several lines", "9110 5.3", b"x-a: 1\r\nx-a: 2", passed(&["x-a: 1", "x-a: 2"], &[])),
    field("Via of others", "9110 7.6.3", b"via: 1.0 fred, 1.1 p.example.net", passed(&["via: 1.0 fred, 1.1 p.example.net, 1.1 lictor"], &[])),
    field("X-Request-Id that could break a log", "9110 5.5", b"x-request-id: a b\tc", EITHER),
];

/// Of a listener that wants no underscores, or leaves such fields out.
#[rustfmt::skip]
const REFUSED: &[Row] = &[
    field("x_y", "3875 4.1.18", b"x_y: z", BAD),
    field("X_Forwarded_For", "3875 4.1.18", b"x_forwarded_for: 6.6.6.6", BAD),
    field("no underscore", "9110 5.1", b"x-y: a_b", passed(&["x-y: a_b"], &[])),
];

#[rustfmt::skip]
const DROPPED: &[Row] = &[
    field("x_y", "3875 4.1.18", b"x_y: z\r\nx-y: w", passed(&["x-y: w"], &["x_y"])),
    field("X_Forwarded_For", "3875 4.1.18", b"x_forwarded_for: 6.6.6.6", passed(&[], &["x_forwarded_for"])),
    field("transfer_encoding", "9112 6.1", b"transfer_encoding: chunked", Verdict::Either(&[400], seen("GET / HTTP/1.1").lacks(&["transfer_encoding"]))),
];

#[tokio::test]
async fn underscores_are_refused_or_left_out_where_that_is_wanted() {
    let listener = |underscores: &str| {
        format!("[[listeners]]\nname = \"edge\"\nbind = \"127.0.0.1:0\"\nunderscores = \"{underscores}\"\n")
    };
    bed::hold_behind("underscores-refused", REFUSED, &listener("refuse")).await;
    bed::hold_behind("underscores-dropped", DROPPED, &listener("drop")).await;
}

#[tokio::test]
async fn what_is_meant_for_one_connection_ends_there_and_what_we_add_arrives() {
    bed::hold("hops", ROWS).await;
}
