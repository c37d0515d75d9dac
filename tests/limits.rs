//! How much a cluster takes at once, who waits in front of it, and what the rest is told.

use std::net::SocketAddr;
use std::time::Duration;

use crate::support::app::{Proxy, to_endpoints};
use crate::support::client::{Client, eventually};
use crate::support::origin::{Origin, Script, slow_body};
use crate::support::window::{counted, metric};

const SOON: Duration = Duration::from_secs(10);
const GET: &str = "GET /a HTTP/1.1\r\nhost: shop\r\n\r\n";

async fn start(names: &[&str], limits: &str) -> (Vec<Origin>, Proxy) {
    let mut origins = Vec::new();
    for name in names {
        origins.push(Origin::start(name).await);
    }
    let addresses: Vec<SocketAddr> = origins.iter().map(Origin::address).collect();
    let more = format!("policy = \"round_robin\"\nretry = {{ attempts = 2 }}\nlimits = {{ {limits} }}");
    (origins, Proxy::start(&to_endpoints(&addresses, &more)))
}

async fn overload(proxy: &Proxy, reason: &str) -> f64 {
    metric(proxy.admin(), &format!("lictor_overload_total{{cluster=\"web\",reason=\"{reason}\"}}")).await
}

async fn requests(proxy: &Proxy, state: &str) -> f64 {
    metric(proxy.admin(), &format!("lictor_cluster_requests{{cluster=\"web\",state=\"{state}\"}}")).await
}

/// A client whose request has arrived at an origin.
async fn busy(proxy: &Proxy, origins: &[Origin]) -> Client {
    let hits = || origins.iter().map(Origin::hits).sum::<usize>();
    let before = hits();
    let mut client = Client::connect(proxy.address()).await;
    client.send(GET).await;
    eventually("the request arrives", SOON, async || hits() > before).await;
    client
}

#[tokio::test]
async fn a_request_too_many_is_told_so_at_once() {
    let (origins, proxy) = start(&["one"], "in_flight = 1").await;
    let (tap, script) = slow_body();
    origins[0].once(script);
    let mut first = busy(&proxy, &origins).await;
    // The answer is under way, and its request is still one.
    let (_, mut body) = first.head().await;
    let refused = Client::connect(proxy.address()).await.exchange(GET).await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
    assert_eq!((overload(&proxy, "queue_full").await, origins[0].hits()), (1.0, 1));
    assert_eq!((requests(&proxy, "admitted").await, requests(&proxy, "queued").await), (1.0, 0.0));
    tap.end();
    assert!(first.piece(&mut body).await.unwrap().is_none());
    eventually("there is room", SOON, async || requests(&proxy, "admitted").await == 0.0).await;
    assert_eq!(Client::connect(proxy.address()).await.exchange(GET).await.status, 200);
}

#[tokio::test]
async fn a_request_waits_for_its_turn_if_there_is_a_queue() {
    let (origins, proxy) = start(&["one"], "in_flight = 1, queue = 1, queue_timeout = \"20s\"").await;
    let (tap, script) = slow_body();
    origins[0].once(script);
    let mut first = busy(&proxy, &origins).await;
    first.head().await;
    let mut second = Client::connect(proxy.address()).await;
    second.send(GET).await;
    eventually("it waits", SOON, async || requests(&proxy, "queued").await == 1.0).await;
    assert_eq!(Client::connect(proxy.address()).await.exchange(GET).await.status, 503, "the queue is full");
    assert_eq!(origins[0].hits(), 1);
    tap.end();
    assert_eq!(second.response().await.text(), "one");
    assert_eq!(requests(&proxy, "queued").await, 0.0);
}

#[tokio::test]
async fn a_client_that_leaves_gives_its_place_away() {
    let (origins, proxy) = start(&["one"], "in_flight = 1, queue = 5, queue_timeout = \"20s\"").await;
    origins[0].once(Script::Hang);
    let first = busy(&proxy, &origins).await;
    let mut second = Client::connect(proxy.address()).await;
    second.send(GET).await;
    eventually("it waits", SOON, async || requests(&proxy, "queued").await == 1.0).await;
    let mut third = Client::connect(proxy.address()).await;
    third.send(GET).await;
    eventually("both wait", SOON, async || requests(&proxy, "queued").await == 2.0).await;
    drop(second);
    eventually("one waits", SOON, async || requests(&proxy, "queued").await == 1.0).await;
    drop(first);
    assert_eq!(third.response().await.text(), "one");
}

