//! What a client sees when endpoints fail: which requests are made again, what the answer says where they are not, and that
//! nobody is blamed for a client that leaves. Who is taken out for it is `ejection`'s.

use std::time::{Duration, Instant};

use tokio::net::TcpListener;

use crate::support::app::{Proxy, to_endpoints, to_service};
use crate::support::client::{Client, eventually, get};
use crate::support::consul::Catalog;
use crate::support::origin::{Origin, Script, slow_body};
use crate::support::window::{counted, endpoint, in_flight, metric};

const SOON: Duration = Duration::from_secs(10);
const GET: &str = "GET /a HTTP/1.1\r\nhost: shop\r\n\r\n";
const POST: &str = "POST /a HTTP/1.1\r\nhost: shop\r\ncontent-length: 4\r\n\r\nbody";
/// Turns in order and nobody taken out, so that a test knows who is asked.
const IN_TURN: &str = "policy = \"round_robin\"\nejection = { consecutive_failures = 0 }";

async fn origins<const N: usize>(names: [&str; N]) -> [Origin; N] {
    let mut origins = Vec::new();
    for name in names {
        origins.push(Origin::start(name).await);
    }
    origins.try_into().unwrap_or_else(|_| unreachable!())
}

fn over(origins: &[Origin], more: &str) -> Proxy {
    let addresses: Vec<_> = origins.iter().map(Origin::address).collect();
    Proxy::start(&to_endpoints(&addresses, more))
}

async fn retries(proxy: &Proxy, reason: &str) -> f64 {
    metric(proxy.admin(), &format!("lictor_retries_total{{cluster=\"web\",reason=\"{reason}\"}}")).await
}

async fn refusals(proxy: &Proxy, reason: &str) -> f64 {
    metric(proxy.admin(), &format!("lictor_retries_refused_total{{cluster=\"web\",reason=\"{reason}\"}}")).await
}

async fn attempts(proxy: &Proxy, outcome: &str) -> f64 {
    metric(proxy.admin(), &format!("lictor_attempts_total{{cluster=\"web\",outcome=\"{outcome}\"}}")).await
}

fn hits(origins: &[Origin]) -> usize {
    origins.iter().map(Origin::hits).sum()
}

async fn exchange(proxy: &Proxy, request: &str) -> (u16, String) {
    let response = Client::connect(proxy.address()).await.exchange(request).await;
    (response.status, response.text())
}

#[tokio::test]
async fn a_request_that_was_refused_goes_elsewhere_whatever_its_method() {
    let origins = origins(["gone", "there"]).await;
    origins[0].stop().await;
    let proxy = over(&origins, IN_TURN);
    for request in [GET, POST, "DELETE /a HTTP/1.1\r\nhost: shop\r\n\r\n"] {
        for _ in 0..2 {
            assert_eq!(exchange(&proxy, request).await, (200, "there".to_owned()), "{request}");
        }
    }
    assert!(origins[1].requests().iter().filter(|request| request.method() == "POST").all(|post| post.body == b"body"));
    assert_eq!((retries(&proxy, "connect").await, attempts(&proxy, "connect").await), (3.0, 3.0));
}

#[tokio::test]
async fn a_connection_that_the_origin_closed_meanwhile_costs_no_request() {
    let [origin] = origins(["one"]).await;
    let proxy = over(std::slice::from_ref(&origin), "");
    origin.always(Script::CloseAfter(Box::new(Script::answer(200, "one"))));
    for request in [POST, GET, POST, GET, POST] {
        assert_eq!(exchange(&proxy, request).await, (200, "one".to_owned()));
        eventually("the origin has closed", SOON, async || origin.connections() == 0).await;
    }
    let blamed = attempts(&proxy, "reset").await + attempts(&proxy, "connect").await;
    assert_eq!((blamed, origin.accepted()), (0.0, 5), "closing an idle connection is no failure");
}

#[tokio::test]
async fn gets_survive_an_origin_that_closes_after_every_answer() {
    let origins = origins(["one", "two"]).await;
    let proxy = over(&origins, "");
    for origin in &origins {
        origin.always(Script::CloseAfter(Box::new(Script::answer(200, "ok"))));
    }
    let mut client = Client::connect(proxy.address()).await;
    for _ in 0..100 {
        assert_eq!(client.exchange(GET).await.text(), "ok");
    }
}

