//! What an operator does by hand: endpoints taken out and back, drained, weighed; the proxy itself drained and taken back.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;

use crate::support::app::{Proxy, to_service};
use crate::support::client::{Client, Response, eventually, get};
use crate::support::origin::{Origin, Script};
use crate::support::window::{counted, endpoint, json, metric};

const SOON: Duration = Duration::from_secs(15);
const GET: &str = "GET / HTTP/1.1\r\nhost: shop\r\n\r\n";

async fn start(count: usize, more: &str) -> (Vec<Origin>, Proxy) {
    Proxy::with_origins(count, &format!("policy = \"round_robin\"\n{more}")).await
}

async fn post(proxy: &Proxy, path: &str, body: &str) -> Response {
    let mut client = Client::connect(proxy.admin()).await;
    let head = format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n");
    client.exchange(format!("{head}content-length: {}\r\n\r\n{body}", body.len())).await
}

/// Does that about an endpoint of `web`, and returns what it is then.
async fn order(proxy: &Proxy, at: SocketAddr, deed: &str, body: &str) -> Value {
    let response = post(proxy, &format!("/v1/clusters/web/endpoints/{at}/{deed}"), body).await;
    assert_eq!(response.status, 200, "{}", response.text());
    serde_json::from_str(&response.text()).unwrap()
}

async fn send(proxy: &Proxy, count: usize) {
    let mut client = Client::connect(proxy.address()).await;
    for _ in 0..count {
        assert_eq!(client.exchange(GET).await.status, 200);
    }
}

async fn by_hand(proxy: &Proxy, kind: &str) -> f64 {
    metric(proxy.admin(), &format!("lictor_operator_overrides{{kind=\"{kind}\"}}")).await
}

