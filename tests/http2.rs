//! HTTP/2 towards clients: a stream is a request like any other, and what becomes of one is nothing to the others.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, ResponseFuture, SendRequest};
use h2::ext::Protocol;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, Response, StatusCode};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::support::app::{Proxy, to_endpoints};
use crate::support::client::{Client, Fields, eventually};
use crate::support::origin::{Origin, Script, slow_body};
use crate::support::window::{counted, in_flight};

const SOON: Duration = Duration::from_secs(20);

/// A client's connection, driven by a task.
struct Http2 {
    send: SendRequest<Bytes>,
    driver: JoinHandle<Result<(), h2::Error>>,
}

impl Http2 {
    async fn connect(address: SocketAddr) -> Http2 {
        Http2::with(address, &Builder::new()).await
    }

    async fn with(address: SocketAddr, builder: &Builder) -> Http2 {
        let stream = TcpStream::connect(address).await.unwrap();
        let (send, connection) = builder.handshake(stream).await.unwrap();
        Http2 { send, driver: tokio::spawn(connection) }
    }

    async fn begin(&mut self, request: Request<()>, is_end: bool) -> (ResponseFuture, SendStream<Bytes>) {
        let mut ready = timeout(SOON, self.send.clone().ready()).await.unwrap().unwrap();
        ready.send_request(request, is_end).unwrap()
    }

    async fn get(&mut self, path: &str) -> Response<RecvStream> {
        let (answer, _) = self.begin(request("GET", path), true).await;
        timeout(SOON, answer).await.unwrap().unwrap()
    }
}

fn request(method: &str, path: &str) -> Request<()> {
    Request::builder().method(method).uri(format!("http://shop{path}")).body(()).unwrap()
}

/// All of a body, and its trailers.
async fn whole(mut body: RecvStream) -> Result<(Vec<u8>, HeaderMap), h2::Error> {
    let reading = async {
        let mut bytes = Vec::new();
        while let Some(data) = body.data().await {
            let data = data?;
            body.flow_control().release_capacity(data.len())?;
            bytes.extend_from_slice(&data);
        }
        Ok((bytes, body.trailers().await?.unwrap_or_default()))
    };
    timeout(SOON, reading).await.unwrap()
}

async fn text(answer: Response<RecvStream>) -> String {
    String::from_utf8(whole(answer.into_body()).await.unwrap().0).unwrap()
}

async fn pair(more: &str) -> (Origin, Proxy) {
    let origin = Origin::start("one").await;
    let proxy = Proxy::start(&to_endpoints(&[origin.address()], more));
    (origin, proxy)
}

/// Sends a body in pieces, as the other side takes them.
async fn send(sending: &mut SendStream<Bytes>, mut bytes: Bytes, is_end: bool) {
    while !bytes.is_empty() {
        sending.reserve_capacity(bytes.len());
        let room = timeout(SOON, poll_fn(|cx| sending.poll_capacity(cx))).await.unwrap().unwrap().unwrap();
        let piece = bytes.split_to(room.min(bytes.len()));
        sending.send_data(piece, is_end && bytes.is_empty()).unwrap();
    }
}

#[tokio::test]
async fn a_request_arrives_as_one_of_http_1_1() {
    let (origin, proxy) = pair("").await;
    let mut client = Http2::connect(proxy.address()).await;
    let request = Request::builder()
        .method("PUT")
        .uri("http://shop:8080/a?b=%20")
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .header("te", "trailers")
        .header("x-own", "kept")
        .header("content-length", "3")
        .body(())
        .unwrap();
    let (answer, mut sending) = client.begin(request, false).await;
    send(&mut sending, Bytes::from_static(b"abc"), true).await;
    let answer = timeout(SOON, answer).await.unwrap().unwrap();
    assert_eq!((answer.status(), text(answer).await.as_str()), (StatusCode::OK, "one"));
    let seen = &origin.requests()[0];
    assert_eq!((seen.method(), seen.target(), seen.body.as_slice()), ("PUT", "/a?b=%20", b"abc".as_slice()));
    for (name, value) in [
        ("host", "shop:8080"),
        ("cookie", "a=1; b=2"),
        ("te", "trailers"),
        ("x-own", "kept"),
        ("content-length", "3"),
        ("x-forwarded-host", "shop:8080"),
        ("x-forwarded-for", "127.0.0.1"),
    ] {
        assert_eq!(seen.header(name).as_deref(), Some(value), "{name}");
    }
    assert_eq!(seen.header("transfer-encoding"), None);
}

