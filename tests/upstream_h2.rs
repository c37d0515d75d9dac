//! HTTP/2 towards endpoints: who shares a connection, what becomes of requests when one ends, and bodies both ways.

mod crowds;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use h2::Reason;
use tokio::sync::Notify;

use crate::support::app::{Proxy, to_endpoints};
use crate::support::client::{Client, eventually, get, try_get};
use crate::support::frames::{FrameOrigin, GOAWAY, RST_STREAM, WINDOW_UPDATE};
use crate::support::h2::{H2Origin, Reply, Taking};
use crate::support::origin::Origin;
use crate::support::window::{endpoint, sum};

const SOON: Duration = Duration::from_secs(10);
const GET: &str = "GET /a HTTP/1.1\r\nhost: shop\r\n\r\n";
const POST: &str = "POST /a HTTP/1.1\r\nhost: shop\r\ncontent-length: 4\r\n\r\nbody";
const MUCH: usize = 3_000_000;

fn to(endpoints: &[SocketAddr], more: &str) -> Proxy {
    Proxy::start(&to_endpoints(endpoints, &format!("protocol = \"h2\"\n{more}")))
}

async fn pair() -> (H2Origin, Proxy) {
    let origin = H2Origin::start().await;
    let proxy = to(&[origin.address()], "");
    (origin, proxy)
}

fn bytes() -> Vec<u8> {
    let mut seed = fastrand::Rng::with_seed(7);
    std::iter::repeat_with(|| seed.u8(..)).take(MUCH).collect()
}

/// So many requests that are on their way at once.
async fn together(proxy: &Proxy, count: usize) -> Vec<Client> {
    let mut clients = Vec::new();
    for _ in 0..count {
        let mut client = Client::connect(proxy.address()).await;
        client.send(GET).await;
        clients.push(client);
    }
    clients
}

#[tokio::test]
async fn a_request_arrives_as_http_2_has_it_and_its_answer_returns_as_http_1_has_it() {
    let (origin, proxy) = pair().await;
    let lines =
        "host: shop:81\r\nconnection: x-mine\r\nx-mine: 1\r\ncookie: a=1; b=2\r\nX-Other: 2\r\nkeep-alive: 5\r\n";
    let head = format!("PUT /a?b=c HTTP/1.1\r\n{lines}content-length: 4\r\n\r\n");
    let answer = Client::connect(proxy.address()).await.exchange(format!("{head}body")).await;
    assert_eq!((answer.status, answer.text().as_str(), answer.header("content-length")), (200, "one", Some("3")));
    let asked = &origin.asked()[0];
    assert_eq!((asked.method.as_str(), asked.uri.to_string().as_str()), ("PUT", "http://shop:81/a?b=c"));
    assert_eq!((asked.body.as_slice(), &asked.headers["content-length"]), (&b"body"[..], &"4".parse().unwrap()));
    assert_eq!(
        (&asked.headers["cookie"], &asked.headers["x-other"]),
        (&"a=1; b=2".parse().unwrap(), &"2".parse().unwrap())
    );
    assert_eq!(asked.headers["x-forwarded-host"], "shop:81");
    for name in ["host", "connection", "x-mine", "keep-alive", "transfer-encoding"] {
        assert!(!asked.headers.contains_key(name), "{name}");
    }
}

#[tokio::test]
async fn requests_share_a_connection_also_those_that_come_together_when_there_is_none() {
    let (origin, proxy) = pair().await;
    let gate = Arc::new(Notify::new());
    (0..20).for_each(|_| origin.once(Reply::After(Arc::clone(&gate), Box::new(Reply::Text(200, b"late".to_vec())))));
    let mut clients = together(&proxy, 20).await;
    eventually("all are there", SOON, async || origin.asked().len() == 20).await;
    assert_eq!(origin.accepted(), 1);
    gate.notify_waiters();
    for client in &mut clients {
        assert_eq!(client.response().await.text(), "late");
    }
    assert_eq!(get(proxy.address(), "shop", "/").await.text(), "one");
    assert_eq!(origin.accepted(), 1);
}

