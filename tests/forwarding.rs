//! What the head of a request and of its answer look like on the other side, which origin it reaches, and what is refused.

use std::time::Duration;

use crate::support::app::{Proxy, to_endpoints};
use crate::support::client::{Client, Fields, eventually, get};
use crate::support::origin::{Origin, Request, Script};

const GET: &str = "GET /a HTTP/1.1\r\nhost: shop\r\n\r\n";

async fn pair() -> (Origin, Proxy) {
    let origin = Origin::start("one").await;
    let proxy = Proxy::start(&to_endpoints(&[origin.address()], ""));
    (origin, proxy)
}

/// What the origin receives for these bytes of a client's.
async fn received(request: &str) -> Request {
    let (origin, proxy) = pair().await;
    let response = Client::connect(proxy.address()).await.exchange(request).await;
    assert_eq!(response.status, 200, "{request:?}: {}", response.text());
    origin.requests().remove(0)
}

fn owned(fields: &[(&str, &str)]) -> Fields {
    fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn values(fields: &Fields, name: &str) -> Vec<String> {
    fields.iter().filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone()).collect()
}

#[tokio::test]
async fn a_request_reaches_an_origin_and_comes_back() {
    let (_origin, proxy) = pair().await;
    let response = get(proxy.address(), "shop.example.com", "/a?b").await;
    assert_eq!((response.status, response.text().as_str()), (200, "one"));
    eventually("ready", Duration::from_secs(5), async || {
        get(proxy.admin(), "localhost", "/readyz").await.status == 200
    })
    .await;
    proxy.drain().await;
}

#[tokio::test]
async fn many_requests_share_one_connection_on_either_side() {
    let (origin, proxy) = pair().await;
    let mut client = Client::connect(proxy.address()).await;
    for round in 0..20 {
        let response = client.exchange(GET).await;
        assert_eq!((response.text().as_str(), response.header("connection")), ("one", None), "request {round}");
    }
    assert_eq!((origin.hits(), origin.accepted()), (20, 1));
}

#[tokio::test]
async fn an_endpoint_that_closes_after_its_answer_is_connected_to_anew() {
    let (origin, proxy) = pair().await;
    let goodbye = Script::Answer { status: 200, headers: owned(&[("connection", "close")]), body: b"bye".to_vec() };
    origin.once(Script::CloseAfter(Box::new(goodbye)));
    let mut client = Client::connect(proxy.address()).await;
    let response = client.exchange(GET).await;
    assert_eq!((response.text().as_str(), response.header("connection")), ("bye", None), "the client's stays open");
    assert_eq!(client.exchange(GET).await.text(), "one");
    assert_eq!(origin.accepted(), 2);
}

#[tokio::test]
async fn a_client_that_wants_to_close_is_let_go_and_the_origins_connection_stays() {
    let (origin, proxy) = pair().await;
    for _ in 0..3 {
        let mut client = Client::connect(proxy.address()).await;
        let response = client.exchange("GET / HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n\r\n").await;
        assert_eq!((response.text().as_str(), response.header("connection")), ("one", Some("close")));
        assert_eq!(client.closed().await.unwrap(), b"");
    }
    assert_eq!(origin.accepted(), 1);
}

#[tokio::test]
async fn headers_of_one_connection_do_not_reach_the_origin() {
    let request = received(
        "GET / HTTP/1.1\r\nhost: shop\r\nconnection: x-private, Keep-Alive\r\nx-private: 1\r\nkeep-alive: timeout=5\r\n\
         te: gzip\r\nproxy-connection: keep-alive\r\nproxy-authorization: Basic x\r\nupgrade: h2c\r\naccept: text/html\r\n\r\n",
    )
    .await;
    let private = ["connection", "x-private", "keep-alive", "te", "proxy-connection", "proxy-authorization", "upgrade"];
    for name in private {
        assert_eq!(request.header(name), None, "{name}");
    }
    assert_eq!(request.header("accept").as_deref(), Some("text/html"));
}