#[tokio::test]
async fn streams_share_a_connection_and_wait_for_nobody() {
    let (origin, proxy) = pair("").await;
    origin.once(Script::Delay(Duration::from_millis(500), Box::new(Script::answer(200, "late"))));
    let mut client = Http2::connect(proxy.address()).await;
    let (late, _) = client.begin(request("GET", "/late"), true).await;
    eventually("the slow one is there", SOON, async || origin.hits() == 1).await;
    for _ in 0..20 {
        assert_eq!(text(client.get("/").await).await, "one");
    }
    assert_eq!(text(timeout(SOON, late).await.unwrap().unwrap()).await, "late");
    counted(proxy.admin(), "lictor_connections_accepted_total{listener=\"edge\"}", 1.0).await;
}

#[tokio::test]
async fn bodies_of_any_size_pass_both_ways_at_once() {
    let (origin, proxy) = pair("").await;
    origin.once(Script::EchoBody);
    let mut client = Http2::connect(proxy.address()).await;
    let (answer, mut sending) = client.begin(request("POST", "/"), false).await;
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|place| (place % 251) as u8).collect();
    let sent = Bytes::from(bytes.clone());
    let sending = tokio::spawn(async move { send(&mut sending, sent, true).await });
    let answer = timeout(SOON, answer).await.unwrap().unwrap();
    assert!(whole(answer.into_body()).await.unwrap().0 == bytes, "what came back is what was sent");
    sending.await.unwrap();
}

#[tokio::test]
async fn trailers_and_interim_answers_travel() {
    let (origin, proxy) = pair("").await;
    let trailers: Fields = vec![("x-sum".to_owned(), "6".to_owned())];
    let chunked = Script::Chunked { chunks: vec![b"ab".to_vec(), b"c".to_vec()], trailers };
    origin.once(Script::Informational(Box::new(chunked)));
    let mut client = Http2::connect(proxy.address()).await;
    let (mut answer, mut sending) = client.begin(request("POST", "/"), false).await;
    sending.send_data(Bytes::from_static(b"x"), false).unwrap();
    sending.send_trailers(HeaderMap::from_iter([("x-check".parse().unwrap(), "9".parse().unwrap())])).unwrap();
    let hint = timeout(SOON, poll_fn(|cx| answer.poll_informational(cx))).await.unwrap().unwrap().unwrap();
    assert_eq!(hint.status(), 103);
    assert!(hint.headers().contains_key("link"));
    let (body, trailers) = whole(timeout(SOON, answer).await.unwrap().unwrap().into_body()).await.unwrap();
    assert_eq!((body.as_slice(), &trailers["x-sum"]), (b"abc".as_slice(), &"6".parse().unwrap()));
    assert_eq!(origin.requests()[0].trailers, vec![("x-check".to_owned(), "9".to_owned())]);
}

#[tokio::test]
async fn what_has_no_body_ends_with_its_head() {
    let (origin, proxy) = pair("").await;
    let mut client = Http2::connect(proxy.address()).await;
    let (head, _) = client.begin(request("HEAD", "/"), true).await;
    let head = timeout(SOON, head).await.unwrap().unwrap();
    assert!(head.body().is_end_stream());
    assert_eq!(head.headers()["content-length"], "3", "of what a GET would get");
    for status in [204, 304] {
        origin.once(Script::Raw(format!("HTTP/1.1 {status} x\r\netag: \"1\"\r\n\r\n").into_bytes()));
        let answer = client.get("/").await;
        assert_eq!((answer.status().as_u16(), answer.body().is_end_stream()), (status, true));
    }
}

