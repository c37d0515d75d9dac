//! Services that applications ask for by their names, without a line of configuration for any of them.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::sync::{Arc, Weak};
use std::time::Duration;

use serde_json::json;
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::support::app::Proxy;
use crate::support::client::{Client, Response, eventually, get};
use crate::support::consul::Consul;
use crate::support::fake::{Fake, Reply, answer, list};
use crate::support::origin::{Origin, slow_body};
use crate::support::window::{counted, json as shown, metric, sum};

mod applications;
mod policies;
mod ports;

/// Far above what anything here takes; a busy machine is no failure.
const SOON: Duration = Duration::from_secs(10);

/// The agent that tests share while any of them runs: each has services of its own names.
async fn consul() -> Arc<Consul> {
    static SHARED: Mutex<Weak<Consul>> = Mutex::const_new(Weak::new());
    let mut shared = SHARED.lock().await;
    if let Some(consul) = shared.upgrade() {
        return consul;
    }
    let consul = Arc::new(Consul::start().await);
    *shared = Arc::downgrade(&consul);
    consul
}

/// A proxy for applications of this machine, and `more` beside its listener.
fn start(consul: &str, more: &str) -> Proxy {
    Proxy::start(&format!(
        "[consul]\naddress = \"{consul}\"\n[[listeners]]\nname = \"edge\"\nbind = \"127.0.0.1:0\"\negress = true\nconnect = true\n{more}"
    ))
}

/// What a host is answered with: the name of the origin, or the status and the text.
async fn ask(proxy: &Proxy, host: &str) -> String {
    said(get(proxy.address(), host, "/").await)
}

fn said(answer: Response) -> String {
    match answer.status {
        200 => answer.text(),
        status => format!("{status} {}", answer.text().trim()),
    }
}

async fn followed(proxy: &Proxy) -> f64 {
    metric(proxy.admin(), "lictor_egress_services").await
}

/// The names that are followed.
async fn names(proxy: &Proxy) -> Vec<String> {
    let clusters = shown(proxy.admin(), "/v1/clusters").await;
    let name = |cluster: &serde_json::Value| cluster["name"].as_str().unwrap().to_owned();
    clusters.as_array().unwrap().iter().map(name).collect()
}

async fn demands(proxy: &Proxy, result: &str) -> f64 {
    metric(proxy.admin(), &format!("lictor_egress_demands_total{{result=\"{result}\"}}")).await
}

async fn register(consul: &Consul, name: &str, origin: &Origin, tags: &[&str]) {
    let (ip, port) = (origin.address().ip(), origin.address().port());
    let id = format!("{name}-{}", origin.name());
    consul.register(json!({ "Name": name, "ID": id, "Address": ip, "Port": port, "Tags": tags })).await;
}

#[tokio::test]
async fn every_service_answers_to_each_form_of_its_name_from_the_first_request_on() {
    let consul = consul().await;
    let [one, two] = [Origin::start("one").await, Origin::start("two").await];
    register(&consul, "forms", &one, &["v1", "blue"]).await;
    register(&consul, "forms", &two, &["V2", "v1.2"]).await;
    let query = json!({ "Name": "forms-query", "Service": { "Service": "forms", "Tags": ["blue"] } });
    consul.call("POST", "/v1/query", query.to_string().as_bytes()).await;
    let proxy = start(&consul.url(), "");
    for (host, expected) in [
        ("v2.forms.service.consul", "two"),
        ("v1.forms.service.consul", "one"),
        ("v1.2.forms.service.consul", "two"),
        ("_forms._v2.service.consul", "two"),
        ("V1.Forms.Service.dc1.Consul.:15001", "one"),
        ("forms-query.query.consul", "one"),
    ] {
        assert_eq!(ask(&proxy, host).await, expected, "{host}");
    }
    for host in ["forms", "forms.service.consul", "FORMS:80", "forms.service.dc1.consul", "_forms._tcp.service.consul"]
    {
        assert!(["one", "two"].contains(&&*ask(&proxy, host).await), "{host}");
    }
    // As an application does that takes it for its proxy.
    let mut client = Client::connect(proxy.address()).await;
    let request = "GET http://v2.forms.service.consul/x HTTP/1.1\r\nhost: v2.forms.service.consul\r\n\r\n";
    assert_eq!(said(client.exchange(request).await), "two");
    assert_eq!(two.requests().last().unwrap().target(), "/x");
    assert_eq!(followed(&proxy).await, 7.0, "names that mean the same are one");
    assert_eq!(demands(&proxy, "found").await, 7.0);
    // All forms in one datacenter share a query.
    assert!(sum(proxy.admin(), "lictor_discovery_index", "").await > 0.0);
    let watched = get(proxy.admin(), "localhost", "/metrics").await.text();
    assert_eq!(watched.lines().filter(|line| line.starts_with("lictor_discovery_index{")).count(), 3, "{watched}");
}

