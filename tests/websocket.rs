//! Connections that switch protocols: tunnelled where both sides agree, answered honestly where they do not.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::support::app::{Proxy, to_endpoints};
use crate::support::client::{Client, eventually, get};
use crate::support::origin::{Origin, Script};
use crate::support::window::{in_flight, metric};

const SOON: Duration = Duration::from_secs(10);
const UPGRADE: &str = "GET /chat HTTP/1.1\r\nhost: shop\r\nconnection: keep-alive, Upgrade\r\nupgrade: chat\r\n\r\n";

async fn pair() -> (Origin, Proxy) {
    let origin = Origin::start("one").await;
    let proxy = Proxy::start(&to_endpoints(&[origin.address()], ""));
    (origin, proxy)
}

async fn attempts(proxy: &Proxy, outcome: &str) -> f64 {
    metric(proxy.admin(), &format!("lictor_attempts_total{{cluster=\"web\",outcome=\"{outcome}\"}}")).await
}

#[tokio::test]
async fn a_websocket_talks_through_the_proxy() {
    let (origin, proxy) = pair().await;
    origin.once(Script::WebSocketEcho);
    let url = format!("ws://{}/chat?room=1", proxy.address());
    let (mut socket, response) = tokio_tungstenite::connect_async(url).await.unwrap();
    assert_eq!(response.status(), 101);
    let large = vec![7; 2_000_000];
    for message in [Message::text("hello"), Message::binary(large), Message::text("")] {
        socket.send(message.clone()).await.unwrap();
        assert!(socket.next().await.unwrap().unwrap() == message);
    }
    socket.send(Message::Ping("are you there".into())).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::Pong("are you there".into()));
    assert_eq!(in_flight(proxy.admin()).await, 1.0, "as long as it is open");
    socket.close(None).await.unwrap();
    while socket.next().await.is_some_and(|message| message.is_ok()) {}
    drop(socket);
    let request = &origin.requests()[0];
    assert_eq!((request.target(), request.header("upgrade").as_deref()), ("/chat?room=1", Some("websocket")));
    eventually("the attempt ends", SOON, async || in_flight(proxy.admin()).await == 0.0).await;
    assert_eq!((attempts(&proxy, "success").await, origin.connections()), (1.0, 0));
}

#[tokio::test]
async fn bytes_of_any_protocol_pass_even_those_that_come_too_early() {
    let (origin, proxy) = pair().await;
    origin.once(Script::UpgradeEcho);
    let mut client = Client::connect(proxy.address()).await;
    let switched = client.exchange(format!("{UPGRADE}early")).await;
    assert_eq!((switched.status, switched.header("upgrade")), (101, Some("chat")));
    assert_eq!(switched.header("connection").map(str::to_ascii_lowercase).as_deref(), Some("upgrade"));
    assert_eq!(client.read(5).await, b"early");
    client.send("later\0\r\n\r\n").await;
    assert_eq!(client.read(10).await, b"later\0\r\n\r\n");
}

#[tokio::test]
async fn what_the_origin_says_right_behind_its_101_is_not_lost() {
    let (origin, proxy) = pair().await;
    origin.once(Script::Raw(
        b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: chat\r\n\r\nwelcome".to_vec(),
    ));
    let mut client = Client::connect(proxy.address()).await;
    assert_eq!(client.exchange(UPGRADE).await.status, 101);
    assert_eq!(client.read(7).await, b"welcome");
}

#[tokio::test]
async fn a_side_that_has_said_all_can_still_listen() {
    let (origin, proxy) = pair().await;
    origin.once(Script::UpgradeEcho);
    let mut client = Client::connect(proxy.address()).await;
    assert_eq!(client.exchange(UPGRADE).await.status, 101);
    let much = vec![3; 1_000_000];
    client.send(&much).await;
    client.finish().await;
    assert!(client.closed().await.unwrap() == much, "all of the echo comes after our end was told");
    eventually("the origin's connection ends", SOON, async || origin.connections() == 0).await;
}

#[tokio::test]
async fn a_client_that_leaves_a_tunnel_takes_the_origins_connection_with_it() {
    let (origin, proxy) = pair().await;
    origin.once(Script::UpgradeEcho);
    let mut client = Client::connect(proxy.address()).await;
    assert_eq!(client.exchange(UPGRADE).await.status, 101);
    client.reset();
    eventually("the origin's connection ends", SOON, async || origin.connections() == 0).await;
    eventually("the attempt ends", SOON, async || in_flight(proxy.admin()).await == 0.0).await;
}

#[tokio::test]
async fn an_origin_that_dies_ends_the_tunnel() {
    let (origin, proxy) = pair().await;
    origin.once(Script::WebSocketEcho);
    let (mut socket, _) = tokio_tungstenite::connect_async(format!("ws://{}/", proxy.address())).await.unwrap();
    socket.send("hello".into()).await.unwrap();
    assert!(socket.next().await.unwrap().is_ok());
    origin.stop().await;
    let end = tokio::time::timeout(SOON, socket.next()).await.expect("the tunnel ends");
    assert!(end.is_none_or(|message| message.is_err()));
}