#[tokio::test]
async fn more_streams_than_an_endpoint_takes_go_on_another_connection() {
    let origin = H2Origin::taking(Taking { streams: Some(2), ..Taking::default() }).await;
    let proxy = to(&[origin.address()], "");
    (0..5).for_each(|_| origin.once(Reply::Hang));
    let _clients = together(&proxy, 5).await;
    eventually("all are there", SOON, async || origin.asked().len() == 5).await;
    let mut on: Vec<usize> = origin.asked().iter().map(|asked| asked.connection).collect();
    on.sort_unstable();
    assert!((0..5).all(|connection| on.iter().filter(|one| **one == connection).count() <= 2), "{on:?}");
    assert_eq!(sum(proxy.admin(), "lictor_attempts_total", "reset").await, 0.0, "nobody was refused");
}

#[tokio::test]
async fn a_limit_on_connections_holds_for_those_that_are_shared() {
    let origin = H2Origin::taking(Taking { streams: Some(1), ..Taking::default() }).await;
    let proxy = to(&[origin.address()], "limits = { connections = 1 }\nretry = { attempts = 0 }");
    origin.once(Reply::Hang);
    let _client = together(&proxy, 1).await;
    eventually("it is there", SOON, async || origin.asked().len() == 1).await;
    assert_eq!(get(proxy.address(), "shop", "/").await.status, 503);
    assert_eq!(origin.accepted(), 1);
}

#[tokio::test]
async fn bodies_of_any_size_pass_both_ways_at_once_and_unchanged() {
    let (origin, proxy) = pair().await;
    let bytes = bytes();
    origin.once(Reply::Echo);
    let mut client = Client::connect(proxy.address()).await;
    client.send(format!("POST / HTTP/1.1\r\nhost: shop\r\ncontent-length: {MUCH}\r\n\r\n")).await;
    let (head, mut body) = client.head().await;
    assert_eq!(head.status, 200);
    let mut back = Vec::new();
    for piece in bytes.chunks(100_000) {
        client.send(piece).await;
        while back.len() < piece.len() {
            back.extend_from_slice(&client.piece(&mut body).await.unwrap().unwrap());
        }
        assert!(back == piece);
        back.clear();
    }
    assert!(client.piece(&mut body).await.unwrap().is_none());
    assert!(origin.asked()[0].body == bytes && origin.asked()[0].complete);
    origin.once(Reply::Text(200, bytes.clone()));
    assert!(get(proxy.address(), "shop", "/").await.body == bytes, "an answer of known length");
}

#[tokio::test]
async fn an_endpoint_that_does_not_read_stops_the_client_and_nobody_else() {
    let origin = H2Origin::taking(Taking { window: Some(10_000), ..Taking::default() }).await;
    let proxy = to(&[origin.address()], "");
    origin.once(Reply::Hang);
    let mut slow = tokio::net::TcpStream::connect(proxy.address()).await.unwrap();
    let head = "POST / HTTP/1.1\r\nhost: shop\r\ncontent-length: 100000000\r\n\r\n";
    tokio::io::AsyncWriteExt::write_all(&mut slow, head.as_bytes()).await.unwrap();
    let mut sent = 0;
    let piece = vec![0; 100_000];
    while let Ok(written) =
        tokio::time::timeout(Duration::from_secs(1), tokio::io::AsyncWriteExt::write(&mut slow, &piece)).await
    {
        sent += written.unwrap();
        assert!(sent < 50_000_000, "{sent} bytes were taken for an endpoint that does not read");
    }
    assert_eq!(get(proxy.address(), "shop", "/").await.text(), "one");
    assert_eq!(origin.accepted(), 1, "on the same connection");
}

#[tokio::test]
async fn a_client_that_does_not_read_stops_its_stream_and_nobody_elses() {
    let (origin, proxy) = pair().await;
    origin.once(Reply::Text(200, vec![b'x'; 50_000_000]));
    let mut slow = Client::connect(proxy.address()).await;
    slow.send(GET).await;
    slow.head().await;
    for _ in 0..20 {
        assert_eq!(get(proxy.address(), "shop", "/").await.text(), "one");
    }
    assert_eq!(origin.accepted(), 1);
}

