//! What happens when somebody takes too long: the endpoint to accept, to answer or to go on, and the client to ask.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};
use tokio::net::TcpStream;

use crate::support::app::{Proxy, to_endpoints};
use crate::support::client::{Client, eventually, get};
use crate::support::origin::{Origin, Script, slow_body};
use crate::support::window::{in_flight, metric, standing};

const SOON: Duration = Duration::from_secs(15);
const GET: &str = "GET /a HTTP/1.1\r\nhost: shop\r\n\r\n";
const UPLOAD: &str = "POST /a HTTP/1.1\r\nhost: shop\r\ntransfer-encoding: chunked\r\n\r\n";

async fn pair(more: &str) -> (Origin, Proxy) {
    let origin = Origin::start("one").await;
    let proxy = Proxy::start(&to_endpoints(&[origin.address()], more));
    (origin, proxy)
}

/// One listener with these timeouts.
fn listener(timeouts: &str) -> String {
    format!("[[listeners]]\nname = \"edge\"\nbind = \"127.0.0.1:0\"\ntimeouts = {{ {timeouts} }}\n")
}

async fn attempts(proxy: &Proxy, outcome: &str) -> f64 {
    metric(proxy.admin(), &format!("lictor_attempts_total{{cluster=\"web\",outcome=\"{outcome}\"}}")).await
}

/// An address at which a connection is never refused and never stands: its queue is full and nobody takes from it.
struct BlackHole {
    address: SocketAddr,
    _listener: Socket,
    _waiting: Vec<TcpStream>,
}

impl BlackHole {
    async fn open() -> BlackHole {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        let mut waiting = Vec::new();
        // Loopback answers at once or not at all.
        while let Ok(Ok(stream)) = tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(address)).await {
            waiting.push(stream);
        }
        BlackHole { address, _listener: listener, _waiting: waiting }
    }
}

#[tokio::test]
async fn an_endpoint_that_does_not_accept_in_time_is_a_gateway_timeout() {
    let hole = BlackHole::open().await;
    let proxy = Proxy::start(&to_endpoints(&[hole.address], "timeouts = { connect = \"150ms\" }"));
    let response = get(proxy.address(), "shop", "/").await;
    let text = "the endpoint did not accept a connection in time\n";
    assert_eq!((response.status, response.text().as_str()), (504, text));
    assert_eq!(attempts(&proxy, "connect").await, 3.0, "nothing was sent: it was tried again");
}