#[tokio::test]
async fn what_is_counted_of_a_service_stays_when_others_come_and_go() {
    let consul = consul().await;
    let origin = Origin::start("count").await;
    for name in ["count-a", "count-b", "count-0"] {
        register(&consul, name, &origin, &[]).await;
    }
    let proxy = start(&consul.url(), "");
    for name in ["count-a", "count-a", "count-b", "count-a", "count-0", "count-a"] {
        assert_eq!(ask(&proxy, name).await, "count");
    }
    let requests = "lictor_requests_total{listener=\"edge\",route=\"count-a\",cluster=\"count-a\",code=\"200\"}";
    counted(proxy.admin(), requests, 4.0).await;
}

#[tokio::test]
async fn what_becomes_of_a_service_later_is_followed() {
    let consul = consul().await;
    let [one, two] = [Origin::start("one").await, Origin::start("two").await];
    register(&consul, "later", &one, &[]).await;
    let proxy = start(&consul.url(), "");
    assert_eq!(ask(&proxy, "later").await, "one");
    register(&consul, "later", &two, &["new"]).await;
    consul.deregister("later-one").await;
    eventually("the other serves", SOON, async || ask(&proxy, "later").await == "two").await;
    assert_eq!(ask(&proxy, "new.later.service.consul").await, "two");
    consul.maintenance("later-two", true).await;
    let nobody = "503 no endpoint is eligible";
    eventually("nobody serves", SOON, async || ask(&proxy, "later").await == nobody).await;
    assert_eq!(
        ask(&proxy, "new.later.service.consul").await,
        nobody,
        "which is not the same as a name that is unknown"
    );
}

#[tokio::test]
async fn a_name_that_nobody_has_is_told_from_one_that_is_none_and_is_not_followed() {
    let consul = consul().await;
    let origin = Origin::start("late").await;
    let proxy = start(&consul.url(), "[egress]\nservices = [\"u-*\"]\ndatacenters = [\"dc*\"]");
    let answer = get(proxy.address(), "u-nobody.service.consul", "/").await;
    assert_eq!(answer.header("retry-after"), Some("2"));
    assert_eq!(said(answer), "503 no service of this name is known");
    for (host, expected) in [
        ("v3.u-nobody.service.consul", "503 no service of this name is known"),
        ("u-nobody.query.consul", "503 no service of this name is known"),
        (
            "u-nobody.service.dc9.consul",
            "503 this service cannot be looked up as it is asked for; the proxy's log says why",
        ),
        (
            "u-nobody.service.dc-east.peer.consul",
            "503 this service cannot be looked up as it is asked for; the proxy's log says why",
        ),
        (
            "u-nobody.connect.consul",
            "503 this service cannot be looked up as it is asked for; the proxy's log says why",
        ),
        ("consul", "403 this service must not be asked for here"),
        ("u-nobody.service.far.consul", "403 this service must not be asked for here"),
        (
            "example.com",
            "404 the host is not the name of a service; use NAME or NAME.service.consul, with the domain that is configured",
        ),
        (
            "127.0.0.1:80",
            "404 the host is not the name of a service; use NAME or NAME.service.consul, with the domain that is configured",
        ),
    ] {
        assert_eq!(ask(&proxy, host).await, expected, "{host}");
    }
    assert!(ask(&proxy, "n1.node.consul").await.starts_with("404 "));
    let metrics = get(proxy.admin(), "localhost", "/metrics").await.text();
    assert!(!metrics.contains("service=\"u-nobody"), "{metrics}");
    assert_eq!((followed(&proxy).await, demands(&proxy, "unknown").await), (0.0, 3.0));
    register(&consul, "u-nobody", &origin, &[]).await;
    eventually("it has come", SOON, async || ask(&proxy, "u-nobody").await == "late").await;
}

