//! Frames of HTTP/2 that must not be (RFC 9113 sections 3 to 6), or not there, or not now.

use super::attack::Fate::{Ends, Ignored, RefusedOr, Reset, Served};
use super::attack::{self, CLOSED, FLOW, PROTOCOL, Row, SIZE, row};
use super::frames::*;
use super::row::{post_of, seen};

#[rustfmt::skip] // one row, one line
const CONNECTION: &[Row] = &[
    row("plain", "9113 8.1", || get(1, &[]), Served(seen("GET / HTTP/1.1").has(&["host: a"]))),
    row("preface cut", "9113 3.4", || b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n{{{{{{{{{{{{".to_vec(), Ends(PROTOCOL)).bare(),
    row("preface with another version", "9113 3.4", || b"PRI * HTTP/2.1\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec(), Ends(PROTOCOL)).bare(),
    row("first frame is PING", "9113 3.4", || [PREFACE, &frame(PING, 0, 0, b"12345678")].concat(), Ends(PROTOCOL)).bare(),
    row("first frame is HEADERS", "9113 3.4", || [PREFACE, &get(1, &[])].concat(), Ends(PROTOCOL)).bare(),
    row("first frame acknowledges", "9113 6.5", || [PREFACE, &frame(SETTINGS, ACK, 0, b"")].concat(), Ends(PROTOCOL)).bare(),
    row("first frame is WINDOW_UPDATE", "9113 3.4", || [PREFACE, &window(0, 1)].concat(), Ends(PROTOCOL)).bare(),
    row("unknown frame on the connection", "9113 5.5", || frame(0xfa, 0xff, 0, b"what"), Ignored),
    row("unknown frame on a stream", "9113 5.5", || [post(1, &[]), frame(0xfa, 0, 1, b"what"), frame(DATA, END_STREAM, 1, b"abc")].concat(), Served(post_of("abc"))),
    row("unknown setting", "9113 6.5.2", || settings(&[(0xabcd, 7)]), Ignored),
    row("unknown flags", "9113 4.1", || frame(PING, 0xfe & !ACK, 0, b"12345678"), Ignored),
    row("reserved bit", "9113 4.1", || [frame(PING, 0, 0x8000_0000, b"12345678"), get(1, &[])].concat(), Served(seen("GET / HTTP/1.1"))),
    row("a frame too large", "9113 4.2", || [post(1, &[]), frame(DATA, 0, 1, &vec![0; 16_385])].concat(), Ends(SIZE)),
    row("HEADERS too large", "9113 4.2", || get(1, &[(b"x", &vec![b'y'; 17_000])]), Ends(SIZE)),
    row("an unknown frame too large", "9113 4.2", || frame(0xfa, 0, 0, &vec![0; 16_385]), Ends(SIZE)),
    row("a frame that says 16 MiB", "9113 4.2", || [&[0xff, 0xff, 0xff, DATA, 0, 0, 0, 0, 1][..], b"abc"].concat(), Ends(SIZE)),
    row("SETTINGS of five bytes", "9113 6.5", || frame(SETTINGS, 0, 0, b"\0\x03\0\0\0"), Ends(SIZE)),
    row("SETTINGS of seven bytes", "9113 6.5", || frame(SETTINGS, 0, 0, b"\0\x03\0\0\0\x05\0"), Ends(SIZE)),
    row("SETTINGS that acknowledge and say", "9113 6.5", || frame(SETTINGS, ACK, 0, b"\0\x03\0\0\0\x05"), Ends(SIZE)),
    row("SETTINGS on a stream", "9113 6.5", || frame(SETTINGS, 0, 1, b""), Ends(PROTOCOL)),
    row("ENABLE_PUSH of 2", "9113 6.5.2", || settings(&[(2, 2)]), Ends(PROTOCOL)),
    row("INITIAL_WINDOW_SIZE of 2^31", "9113 6.5.2", || settings(&[(4, 0x8000_0000)]), Ends(FLOW)),
    row("MAX_FRAME_SIZE too small", "9113 6.5.2", || settings(&[(5, 16_383)]), Ends(PROTOCOL)),
    row("MAX_FRAME_SIZE too large", "9113 6.5.2", || settings(&[(5, 0x0100_0000)]), Ends(PROTOCOL)),
    row("ENABLE_CONNECT_PROTOCOL of 2", "8441 3", || settings(&[(8, 2)]), Ends(PROTOCOL)),
    row("PING of seven bytes", "9113 6.7", || frame(PING, 0, 0, b"1234567"), Ends(SIZE)),
    row("PING of nine bytes", "9113 6.7", || frame(PING, 0, 0, b"123456789"), Ends(SIZE)),
    row("PING on a stream", "9113 6.7", || frame(PING, 0, 1, b"12345678"), Ends(PROTOCOL)),
    row("PING acknowledged unasked", "9113 6.7", || frame(PING, ACK, 0, b"12345678"), Ignored),
    row("GOAWAY of seven bytes", "9113 6.8", || frame(GOAWAY, 0, 0, b"\0\0\0\0\0\0\0"), Ends(SIZE)),
    row("GOAWAY on a stream", "9113 6.8", || frame(GOAWAY, 0, 1, &[0; 8]), Ends(PROTOCOL)),
    row("WINDOW_UPDATE of three bytes", "9113 6.9", || frame(WINDOW_UPDATE, 0, 0, b"\0\0\x01"), Ends(SIZE)),
    row("WINDOW_UPDATE of 0", "9113 6.9", || window(0, 0), Ends(PROTOCOL)),
    row("WINDOW_UPDATE beyond 2^31", "9113 6.9.1", || window(0, 0x7fff_ffff), Ends(FLOW)),
    row("PUSH_PROMISE", "9113 8.4", || frame(PUSH_PROMISE, END_HEADERS, 1, &[&[0, 0, 0, 2][..], &block(&GET)].concat()), Ends(PROTOCOL)),
    row("PUSH_PROMISE on an open stream", "9113 8.4", || [post(1, &[]), frame(PUSH_PROMISE, END_HEADERS, 1, &[&[0, 0, 0, 2][..], &block(&GET)].concat())].concat(), Ends(PROTOCOL)),
];

#[rustfmt::skip]
const STREAMS: &[Row] = &[
    row("DATA on the connection", "9113 6.1", || frame(DATA, 0, 0, b"abc"), Ends(PROTOCOL)),
    row("HEADERS on the connection", "9113 6.2", || get(0, &[]), Ends(PROTOCOL)),
    row("PRIORITY on the connection", "9113 6.3", || frame(PRIORITY, 0, 0, &[0; 5]), Ends(PROTOCOL)),
    row("RST_STREAM on the connection", "9113 6.4", || reset(0, 8), Ends(PROTOCOL)),
    row("CONTINUATION on the connection", "9113 6.10", || frame(CONTINUATION, END_HEADERS, 0, b""), Ends(PROTOCOL)),
    row("PRIORITY of four bytes", "9113 6.3", || [post(1, &[]), frame(PRIORITY, 0, 1, &[0; 4])].concat(), Reset(SIZE)),
    row("PRIORITY on itself", "7540 5.3.1", || [post(1, &[]), frame(PRIORITY, 0, 1, &[0, 0, 0, 1, 0]), frame(DATA, END_STREAM, 1, b"abc")].concat(), Reset(PROTOCOL)).with_good(1),
    row("PRIORITY of a stream to come", "9113 6.3", || [frame(PRIORITY, 0, 3, &[0, 0, 0, 0, 9]), get(1, &[])].concat(), Served(seen("GET / HTTP/1.1"))),
    row("RST_STREAM of three bytes", "9113 6.4", || [post(1, &[]), frame(RST_STREAM, 0, 1, &[0; 3])].concat(), Ends(SIZE)),
    row("RST_STREAM on an idle stream", "9113 6.4", || reset(1, 8), Ends(PROTOCOL)),
    row("DATA on an idle stream", "9113 5.1", || frame(DATA, 0, 1, b"abc"), Ends(CLOSED)),
    row("WINDOW_UPDATE on an idle stream", "9113 5.1", || window(1, 1), Ends(PROTOCOL)),
    row("CONTINUATION on an idle stream", "9113 6.10", || frame(CONTINUATION, END_HEADERS, 1, &block(&GET)), Ends(PROTOCOL)),
    row("HEADERS on an even stream", "9113 5.1.1", || get(2, &[]), Ends(PROTOCOL)),
    row("HEADERS on a lower stream", "9113 5.1.1", || [get(5, &[]), get(3, &[])].concat(), Ends(CLOSED)).about(3).with_good(1),
    row("HEADERS behind END_STREAM", "9113 5.1", || [get(1, &[]), get(1, &[])].concat(), Reset(CLOSED)).with_good(1),
    row("DATA behind END_STREAM", "9113 5.1", || [get(1, &[]), frame(DATA, END_STREAM, 1, b"abc")].concat(), Reset(CLOSED)).with_good(1),
    row("DATA behind a reset of ours", "9113 5.1", || [post(1, &[]), reset(1, 8), frame(DATA, 0, 1, b"abc")].concat(), Reset(CLOSED)),
    row("HEADERS behind a reset of ours", "9113 5.1", || [post(1, &[]), reset(1, 8), get(1, &[])].concat(), Reset(CLOSED)),
    row("DATA padded beyond its end", "9113 6.1", || [post(1, &[]), frame(DATA, PADDED | END_STREAM, 1, b"\x04abc")].concat(), Ends(PROTOCOL)),
    row("DATA padded without a length", "9113 6.1", || [post(1, &[]), frame(DATA, PADDED, 1, b"")].concat(), Ends(SIZE)),
    row("DATA padded well", "9113 6.1", || [post(1, &[]), frame(DATA, PADDED | END_STREAM, 1, b"\x02abc\0\0")].concat(), Served(post_of("abc"))),
    row("HEADERS padded beyond its end", "9113 6.2", || frame(HEADERS, WHOLE | PADDED, 1, &[&[200][..], &block(&GET)].concat()), Ends(PROTOCOL)),
    row("HEADERS too short for its priority", "9113 6.2", || frame(HEADERS, WHOLE | HAS_PRIORITY, 1, &[0; 4]), Ends(SIZE)),
    row("HEADERS that depend on themselves", "7540 5.3.1", || frame(HEADERS, WHOLE | HAS_PRIORITY, 1, &[&[0, 0, 0, 1, 9][..], &block(&GET)].concat()), Reset(PROTOCOL)),
    row("WINDOW_UPDATE of 0 on a stream", "9113 6.9", || [post(1, &[]), window(1, 0)].concat(), Reset(PROTOCOL)),
    row("WINDOW_UPDATE beyond 2^31 on a stream", "9113 6.9.1", || [post(1, &[]), window(1, 0x7fff_ffff)].concat(), Reset(FLOW)),
    row("windows beyond 2^31 by a setting", "9113 6.9.2", || [post(1, &[]), window(1, 0x7fff_0000), settings(&[(4, 0x7fff_ffff)])].concat(), Ends(FLOW)),
    row("no CONTINUATION but DATA", "9113 6.10", || [headers(1, 0, &POST), frame(DATA, END_STREAM, 1, b"abc")].concat(), Ends(PROTOCOL)),
    row("PING within a block", "9113 6.10", || [headers(1, 0, &GET), frame(PING, 0, 0, b"12345678")].concat(), Ends(PROTOCOL)),
    row("unknown frame within a block", "9113 5.5", || [headers(1, END_STREAM, &GET), frame(0xfa, 0, 1, b""), frame(CONTINUATION, END_HEADERS, 1, b"")].concat(), Ends(PROTOCOL)),
    row("CONTINUATION of another stream", "9113 6.10", || [headers(1, END_STREAM, &GET), frame(CONTINUATION, END_HEADERS, 3, b"")].concat(), Ends(PROTOCOL)),
    row("HEADERS of another stream within a block", "9113 6.10", || [headers(1, END_STREAM, &GET), get(3, &[])].concat(), Ends(PROTOCOL)),
    row("CONTINUATION behind the end of a block", "9113 6.10", || [get(1, &[]), frame(CONTINUATION, END_HEADERS, 1, b"")].concat(), Ends(PROTOCOL)).with_good(1),
    row("a block in three", "9113 6.10", || [headers(1, END_STREAM, &GET[..2]), frame(CONTINUATION, 0, 1, &block(&GET[2..3])), frame(CONTINUATION, END_HEADERS, 1, &block(&GET[3..]))].concat(), Served(seen("GET / HTTP/1.1"))),
    row("trailers that do not end the stream", "9113 8.1", || [post(1, &[]), frame(DATA, 0, 1, b"abc"), headers(1, END_HEADERS, &[(b"x", b"y")])].concat(), Reset(PROTOCOL)),
    row("trailers with a pseudo header", "9113 8.1", || [post(1, &[]), frame(DATA, 0, 1, b"abc"), headers(1, WHOLE, &[(b":path", b"/evil")])].concat(), RefusedOr(post_of("abc"))),
    row("trailers", "9113 8.1", || [post(1, &[]), frame(DATA, 0, 1, b"abc"), headers(1, WHOLE, &[(b"x-sum", b"6")])].concat(), Served(post_of("abc").trailers(&["x-sum: 6"]))),
    row("a body without a length", "9112 6.1", || [post(1, &[]), frame(DATA, 0, 1, b"ab"), frame(DATA, END_STREAM, 1, b"c")].concat(), Served(post_of("abc").has(&["transfer-encoding: chunked"]).lacks(&["content-length"]))),
    row("a length that is kept", "9113 8.1.1", || [post(1, &[(b"content-length", b"3")]), frame(DATA, END_STREAM, 1, b"abc")].concat(), Served(post_of("abc").has(&["content-length: 3"]))),
    row("a body longer than its length", "9113 8.1.1", || [post(1, &[(b"content-length", b"3")]), frame(DATA, END_STREAM, 1, b"abcGET /evil HTTP/1.1\r\nhost: a\r\n\r\n")].concat(), Reset(PROTOCOL)),
    row("a body shorter than its length", "9113 8.1.1", || [post(1, &[(b"content-length", b"9")]), frame(DATA, END_STREAM, 1, b"abc")].concat(), Reset(PROTOCOL)),
    row("a length and no body", "9113 8.1.1", || headers(1, WHOLE, &[&POST[..], &[(b"content-length", b"3")]].concat()), Reset(PROTOCOL)),
    row("a length and only trailers", "9113 8.1.1", || [post(1, &[(b"content-length", b"3")]), headers(1, WHOLE, &[(b"x", b"y")])].concat(), Reset(PROTOCOL)),
];

#[tokio::test]
async fn frames_of_a_connection_are_right_or_end_it() {
    attack::hold("h2-connection", CONNECTION).await;
}

#[tokio::test]
async fn frames_of_a_stream_are_right_or_end_it() {
    attack::hold("h2-streams", STREAMS).await;
}
