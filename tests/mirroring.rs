//! Copies of requests that go to another cluster: whole, marked, and without anybody noticing who asked.

use std::time::Duration;

use crate::support::app::Proxy;
use crate::support::client::{Client, Fields, eventually, get};
use crate::support::origin::{Origin, Request, Script};
use crate::support::window::{metric, sum};

const SOON: Duration = Duration::from_secs(10);

/// The origin that serves, the one that gets copies, and the proxy in front of both.
async fn pair(percent: f64, more: &str) -> (Origin, Origin, Proxy) {
    let (web, shadow) = (Origin::start("web").await, Origin::start("shadow").await);
    let proxy = Proxy::start(&format!(
        "[[routes]]\ncluster = \"web\"\nmirror = {{ cluster = \"shadow\", percent = {percent:?} }}\n\
         [clusters.web]\nendpoints = [\"{}\"]\n[clusters.shadow]\nendpoints = [\"{}\"]\n{more}\n",
        web.address(),
        shadow.address()
    ));
    (web, shadow, proxy)
}

async fn copies(shadow: &Origin, count: usize) -> Vec<Request> {
    eventually("the copies are there", SOON, async || {
        shadow.requests().iter().filter(|copy| copy.complete).count() == count
    })
    .await;
    shadow.requests()
}

async fn skipped(proxy: &Proxy, reason: &str) -> f64 {
    metric(proxy.admin(), &format!("lictor_mirrors_skipped_total{{cluster=\"shadow\",reason=\"{reason}\"}}")).await
}

#[tokio::test]
async fn a_copy_has_all_that_the_request_has_and_a_mark() {
    let (web, shadow, proxy) = pair(100.0, "").await;
    let mut client = Client::connect(proxy.address()).await;
    let lengthy = "POST /a?b HTTP/1.1\r\nhost: shop\r\nx-team: t\r\ncontent-length: 5\r\n\r\nhello";
    assert_eq!(client.exchange(lengthy).await.text(), "web");
    let copy = copies(&shadow, 1).await.remove(0);
    let request = web.requests().remove(0);
    assert_eq!((copy.method(), copy.target(), copy.body.as_slice()), ("POST", "/a?b", &b"hello"[..]));
    let same = |fields: Fields| -> Fields {
        let mut fields: Fields = fields.into_iter().filter(|(name, _)| name != "x-lictor-mirror").collect();
        fields.sort();
        fields
    };
    assert_eq!(same(copy.headers()), same(request.headers()));
    assert_eq!((copy.header("x-lictor-mirror").as_deref(), request.header("x-lictor-mirror")), (Some("true"), None));

    let chunked = "POST / HTTP/1.1\r\nhost: shop\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n\
                   2\r\nhe\r\n3\r\nllo\r\n0\r\nx-sum: 1\r\n\r\n";
    assert_eq!(client.exchange(chunked).await.text(), "web");
    let copy = copies(&shadow, 2).await.remove(1);
    assert_eq!((copy.body.as_slice(), copy.header("content-length").as_deref()), (&b"hello"[..], Some("5")));
    assert_eq!((copy.header("transfer-encoding"), copy.header("trailer")), (None, None));
    assert_eq!(client.exchange("GET / HTTP/1.1\r\nhost: shop\r\n\r\n").await.text(), "web");
    assert_eq!(copies(&shadow, 3).await[2].header("content-length"), None);
}

#[tokio::test]
async fn what_becomes_of_a_copy_is_nobodys_business() {
    let (web, shadow, proxy) = pair(100.0, "retry = { attempts = 5 }").await;
    for script in [Script::Hang, Script::ResetBeforeHead, Script::answer(503, "no"), Script::ResetMidBody] {
        shadow.once(script);
        assert_eq!(get(proxy.address(), "shop", "/").await.text(), "web");
    }
    shadow.once(Script::answer(200, vec![b'x'; 3_000_000]));
    assert_eq!(get(proxy.address(), "shop", "/").await.text(), "web");
    eventually("all came, each once", SOON, async || shadow.hits() == 5).await;
    let failed = "lictor_attempts_total{cluster=\"shadow\",outcome=\"reset\"}";
    eventually("they are counted", SOON, async || metric(proxy.admin(), failed).await == 2.0).await;
    assert_eq!(sum(proxy.admin(), "lictor_retries_total", "").await, 0.0);
    assert_eq!(sum(proxy.admin(), "lictor_requests_total", "cluster=\"shadow\"").await, 0.0, "they are no requests");
    assert_eq!(web.hits(), 5);
    proxy.drain().await;
}

#[tokio::test]
async fn a_long_body_is_not_copied_and_not_held_up() {
    let (web, shadow, proxy) = pair(100.0, "").await;
    web.always(Script::EchoBody);
    let body = vec![b'x'; 200_000];
    let mut client = Client::connect(proxy.address()).await;
    client.send(format!("POST / HTTP/1.1\r\nhost: shop\r\ncontent-length: {}\r\n\r\n", body.len())).await;
    client.send(&body).await;
    assert_eq!(client.response().await.body, body);
    client.send("POST / HTTP/1.1\r\nhost: shop\r\ntransfer-encoding: chunked\r\n\r\n").await;
    for _ in 0..10 {
        client.send([format!("{:x}\r\n", 20_000).as_bytes(), &body[..20_000], b"\r\n"].concat()).await;
    }
    client.send("0\r\n\r\n").await;
    assert_eq!(client.response().await.body, body);
    eventually("both are counted", SOON, async || skipped(&proxy, "body").await == 2.0).await;
    assert_eq!(shadow.hits(), 0);
}

#[tokio::test]
async fn there_are_only_so_many_copies_at_once() {
    let (_web, shadow, proxy) = pair(100.0, "").await;
    shadow.always(Script::Hang);
    let mut client = Client::connect(proxy.address()).await;
    for _ in 0..140 {
        assert_eq!(client.exchange("GET / HTTP/1.1\r\nhost: shop\r\n\r\n").await.text(), "web");
    }
    assert_eq!(skipped(&proxy, "busy").await, 12.0);
    eventually("the others came", SOON, async || shadow.hits() == 128).await;
}

#[tokio::test]
async fn a_share_of_the_requests_is_copied() {
    let (_web, shadow, proxy) = pair(50.0, "").await;
    let mut client = Client::connect(proxy.address()).await;
    for _ in 0..200 {
        client.exchange("GET / HTTP/1.1\r\nhost: shop\r\n\r\n").await;
    }
    eventually("about half", SOON, async || (60..140).contains(&shadow.hits())).await;
}

#[tokio::test]
async fn a_cluster_for_copies_that_is_gone_is_no_failure() {
    let (web, shadow, proxy) = pair(100.0, "").await;
    shadow.stop().await;
    for _ in 0..20 {
        assert_eq!(get(proxy.address(), "shop", "/").await.text(), "web");
    }
    assert_eq!(web.hits(), 20);
    let all = async || sum(proxy.admin(), "lictor_attempts_total", "cluster=\"shadow\",outcome=\"connect\"").await;
    eventually("they are counted", SOON, async || all().await > 0.0).await;
}