#[tokio::test]
async fn a_client_that_asks_for_ever_new_names_wears_nobody_out() {
    let consul = consul().await;
    let origin = Origin::start("known").await;
    register(&consul, "known", &origin, &[]).await;
    let proxy = start(&consul.url(), "");
    assert_eq!(ask(&proxy, "known").await, "known");
    // Faster than names are looked for in vain: by some at once, for as long as it takes.
    let (asked, refused) = (AtomicU32::new(0), AtomicBool::new(false));
    let wear = async || {
        let mut client = Client::connect(proxy.address()).await;
        while !refused.load(Relaxed) {
            let number = asked.fetch_add(1, Relaxed);
            let request = format!("GET / HTTP/1.1\r\nhost: never-{number}\r\n\r\n");
            let answer = client.exchange(request).await;
            assert_eq!(answer.status, 503);
            refused.fetch_or(answer.text().contains("too many new names"), Relaxed);
        }
    };
    let all = async { tokio::join!(wear(), wear(), wear(), wear(), wear(), wear(), wear(), wear()) };
    timeout(SOON, all).await.expect("somebody is refused");
    assert_eq!(ask(&proxy, "known").await, "known");
    assert_eq!(followed(&proxy).await, 1.0);
    let (unknown, busy) = (demands(&proxy, "unknown").await, demands(&proxy, "busy").await);
    assert_eq!(unknown + busy, f64::from(asked.into_inner()));
    assert!(busy > 0.0 && unknown >= 256.0, "{unknown} looks in vain, {busy} refused");
}

#[tokio::test]
async fn as_many_are_followed_as_may_be_and_those_go_on() {
    let consul = consul().await;
    let origin = Origin::start("full").await;
    for name in ["full-a", "full-b", "full-c"] {
        register(&consul, name, &origin, &[]).await;
    }
    let proxy = start(&consul.url(), "[egress]\nmax_services = 2\nidle = \"1s\"");
    assert_eq!((ask(&proxy, "full-a").await, ask(&proxy, "full-b").await), ("full".to_owned(), "full".to_owned()));
    let full = "503 this service is not followed: as many others are as may be";
    assert_eq!(ask(&proxy, "full-c").await, full);
    assert_eq!(ask(&proxy, "full-a").await, "full");
    eventually("one of them has been idle", SOON, async || {
        assert_eq!(ask(&proxy, "full-a").await, "full");
        ask(&proxy, "full-c").await == "full"
    })
    .await;
    assert_eq!(ask(&proxy, "full-b").await, full);
}

#[tokio::test]
async fn a_name_is_forgotten_when_it_is_idle_and_not_while_anything_runs() {
    let consul = consul().await;
    let origin = Origin::start("idle").await;
    register(&consul, "idle", &origin, &[]).await;
    let proxy = start(&consul.url(), "[egress]\nidle = \"1s\"");
    let (tap, script) = slow_body();
    origin.once(script);
    let mut client = Client::connect(proxy.address()).await;
    client.send("GET / HTTP/1.1\r\nhost: idle\r\n\r\n").await;
    let (head, mut body) = client.head().await;
    assert_eq!(head.status, 200);
    let other = Origin::start("other").await;
    register(&consul, "idle-other", &other, &[]).await;
    assert_eq!(ask(&proxy, "idle-other").await, "other");
    eventually("the other one is forgotten", SOON, async || names(&proxy).await == ["idle"]).await;
    tap.send("still");
    assert_eq!(client.piece(&mut body).await.unwrap().unwrap(), "still");
    tap.end();
    assert_eq!(client.piece(&mut body).await.unwrap(), None);
    eventually("nothing is followed any more", SOON, async || followed(&proxy).await == 0.0).await;
    assert!(names(&proxy).await.is_empty());
    assert_eq!(ask(&proxy, "idle").await, "idle", "and it comes back with the next request");
}

#[tokio::test]
async fn where_nobody_answers_that_is_said_and_what_is_known_goes_on() {
    let mut consul = Consul::start().await;
    let origin = Origin::start("kept").await;
    register(&consul, "kept", &origin, &[]).await;
    let proxy = start(&consul.url(), "");
    assert_eq!(ask(&proxy, "kept").await, "kept");
    consul.kill();
    let unheard = "503 this service is not followed yet, and discovery does not answer";
    assert_eq!(ask(&proxy, "other").await, unheard);
    assert_eq!(ask(&proxy, "kept").await, "kept");
    consul.restart().await;
    register(&consul, "other", &origin, &[]).await;
    eventually("it is found", SOON, async || ask(&proxy, "other").await == "kept").await;
}