#[tokio::test]
async fn nobody_waits_longer_than_the_queue_allows() {
    let (origins, proxy) = start(&["one"], "in_flight = 1, queue = 5, queue_timeout = \"150ms\"").await;
    origins[0].once(Script::Hang);
    let _first = busy(&proxy, &origins).await;
    assert_eq!(Client::connect(proxy.address()).await.exchange(GET).await.status, 503);
    assert_eq!(overload(&proxy, "queue_timeout").await, 1.0);
}

#[tokio::test]
async fn no_endpoint_carries_more_than_it_may() {
    let (origins, proxy) = start(&["one", "two"], "endpoint_in_flight = 1").await;
    origins.iter().for_each(|origin| origin.once(Script::Hang));
    let _first = busy(&proxy, &origins).await;
    let second = busy(&proxy, &origins).await;
    assert_eq!((origins[0].hits(), origins[1].hits()), (1, 1));
    assert_eq!(Client::connect(proxy.address()).await.exchange(GET).await.status, 503);
    drop(second);
    eventually("there is room", SOON, async || requests(&proxy, "admitted").await == 1.0).await;
    let answer = Client::connect(proxy.address()).await.exchange(GET).await;
    assert_eq!(answer.status, 200, "at whoever has room, whose turn it ever is");
}

#[tokio::test]
async fn connections_are_bounded_and_whoever_finds_none_goes_elsewhere() {
    let (origins, proxy) = start(&["one", "two"], "endpoint_connections = 1").await;
    origins.iter().for_each(|origin| origin.once(Script::Hang));
    let _first = busy(&proxy, &origins).await;
    let free = origins.iter().find(|origin| origin.hits() == 0).unwrap();
    free.once(Script::answer(200, "after"));
    drop(busy(&proxy, &origins).await);
    eventually("its connection is gone", SOON, async || free.connections() == 0).await;
    for _ in 0..4 {
        assert_eq!(Client::connect(proxy.address()).await.exchange(GET).await.status, 200);
    }
    assert_eq!((free.hits(), free.accepted()), (5, 2), "all of them over one");
    counted(proxy.admin(), "lictor_cluster_connections{cluster=\"web\"}", 2.0).await;

    let (origins, proxy) = start(&["one", "two"], "connections = 1").await;
    origins.iter().for_each(|origin| origin.once(Script::Hang));
    let _first = busy(&proxy, &origins).await;
    let refused = Client::connect(proxy.address()).await.exchange(GET).await;
    assert_eq!((refused.status, refused.text().as_str()), (503, "the proxy has no connection to spare\n"));
    let blamed = metric(proxy.admin(), "lictor_attempts_total{cluster=\"web\",outcome=\"connect\"}").await;
    assert_eq!(blamed, 0.0, "no endpoint can help it");
}

#[tokio::test]
async fn where_nobody_can_serve_nobody_waits() {
    let (origins, proxy) = start(&["one"], "in_flight = 1, queue = 5, queue_timeout = \"20s\"").await;
    origins[0].once(Script::Hang);
    let _first = busy(&proxy, &origins).await;
    drop(origins);
    let mut late = Client::connect(proxy.address()).await;
    late.send(GET).await;
    eventually("it waits", SOON, async || requests(&proxy, "queued").await == 1.0).await;
    let nobody = to_service_without_instances();
    let empty = Proxy::start(&nobody);
    let answer = Client::connect(empty.address()).await.exchange(GET).await;
    assert_eq!((answer.status, answer.text().as_str()), (503, "waiting for discovery\n"));
}

/// A cluster that has had no list and will have none, with a queue in front.
fn to_service_without_instances() -> String {
    let more = "limits = { in_flight = 1, queue = 5, queue_timeout = \"20s\" }";
    crate::support::app::to_service("http://127.0.0.1:1", more)
}

#[tokio::test]
async fn a_limit_may_find_itself() {
    let (_origins, proxy) = start(&["one", "two"], "adaptive = { min = 7, max = 9 }").await;
    let mut client = Client::connect(proxy.address()).await;
    for _ in 0..30 {
        assert_eq!(client.exchange(GET).await.status, 200);
    }
    let limit = metric(proxy.admin(), "lictor_cluster_limit{cluster=\"web\"}").await;
    assert!((7.0..=9.0).contains(&limit), "{limit}");
}
