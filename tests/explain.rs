//! Where a request goes, and why: asked of the running proxy, over its admin listener and by the command, and of the file alone.

use std::process::Output;
use std::time::Duration;

use serde_json::Value;
use tokio::net::TcpListener;
use tokio::process::Command;

use crate::support::app::{Proxy, configuration, to_endpoints};
use crate::support::client::{Client, eventually, get};
use crate::support::consul::Catalog;
use crate::support::origin::{Origin, Script};
use crate::support::window::{counted, in_flight, json};

const SOON: Duration = Duration::from_secs(15);
const GET: &str = "GET / HTTP/1.1\r\nhost: shop\r\n\r\n";

async fn explained(proxy: &Proxy, query: &str) -> Value {
    json(proxy.admin(), &format!("/v1/explain?{query}")).await
}

/// What is said of the endpoint of that origin.
fn said(explanation: &Value, origin: &Origin) -> Value {
    let endpoints = explanation["clusters"][0]["endpoints"].as_array().unwrap();
    let at = origin.address().to_string();
    endpoints.iter().find(|endpoint| endpoint["address"] == at).cloned().unwrap_or_default()
}

async fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lictor"));
    for name in ["CONSUL_HTTP_ADDR", "CONSUL_HTTP_TOKEN", "CONSUL_NAMESPACE", "CONSUL_HTTP_SSL"] {
        command.env_remove(name);
    }
    let Output { status, stdout, stderr } = command.arg("explain").args(arguments).output().await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

#[tokio::test]
async fn the_window_says_of_each_endpoint_why_it_is_in_or_out() {
    let more = "policy = \"round_robin\"\nejection = { base = \"1h\", max = \"1h\" }";
    let (origins, proxy) = Proxy::with_origins(3, more).await;
    for _ in 0..3 {
        origins[0].once(Script::answer(503, ""));
    }
    let mut client = Client::connect(proxy.address()).await;
    for _ in 0..12 {
        client.exchange(GET).await;
    }
    let drain = format!("/v1/clusters/web/endpoints/{}/drain", origins[1].address());
    let body = r#"{"for":"30m","note":"new disk"}"#;
    let head = format!("POST {drain} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n");
    let mut operator = Client::connect(proxy.admin()).await;
    let drained = operator.exchange(format!("{head}content-length: {}\r\n\r\n{body}", body.len())).await;
    assert_eq!(drained.status, 200, "{}", drained.text());

    let explanation = explained(&proxy, "host=shop&path=/a").await;
    let [bad, drained, good] = [0, 1, 2].map(|place| said(&explanation, &origins[place]));
    let why = |one: &Value| one["why"][0].as_str().unwrap_or_default().to_owned();
    assert_eq!((&bad["state"], bad["share"].as_f64()), (&"ejected".into(), Some(0.0)));
    assert!(why(&bad).starts_with("ejected (gateway) for "), "{bad}");
    assert_eq!(drained["state"], "drained");
    let words = why(&drained);
    assert!(words.starts_with("drained by hand, so that it takes no new clients, by 127.0.0.1 for "), "{words}");
    assert!(words.ends_with(": new disk"), "{words}");
    assert_eq!((good["share"].as_f64(), why(&good).as_str()), (Some(1.0), "may be picked"));
    let summary = explanation["summary"].as_str().unwrap();
    assert_eq!(summary, format!("route * → cluster web → {}", origins[2].address()));
}

#[tokio::test]
async fn an_explanation_begins_and_counts_nothing() {
    let (origins, proxy) = Proxy::with_origins(2, "policy = \"least_connections\"").await;
    let before = get(proxy.admin(), "localhost", "/v1/clusters").await.text();
    for _ in 0..3 {
        explained(&proxy, "host=shop").await;
    }
    let after = get(proxy.admin(), "localhost", "/v1/clusters").await;
    assert_eq!((after.status, after.text()), (200, before));
    assert_eq!((origins[0].hits(), origins[1].hits()), (0, 0));
    counted(proxy.admin(), "lictor_attempts_total{cluster=\"web\",outcome=\"success\"}", 0.0).await;
}

#[tokio::test]
async fn what_is_explained_is_what_happens() {
    let more = "policy = \"consistent_hash\"\nhash = { keys = [\"header:x-user\"] }\nsticky = { cookie = \"s\" }";
    let (origins, proxy) = Proxy::with_origins(4, more).await;
    for user in 0..20 {
        // What is in flight counts as load, and sends some elsewhere.
        eventually("the last is over", SOON, async || in_flight(proxy.admin()).await == 0.0).await;
        let explanation = explained(&proxy, &format!("host=shop&header=x-user:%20u{user}")).await;
        assert_eq!(explanation["clusters"][0]["keyed"], true);
        let foreseen: Vec<bool> = origins.iter().map(|origin| said(&explanation, origin)["share"] == 1.0).collect();
        let before: Vec<usize> = origins.iter().map(Origin::hits).collect();
        let request = format!("GET / HTTP/1.1\r\nhost: shop\r\nx-user: u{user}\r\n\r\n");
        let answer = Client::connect(proxy.address()).await.exchange(request).await;
        let came: Vec<bool> = origins.iter().zip(&before).map(|(origin, before)| origin.hits() > *before).collect();
        assert_eq!(foreseen, came, "u{user}");
        if user == 0 {
            let cookie = answer.header("set-cookie").and_then(|cookie| cookie.split(';').next()).unwrap().to_owned();
            let home = origins.iter().zip(&came).find(|(_, came)| **came).unwrap().0.address().to_string();
            let with = explained(&proxy, &format!("host=shop&header=x-user:%20other&header=cookie:%20{cookie}")).await;
            assert_eq!(with["clusters"][0]["session"], home, "a session goes before the key");
        }
    }
}

