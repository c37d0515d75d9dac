//! The operator's window: is it alive, is it ready, what does it count, and whom does it see.

mod access;
mod openapi;

use std::time::Duration;

use tokio::net::TcpListener;

use crate::support::app::{Proxy, to_endpoints, to_service};
use crate::support::client::{Client, eventually, get};
use crate::support::consul::Catalog;
use crate::support::origin::{Origin, Script, slow_body};
use crate::support::window::{counted, endpoint, in_flight, json, metric};

const SOON: Duration = Duration::from_secs(10);
const GET: &str = "GET /a HTTP/1.1\r\nhost: shop\r\n\r\n";

async fn registry() -> Catalog {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let catalog = Catalog::new(&format!("http://{}", listener.local_addr().unwrap()));
    tokio::spawn(lictor::registry::serve(listener, std::future::pending()));
    catalog
}

async fn ready(proxy: &Proxy) {
    eventually("ready", SOON, async || get(proxy.admin(), "localhost", "/readyz").await.status == 200).await;
}

#[tokio::test]
async fn live_is_told_from_ready() {
    // Nobody answers there.
    let proxy = Proxy::start(&to_service("http://127.0.0.1:1", ""));
    let live = get(proxy.admin(), "localhost", "/livez").await;
    assert_eq!((live.status, live.text().as_str()), (200, "live\n"));
    let waiting = get(proxy.admin(), "localhost", "/readyz").await;
    assert_eq!((waiting.status, waiting.text().as_str()), (503, "waiting for the first answer of discovery\n"));
    let verbose = get(proxy.admin(), "localhost", "/readyz?verbose").await;
    assert_eq!(verbose.status, 503);
    assert!(verbose.text().lines().any(|line| line == "web: no answer yet"), "{}", verbose.text());
    counted(proxy.admin(), "lictor_ready", 0.0).await;

    let listed = Proxy::start(&to_endpoints(&["127.0.0.1:1".parse().unwrap()], ""));
    ready(&listed).await;
    let verbose = get(listed.admin(), "localhost", "/readyz?verbose").await.text();
    assert!(verbose.starts_with("ready\nweb: ok"), "{verbose}");
    counted(listed.admin(), "lictor_ready", 1.0).await;
}

#[tokio::test]
async fn a_service_without_instances_is_an_answer_to_be_ready_with() {
    let catalog = registry().await;
    let proxy = Proxy::start(&to_service(&catalog.url(), ""));
    ready(&proxy).await;
    let web = &json(proxy.admin(), "/v1/clusters").await[0];
    assert_eq!((web["listed"].as_bool(), web["endpoints"].as_array().map(Vec::len)), (Some(true), Some(0)));
}

#[tokio::test]
async fn metrics_are_in_the_format_that_is_asked_for() {
    let proxy = Proxy::start(&to_endpoints(&["127.0.0.1:1".parse().unwrap()], ""));
    let asked = "GET /metrics HTTP/1.1\r\nhost: localhost\r\naccept: application/openmetrics-text;version=1.0.0,*/*;q=0.1\r\n\r\n";
    let scrape = Client::connect(proxy.admin()).await.exchange(asked).await;
    assert_eq!(scrape.header("content-type"), Some("application/openmetrics-text; version=1.0.0; charset=utf-8"));
    assert!(scrape.text().ends_with("\n# EOF\n"), "{}", scrape.text());
}

#[tokio::test]
async fn metrics_are_text_that_prometheus_takes() {
    let origin = Origin::start("one").await;
    let proxy = Proxy::start(&to_endpoints(&[origin.address()], ""));
    let scrape = get(proxy.admin(), "localhost", "/metrics").await;
    assert_eq!(scrape.status, 200);
    assert_eq!(scrape.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let text = scrape.text();
    let mut described = std::collections::BTreeSet::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# ") {
            let mut words = rest.split(' ').skip(1);
            described.insert(words.next().unwrap().to_owned());
            continue;
        }
        let name = line.split(['{', ' ']).next().unwrap();
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|part| name.strip_suffix(part)).unwrap_or(name);
        assert!(described.contains(family) || described.contains(name), "{line} has no HELP and TYPE");
        assert!(line.rsplit(' ').next().unwrap().parse::<f64>().is_ok(), "{line}");
    }
}