#[tokio::test]
async fn trailers_travel_both_ways() {
    let (origin, proxy) = pair().await;
    origin.once(Reply::Echo);
    let request = "POST / HTTP/1.1\r\nhost: shop\r\nte: trailers\r\nconnection: te\r\ntrailer: x-check\r\n\
                   transfer-encoding: chunked\r\n\r\n2\r\nde\r\n0\r\nx-check: 9\r\ncontent-length: 5\r\n\r\n";
    let answer = Client::connect(proxy.address()).await.exchange(request).await;
    assert_eq!((answer.text().as_str(), answer.trailers), ("de", vec![("x-check".to_owned(), "9".to_owned())]));
    let asked = &origin.asked()[0];
    assert_eq!((asked.trailers.len(), &asked.trailers["x-check"]), (1, &"9".parse().unwrap()));
    assert_eq!(asked.headers["te"], "trailers");
}

#[tokio::test]
async fn an_answer_of_two_pieces_and_one_without_any_end_as_they_should() {
    let (origin, proxy) = pair().await;
    let pieces = vec![b"one ".to_vec(), b"two".to_vec()];
    origin.once(Reply::Whole { head: vec![], pieces, trailers: vec![] });
    origin.once(Reply::Whole { head: vec![("status", "204")], pieces: vec![], trailers: vec![] });
    let unchanged = vec![("status", "304"), ("content-length", "1234"), ("etag", "\"x\"")];
    origin.once(Reply::Whole { head: unchanged, pieces: vec![], trailers: vec![] });
    let mut client = Client::connect(proxy.address()).await;
    assert_eq!(client.exchange(GET).await.text(), "one two");
    assert_eq!(client.exchange(GET).await.status, 204);
    let unchanged = client.exchange(GET).await;
    assert_eq!((unchanged.status, unchanged.header("etag")), (304, Some("\"x\"")));
    client.send("HEAD /a HTTP/1.1\r\nhost: shop\r\n\r\n").await;
    let (head, _) = client.head().await;
    assert_eq!((head.status, head.header("content-length")), (200, Some("3")));
    assert_eq!(client.exchange(GET).await.text(), "one");
    assert_eq!(sum(proxy.admin(), "lictor_attempts_total", "success").await, 5.0);
}

#[tokio::test]
async fn interim_answers_are_passed_on() {
    let (origin, proxy) = pair().await;
    origin.once(Reply::Hinted(Box::new(Reply::Text(200, b"page".to_vec()))));
    let mut client = Client::connect(proxy.address()).await;
    let hint = client.exchange(GET).await;
    assert_eq!((hint.status, hint.header("link")), (103, Some("</style.css>; rel=preload")));
    assert_eq!(client.response().await.text(), "page");
}

#[tokio::test]
async fn a_client_that_leaves_cancels_its_stream_and_nobody_elses() {
    let (origin, proxy) = pair().await;
    for reply in [Reply::Hang, Reply::Begin("some")] {
        let before = (origin.asked().len(), origin.resets().len());
        origin.once(reply);
        let client = together(&proxy, 1).await;
        eventually("it is there", SOON, async || origin.asked().len() > before.0).await;
        drop(client);
        eventually("it is reset", SOON, async || origin.resets().len() > before.1).await;
    }
    assert_eq!(origin.resets(), [Reason::CANCEL, Reason::CANCEL]);
    assert_eq!(get(proxy.address(), "shop", "/").await.text(), "one");
    assert_eq!(origin.accepted(), 1);
}

#[tokio::test]
async fn an_answer_that_comes_before_the_end_of_the_upload_is_passed_on() {
    let (origin, proxy) = pair().await;
    origin.once(Reply::Early(413, "too much"));
    let mut client = Client::connect(proxy.address()).await;
    client.send("POST / HTTP/1.1\r\nhost: shop\r\ncontent-length: 1000000\r\n\r\nbeginning").await;
    let answer = client.response().await;
    assert_eq!((answer.status, answer.text().as_str()), (413, "too much"));
    assert_eq!(get(proxy.address(), "shop", "/").await.text(), "one");
    assert_eq!(origin.accepted(), 1);
}