#[tokio::test]
async fn headers_of_one_connection_do_not_reach_the_client() {
    let (origin, proxy) = pair().await;
    let headers = owned(&[
        ("Connection", "X-Private"),
        ("X-Private", "1"),
        ("Keep-Alive", "timeout=5"),
        ("Proxy-Authenticate", "Basic"),
        ("Upgrade", "h2c"),
        ("X-Public", "2"),
    ]);
    origin.once(Script::Answer { status: 200, headers, body: b"x".to_vec() });
    let response = get(proxy.address(), "shop", "/").await;
    for name in ["connection", "x-private", "keep-alive", "proxy-authenticate", "upgrade"] {
        assert_eq!(response.header(name), None, "{name}");
    }
    assert_eq!(response.header("x-public"), Some("2"));
}

#[tokio::test]
async fn the_origin_learns_who_asked_and_for_what() {
    let request = received("GET / HTTP/1.1\r\nHost: Shop.example.com:8443\r\n\r\n").await;
    let header = |name: &str| request.header(name).unwrap_or_default();
    assert_eq!(header("host"), "Shop.example.com:8443", "as the client wrote it");
    assert_eq!(header("x-forwarded-for"), "127.0.0.1");
    assert_eq!(header("x-forwarded-proto"), "http");
    assert_eq!(header("x-forwarded-host"), "Shop.example.com:8443");
    assert_eq!(header("via"), "1.1 lictor");
    let id = header("x-request-id");
    assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
}

#[tokio::test]
async fn a_request_that_goes_in_circles_is_ended() {
    let (origin, proxy) = pair().await;
    let asked = async |hops: usize| {
        let way = vec!["1.1 lictor"; hops].join(", ");
        let request = format!("GET / HTTP/1.1\r\nHost: shop\r\nVia: 1.0 fred\r\nVia: {way}\r\n\r\n");
        Client::connect(proxy.address()).await.exchange(request).await.status
    };
    assert_eq!((asked(9).await, asked(10).await, asked(100).await), (200, 508, 508));
    assert_eq!(origin.hits(), 1);
}

#[tokio::test]
async fn paths_and_queries_arrive_as_they_were_written() {
    for target in ["/a%2Fb/%C3%A9?x=1&x=%20+&&;a=b/../c?d", "/?", "//double//slash/x", "/a?b=c%00&u=http://x/?y"] {
        let request = received(&format!("GET {target} HTTP/1.1\r\nhost: shop\r\n\r\n")).await;
        assert_eq!(request.target(), target);
    }
}

#[tokio::test]
async fn repeated_headers_stay_apart_and_bytes_beyond_ascii_stay_bytes() {
    let (origin, proxy) = pair().await;
    origin.once(Script::Raw(
        b"HTTP/1.1 200 Fine\r\nSet-Cookie: a=1\r\nX: caf\xe9\r\nSet-Cookie: b=2\r\ncontent-length: 0\r\n\r\n".to_vec(),
    ));
    let mut client = Client::connect(proxy.address()).await;
    client.send(b"GET / HTTP/1.1\r\nhost: shop\r\nx-y: 1\r\nx-y: na\xefve\r\n\r\n").await;
    let response = client.response().await;
    assert_eq!(values(&response.headers, "set-cookie"), ["a=1", "b=2"]);
    assert_eq!(response.header("x"), Some("caf\u{e9}"), "the client shows one character a byte");
    assert_eq!(values(&origin.requests()[0].headers(), "x-y"), ["1", "na\u{ef}ve"]);
}

#[tokio::test]
async fn an_absolute_target_arrives_as_a_path() {
    let request = received("GET http://b.example.com:81/x?y=1 HTTP/1.1\r\nhost: B.example.com:81\r\n\r\n").await;
    assert_eq!((request.target(), request.header("host").as_deref()), ("/x?y=1", Some("b.example.com:81")));
    let request = received("GET http://b.example.com HTTP/1.1\r\nhost: b.example.com\r\n\r\n").await;
    assert_eq!((request.target(), request.header("host").as_deref()), ("/", Some("b.example.com")));
    let request = received("GET http://b.example.com?y HTTP/1.1\r\nhost: b.example.com\r\n\r\n").await;
    assert_eq!(request.target(), "/?y");
}