#[tokio::test]
async fn requests_and_attempts_are_counted_as_they_went() {
    let origin = Origin::start("one").await;
    let proxy = Proxy::start(&format!(
        "[[routes]]\nname = \"shop\"\nhost = \"shop\"\ncluster = \"web\"\n[clusters.web]\nendpoints = [\"{}\"]\n",
        origin.address()
    ));
    let mut client = Client::connect(proxy.address()).await;
    origin.once(Script::answer(404, ""));
    origin.once(Script::ResetBeforeHead);
    for _ in 0..4 {
        client.exchange(GET).await;
    }
    assert_eq!(get(proxy.address(), "elsewhere", "/").await.status, 404);
    let value = async |series: &str| metric(proxy.admin(), series).await;
    let shop = "listener=\"edge\",route=\"shop\",cluster=\"web\"";
    let nowhere = "listener=\"edge\",route=\"\",cluster=\"\"";
    assert_eq!(value(&format!("lictor_requests_total{{{shop},code=\"200\"}}")).await, 3.0);
    assert_eq!(value(&format!("lictor_requests_total{{{shop},code=\"404\"}}")).await, 1.0);
    assert_eq!(value(&format!("lictor_requests_total{{{nowhere},code=\"404\"}}")).await, 1.0);
    assert_eq!(value(&format!("lictor_request_duration_seconds_count{{{shop},code_class=\"2xx\"}}")).await, 3.0);
    let infinite = format!("lictor_request_duration_seconds_bucket{{{shop},code_class=\"2xx\",le=\"+Inf\"}}");
    assert_eq!(value(&infinite).await, 3.0);
    assert!(value(&format!("lictor_request_duration_seconds_sum{{{shop},code_class=\"2xx\"}}")).await > 0.0);
    assert_eq!(value("lictor_attempts_total{cluster=\"web\",outcome=\"success\"}").await, 4.0);
    assert_eq!(value("lictor_attempts_total{cluster=\"web\",outcome=\"reset\"}").await, 1.0);
    assert_eq!(value("lictor_retries_total{cluster=\"web\",reason=\"reset\"}").await, 1.0);
    assert_eq!(value("lictor_connections_accepted_total{listener=\"edge\"}").await, 2.0);
    counted(proxy.admin(), "lictor_connections_open{listener=\"edge\"}", 1.0).await;
    assert_eq!(value("lictor_cluster_endpoints{cluster=\"web\",state=\"eligible\"}").await, 1.0);
}

#[tokio::test]
async fn what_is_in_flight_is_seen_until_its_last_byte() {
    let origin = Origin::start("one").await;
    let proxy = Proxy::start(&to_endpoints(&[origin.address()], ""));
    let (tap, script) = slow_body();
    origin.once(script);
    let mut client = Client::connect(proxy.address()).await;
    client.send(GET).await;
    let (_, mut body) = client.head().await;
    assert_eq!(in_flight(proxy.admin()).await, 1.0);
    assert_eq!(endpoint(proxy.admin(), origin.address()).await["in_flight"], 1);
    tap.end();
    assert!(client.piece(&mut body).await.unwrap().is_none());
    eventually("it has ended", SOON, async || in_flight(proxy.admin()).await == 0.0).await;
}