#[tokio::test]
async fn an_endpoint_that_leaves_finishes_what_runs_and_gets_nothing_new_on_the_connection() {
    let (origin, proxy) = pair().await;
    let gate = Arc::new(Notify::new());
    origin.once(Reply::After(Arc::clone(&gate), Box::new(Reply::Text(200, b"late".to_vec()))));
    let mut clients = together(&proxy, 1).await;
    eventually("it is there", SOON, async || origin.asked().len() == 1).await;
    origin.leave();
    eventually("another connection", SOON, async || {
        get(proxy.address(), "shop", "/").await.text() == "one" && origin.accepted() == 2
    })
    .await;
    gate.notify_waiters();
    assert_eq!(clients[0].response().await.text(), "late");
    eventually("the first is closed", SOON, async || origin.open() == 1).await;
}

#[tokio::test]
async fn what_an_endpoint_had_not_looked_at_when_it_left_is_sent_again_whatever_its_method() {
    let origin = FrameOrigin::start().await;
    let proxy = to(&[origin.address()], "retry = { attempts = 0 }");
    let mut clients = together(&proxy, 1).await;
    let mut first = origin.accept().await;
    let one = first.request().await;
    for _ in 0..5 {
        let mut client = Client::connect(proxy.address()).await;
        client.send(POST).await;
        clients.push(client);
        first.request().await;
    }
    first.go_away(one, 0).await;
    first.answer(one, "seen").await;
    let mut second = origin.accept().await;
    for _ in 0..5 {
        let stream = second.request().await;
        second.answer(stream, "again").await;
    }
    let mut answers = Vec::new();
    for client in &mut clients {
        answers.push(client.response().await.text());
    }
    assert_eq!(answers, ["seen", "again", "again", "again", "again", "again"]);
    assert_eq!(sum(proxy.admin(), "lictor_retries_total", "").await, 0.0, "it is not the requests' second try");
}

#[tokio::test]
async fn a_stream_that_is_refused_is_tried_elsewhere_whatever_its_method() {
    let (busy, other) = (H2Origin::start().await, H2Origin::start().await);
    let proxy = to(&[busy.address(), other.address()], "policy = \"round_robin\"");
    for origin in [&busy, &other] {
        origin.once(Reply::Reset(Reason::REFUSED_STREAM));
    }
    // Both refuse once; the third attempt of the first request is answered.
    let answer = Client::connect(proxy.address()).await.exchange(POST).await;
    assert_eq!(answer.text(), "one");
    let whole: Vec<bool> = [busy.asked(), other.asked()].concat().iter().map(|asked| asked.body == b"body").collect();
    assert_eq!(whole.iter().filter(|whole| **whole).count(), 1, "{whole:?}");
}

#[tokio::test]
async fn a_request_that_was_looked_at_is_not_repeated_unless_it_may_be() {
    let (origin, proxy) = pair().await;
    origin.once(Reply::Reset(Reason::INTERNAL_ERROR));
    assert_eq!(Client::connect(proxy.address()).await.exchange(POST).await.status, 502);
    origin.once(Reply::Reset(Reason::INTERNAL_ERROR));
    assert_eq!(get(proxy.address(), "shop", "/").await.text(), "one");
    assert_eq!((origin.asked().len(), origin.accepted()), (3, 1), "and the connection goes on");
}

#[tokio::test]
async fn malformed_answers_are_a_bad_gateway() {
    let origin = FrameOrigin::start().await;
    let proxy = to(&[origin.address()], "retry = { attempts = 0 }\nejection = { consecutive_failures = 0 }");
    let first = together(&proxy, 1).await;
    let mut frames = origin.accept().await;
    let stream = frames.request().await;
    frames.answer(stream, "fine").await;
    drop(first);
    let malformed: &[&[(&str, &str)]] = &[
        &[(":status", "200"), ("connection", "close")],
        &[(":status", "200"), ("transfer-encoding", "chunked")],
        &[(":status", "200"), ("keep-alive", "5")],
        &[(":status", "200"), ("upgrade", "h2c")],
        &[(":status", "200"), ("proxy-connection", "close")],
        &[(":status", "101")],
        &[("x", "no status")],
        &[(":status", "200"), (":status", "201")],
        &[(":status", "200"), ("content-length", "1"), ("content-length", "1")],
        &[(":status", "200"), ("content-length", "1, 1")],
        &[(":status", "200"), ("content-length", "+1")],
        &[(":status", "200"), ("content-length", "1"), ("content-length", "2")],
        &[("x", "1"), (":status", "200")],
    ];
    for fields in malformed {
        let mut client = Client::connect(proxy.address()).await;
        client.send(GET).await;
        let stream = frames.request().await;
        frames.head(stream, fields, false).await;
        assert_eq!(client.response().await.status, 502, "{fields:?}");
        assert_eq!(frames.next_of(RST_STREAM).await.stream, stream, "{fields:?}");
    }
    // No number at all ends the connection.
    let mut client = Client::connect(proxy.address()).await;
    client.send(GET).await;
    let stream = frames.request().await;
    frames.head(stream, &[(":status", "099")], false).await;
    assert_eq!(client.response().await.status, 502);
    frames.next_of(GOAWAY).await;
}