#[tokio::test]
async fn a_reset_before_the_answer_is_tried_again_where_that_is_safe() {
    let requests = [
        (GET, 200),
        ("HEAD /a HTTP/1.1\r\nhost: shop\r\n\r\n", 200),
        ("DELETE /a HTTP/1.1\r\nhost: shop\r\n\r\n", 200),
        (POST, 502),
        ("PUT /a HTTP/1.1\r\nhost: shop\r\ncontent-length: 4\r\n\r\nbody", 200),
        ("POST /a HTTP/1.1\r\nhost: shop\r\ncontent-length: 0\r\n\r\n", 502),
    ];
    for (request, expected) in requests {
        for failure in [Script::ResetBeforeHead, Script::CloseBeforeHead] {
            let origins = origins(["one", "two"]).await;
            let proxy = over(&origins, IN_TURN);
            origins.iter().for_each(|origin| origin.once(failure.clone()));
            let mut client = Client::connect(proxy.address()).await;
            client.send(request).await;
            let (head, _) = client.head().await;
            // Each of the two fails once, so that the third attempt is answered where there is one.
            let attempts = if expected == 200 { 3 } else { 1 };
            assert_eq!((head.status, hits(&origins)), (expected, attempts), "{request:.40} {failure:?}");
        }
    }
}

#[tokio::test]
async fn a_request_is_tried_three_times_and_at_three_endpoints() {
    let origins = origins(["a", "b", "c", "d", "e"]).await;
    let proxy = over(&origins, IN_TURN);
    for origin in &origins {
        origin.always(Script::ResetBeforeHead);
    }
    let text = "the endpoint closed the connection before it answered\n";
    assert_eq!(exchange(&proxy, GET).await, (502, text.to_owned()));
    let mut each: Vec<usize> = origins.iter().map(Origin::hits).collect();
    each.sort_unstable();
    assert_eq!(each, [0, 0, 1, 1, 1]);
    assert_eq!((retries(&proxy, "reset").await, refusals(&proxy, "attempts").await), (2.0, 1.0));
}

#[tokio::test]
async fn a_retry_never_returns_to_an_endpoint_while_another_is_left() {
    let origins = origins(["bad", "worse", "good"]).await;
    for policy in ["round_robin", "p2c", "least_connections"] {
        let proxy = over(&origins, &format!("policy = \"{policy}\"\nejection = {{ consecutive_failures = 0 }}"));
        origins[0].always(Script::ResetBeforeHead);
        origins[1].always(Script::ResetBeforeHead);
        for _ in 0..20 {
            assert_eq!(exchange(&proxy, GET).await, (200, "good".to_owned()), "{policy}");
        }
    }
}

#[tokio::test]
async fn retry_can_be_turned_off() {
    let origins = origins(["one", "two"]).await;
    let proxy = over(&origins, &format!("{IN_TURN}\nretry = {{ attempts = 0 }}"));
    for origin in &origins {
        origin.once(Script::ResetBeforeHead);
    }
    assert_eq!(exchange(&proxy, GET).await.0, 502);
    assert_eq!(hits(&origins), 1);
}

#[tokio::test]
async fn retries_end_when_their_budget_is_spent() {
    let [origin] = origins(["gone"]).await;
    origin.stop().await;
    let proxy = over(std::slice::from_ref(&origin), "retry = { attempts = 10, budget = 0.0 }");
    let began = Instant::now();
    while refusals(&proxy, "budget").await == 0.0 {
        let text = "the endpoint refused the connection\n";
        assert_eq!(exchange(&proxy, GET).await, (502, text.to_owned()));
        assert!(began.elapsed() < SOON, "retries go on");
    }
    // Ten a second for ten seconds, what has become free in the meantime, and nothing for the requests.
    let (retries, free) = (retries(&proxy, "connect").await, 10.0 * (began.elapsed().as_secs_f64().ceil() + 1.0));
    assert!((100.0..=100.0 + free).contains(&retries), "{retries}");
    assert_eq!(refusals(&proxy, "attempts").await, (retries / 10.0).floor());
}

#[tokio::test]
async fn what_is_no_http_is_a_bad_gateway() {
    let origins = origins(["one", "two"]).await;
    let proxy = over(&origins, IN_TURN);
    let large = format!("HTTP/1.1 200 OK\r\nx: {}\r\ncontent-length: 0\r\n\r\n", "y".repeat(200_000));
    let garbage = [
        "hello\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 3, 4\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nx y: 1\r\n\r\n",
        "HTTP/1.1 abc OK\r\n\r\n",
        large.as_str(),
    ];
    for (round, bytes) in garbage.into_iter().enumerate() {
        origins.iter().for_each(|origin| origin.always(Script::Raw(bytes.into())));
        let text = "the endpoint's answer cannot be passed on\n";
        assert_eq!(exchange(&proxy, GET).await, (502, text.to_owned()), "{bytes:.40}");
        assert_eq!(hits(&origins), round + 1, "it was answered: no retry");
    }
    assert_eq!(attempts(&proxy, "reset").await, 5.0);
}

