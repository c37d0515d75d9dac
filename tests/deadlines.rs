//! How long requests may take by their own word, how old connections may get, and what is left to an endpoint that has gone.

use std::time::{Duration, Instant};

use crate::support::app::{Proxy, parse, to_endpoints};
use crate::support::client::{Client, eventually, get};
use crate::support::origin::{Origin, Script, slow_body};
use crate::support::window::{metric, standing};

const SOON: Duration = Duration::from_secs(15);

fn trusting(trust: bool) -> String {
    format!("[[listeners]]\nname = \"edge\"\nbind = \"127.0.0.1:0\"\ntimeouts = {{ trust_deadline = {trust} }}\n")
}

fn asking(header: &str) -> String {
    format!("GET /a HTTP/1.1\r\nhost: shop\r\n{header}\r\n\r\n")
}

#[tokio::test]
async fn a_trusted_request_gets_the_time_that_it_asks_for_and_no_more() {
    let origin = Origin::start("one").await;
    let proxy = Proxy::start(&format!("{}{}", to_endpoints(&[origin.address()], ""), trusting(true)));
    for (header, name) in [("x-request-timeout: 200ms", "x-request-timeout"), ("grpc-timeout: 200m", "grpc-timeout")] {
        origin.once(Script::Hang);
        let began = Instant::now();
        let answer = Client::connect(proxy.address()).await.exchange(asking(header)).await;
        assert_eq!(answer.status, 504, "{header}");
        assert!(began.elapsed() >= Duration::from_millis(200), "after {:?}", began.elapsed());
        let told = origin.requests().pop().unwrap().header(name).unwrap();
        let left: u64 = told.trim_end_matches(['m', 's']).parse().unwrap();
        assert!(left <= 200, "the endpoint was told {told}");
    }
    for _ in 0..5 {
        origin.once(Script::Hang);
        Client::connect(proxy.address()).await.exchange(asking("x-request-timeout: 0.01")).await;
    }
    let blamed = crate::support::window::sum(proxy.admin(), "lictor_ejections_total", "").await;
    assert_eq!((blamed, standing(proxy.admin(), origin.address()).await.as_str()), (0.0, "eligible"));
}

#[tokio::test]
async fn nobody_elses_word_is_taken_for_it() {
    let origin = Origin::start("one").await;
    let proxy = Proxy::start(&format!("{}{}", to_endpoints(&[origin.address()], ""), trusting(false)));
    origin.once(Script::Delay(Duration::from_millis(300), Box::new(Script::answer(200, "in peace"))));
    let answer = Client::connect(proxy.address()).await.exchange(asking("x-request-timeout: 50ms")).await;
    assert_eq!(answer.text(), "in peace");
    assert_eq!(origin.requests()[0].header("x-request-timeout").as_deref(), Some("50ms"), "passed on as it is");
}

#[tokio::test]
async fn an_old_connection_takes_no_further_request() {
    let origin = Origin::start("one").await;
    let proxy = Proxy::start(&to_endpoints(&[origin.address()], "timeouts = { connection_age = \"1ms\" }"));
    for _ in 0..3 {
        get(proxy.address(), "shop", "/").await;
        let began = Instant::now();
        eventually("it gets old", SOON, async || began.elapsed() > Duration::from_millis(2)).await;
    }
    assert_eq!(origin.accepted(), 3);
    let proxy = Proxy::start(&to_endpoints(&[origin.address()], "timeouts = { connection_age = \"1h\" }"));
    for _ in 0..3 {
        get(proxy.address(), "shop", "/").await;
    }
    assert_eq!(origin.accepted(), 4);
}