#[tokio::test]
async fn an_answer_that_is_not_as_long_as_it_says_is_never_taken_for_whole() {
    let origin = FrameOrigin::start().await;
    let proxy = to(&[origin.address()], "ejection = { consecutive_failures = 0 }");
    let accepting = async {
        let mut frames = origin.accept().await;
        for body in ["short", "much too long"] {
            let stream = frames.request().await;
            frames.head(stream, &[(":status", "200"), ("content-length", "10")], false).await;
            frames.data(stream, body.as_bytes(), true).await;
        }
        let stream = frames.request().await;
        frames.head(stream, &[(":status", "200")], false).await;
        frames.data(stream, b"some", false).await;
        frames.reset(stream, 0).await;
        frames
    };
    let asking = async {
        let mut results = Vec::new();
        for _ in 0..3 {
            results.push(try_get(proxy.address(), "shop", "/").await.map(|answer| answer.text()).map_err(|_| ()));
        }
        results
    };
    let (_frames, results) = tokio::join!(accepting, asking);
    assert!(results.iter().all(|result| result.is_err()), "{results:?}");
}

#[tokio::test]
async fn an_endpoint_that_does_not_speak_http_2_gets_nothing_of_a_request() {
    let (old, new) = (Origin::start("old").await, H2Origin::start().await);
    let proxy = to(&[old.address(), new.address()], "policy = \"round_robin\"");
    for _ in 0..4 {
        assert_eq!(Client::connect(proxy.address()).await.exchange(POST).await.text(), "one");
    }
    // What greets a server of HTTP/2 looks like a request without an end.
    assert!(old.requests().iter().all(|request| !request.head.contains("host")));
}

#[tokio::test]
async fn grpc_goes_out_by_http_2_and_all_else_by_http_1_where_nothing_else_is_said() {
    let (old, new) = (Origin::start("old").await, H2Origin::start().await);
    let proxy = |origin| Proxy::start(&to_endpoints(&[origin], ""));
    let grpc = "POST /a.B/C HTTP/1.1\r\nhost: shop\r\nte: trailers\r\nconnection: te\r\ncontent-type: application/grpc\r\n\
                transfer-encoding: chunked\r\n\r\n5\r\n\0\0\0\0\0\r\n0\r\n\r\n";
    let said = vec![("grpc-status", "0"), ("grpc-message", "fine")];
    let head = vec![("content-type", "application/grpc"), ("trailer", "grpc-status, grpc-message")];
    new.once(Reply::Whole { head, pieces: vec![vec![0, 0, 0, 0, 1, 7]], trailers: said });
    let answer = Client::connect(proxy(new.address()).address()).await.exchange(grpc).await;
    assert_eq!((answer.status, answer.body.as_slice()), (200, &[0, 0, 0, 0, 1, 7][..]));
    assert_eq!(answer.trailers[0], ("grpc-status".to_owned(), "0".to_owned()));
    assert_eq!((new.asked()[0].headers["te"].as_bytes(), new.asked()[0].body.len()), (&b"trailers"[..], 5));
    assert_eq!(get(proxy(old.address()).address(), "shop", "/").await.text(), "old");
}