#[tokio::test]
async fn a_question_that_means_nothing_is_refused_by_name() {
    let (_origins, proxy) = Proxy::with_origins(1, "").await;
    for (query, says) in [
        ("", "host is missing"),
        ("host=a%20b", "is no host"),
        ("host=shop&path=a", "begin with a slash"),
        ("host=shop&listener=egde", "there is edge"),
        ("host=shop&hots=1", "unknown query key"),
    ] {
        let answer = get(proxy.admin(), "localhost", &format!("/v1/explain?{query}")).await;
        assert_eq!(answer.status, 400, "{query}");
        assert!(answer.text().contains(says), "{query}: {}", answer.text());
    }
}

#[tokio::test]
async fn the_command_asks_the_running_proxy_and_says_so() {
    let (origins, proxy) = Proxy::with_origins(1, "").await;
    let directory = tempfile::TempDir::new().unwrap();
    let path = directory.path().join("lictor.toml");
    let text = configuration(&to_endpoints(&[origins[0].address()], ""));
    let text = text.replace("[admin]\nbind = \"127.0.0.1:0\"", &format!("[admin]\nbind = \"{}\"", proxy.admin()));
    std::fs::write(&path, text).unwrap();
    let config = path.to_str().unwrap();
    let (code, out, err) = run(&["--config", config, "--host", "shop", "--path", "/a?b=1", "--header", "X-A: b"]).await;
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    assert!(out.starts_with(&format!("by       the running proxy at {}\n", proxy.admin())), "{out}");
    assert!(out.contains("request  GET http://shop/a?b=1 from 127.0.0.1 at listener edge\n"), "{out}");
    assert!(out.contains(&format!("so       route * → cluster web → {}\n", origins[0].address())), "{out}");
    let (code, out, _) = run(&["--config", config, "--host", "shop", "--json"]).await;
    let explanation: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &explanation["route"]["name"]), (Some(0), &"*".into()));
    let (code, out, err) = run(&["--config", config, "--host", "a b"]).await;
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(err.contains("is no host"), "{err}");
}

#[tokio::test]
async fn the_command_shows_the_token_of_its_file_and_finds_a_unix_socket() {
    let origin = Origin::start("one").await;
    let directory = tempfile::TempDir::new().unwrap();
    let (socket, path) = (directory.path().join("admin.sock"), directory.path().join("lictor.toml"));
    let admin = format!("bind = \"unix:{}\"\ntoken = \"0123456789abcdef\"", socket.display());
    let text = configuration(&to_endpoints(&[origin.address()], ""));
    let text = text.replace("[admin]\nbind = \"127.0.0.1:0\"", &format!("[admin]\n{admin}"));
    std::fs::write(&path, &text).unwrap();
    let config = lictor::config::parse(&text, &lictor::config::Environment::default()).unwrap();
    let app = lictor::app::App::start(config).unwrap();
    eventually("it serves", SOON, async || get(app.address("edge").unwrap(), "shop", "/").await.status == 200).await;
    let (code, out, err) = run(&["--config", path.to_str().unwrap(), "--host", "shop"]).await;
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    assert!(out.starts_with(&format!("by       the running proxy at {}\n", socket.display())), "{out}");
    std::fs::write(&path, text.replace("0123456789abcdef", "fedcba9876543210")).unwrap();
    let (code, out, err) = run(&["--config", path.to_str().unwrap(), "--host", "shop"]).await;
    assert_eq!((code, out.as_str()), (Some(1), ""), "{err}");
    assert!(err.contains("token"), "{err}");
}

#[tokio::test]
async fn without_a_proxy_the_command_goes_by_the_file_and_one_look_at_consul() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let catalog = Catalog::new(&format!("http://{}", listener.local_addr().unwrap()));
    tokio::spawn(lictor::registry::serve(listener, std::future::pending()));
    catalog.register_service("web", "web1", "127.0.0.1:7001".parse().unwrap()).await;
    catalog.register_service("web", "web2", "127.0.0.1:7002".parse().unwrap()).await;
    catalog.set_check("service:web2", "critical").await;
    let directory = tempfile::TempDir::new().unwrap();
    let path = directory.path().join("lictor.toml");
    // Nobody listens at the window's address.
    let text = format!(
        "[consul]\naddress = \"{}\"\n[admin]\nbind = \"127.0.0.1:1\"\n[[listeners]]\nname = \"edge\"\nbind = \"127.0.0.1:0\"\n\
         [[routes]]\nname = \"api\"\nhost = \"shop\"\ncluster = \"web\"\n[[routes]]\nname = \"other\"\nhost = \"x\"\ncluster = \"web\"\n\
         [clusters.web]\nconsul = {{ service = \"web\" }}\n[clusters.unasked]\nconsul = {{ service = \"unasked\" }}\n",
        catalog.url()
    );
    std::fs::write(&path, text).unwrap();
    let config = path.to_str().unwrap();
    for offline in [&["--offline"][..], &[]] {
        let (code, out, err) = run(&[&["--config", config, "--host", "shop"], offline].concat()).await;
        assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
        let first = out.lines().next().unwrap();
        assert!(first.contains("as a new proxy would see it with one look at Consul"), "{first}");
        assert_eq!(first.contains("no proxy answers: 127.0.0.1:1 does not"), offline.is_empty(), "{first}");
        assert!(out.contains("127.0.0.1:7001  eligible      100 %  may be picked\n"), "{out}");
        assert!(out.contains("127.0.0.1:7002  critical        0 %  critical, as its source says\n"), "{out}");
        assert!(out.contains("not      other (host x, path /): the host does not fit\n"), "{out}");
    }
}