#[tokio::test]
async fn what_runs_at_an_endpoint_that_has_left_has_its_time_and_no_more() {
    let (going, staying) = (Origin::start("going").await, Origin::start("staying").await);
    let text = |origins: &[&Origin]| {
        let addresses: Vec<_> = origins.iter().map(|origin| origin.address()).collect();
        to_endpoints(&addresses, "timeouts = { drain = \"300ms\" }")
    };
    let proxy = Proxy::start(&text(&[&going]));
    let (tap, script) = slow_body();
    going.once(script);
    let mut client = Client::connect(proxy.address()).await;
    client.send(asking("accept: */*")).await;
    let (_, mut body) = client.head().await;
    tap.send("first");
    assert_eq!(client.piece(&mut body).await.unwrap().unwrap(), "first");
    let began = Instant::now();
    // The address of the admin listener is drawn anew by the system, so the app has to be told the one that it has.
    let config = parse(&text(&[&staying]));
    proxy.app().reload(config).await.unwrap();
    assert_eq!(get(proxy.address(), "shop", "/").await.text(), "staying");
    tap.send("second");
    assert_eq!(client.piece(&mut body).await.unwrap().unwrap(), "second", "it may go on for a while");
    let mut ended = false;
    while !ended {
        ended = !matches!(client.piece(&mut body).await, Ok(Some(_)));
    }
    assert!(began.elapsed() >= Duration::from_millis(300), "ended after {:?}", began.elapsed());
    tap.left().await;
}

async fn late(proxy: &Proxy) -> f64 {
    metric(proxy.admin(), "lictor_attempts_total{cluster=\"web\",outcome=\"timeout\"}").await
}

#[tokio::test]
async fn a_request_that_asks_for_little_time_blames_nobody_for_an_answer_that_takes_longer() {
    let origin = Origin::start("one").await;
    let proxy = Proxy::start(&format!("{}{}", to_endpoints(&[origin.address()], ""), trusting(true)));
    let (_tap, script) = slow_body();
    origin.once(script);
    let mut client = Client::connect(proxy.address()).await;
    client.send(asking("x-request-timeout: 2s")).await;
    let (answer, mut body) = client.head().await;
    assert_eq!(answer.status, 200);
    assert!(client.piece(&mut body).await.is_err(), "its time is over");
    assert_eq!(late(&proxy).await, 0.0);
}

#[tokio::test]
async fn a_request_that_asks_for_more_time_than_there_is_blames_whoever_takes_longer() {
    let origin = Origin::start("one").await;
    let more = "timeouts = { request = \"200ms\" }";
    let proxy = Proxy::start(&format!("{}{}", to_endpoints(&[origin.address()], more), trusting(true)));
    origin.once(Script::Hang);
    assert_eq!(Client::connect(proxy.address()).await.exchange(asking("x-request-timeout: 3600")).await.status, 504);
    assert_eq!(late(&proxy).await, 1.0);
}

#[tokio::test]
async fn an_endpoint_is_not_blamed_for_the_time_that_a_request_has_lost_elsewhere() {
    let origin = Origin::start("one").await;
    let more = "limits = { in_flight = 1, queue = 1, queue_timeout = \"20s\" }\ntimeouts = { request = \"4s\" }";
    let proxy = Proxy::start(&to_endpoints(&[origin.address()], more));
    origin.always(Script::Hang);
    let mut first = Client::connect(proxy.address()).await;
    first.send(asking("x: y")).await;
    eventually("it arrives", SOON, async || origin.hits() == 1).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut second = Client::connect(proxy.address()).await;
    second.send(asking("x: y")).await;
    assert_eq!((first.response().await.status, late(&proxy).await), (504, 1.0));
    assert_eq!((second.response().await.status, origin.hits()), (504, 2));
    assert_eq!(late(&proxy).await, 1.0, "it was given far less than it was due");
}

#[tokio::test]
async fn a_tunnel_to_an_endpoint_that_has_left_has_its_time_and_no_more() {
    let (going, staying) = (Origin::start("going").await, Origin::start("staying").await);
    let text = |origin: &Origin| to_endpoints(&[origin.address()], "timeouts = { drain = \"100ms\" }");
    let proxy = Proxy::start(&text(&going));
    going.once(Script::UpgradeEcho);
    let mut client = Client::connect(proxy.address()).await;
    client.send(asking("connection: upgrade\r\nupgrade: echo")).await;
    assert_eq!(client.head().await.0.status, 101);
    client.send("hello").await;
    assert_eq!(client.read(5).await, b"hello");
    proxy.app().reload(parse(&text(&staying))).await.unwrap();
    assert!(client.closed().await.is_ok_and(|rest| rest.is_empty()));
    eventually("the endpoint learns of it", SOON, async || going.connections() == 0).await;
}