#[tokio::test]
async fn a_request_goes_elsewhere_if_an_endpoint_does_not_accept_in_time() {
    let (hole, origin) = (BlackHole::open().await, Origin::start("one").await);
    let more = "policy = \"round_robin\"\nejection = { consecutive_failures = 0 }\ntimeouts = { connect = \"150ms\" }";
    let proxy = Proxy::start(&to_endpoints(&[hole.address, origin.address()], more));
    let post = "POST / HTTP/1.1\r\nhost: shop\r\ncontent-length: 4\r\n\r\nbody";
    for request in [GET, post, GET, post] {
        assert_eq!(Client::connect(proxy.address()).await.exchange(request).await.text(), "one");
    }
    assert_eq!(attempts(&proxy, "connect").await, 2.0);
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_a_gateway_timeout_and_not_made_again() {
    let (origin, proxy) = pair("timeouts = { request = \"200ms\" }").await;
    origin.once(Script::Hang);
    let mut client = Client::connect(proxy.address()).await;
    let response = client.exchange(GET).await;
    assert_eq!((response.status, response.text().as_str()), (504, "the endpoint did not answer in time\n"));
    assert_eq!(origin.hits(), 1);
    assert_eq!(attempts(&proxy, "timeout").await, 1.0);
    eventually("its connection is closed", SOON, async || origin.connections() == 0).await;
    assert_eq!(client.exchange(GET).await.text(), "one", "the client's connection goes on");
}

#[tokio::test]
async fn an_answer_that_takes_too_long_is_broken_off_though_it_flows() {
    let (origin, proxy) = pair("timeouts = { request = \"300ms\" }").await;
    let (tap, script) = slow_body();
    origin.once(script);
    let mut client = Client::connect(proxy.address()).await;
    client.send(GET).await;
    let (head, mut body) = client.head().await;
    assert_eq!(head.status, 200);
    let flow = tokio::spawn(async move {
        let mut pulse = tokio::time::interval(Duration::from_millis(20));
        loop {
            tokio::select! {
                _ = pulse.tick() => tap.send("on"),
                () = tap.left() => return,
            }
        }
    });
    let cut = async {
        while let Ok(piece) = client.piece(&mut body).await {
            assert!(piece.is_some(), "a part must not look like a whole");
        }
    };
    tokio::time::timeout(SOON, cut).await.expect("the answer is broken off");
    flow.await.unwrap();
    assert_eq!(attempts(&proxy, "timeout").await, 1.0);
}

#[tokio::test]
async fn silence_before_the_answer_is_a_gateway_timeout() {
    let (origin, proxy) = pair("timeouts = { idle = \"200ms\" }").await;
    origin.once(Script::Hang);
    let response = get(proxy.address(), "shop", "/").await;
    assert_eq!((response.status, response.text().as_str()), (504, "the endpoint did not answer in time\n"));
}

#[tokio::test]
async fn silence_in_the_middle_of_an_answer_breaks_it_off() {
    let (origin, proxy) = pair("timeouts = { idle = \"200ms\" }").await;
    let (tap, script) = slow_body();
    origin.once(script);
    let mut client = Client::connect(proxy.address()).await;
    client.send(GET).await;
    let (_, mut body) = client.head().await;
    tap.send("piece");
    assert_eq!(client.piece(&mut body).await.unwrap().unwrap(), "piece");
    client.piece(&mut body).await.expect_err("the rest never came");
    tokio::time::timeout(SOON, tap.left()).await.expect("the origin's connection is closed");
    assert_eq!(attempts(&proxy, "timeout").await, 1.0);
}

#[tokio::test]
async fn what_goes_on_slowly_is_not_silence() {
    let (origin, proxy) = pair("timeouts = { idle = \"1s\" }").await;
    origin.once(Script::EchoBody);
    let mut client = Client::connect(proxy.address()).await;
    client.send(UPLOAD).await;
    let (_, mut body) = client.head().await;
    let (begun, mut pulse) = (Instant::now(), tokio::time::interval(Duration::from_millis(100)));
    while begun.elapsed() < Duration::from_millis(1600) {
        pulse.tick().await;
        client.send("2\r\non\r\n").await;
        let mut come = Vec::new();
        while come.len() < 2 {
            come.extend_from_slice(&client.piece(&mut body).await.unwrap().unwrap());
        }
        assert_eq!(come, b"on");
    }
    client.send("0\r\n\r\n").await;
    assert!(client.piece(&mut body).await.unwrap().is_none());
}

#[tokio::test]
async fn an_upload_that_goes_on_is_not_silence() {
    let (origin, proxy) = pair("timeouts = { idle = \"1s\" }").await;
    let mut client = Client::connect(proxy.address()).await;
    client.send(UPLOAD).await;
    let (begun, mut pulse) = (Instant::now(), tokio::time::interval(Duration::from_millis(100)));
    while begun.elapsed() < Duration::from_millis(1600) {
        pulse.tick().await;
        client.send("2\r\non\r\n").await;
    }
    assert_eq!(client.exchange("0\r\n\r\n").await.text(), "one");
    assert!(origin.requests()[0].complete);
}

#[tokio::test]
async fn a_client_that_does_not_go_on_with_its_upload_is_let_go_and_blames_nobody() {
    let origins = [Origin::start("one").await, Origin::start("two").await];
    let more = "timeouts = { idle = \"200ms\" }\nejection = { consecutive_failures = 1 }";
    let proxy = Proxy::start(&to_endpoints(&origins.each_ref().map(Origin::address), more));
    for _ in 0..3 {
        let mut client = Client::connect(proxy.address()).await;
        let response = client.exchange(format!("{UPLOAD}2\r\non\r\n")).await;
        assert_eq!(response.status, 408, "{}", response.text());
    }
    assert_eq!(attempts(&proxy, "timeout").await, 0.0);
    for origin in &origins {
        assert_eq!(standing(proxy.admin(), origin.address()).await, "eligible");
    }
}

#[tokio::test]
async fn an_origin_that_does_not_take_an_upload_is_to_blame_for_it() {
    let (origin, proxy) = pair("timeouts = { idle = \"300ms\" }").await;
    get(proxy.address(), "shop", "/").await;
    origin.pause();
    let mut client = Client::connect(proxy.address()).await;
    client.send("POST / HTTP/1.1\r\nhost: shop\r\ncontent-length: 100000000\r\n\r\n").await;
    let sending = async {
        let zeros = vec![0; 1 << 20];
        while client.try_send(&zeros).await.is_ok() {}
    };
    let blamed = eventually("the endpoint is blamed", SOON, async || attempts(&proxy, "timeout").await == 1.0);
    tokio::join!(sending, blamed);
}

#[tokio::test]
async fn a_client_that_does_not_take_its_answer_is_let_go_and_blames_nobody() {
    let origin = Origin::start("one").await;
    let cluster = to_endpoints(&[origin.address()], "ejection = { consecutive_failures = 1 }");
    let proxy = Proxy::start(&format!("{cluster}{}", listener("idle = \"300ms\"")));
    origin.once(Script::answer(200, vec![0; 64 << 20]));
    let mut client = Client::connect(proxy.address()).await;
    client.send(GET).await;
    assert_eq!(client.head().await.0.status, 200);
    eventually("the origin is let go", SOON, async || origin.connections() == 0).await;
    eventually("the attempt ends", SOON, async || in_flight(proxy.admin()).await == 0.0).await;
    assert_eq!(attempts(&proxy, "abandoned").await, 1.0);
    assert_eq!(standing(proxy.admin(), origin.address()).await, "eligible");
}

#[tokio::test]
async fn a_silent_tunnel_is_closed() {
    let (origin, proxy) = pair("timeouts = { idle = \"200ms\" }").await;
    origin.once(Script::UpgradeEcho);
    let mut client = Client::connect(proxy.address()).await;
    let upgrade = "GET / HTTP/1.1\r\nhost: shop\r\nconnection: upgrade\r\nupgrade: chat\r\n\r\n";
    assert_eq!(client.exchange(upgrade).await.status, 101);
    client.send("x").await;
    assert_eq!(client.read(1).await, b"x");
    assert_eq!(client.closed().await.unwrap(), b"");
    eventually("the origin's connection is closed", SOON, async || origin.connections() == 0).await;
}

#[tokio::test]
async fn a_head_that_comes_too_slowly_ends_the_connection() {
    let origin = Origin::start("one").await;
    let timeouts = listener("request_header = \"300ms\", idle = \"60s\"");
    let proxy = Proxy::start(&format!("{}{timeouts}", to_endpoints(&[origin.address()], "")));
    let mut halfway = Client::connect(proxy.address()).await;
    halfway.send("GET / HTTP/1.1\r\nhost: ").await;
    halfway.closed().await.ok();

    let mut dripping = Client::connect(proxy.address()).await;
    assert_eq!(dripping.exchange(GET).await.text(), "one");
    let (begun, mut pulse) = (Instant::now(), tokio::time::interval(Duration::from_millis(20)));
    dripping.send("GET / HTTP/1.1\r\n").await;
    while dripping.try_send("x: y\r\n").await.is_ok() {
        assert!(begun.elapsed() < SOON, "a byte now and then does not help");
        pulse.tick().await;
    }
    assert_eq!(origin.hits(), 1);
}

#[tokio::test]
async fn a_connection_without_requests_is_closed() {
    let origin = Origin::start("one").await;
    let timeouts = listener("idle = \"200ms\"");
    let proxy = Proxy::start(&format!("{}{timeouts}", to_endpoints(&[origin.address()], "")));
    let mut fresh = Client::connect(proxy.address()).await;
    assert_eq!(fresh.closed().await.unwrap(), b"");
    let mut used = Client::connect(proxy.address()).await;
    assert_eq!(used.exchange(GET).await.text(), "one");
    assert_eq!(used.closed().await.unwrap(), b"");
}

#[tokio::test]
async fn a_client_that_waits_for_its_answer_is_not_idle() {
    let origin = Origin::start("one").await;
    let timeouts = listener("request_header = \"100ms\", idle = \"100ms\"");
    let proxy = Proxy::start(&format!("{}{timeouts}", to_endpoints(&[origin.address()], "")));
    origin.once(Script::Delay(Duration::from_millis(600), Box::new(Script::answer(200, "late"))));
    assert_eq!(get(proxy.address(), "shop", "/").await.text(), "late");
}

#[tokio::test]
async fn a_client_that_takes_longer_than_an_attempt_may_blames_nobody() {
    let (origin, proxy) = pair("timeouts = { per_try = \"200ms\" }\nretry = { non_idempotent = true }").await;
    let mut client = Client::connect(proxy.address()).await;
    let response = client.exchange(format!("{UPLOAD}2\r\non\r\n")).await;
    assert_eq!((response.status, origin.hits()), (408, 1), "{}", response.text());
    assert_eq!(attempts(&proxy, "timeout").await, 0.0);
}