#[tokio::test]
async fn discovery_is_measured_for_each_service() {
    let catalog = registry().await;
    let origin = Origin::start("one").await;
    let proxy = Proxy::start(&to_service(&catalog.url(), ""));
    ready(&proxy).await;
    catalog.register_service("web", "web1", origin.address()).await;
    eventually("it serves", SOON, async || get(proxy.address(), "shop", "/").await.status == 200).await;
    let value = async |series: &str| metric(proxy.admin(), series).await;
    assert_eq!(value("lictor_discovery_updates_total{service=\"web\",result=\"changed\"}").await, 2.0);
    assert!(value("lictor_discovery_index{service=\"web\"}").await > 0.0);
    let scrape = get(proxy.admin(), "localhost", "/metrics").await.text();
    let age = "lictor_discovery_last_success_age_seconds{service=\"web\"} ";
    let age: f64 = scrape.lines().find_map(|line| line.strip_prefix(age)).expect("an age").parse().unwrap();
    assert!((0.0..60.0).contains(&age), "{age}");
    assert!(value("lictor_table_version").await >= 2.0);
}

#[tokio::test]
async fn clusters_are_shown_with_their_endpoints() {
    let catalog = registry().await;
    let origin = Origin::start("one").await;
    catalog.register_service("web", "web1", origin.address()).await;
    let more = "policy = \"round_robin\"\n[clusters.files]\nendpoints = [{ address = \"127.0.0.1:9\", weight = 3 }]";
    let proxy = Proxy::start(&to_service(&catalog.url(), more));
    ready(&proxy).await;
    let clusters = json(proxy.admin(), "/v1/clusters").await;
    let (files, web) = (&clusters[0], &clusters[1]);
    assert_eq!((files["name"].as_str(), files["policy"].as_str()), (Some("files"), Some("p2c")));
    assert_eq!((web["name"].as_str(), web["policy"].as_str()), (Some("web"), Some("round_robin")));
    assert_eq!((&files["source"], &web["source"]["consul"]["service"]), (&"static".into(), &"web".into()));
    assert_eq!((&files["endpoints"][0]["weight"], &files["endpoints"][0]["id"]), (&3.into(), &serde_json::Value::Null));
    let one = &web["endpoints"][0];
    assert_eq!(one["address"], origin.address().to_string());
    assert_eq!(one["id"].as_str().and_then(|id| id.rsplit('/').next()), Some("web1"), "behind its node's name");
    assert_eq!((&one["status"], &one["standing"]), (&"passing".into(), &"eligible".into()));
    assert_eq!((&one["weight"], &one["in_flight"]), (&1.into(), &0.into()));

    catalog.set_check("service:web1", "critical").await;
    eventually("it is critical", SOON, async || {
        endpoint(proxy.admin(), origin.address()).await["status"] == "critical"
    })
    .await;
    counted(proxy.admin(), "lictor_cluster_endpoints{cluster=\"web\",state=\"critical\"}", 1.0).await;
}

#[tokio::test]
async fn routes_are_shown_in_the_order_of_the_file() {
    let proxy = Proxy::start(
        "[[routes]]\nname = \"api\"\nhost = \"*.shop.test\"\npath = \"/api/\"\ncluster = \"web\"\n\
         [[routes]]\ncluster = \"web\"\n[clusters.web]\nendpoints = [\"127.0.0.1:1\"]\n",
    );
    ready(&proxy).await;
    let expected = serde_json::json!([
        { "name": "api", "host": "*.shop.test", "path": "/api", "cluster": "web", "action": "cluster" },
        { "name": "*", "host": "*", "path": "/", "cluster": "web", "action": "cluster" },
    ]);
    assert_eq!(json(proxy.admin(), "/v1/routes").await, expected);
    assert_eq!(get(proxy.admin(), "localhost", "/v1/routes").await.header("content-type"), Some("application/json"));
}

#[tokio::test]
async fn one_cluster_and_all_endpoints_can_be_asked_for() {
    let proxy = Proxy::start(&to_endpoints(
        &["127.0.0.1:9".parse().unwrap()],
        "[clusters.files]\nendpoints = [\"127.0.0.1:8\"]",
    ));
    ready(&proxy).await;
    assert_eq!(json(proxy.admin(), "/v1/clusters/web").await, json(proxy.admin(), "/v1/clusters").await[1]);
    let endpoints = json(proxy.admin(), "/v1/endpoints").await;
    assert_eq!(endpoints.as_array().map(Vec::len), Some(2));
    assert_eq!((&endpoints[1]["cluster"], &endpoints[1]["address"]), (&"web".into(), &"127.0.0.1:9".into()));
    let missing = get(proxy.admin(), "localhost", "/v1/clusters/wbe").await;
    assert_eq!((missing.status, missing.header("content-type")), (404, Some("application/problem+json")));
    let problem: serde_json::Value = serde_json::from_slice(&missing.body).unwrap();
    let expected = serde_json::json!(
        { "type": "about:blank", "title": "Not Found", "status": 404, "detail": "no cluster \"wbe\"" }
    );
    assert_eq!(problem, expected);
}