#[tokio::test]
async fn a_switch_that_nobody_asked_for_is_a_bad_gateway() {
    let (origin, proxy) = pair().await;
    for request in ["GET / HTTP/1.1\r\nhost: shop\r\n\r\n", "GET / HTTP/1.1\r\nhost: shop\r\nupgrade: chat\r\n\r\n"] {
        origin.once(Script::UpgradeEcho);
        let mut client = Client::connect(proxy.address()).await;
        let response = client.exchange(request).await;
        assert_eq!((response.status, response.header("upgrade")), (502, None));
    }
    assert_eq!(origin.requests()[1].header("upgrade"), None);
    eventually("its connections are closed", SOON, async || origin.connections() == 0).await;
    assert_eq!(get(proxy.address(), "shop", "/").await.text(), "one");
}

#[tokio::test]
async fn a_refused_upgrade_is_passed_on_and_the_connection_stays() {
    let (origin, proxy) = pair().await;
    origin.once(Script::answer(403, "members only"));
    let mut client = Client::connect(proxy.address()).await;
    let response = client.exchange(UPGRADE).await;
    assert_eq!((response.status, response.text().as_str()), (403, "members only"));
    assert_eq!(client.exchange("GET / HTTP/1.1\r\nhost: shop\r\n\r\n").await.text(), "one");
    assert_eq!(origin.accepted(), 1);

    origin.once(Script::answer(403, "members only"));
    let refused = tokio_tungstenite::connect_async(format!("ws://{}/", proxy.address())).await.unwrap_err();
    assert!(matches!(refused, Error::Http(response) if response.status() == 403));
}

#[tokio::test]
async fn an_upgrade_to_h2c_is_answered_in_http_1_1() {
    let (origin, proxy) = pair().await;
    let mut client = Client::connect(proxy.address()).await;
    let upgrade = "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAARAAAAAAAIAAAAA\r\n";
    let response = client.exchange(format!("GET / HTTP/1.1\r\nhost: shop\r\n{upgrade}\r\n")).await;
    assert_eq!((response.status, response.text().as_str()), (200, "one"));
    let request = &origin.requests()[0];
    for name in ["upgrade", "connection", "http2-settings"] {
        assert_eq!(request.header(name), None, "{name}");
    }
}

#[tokio::test]
async fn a_client_of_http_1_0_cannot_switch_protocols() {
    let (origin, proxy) = pair().await;
    let mut client = Client::connect(proxy.address()).await;
    assert_eq!(client.exchange(UPGRADE.replace("HTTP/1.1", "HTTP/1.0")).await.text(), "one");
    assert_eq!(origin.requests()[0].header("upgrade"), None, "RFC 9110 section 7.8");
}

#[tokio::test]
async fn a_tunnel_goes_to_another_endpoint_if_the_first_is_gone() {
    let (gone, origin) = (Origin::start("gone").await, Origin::start("one").await);
    gone.stop().await;
    let more = "policy = \"round_robin\"\nejection = { consecutive_failures = 0 }";
    let proxy = Proxy::start(&to_endpoints(&[gone.address(), origin.address()], more));
    origin.always(Script::UpgradeEcho);
    for _ in 0..4 {
        let mut client = Client::connect(proxy.address()).await;
        assert_eq!(client.exchange(UPGRADE).await.status, 101);
        client.send("x").await;
        assert_eq!(client.read(1).await, b"x");
    }
    assert!(metric(proxy.admin(), "lictor_retries_total{cluster=\"web\",reason=\"connect\"}").await >= 1.0);
}

/// Asks for a WebSocket over HTTP/2 (RFC 8441).
pub async fn ask_by_stream(proxy: &Proxy) -> http::Response<h2::RecvStream> {
    let stream = tokio::net::TcpStream::connect(proxy.address()).await.unwrap();
    let (send, mut connection) = h2::client::handshake(stream).await.unwrap();
    // Whether the server knows such streams is in its first frame.
    while !send.is_extended_connect_protocol_enabled() {
        std::future::poll_fn(|cx| {
            let _ = std::pin::Pin::new(&mut connection).poll(cx);
            std::task::Poll::Ready(())
        })
        .await;
        tokio::task::yield_now().await;
    }
    tokio::spawn(connection);
    let mut request = http::Request::builder().method("CONNECT").uri("http://shop/chat").body(()).unwrap();
    request.extensions_mut().insert(h2::ext::Protocol::from_static("websocket"));
    let (answer, _sending) = send.ready().await.unwrap().send_request(request, false).unwrap();
    tokio::time::timeout(SOON, answer).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_websocket_over_http_2_has_no_length() {
    let (origin, proxy) = pair().await;
    origin.once(Script::WebSocketEcho);
    let answer = ask_by_stream(&proxy).await;
    assert_eq!((answer.status().as_u16(), answer.headers().get("content-length")), (200, None));
}

#[tokio::test]
async fn an_origin_that_does_not_switch_opens_no_websocket_over_http_2() {
    for (status, seen) in [(200, 502), (204, 502), (404, 404)] {
        let (origin, proxy) = pair().await;
        origin.once(Script::answer(status, ""));
        assert_eq!(ask_by_stream(&proxy).await.status().as_u16(), seen, "the origin answers {status}");
    }
}