#[tokio::test]
async fn an_endpoint_is_taken_out_by_hand_and_taken_back() {
    let (origins, proxy) = start(2, "").await;
    let out = origins[0].address();
    let view = order(&proxy, out, "eject", r#"{"for":"30m","note":"rolling it out"}"#).await;
    assert_eq!((&view["state"], &view["standing"]), (&"ejected".into(), &"eligible".into()), "ours is not touched");
    let held = &view["overrides"][0];
    assert_eq!(
        (&held["what"], &held["by"], &held["note"]),
        (&"ejected".into(), &"127.0.0.1".into(), &"rolling it out".into())
    );
    let left = held["ends_in_seconds"].as_f64().unwrap();
    assert!(left > 1700.0 && left <= 1800.0, "{left}");
    send(&proxy, 10).await;
    assert_eq!((origins[0].hits(), origins[1].hits()), (0, 10), "in force when it is answered");
    assert_eq!(by_hand(&proxy, "ejected").await, 1.0);
    counted(proxy.admin(), "lictor_cluster_endpoints{cluster=\"web\",state=\"ejected_by_hand\"}", 1.0).await;
    let all = json(proxy.admin(), "/v1/overrides").await;
    assert_eq!(
        (&all[0]["cluster"], &all[0]["endpoint"], &all[0]["listed"]),
        (&"web".into(), &out.to_string().into(), &true.into())
    );

    let view = order(&proxy, out, "readmit", "").await;
    assert_eq!((&view["state"], view["overrides"].as_array().map(Vec::len)), (&"eligible".into(), Some(0)));
    send(&proxy, 10).await;
    assert_eq!((origins[0].hits(), by_hand(&proxy, "ejected").await), (5, 0.0));
}

#[tokio::test]
async fn readmitting_ends_an_ejection_of_our_own_as_well() {
    let (origins, proxy) = start(2, "ejection = { base = \"1h\", max = \"1h\" }").await;
    for _ in 0..3 {
        origins[0].once(Script::answer(503, ""));
    }
    let mut client = Client::connect(proxy.address()).await;
    for _ in 0..10 {
        client.exchange(GET).await;
    }
    let view = endpoint(proxy.admin(), origins[0].address()).await;
    assert_eq!((&view["state"], &view["ejected_because"]), (&"ejected".into(), &"gateway".into()));
    let before = origins[0].hits();
    let view = order(&proxy, origins[0].address(), "readmit", "{}").await;
    assert_eq!((&view["state"], &view["ejected_because"]), (&"eligible".into(), &Value::Null));
    send(&proxy, 10).await;
    assert_eq!(origins[0].hits() - before, 5);
}

#[tokio::test]
async fn what_is_done_by_hand_ends_by_itself() {
    let (origins, proxy) = start(2, "").await;
    order(&proxy, origins[0].address(), "eject", r#"{"for":"1s"}"#).await;
    eventually("it is over", SOON, async || endpoint(proxy.admin(), origins[0].address()).await["state"] == "eligible")
        .await;
    assert_eq!(by_hand(&proxy, "ejected").await, 0.0);
    let view = order(&proxy, origins[0].address(), "eject", r#"{"for":"forever"}"#).await;
    assert_eq!(view["overrides"][0]["ends_in_seconds"], Value::Null);
}

#[tokio::test]
async fn a_drained_endpoint_keeps_its_sessions_and_what_runs_there() {
    let (origins, proxy) = start(2, "sticky = { cookie = \"s\" }").await;
    let drained = &origins[0];
    let cookie = eventually("a session there", SOON, async || {
        let before = drained.hits();
        let answer = get(proxy.address(), "shop", "/").await;
        let cookie = answer.header("set-cookie").and_then(|cookie| cookie.split(';').next()).map(str::to_owned);
        cookie.filter(|_| drained.hits() > before)
    })
    .await;
    let view = order(&proxy, drained.address(), "drain", "{}").await;
    assert_eq!(view["state"], "drained");
    let (before, mut client) = (drained.hits(), Client::connect(proxy.address()).await);
    send(&proxy, 10).await;
    assert_eq!(drained.hits(), before, "nobody new");
    let with_session = format!("GET / HTTP/1.1\r\nhost: shop\r\ncookie: {cookie}\r\n\r\n");
    assert_eq!(client.exchange(with_session.clone()).await.status, 200);
    assert_eq!(drained.hits(), before + 1, "a session stays");
    order(&proxy, drained.address(), "eject", "{}").await;
    assert_eq!(client.exchange(with_session).await.status, 200);
    assert_eq!(drained.hits(), before + 1, "and leaves whoever is ejected");
    order(&proxy, drained.address(), "readmit", "{}").await;
    let view = order(&proxy, drained.address(), "undrain", "{}").await;
    assert_eq!(view["state"], "eligible");
}

#[tokio::test]
async fn a_weight_by_hand_takes_the_place_of_the_sources_own() {
    let (origins, proxy) = start(2, "").await;
    let heavy = origins[0].address();
    let view = order(&proxy, heavy, "weight", r#"{"weight":3}"#).await;
    assert_eq!(
        (&view["weight"], &view["listed_weight"], &view["overrides"][0]["weight"]),
        (&3.into(), &1.into(), &3.into())
    );
    send(&proxy, 40).await;
    assert_eq!((origins[0].hits(), origins[1].hits()), (30, 10));
    let view = order(&proxy, heavy, "weight", r#"{"weight":0,"for":"1h"}"#).await;
    assert_eq!((&view["state"], view["overrides"].as_array().map(Vec::len)), (&"drained".into(), Some(1)));
    let view = order(&proxy, heavy, "weight", r#"{"weight":null}"#).await;
    assert_eq!((&view["weight"], &view["state"]), (&1.into(), &"eligible".into()));
}

#[tokio::test]
async fn what_is_done_by_hand_outlives_lists_and_reloads() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let catalog = crate::support::consul::Catalog::new(&format!("http://{}", listener.local_addr().unwrap()));
    tokio::spawn(lictor::registry::serve(listener, std::future::pending()));
    let [one, two] = [Origin::start("one").await, Origin::start("two").await];
    catalog.register_service("web", "web1", one.address()).await;
    catalog.register_service("web", "web2", two.address()).await;
    let proxy = Proxy::start(&to_service(&catalog.url(), ""));
    eventually("both are there", SOON, async || {
        json(proxy.admin(), "/v1/clusters").await[0]["endpoints"].as_array().is_some_and(|all| all.len() == 2)
    })
    .await;
    order(&proxy, one.address(), "drain", "{}").await;
    catalog.deregister("web1").await;
    eventually("it is gone", SOON, async || {
        json(proxy.admin(), "/v1/clusters").await[0]["endpoints"].as_array().is_some_and(|all| all.len() == 1)
    })
    .await;
    let held = &json(proxy.admin(), "/v1/overrides").await[0];
    assert_eq!((&held["listed"], &held["overrides"][0]["what"]), (&false.into(), &"drained".into()));
    catalog.register_service("web", "web1", one.address()).await;
    eventually("it is back, and still drained", SOON, async || {
        let all = json(proxy.admin(), "/v1/clusters").await[0]["endpoints"].clone();
        let shown = all.as_array().unwrap().iter().find(|shown| shown["address"] == one.address().to_string()).cloned();
        shown.inspect(|shown| assert_eq!(shown["state"], "drained")).is_some()
    })
    .await;
    proxy.app().reload(proxy.app_config()).await.unwrap();
    assert_eq!(endpoint(proxy.admin(), one.address()).await["state"], "drained");
}

#[tokio::test]
async fn an_order_that_means_nothing_is_refused_with_what_would_be_right() {
    let (origins, proxy) = start(1, "").await;
    let at = origins[0].address();
    for (path, body, status, says) in [
        (format!("/v1/clusters/web/endpoints/{at}/eject"), r#"{"for":"8d"}"#, 400, "use 1s to 7d"),
        (format!("/v1/clusters/web/endpoints/{at}/eject"), r#"{"fro":"1h"}"#, 400, "unknown field `fro`"),
        (format!("/v1/clusters/web/endpoints/{at}/eject"), "{", 400, "the body"),
        (format!("/v1/clusters/web/endpoints/{at}/readmit"), r#"{"for":"1h"}"#, 400, "unknown field"),
        (format!("/v1/clusters/web/endpoints/{at}/weight"), r#"{"weight":70000}"#, 400, "use 0 to 65535"),
        (format!("/v1/clusters/web/endpoints/{at}/weight"), r#"{"weight":-1}"#, 400, "the body"),
        (format!("/v1/clusters/web/endpoints/{at}/weight"), r#"{"for":"1h"}"#, 400, "go with a"),
        (format!("/v1/clusters/wep/endpoints/{at}/eject"), "{}", 404, "no cluster"),
        ("/v1/clusters/web/endpoints/127.0.0.9:1/eject".to_owned(), "{}", 404, "no endpoint 127.0.0.9:1"),
        ("/v1/clusters/web/endpoints/nowhere/eject".to_owned(), "{}", 400, "use host:port"),
        (format!("/v1/clusters/web/endpoints/{at}/eject"), "{\"note\":\"a\\nb\"}", 400, "note: use a line"),
        ("/v1/drain".to_owned(), r#"{"for":"1h"}"#, 400, "unknown field"),
    ] {
        let response = post(&proxy, &path, body).await;
        assert_eq!(response.status, status, "{path} {body}: {}", response.text());
        assert!(response.text().contains(says), "{path} {body}: {}", response.text());
        assert_eq!(response.header("content-type"), Some("application/problem+json"));
    }
    assert_eq!(endpoint(proxy.admin(), at).await["state"], "eligible", "and nothing was done");
    assert_eq!(get(proxy.admin(), "localhost", &format!("/v1/clusters/web/endpoints/{at}/eject")).await.status, 405);
}

#[tokio::test]
async fn a_drained_proxy_asks_clients_to_go_and_serves_them_and_can_be_taken_back() {
    let (_origins, proxy) = start(1, "").await;
    let mut kept = Client::connect(proxy.address()).await;
    assert_eq!(kept.exchange(GET).await.header("connection"), None);
    let answer = post(&proxy, "/v1/drain", "").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let waiting = get(proxy.admin(), "localhost", "/readyz").await;
    assert_eq!((waiting.status, waiting.text().as_str()), (503, "drained by an operator\n"));
    let last = kept.exchange(GET).await;
    assert_eq!((last.status, last.header("connection")), (200, Some("close")), "the one that it has is ended in peace");
    for _ in 0..3 {
        let mut fresh = Client::connect(proxy.address()).await;
        let answer = fresh.exchange(GET).await;
        assert_eq!((answer.status, answer.header("connection")), (200, Some("close")), "and others are served");
    }
    counted(proxy.admin(), "lictor_ready", 0.0).await;
    // On purpose.
    counted(proxy.admin(), "lictor_draining", 1.0).await;
    assert_eq!(post(&proxy, "/v1/undrain", "").await.status, 200);
    counted(proxy.admin(), "lictor_draining", 0.0).await;
    assert_eq!(get(proxy.admin(), "localhost", "/readyz").await.status, 200);
    let mut fresh = Client::connect(proxy.address()).await;
    for _ in 0..2 {
        assert_eq!(fresh.exchange(GET).await.header("connection"), None);
    }
    proxy.drain().await;
}