#[tokio::test]
async fn an_origin_that_says_more_than_it_was_asked_does_not_answer_the_next_request() {
    let [origin] = origins(["one"]).await;
    let proxy = over(std::slice::from_ref(&origin), "");
    let forged = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil";
    let head = "HEAD /a HTTP/1.1\r\nhost: shop\r\n\r\n";
    for (request, answer) in [
        (GET, "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc"),
        (GET, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
        (GET, "HTTP/1.1 204 No Content\r\n\r\n"),
        (GET, "HTTP/1.1 304 Not Modified\r\ncontent-length: 3\r\n\r\n"),
        (head, "HTTP/1.1 200 OK\r\ncontent-length: 48\r\n\r\n"),
    ] {
        origin.once(Script::Raw(format!("{answer}{forged}").into()));
        let mut client = Client::connect(proxy.address()).await;
        client.send(request).await;
        let (_, mut body) = client.head().await;
        while request == GET && client.piece(&mut body).await.unwrap().is_some() {}
        assert_eq!(client.exchange(GET).await.text(), "one", "after {answer:?}");
    }
}

#[tokio::test]
async fn an_answer_has_one_length_for_everybody() {
    let [origin] = origins(["one"]).await;
    let proxy = over(std::slice::from_ref(&origin), "");
    for framing in
        ["content-length: 3\r\ntransfer-encoding: chunked", "transfer-encoding: chunked\r\ncontent-length: 3"]
    {
        let answer = format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n5\r\nabcde\r\n0\r\n\r\n");
        origin.once(Script::Raw(answer.into()));
        let response = get(proxy.address(), "shop", "/").await;
        // Refused, or taken by its chunks alone (RFC 9112 section 6.3).
        if response.status != 502 {
            assert_eq!((response.text().as_str(), response.header("content-length")), ("abcde", None), "{framing:?}");
        }
    }
}

#[tokio::test]
async fn a_cut_answer_is_cut_for_the_client_as_well() {
    let [origin] = origins(["one"]).await;
    let proxy = over(std::slice::from_ref(&origin), "");
    origin.once(Script::ResetMidBody);
    let short = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc".to_vec();
    origin.once(Script::CloseAfter(Box::new(Script::Raw(short))));
    let chunks = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n".to_vec();
    origin.once(Script::CloseAfter(Box::new(Script::Raw(chunks))));
    let (tap, script) = slow_body();
    origin.once(script);
    tap.send("piece");
    tap.reset();
    for way in ["reset", "short", "without the last chunk", "reset between chunks"] {
        let mut client = Client::connect(proxy.address()).await;
        client.send(GET).await;
        client.try_response().await.expect_err(way);
    }
    assert_eq!(attempts(&proxy, "reset").await, 4.0);
    assert_eq!(get(proxy.address(), "shop", "/").await.text(), "one");
}

#[tokio::test]
async fn a_cut_answer_is_cut_for_a_client_of_http_1_0_as_well() {
    let [origin] = origins(["one"]).await;
    let proxy = over(std::slice::from_ref(&origin), "");
    let (tap, script) = slow_body();
    origin.once(script);
    let mut client = Client::connect(proxy.address()).await;
    client.send("GET / HTTP/1.0\r\nhost: shop\r\n\r\n").await;
    let (_, mut body) = client.head().await;
    tap.send("piece");
    assert_eq!(client.piece(&mut body).await.unwrap().unwrap(), "piece");
    tap.reset();
    // Where only the close tells the end, a close would call the part a whole.
    client.piece(&mut body).await.expect_err("a reset");
}

#[tokio::test]
async fn nobody_to_serve_is_said_at_once_and_when_to_come_back() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let catalog = Catalog::new(&format!("http://{}", listener.local_addr().unwrap()));
    tokio::spawn(lictor::registry::serve(listener, std::future::pending()));
    let proxy = Proxy::start(&to_service(&catalog.url(), ""));
    eventually("ready", SOON, async || get(proxy.admin(), "localhost", "/readyz").await.status == 200).await;
    let response = get(proxy.address(), "shop", "/").await;
    assert_eq!((response.status, response.text().as_str()), (503, "no endpoint is eligible\n"));
    assert_eq!(response.header("retry-after"), Some("1"));
    counted(proxy.admin(), "lictor_no_endpoint_total{cluster=\"web\"}", 1.0).await;
    let [origin] = origins(["one"]).await;
    catalog.register_service("web", "web1", origin.address()).await;
    eventually("the instance serves", SOON, async || get(proxy.address(), "shop", "/").await.status == 200).await;
}