#[tokio::test]
async fn a_client_that_gives_up_a_stream_is_heard_by_the_endpoint_and_keeps_the_connection() {
    let (origin, proxy) = pair("").await;
    origin.once(Script::Hang);
    let mut client = Http2::connect(proxy.address()).await;
    let (answer, mut sending) = client.begin(request("GET", "/"), true).await;
    eventually("it is under way", SOON, async || origin.hits() == 1).await;
    sending.send_reset(Reason::CANCEL);
    drop(answer);
    eventually("nobody works on it", SOON, async || in_flight(proxy.admin()).await == 0.0).await;
    assert_eq!(text(client.get("/").await).await, "one");
}

#[tokio::test]
async fn an_answer_that_breaks_off_resets_its_stream_and_no_other() {
    let (origin, proxy) = pair("").await;
    origin.once(Script::ResetMidBody);
    let mut client = Http2::connect(proxy.address()).await;
    let (broken, _) = client.begin(request("GET", "/"), true).await;
    // The reset may overtake what came before it.
    if let Ok(begun) = timeout(SOON, broken).await.unwrap() {
        assert!(whole(begun.into_body()).await.is_err(), "never taken for whole");
    }
    assert_eq!(text(client.get("/").await).await, "one");
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_an_answer_is_let_go() {
    let origin = Origin::start("one").await;
    let listener = "[[listeners]]\nname = \"edge\"\nbind = \"127.0.0.1:0\"\ntimeouts = { idle = \"300ms\" }\n";
    let proxy = Proxy::start(&format!("{}{listener}", to_endpoints(&[origin.address()], "")));
    origin.once(Script::answer(200, vec![b'x'; 1_000_000]));
    let mut client = Http2::with(proxy.address(), Builder::new().initial_window_size(1000)).await;
    let answer = client.get("/").await;
    eventually("it is over", SOON, async || in_flight(proxy.admin()).await == 0.0).await;
    let mut body = answer.into_body();
    let ended = async {
        while let Some(data) = body.data().await {
            if data.is_err() {
                return true;
            }
        }
        false
    };
    assert!(timeout(SOON, ended).await.unwrap(), "never taken for whole");
}

#[tokio::test]
async fn a_drain_lets_streams_end_and_tells_clients_to_go_elsewhere() {
    let (origin, proxy) = pair("").await;
    origin.once(Script::Delay(Duration::from_millis(400), Box::new(Script::answer(200, "late"))));
    let mut client = Http2::connect(proxy.address()).await;
    let (late, _) = client.begin(request("GET", "/"), true).await;
    eventually("it is under way", SOON, async || origin.hits() == 1).await;
    let draining = tokio::spawn(proxy.drain());
    assert_eq!(text(timeout(SOON, late).await.unwrap().unwrap()).await, "late");
    timeout(SOON, client.driver).await.unwrap().unwrap().unwrap();
    timeout(SOON, draining).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_drain_by_hand_lets_streams_end_and_connections_begin_anew() {
    let (origin, proxy) = pair("").await;
    origin.once(Script::Delay(Duration::from_millis(400), Box::new(Script::answer(200, "late"))));
    let mut client = Http2::connect(proxy.address()).await;
    let (late, _) = client.begin(request("GET", "/"), true).await;
    eventually("it is under way", SOON, async || origin.hits() == 1).await;
    let order = async |path: &str| {
        let head = format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n");
        let mut operator = Client::connect(proxy.admin()).await;
        assert_eq!(operator.exchange(format!("{head}content-length: 0\r\n\r\n")).await.status, 200);
    };
    order("/v1/drain").await;
    assert_eq!(text(timeout(SOON, late).await.unwrap().unwrap()).await, "late");
    timeout(SOON, client.driver).await.unwrap().unwrap().unwrap();
    let mut other = Http2::connect(proxy.address()).await;
    assert_eq!(other.get("/").await.status(), 200, "whoever comes is served");
    timeout(SOON, other.driver).await.unwrap().unwrap().unwrap();
    order("/v1/undrain").await;
    let mut last = Http2::connect(proxy.address()).await;
    for _ in 0..2 {
        assert_eq!(last.get("/").await.status(), 200);
    }
    assert!(!last.driver.is_finished());
}

#[tokio::test]
async fn a_connection_without_streams_is_closed_and_pings_do_not_keep_it() {
    let origin = Origin::start("one").await;
    let listener = "[[listeners]]\nname = \"edge\"\nbind = \"127.0.0.1:0\"\ntimeouts = { idle = \"300ms\" }\n";
    let proxy = Proxy::start(&format!("{}{listener}", to_endpoints(&[origin.address()], "")));
    let stream = TcpStream::connect(proxy.address()).await.unwrap();
    let (mut send, mut connection) = h2::client::handshake(stream).await.unwrap();
    let mut pings = connection.ping_pong().unwrap();
    let driver = tokio::spawn(connection);
    let pinging = tokio::spawn(async move { while pings.ping(h2::Ping::opaque()).await.is_ok() {} });
    let (answer, _) = send.send_request(request("GET", "/"), true).unwrap();
    assert_eq!(text(timeout(SOON, answer).await.unwrap().unwrap()).await, "one");
    let _ended = timeout(SOON, driver).await.expect("it is closed");
    pinging.abort();
}

#[tokio::test]
async fn a_websocket_is_a_stream() {
    let (origin, proxy) = pair("").await;
    origin.once(Script::WebSocketEcho);
    let mut client = Http2::connect(proxy.address()).await;
    eventually("it says that it can", SOON, async || client.send.is_extended_connect_protocol_enabled()).await;
    let mut request =
        Request::builder().method("CONNECT").uri("http://shop/chat").header("sec-websocket-version", "13");
    request.extensions_mut().unwrap().insert(Protocol::from_static("websocket"));
    let (answer, mut sending) = client.begin(request.body(()).unwrap(), false).await;
    let answer = timeout(SOON, answer).await.unwrap().unwrap();
    assert_eq!(answer.status(), 200);
    assert!(!answer.headers().contains_key("sec-websocket-accept"));
    // A text frame of two bytes, masked with zeros.
    sending.send_data(Bytes::from_static(&[0x81, 0x82, 0, 0, 0, 0, b'h', b'i']), false).unwrap();
    let mut body = answer.into_body();
    let echoed = timeout(SOON, body.data()).await.unwrap().unwrap().unwrap();
    assert_eq!(&echoed[..], &[0x81, 2, b'h', b'i']);
    let seen = &origin.requests()[0];
    assert_eq!((seen.method(), seen.target(), seen.header("upgrade").as_deref()), ("GET", "/chat", Some("websocket")));
    // A close frame, as a browser sends it, and the end of the stream.
    sending.send_data(Bytes::from_static(&[0x88, 0x80, 0, 0, 0, 0]), true).unwrap();
    while let Some(Ok(_)) = timeout(SOON, body.data()).await.unwrap() {}
    eventually("it is over", SOON, async || in_flight(proxy.admin()).await == 0.0).await;
}

#[tokio::test]
async fn it_can_be_turned_off() {
    let origin = Origin::start("one").await;
    let listener = "[[listeners]]\nname = \"edge\"\nbind = \"127.0.0.1:0\"\nhttp2 = false\n";
    let proxy = Proxy::start(&format!("{}{listener}", to_endpoints(&[origin.address()], "")));
    let stream = TcpStream::connect(proxy.address()).await.unwrap();
    let (_send, connection) = h2::client::handshake::<_>(stream).await.unwrap();
    assert!(timeout(SOON, connection).await.unwrap().is_err());
    assert_eq!(origin.hits(), 0);
}

#[tokio::test]
async fn a_tunnel_in_use_keeps_its_connection() {
    let origin = Origin::start("one").await;
    let listener = "[[listeners]]\nname = \"edge\"\nbind = \"127.0.0.1:0\"\ntimeouts = { idle = \"300ms\" }\n";
    let proxy = Proxy::start(&format!("{}{listener}", to_endpoints(&[origin.address()], "")));
    origin.once(Script::WebSocketEcho);
    let mut client = Http2::connect(proxy.address()).await;
    eventually("it says that it can", SOON, async || client.send.is_extended_connect_protocol_enabled()).await;
    let mut request = Request::builder().method("CONNECT").uri("http://shop/chat");
    request.extensions_mut().unwrap().insert(Protocol::from_static("websocket"));
    let (answer, mut sending) = client.begin(request.body(()).unwrap(), false).await;
    let mut body = timeout(SOON, answer).await.unwrap().unwrap().into_body();
    // For four times as long as a connection without requests may stay.
    let mut pulse = tokio::time::interval(Duration::from_millis(50));
    for turn in 0..24 {
        sending.send_data(Bytes::from_static(&[0x81, 0x81, 0, 0, 0, 0, b'x']), false).unwrap();
        let echo = timeout(SOON, body.data()).await.unwrap();
        assert!(matches!(echo, Some(Ok(_))), "{echo:?} after {turn} turns");
        pulse.tick().await;
    }
    drop((sending, body));
    eventually("it is over", SOON, async || in_flight(proxy.admin()).await == 0.0).await;
}

#[tokio::test]
async fn a_connection_may_rest_before_it_says_what_it_speaks() {
    let (_origin, proxy) = pair("").await;
    let stream = TcpStream::connect(proxy.address()).await.unwrap();
    // Longer than an idle connection keeps its buffers.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let (send, connection) = h2::client::handshake(stream).await.unwrap();
    let mut client = Http2 { send, driver: tokio::spawn(connection) };
    assert_eq!(text(client.get("/").await).await, "one");
}

#[tokio::test]
async fn a_client_may_measure_with_every_piece_of_its_answer() {
    let (origin, proxy) = pair("").await;
    let (tap, script) = slow_body();
    origin.once(script);
    let stream = TcpStream::connect(proxy.address()).await.unwrap();
    let (send, mut connection) = h2::client::handshake(stream).await.unwrap();
    let mut pings = connection.ping_pong().unwrap();
    let mut client = Http2 { send, driver: tokio::spawn(connection) };
    let mut body = client.get("/").await.into_body();
    for turn in 0..3000 {
        tap.send("x");
        let piece = timeout(SOON, body.data()).await.unwrap();
        assert!(matches!(piece, Some(Ok(_))), "{piece:?} after {turn} turns");
        let pong = timeout(SOON, pings.ping(h2::Ping::opaque())).await.unwrap();
        assert!(pong.is_ok(), "{pong:?} after {turn} turns");
    }
}

#[tokio::test]
async fn crumbs_of_a_cookie_are_one_field() {
    let (origin, proxy) = pair("").await;
    let mut request = Request::get("http://shop/");
    for number in 0..150 {
        request = request.header("cookie", format!("c{number}=1"));
    }
    let mut client = Http2::connect(proxy.address()).await;
    let (answer, _) = client.begin(request.body(()).unwrap(), true).await;
    assert_eq!(timeout(SOON, answer).await.unwrap().unwrap().status(), 200);
    assert!(origin.requests()[0].header("cookie").unwrap().ends_with("; c149=1"));
}