#[tokio::test]
async fn what_was_in_use_before_the_start_is_at_hand_after_it_though_nobody_answers() {
    let folder = tempfile::TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut consul = Consul::start().await;
    let origin = Origin::start("kept").await;
    register(&consul, "kept", &origin, &["v1"]).await;
    let more = "[egress]\nservices = [\"kept\"]";
    let begin = |url: &str| {
        let lists = folder.path().join("lists");
        Proxy::start(&format!(
            "[consul]\naddress = \"{url}\"\nlast_lists = \"{}\"\n[[listeners]]\nname = \"edge\"\nbind = \"127.0.0.1:0\"\negress = true\n{more}",
            lists.display()
        ))
    };
    let proxy = begin(&consul.url());
    assert_eq!(ask(&proxy, "kept").await, "kept");
    proxy.drain().await;
    consul.kill();
    let proxy = begin(&consul.url());
    assert_eq!(
        (ask(&proxy, "kept").await, ask(&proxy, "v1.kept.service.consul").await),
        ("kept".into(), "kept".into())
    );
    assert_eq!(demands(&proxy, "unheard").await, 0.0);
}

#[tokio::test]
async fn a_request_waits_for_a_silent_agent_no_longer_than_it_is_told_to() {
    let fake = Fake::start(|_| Reply::Hold).await;
    let proxy = start(&fake.url(), "[egress]\nwait = \"200ms\"");
    let began = std::time::Instant::now();
    let answer = ask(&proxy, "web").await;
    assert!(answer.starts_with("503 this service is not followed yet, and discovery d"), "{answer}");
    assert!(began.elapsed() < SOON / 2);
}

#[tokio::test]
async fn requests_that_come_at_once_share_one_look() {
    let origin = Origin::start("one").await;
    let list = list(&[origin.address()]);
    let fake = Fake::start(move |query| match query.index() {
        None => Reply::Raw(answer(7, &list)),
        Some(_) => Reply::Hold,
    })
    .await;
    let proxy = start(&fake.url(), "");
    let asked: Vec<_> = (0..20)
        .map(|_| {
            let address = proxy.address();
            tokio::spawn(async move { said(get(address, "web", "/").await) })
        })
        .collect();
    for one in asked {
        assert_eq!(one.await.unwrap(), "one");
    }
    let at_once = fake.queries().iter().filter(|query| query.index().is_none()).count();
    assert_eq!(at_once, 2, "a look, and the first query of the watch");
}

#[tokio::test]
async fn a_service_that_is_hidden_from_us_is_not_taken_for_one_that_is_not_there() {
    let acl = r#"acl { enabled = true, default_policy = "deny", tokens { master = "root" } }"#;
    let consul = Consul::start_with(acl).await;
    let root = consul.with_token("root");
    let origin = Origin::start("web").await;
    root.register_service("web", "web-1", origin.address()).await;
    let rules = json!({ "Name": "some", "Rules": "service \"web\" { policy = \"read\" } node_prefix \"\" { policy = \"read\" }" });
    root.put("/v1/acl/policy", rules.to_string()).await;
    let token = root.put("/v1/acl/token", json!({ "Policies": [{ "Name": "some" }] }).to_string()).await;
    let token: serde_json::Value = serde_json::from_str(&token).unwrap();
    let secret = token["SecretID"].as_str().unwrap();
    let proxy = Proxy::start(&format!(
        "[consul]\naddress = \"{}\"\ntoken = \"{secret}\"\n[[listeners]]\nname = \"edge\"\nbind = \"127.0.0.1:0\"\negress = true",
        consul.url()
    ));
    assert_eq!(ask(&proxy, "web").await, "web");
    let hidden = get(proxy.address(), "db", "/").await;
    assert_eq!(hidden.header("retry-after"), Some("10"));
    assert_eq!(said(hidden), "503 this service may not be looked up: the proxy lacks the right to");
    assert_eq!(demands(&proxy, "hidden").await, 1.0);
}