#[tokio::test]
async fn whoever_asks_for_something_else_is_told_what_there_is() {
    let proxy = Proxy::start(&to_endpoints(&["127.0.0.1:1".parse().unwrap()], ""));
    let lost = get(proxy.admin(), "localhost", "/v1/nothing").await;
    assert_eq!(lost.status, 404);
    assert!(lost.text().contains("/v1/clusters"), "it says what there is: {}", lost.text());
    assert_eq!(get(proxy.admin(), "localhost", "/").await.status, 200);
    let slip = get(proxy.admin(), "localhost", "/readyz?verbos").await;
    assert_eq!(slip.status, 400);
    assert!(slip.text().contains("unknown query key \\\"verbos\\\"; known: verbose"), "{}", slip.text());
    let mut client = Client::connect(proxy.admin()).await;
    for method in ["POST", "PUT", "DELETE"] {
        let response = client.exchange(format!("{method} /v1/routes HTTP/1.1\r\nhost: localhost\r\n\r\n")).await;
        assert_eq!((response.status, response.header("allow")), (405, Some("GET, HEAD")), "{method}");
    }
    client.send("HEAD /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    let (head, _) = client.head().await;
    assert_eq!((head.status, head.header("content-length")), (200, Some("5")));
    let live = client.exchange("GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    assert_eq!((live.text().as_str(), live.header("cache-control")), ("live\n", Some("no-store")));
    assert_eq!(live.header("x-content-type-options"), Some("nosniff"));
}

/// A stream of events as a browser reads it.
struct Events(Client, crate::support::client::Body, String);

impl Events {
    async fn follow(admin: std::net::SocketAddr, request: &str) -> Events {
        let mut client = Client::connect(admin).await;
        client.send(format!("GET {request}host: localhost\r\n\r\n")).await;
        let (head, body) = client.head().await;
        assert_eq!((head.status, head.header("content-type")), (200, Some("text/event-stream")));
        Events(client, body, String::new())
    }

    /// The next event: its number, its name and what it says.
    async fn next(&mut self) -> (String, String, serde_json::Value) {
        loop {
            while let Some((block, rest)) = self.2.split_once("\n\n") {
                let field = |name: &str| {
                    let line = block.lines().find_map(|line| line.strip_prefix(name));
                    line.unwrap_or_default().to_owned()
                };
                let (id, name, data) = (field("id: "), field("event: "), field("data: "));
                self.2 = rest.to_owned();
                if !name.is_empty() {
                    return (id, name, serde_json::from_str(&data).unwrap());
                }
            }
            let piece = self.0.piece(&mut self.1).await.unwrap().expect("it goes on");
            self.2 += std::str::from_utf8(&piece).unwrap();
        }
    }
}

#[tokio::test]
async fn what_happens_is_told_as_it_happens_and_again_to_whoever_was_away() {
    let origin = Origin::start("one").await;
    let other = Origin::start("two").await;
    let more = "ejection = { consecutive_failures = 1, base = \"100ms\" }";
    let proxy = Proxy::start(&to_endpoints(&[origin.address(), other.address()], more));
    ready(&proxy).await;
    let mut events = Events::follow(proxy.admin(), "/v1/events HTTP/1.1\r\n").await;
    origin.once(Script::ResetBeforeHead);
    other.once(Script::ResetBeforeHead);
    get(proxy.address(), "shop", "/").await;
    let (id, name, ejected) = events.next().await;
    let number: u64 = id.parse().unwrap();
    assert_eq!((name.as_str(), ejected["cluster"].as_str()), ("ejected", Some("web")));
    assert!(ejected["text"].as_str().unwrap().contains("ejected for"), "{ejected}");
    assert!(ejected["time"].as_str().unwrap().ends_with('Z') && ejected["id"] == number, "{ejected}");

    proxy.app().reload(proxy.app_config()).await.unwrap();
    let again = format!("/v1/events HTTP/1.1\r\nlast-event-id: {id}\r\n");
    let mut events = Events::follow(proxy.admin(), &again).await;
    let mut seen = Vec::new();
    while !seen.contains(&"reloaded".to_owned()) {
        seen.push(events.next().await.1);
    }
    assert!(seen.contains(&"table".to_owned()), "{seen:?}");
    let all = json(proxy.admin(), "/v1/events?once").await;
    assert!(all.as_array().unwrap().iter().any(|event| event["id"] == number));
    let bad = get(proxy.admin(), "localhost", "/v1/events?since=yesterday").await;
    assert_eq!(bad.status, 400);
}

#[tokio::test]
async fn whoever_followed_a_process_that_is_gone_is_told_so_once_and_goes_on() {
    let proxy = Proxy::start(&to_endpoints(&["127.0.0.1:9".parse().unwrap()], ""));
    ready(&proxy).await;
    // One long ago, and one whose clock was ahead of ours.
    for number in [1, (1_u64 << 53) - 1] {
        let again = format!("/v1/events HTTP/1.1\r\nlast-event-id: {number}\r\n");
        let mut events = Events::follow(proxy.admin(), &again).await;
        let (_, name, said) = events.next().await;
        assert_eq!((name.as_str(), said["since"].as_u64()), ("forgotten", Some(number)));
        proxy.app().reload(proxy.app_config()).await.unwrap();
        let mut seen = Vec::new();
        while !seen.contains(&"reloaded".to_owned()) {
            seen.push(events.next().await.1);
        }
        assert!(!seen.contains(&"forgotten".to_owned()), "{seen:?}");
    }
}

#[tokio::test]
async fn tables_are_remembered_with_their_causes_and_differences() {
    let catalog = registry().await;
    let proxy = Proxy::start(&to_service(&catalog.url(), ""));
    ready(&proxy).await;
    catalog.register_service("web", "web1", "127.0.0.1:9".parse().unwrap()).await;
    let added = eventually("the table with it", SOON, async || {
        let tables = json(proxy.admin(), "/v1/tables?limit=1").await;
        (tables[0]["clusters"][0]["added"] == serde_json::json!(["127.0.0.1:9"])).then(|| tables[0].clone())
    })
    .await;
    assert_eq!((&added["causes"][0]["cause"], &added["causes"][0]["source"]), (&"list".into(), &"web".into()));
    assert!(added["causes"][0]["index"].as_u64().unwrap() > 0, "{added}");
    let all = json(proxy.admin(), "/v1/tables").await;
    let start = all.as_array().unwrap().last().unwrap();
    assert_eq!((&start["version"], &start["causes"][0]["cause"]), (&1.into(), &"start".into()));
}

#[tokio::test]
async fn only_so_many_can_follow_and_a_place_is_free_once_somebody_leaves() {
    let proxy = Proxy::start(&to_endpoints(&["127.0.0.1:9".parse().unwrap()], ""));
    let mut followers = Vec::new();
    for _ in 0..16 {
        followers.push(Events::follow(proxy.admin(), "/v1/events HTTP/1.1\r\n").await);
    }
    assert_eq!(get(proxy.admin(), "localhost", "/v1/events").await.status, 503);
    assert_eq!(get(proxy.admin(), "localhost", "/livez").await.status, 200);
    followers.pop();
    eventually("a place", SOON, async || {
        let mut client = Client::connect(proxy.admin()).await;
        client.send("GET /v1/events HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
        client.head().await.0.status == 200
    })
    .await;
}