#[tokio::test]
async fn clients_that_leave_before_the_answer_blame_nobody() {
    let origins = origins(["one", "two"]).await;
    let proxy = over(&origins, "");
    for _ in 0..5 {
        origins.iter().for_each(|origin| origin.always(Script::Hang));
        let before = hits(&origins);
        let mut client = Client::connect(proxy.address()).await;
        client.send(GET).await;
        eventually("the request is there", SOON, async || hits(&origins) > before).await;
        drop(client);
        eventually("it is forgotten", SOON, async || in_flight(proxy.admin()).await == 0.0).await;
    }
    eventually("the origins are left", SOON, async || origins.iter().all(|origin| origin.connections() == 0)).await;
    nobody_is_blamed(&proxy, &origins, 5.0).await;
}

#[tokio::test]
async fn clients_that_leave_in_the_middle_of_an_answer_blame_nobody() {
    let origins = origins(["one", "two"]).await;
    let proxy = over(&origins, IN_TURN.replace('0', "1").as_str());
    for round in 0..6 {
        let (tap, script) = slow_body();
        origins.iter().for_each(|origin| origin.always(script.clone()));
        let mut client = Client::connect(proxy.address()).await;
        client.send(GET).await;
        let (_, mut body) = client.head().await;
        tap.send("piece");
        assert!(client.piece(&mut body).await.unwrap().is_some());
        if round % 2 == 0 {
            client.reset()
        } else {
            drop(client)
        }
        tokio::time::timeout(SOON, tap.left()).await.expect("the origin's connection is closed");
    }
    eventually("all is forgotten", SOON, async || in_flight(proxy.admin()).await == 0.0).await;
    nobody_is_blamed(&proxy, &origins, 6.0).await;
}

#[tokio::test]
async fn clients_that_leave_in_the_middle_of_a_request_blame_nobody() {
    let origins = origins(["one", "two"]).await;
    let proxy = over(&origins, IN_TURN.replace('0', "1").as_str());
    for round in 0..6 {
        let before = hits(&origins);
        let mut client = Client::connect(proxy.address()).await;
        client.send("POST / HTTP/1.1\r\nhost: shop\r\ncontent-length: 1000\r\n\r\nbeginning").await;
        eventually("the request is there", SOON, async || hits(&origins) > before).await;
        if round % 2 == 0 {
            client.reset()
        } else {
            drop(client)
        }
        eventually("it is forgotten", SOON, async || in_flight(proxy.admin()).await == 0.0).await;
    }
    eventually("the origins are left", SOON, async || origins.iter().all(|origin| origin.connections() == 0)).await;
    assert!(origins.iter().flat_map(Origin::requests).all(|request| !request.complete), "nobody takes it for whole");
    nobody_is_blamed(&proxy, &origins, 6.0).await;
}

async fn nobody_is_blamed(proxy: &Proxy, origins: &[Origin], left: f64) {
    assert_eq!(attempts(proxy, "abandoned").await, left);
    for outcome in ["connect", "timeout", "reset", "gateway"] {
        assert_eq!(attempts(proxy, outcome).await, 0.0, "{outcome}");
    }
    for origin in origins {
        assert_eq!(endpoint(proxy.admin(), origin.address()).await["standing"], "eligible");
    }
}

#[tokio::test]
async fn an_instance_that_is_killed_under_load_costs_no_get() {
    let origins = origins(["a", "b", "c"]).await;
    let proxy = over(&origins, "");
    let address = proxy.address();
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..8 {
        clients.spawn(async move {
            let mut client = Client::connect(address).await;
            for round in 0..150 {
                let response = client.exchange(GET).await;
                assert_eq!(response.status, 200, "request {round}: {}", response.text());
            }
        });
    }
    eventually("load is on", SOON, async || hits(&origins) > 200).await;
    origins[1].stop().await;
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    assert!(hits(&origins) >= 1200);
    assert!(endpoint(proxy.admin(), origins[1].address()).await["standing"] != "eligible", "it is taken out");
}