#[tokio::test]
async fn a_connection_that_breaks_fails_its_streams_and_those_that_may_are_sent_again() {
    let origin = FrameOrigin::start().await;
    let proxy = to(&[origin.address()], "");
    let mut clients = together(&proxy, 3).await;
    let mut first = origin.accept().await;
    for _ in 0..3 {
        first.request().await;
    }
    drop(first);
    let mut second = origin.accept().await;
    for _ in 0..3 {
        let stream = second.request().await;
        second.answer(stream, "again").await;
    }
    for client in &mut clients {
        assert_eq!(client.response().await.text(), "again");
    }
}

#[tokio::test]
async fn timeouts_hold_on_a_stream_and_leave_the_connection_to_others() {
    let origin = H2Origin::start().await;
    let proxy = to(&[origin.address()], "timeouts = { first_byte = \"200ms\" }\nretry = { attempts = 0 }");
    origin.once(Reply::Hang);
    assert_eq!(get(proxy.address(), "shop", "/").await.status, 504);
    eventually("it is reset", SOON, async || origin.resets() == [Reason::CANCEL]).await;
    assert_eq!(get(proxy.address(), "shop", "/").await.text(), "one");
    assert_eq!(origin.accepted(), 1);
    let proxy = to(&[origin.address()], "timeouts = { idle = \"300ms\" }\nretry = { attempts = 0 }");
    origin.once(Reply::Begin("some"));
    assert!(try_get(proxy.address(), "shop", "/").await.is_err(), "silence within a body");
    let proxy = to(&[origin.address()], "timeouts = { request = \"300ms\" }\nretry = { attempts = 0 }");
    origin.once(Reply::Hang);
    assert_eq!(get(proxy.address(), "shop", "/").await.status, 504, "the request's own time");
}

#[tokio::test]
async fn a_connection_gets_as_old_as_it_may_and_counts_for_as_long_as_it_stands() {
    let origin = H2Origin::start().await;
    let proxy = to(&[origin.address()], "timeouts = { connection_age = \"1ms\" }");
    for _ in 0..3 {
        assert_eq!(get(proxy.address(), "shop", "/").await.text(), "one");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(origin.accepted(), 3);
    eventually("the old ones are closed", SOON, async || origin.open() <= 1).await;
    let counted = async || endpoint(proxy.admin(), origin.address()).await["connections"].as_u64();
    eventually("and not counted", SOON, async || counted().await == Some(1)).await;
}

const UPGRADE: &str = "GET /chat HTTP/1.1\r\nhost: shop\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
                       sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n";

#[tokio::test]
async fn a_websocket_is_a_stream_where_the_endpoint_knows_such_streams() {
    let origin = H2Origin::taking(Taking { connect: true, ..Taking::default() }).await;
    let proxy = to(&[origin.address()], "");
    origin.once(Reply::Tunnel);
    let mut client = Client::connect(proxy.address()).await;
    client.send(UPGRADE).await;
    let (head, _) = client.head().await;
    assert_eq!((head.status, head.header("upgrade")), (101, Some("websocket")));
    assert_eq!(head.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    for said in ["hello", "again"] {
        client.send(said).await;
        assert_eq!(client.read(5).await, said.as_bytes());
    }
    assert_eq!(get(proxy.address(), "shop", "/").await.text(), "one", "others go on beside it");
    client.finish().await;
    assert!(client.closed().await.unwrap().is_empty(), "an end is an end");
    let asked = &origin.asked()[0];
    assert_eq!((asked.method.as_str(), asked.uri.path()), ("CONNECT", "/chat"));
    assert_eq!(asked.headers["sec-websocket-version"], "13");
    assert!(!asked.headers.contains_key("sec-websocket-key") && !asked.headers.contains_key("upgrade"));
    assert_eq!((asked.body.as_slice(), origin.accepted()), (&b"helloagain"[..], 1));
}

#[tokio::test]
async fn a_websocket_that_an_endpoint_has_no_streams_for_is_refused_clearly() {
    let (origin, proxy) = pair().await;
    let answer = Client::connect(proxy.address()).await.exchange(UPGRADE).await;
    assert_eq!((answer.status, answer.text().as_str()), (501, "the endpoint's protocol has no such request\n"));
    assert_eq!((origin.asked().len(), get(proxy.address(), "shop", "/").await.status), (0, 200));
}