#[tokio::test]
async fn a_client_of_http_1_0_gets_a_plain_body_and_a_close() {
    let (origin, proxy) = pair().await;
    origin.once(Script::Chunked { chunks: vec![b"ab".to_vec(), b"c".to_vec()], trailers: Fields::new() });
    let mut client = Client::connect(proxy.address()).await;
    client.send("GET / HTTP/1.0\r\nhost: shop\r\n\r\n").await;
    let answer = String::from_utf8(client.closed().await.unwrap()).unwrap();
    assert!(answer.starts_with("HTTP/1.0 200 OK\r\n") || answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(!answer.contains("transfer-encoding"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nabc"), "{answer}");
    assert!(origin.requests()[0].head.starts_with("GET / HTTP/1.1\r\n"), "we speak our own version");
}

#[tokio::test]
async fn a_client_of_http_1_0_may_keep_its_connection() {
    let (_origin, proxy) = pair().await;
    let mut client = Client::connect(proxy.address()).await;
    for _ in 0..2 {
        let response = client.exchange("GET / HTTP/1.0\r\nhost: shop\r\nconnection: keep-alive\r\n\r\n").await;
        assert_eq!((response.status, response.text().as_str()), (200, "one"));
    }
}

#[tokio::test]
async fn a_request_without_exactly_one_valid_host_is_refused() {
    let (origin, proxy) = pair().await;
    for hosts in
        ["", "host: a\r\nhost: b\r\n", "host: a\r\nhost: a\r\n", "host: a/b\r\n", "host: \r\n", "host: a b\r\n"]
    {
        let mut client = Client::connect(proxy.address()).await;
        let response = client.exchange(format!("GET / HTTP/1.1\r\n{hosts}\r\n")).await;
        assert_eq!(response.status, 400, "{hosts:?}");
    }
    assert_eq!(origin.hits(), 0);
}

#[tokio::test]
async fn connect_is_refused_and_says_what_is_served() {
    let (origin, proxy) = pair().await;
    let mut client = Client::connect(proxy.address()).await;
    let response = client.exchange("CONNECT shop:443 HTTP/1.1\r\nhost: shop:443\r\n\r\n").await;
    assert_eq!(response.status, 405);
    assert!(response.header("allow").is_some_and(|allow| allow.contains("GET")));
    assert_eq!(origin.hits(), 0);
}

#[tokio::test]
async fn options_for_the_whole_server_reaches_it() {
    let request = received("OPTIONS * HTTP/1.1\r\nhost: shop\r\n\r\n").await;
    assert_eq!((request.method(), request.target()), ("OPTIONS", "*"));
}

#[tokio::test]
async fn a_method_that_nobody_knows_is_passed_on() {
    let request = received("PURGE /a HTTP/1.1\r\nhost: shop\r\n\r\n").await;
    assert_eq!(request.method(), "PURGE");
}

#[tokio::test]
async fn requests_go_by_host_wildcard_and_path() {
    let names = ["api", "shop", "eu", "rest"];
    let mut origins = Vec::new();
    let mut text = String::new();
    let rules =
        ["host = \"shop.test\"\npath = \"/api/\"", "host = \"shop.test\"", "host = \"*.eu.test\"", "path = \"/any\""];
    for (name, rule) in names.iter().zip(rules) {
        let origin = Origin::start(name).await;
        text += &format!(
            "[[routes]]\n{rule}\ncluster = \"{name}\"\n[clusters.{name}]\nendpoints = [\"{}\"]\n",
            origin.address()
        );
        origins.push(origin);
    }
    let proxy = Proxy::start(&text);
    for (host, path, expected) in [
        ("shop.test", "/api", Some("api")),
        ("SHOP.test:8080", "/api/v1?x", Some("api")),
        ("shop.test", "/apis", Some("shop")),
        ("a.b.eu.test", "/", Some("eu")),
        ("eu.test", "/any/thing", Some("rest")),
        ("eu.test", "/", None),
    ] {
        let response = get(proxy.address(), host, path).await;
        match expected {
            Some(name) => assert_eq!(response.text(), name, "{host}{path}"),
            None => assert_eq!((response.status, response.text().as_str()), (404, "no route for this host and path\n")),
        }
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_their_order() {
    let (origin, proxy) = pair().await;
    origin.once(Script::Delay(Duration::from_millis(50), Box::new(Script::answer(200, "first"))));
    origin.once(Script::answer(404, "second"));
    let mut client = Client::connect(proxy.address()).await;
    client.send([GET, GET, GET].concat()).await;
    assert_eq!(client.response().await.text(), "first");
    assert_eq!(client.response().await.text(), "second");
    assert_eq!(client.response().await.text(), "one");
}

#[tokio::test]
async fn a_large_head_passes_and_one_that_is_too_large_is_refused() {
    let (origin, proxy) = pair().await;
    let mut client = Client::connect(proxy.address()).await;
    let with = |more: &str| format!("GET / HTTP/1.1\r\nhost: shop\r\n{more}\r\n");
    let cookie = format!("cookie: {}\r\n", "c".repeat(32_000));
    assert_eq!(client.exchange(with(&cookie)).await.status, 200);
    assert_eq!(origin.requests()[0].header("cookie").unwrap().len(), 32_000);
    let response = client.exchange(with(&format!("cookie: {}\r\n", "c".repeat(70_000)))).await;
    assert_eq!(response.status, 431);
    let many: String = (0..200).map(|index| format!("x-{index}: 1\r\n")).collect();
    let mut client = Client::connect(proxy.address()).await;
    assert_eq!(client.exchange(with(&many)).await.status, 431);
    assert_eq!(origin.hits(), 1);
}

#[tokio::test]
async fn a_head_that_is_no_http_is_refused() {
    let (origin, proxy) = pair().await;
    for nonsense in
        ["hello\r\n\r\n", "GET / HTTP/1.1\r\nhost: a\r\nx y: 1\r\n\r\n", "GET / HTTP/1.1\r\nhost : a\r\n\r\n"]
    {
        let mut client = Client::connect(proxy.address()).await;
        assert_eq!(client.exchange(nonsense).await.status, 400, "{nonsense:?}");
    }
    assert_eq!(origin.hits(), 0);
}

#[tokio::test]
async fn a_body_has_one_length_for_everybody() {
    let (origin, proxy) = pair().await;
    for framing in [
        "content-length: 3\r\ncontent-length: 4\r\n",
        "content-length: 3, 4\r\n",
        "content-length: +3\r\n",
        "transfer-encoding: chunked, gzip\r\n",
        "transfer-encoding: xchunked\r\n",
    ] {
        let mut client = Client::connect(proxy.address()).await;
        let request = format!("POST / HTTP/1.1\r\nhost: shop\r\n{framing}\r\nabcd");
        let status = client.exchange(request).await.status;
        assert!(matches!(status, 400 | 501), "{framing:?} gives {status}");
    }
    assert_eq!(origin.hits(), 0);
    for framing in
        ["content-length: 3\r\ntransfer-encoding: chunked\r\n", "transfer-encoding: chunked\r\ncontent-length: 3\r\n"]
    {
        let mut client = Client::connect(proxy.address()).await;
        let request = format!("POST / HTTP/1.1\r\nhost: shop\r\n{framing}\r\n5\r\nabcde\r\n0\r\n\r\n");
        let status = client.exchange(request).await.status;
        // Refused, or taken by its chunks alone (RFC 9112 section 6.3).
        if status != 400 {
            let request = origin.requests().pop().unwrap();
            assert_eq!((request.header("content-length"), request.body.as_slice()), (None, b"abcde".as_slice()));
        }
    }
}
