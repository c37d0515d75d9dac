//! What a line says of a request, by what happened to it.

use std::collections::BTreeSet;

use futures_util::SinkExt;
use http::Method;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::{Log, SOON, manual, pair};
use crate::support::app::{Proxy, to_endpoints};
use crate::support::chain::{Authority, Wish};
use crate::support::client::{Client, eventually, get};
use crate::support::origin::{Origin, Script, slow_body};
use crate::support::raw::Raw;
use crate::support::tls::Caller;

pub const GET: &str = "GET /a HTTP/1.1\r\nhost: shop\r\n\r\n";

/// What such keys say, in their order.
pub fn of(entry: &Value, keys: &[&str]) -> Value {
    keys.iter().map(|key| entry[*key].clone()).collect()
}

#[tokio::test]
async fn a_request_is_told_whole() {
    let (origin, log) = (Origin::start("one").await, Log::new());
    let answer = Script::Answer { status: 201, headers: vec![("X-Version".into(), "7".into())], body: b"hello".into() };
    origin.always(answer);
    let keys = "request_headers = [\"X-Tenant\", \"x-none\"]\nresponse_headers = [\"x-version\"]";
    let listener = "[[listeners]]\nname = \"edge\"\nbind = \"127.0.0.1:0\"\ntrusted_networks = [\"127.0.0.0/8\"]\n";
    let text = format!(
        "[[routes]]\nname = \"shop\"\ncluster = \"web\"\n[clusters.web]\nendpoints = [\"{}\"]\n",
        origin.address()
    );
    let proxy = Proxy::start(&format!("{text}{listener}{}", log.keys("json", keys)));
    let mut client = Client::connect(proxy.address()).await;
    for length in [3, 4] {
        let head = "POST /a?b=c HTTP/1.1\r\nhost: shop:80\r\nuser-agent: curl\r\nreferer: http://x/\r\nx-tenant: a\r\nx-tenant: b\r\n";
        let way = "x-forwarded-for: 192.0.2.7\r\nx-forwarded-proto: https\r\nx-request-id: id-1\r\n";
        let parent = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n";
        let request = format!("{head}{way}{parent}content-length: {length}\r\n\r\n{}", "x".repeat(length));
        assert_eq!(client.exchange(request).await.status, 201);
    }
    let entries = log.entries(2).await;
    let said = of(
        &entries[0],
        &["kind", "listener", "protocol", "method", "scheme", "authority", "target", "status", "flags"],
    );
    assert_eq!(said, json!(["request", "edge", "HTTP/1.1", "POST", "https", "shop:80", "/a?b=c", 201, []]));
    let said = of(
        &entries[0],
        &["route", "cluster", "endpoint", "attempts", "bytes_received", "bytes_sent", "upstream_reused"],
    );
    assert_eq!(said, json!(["shop", "web", origin.address().to_string(), 1, 3, 5, false]));
    let said = of(
        &entries[0],
        &["client", "peer", "user_agent", "referer", "request_id", "request_headers", "response_headers"],
    );
    let headers = [json!({ "x-tenant": "a, b" }), json!({ "x-version": "7" })];
    let peer = client.local_address().to_string();
    assert_eq!(said, json!(["192.0.2.7", peer, "curl", "http://x/", "id-1", headers[0], headers[1]]));
    assert_eq!(of(&entries[1], &["bytes_received", "upstream_reused"]), json!([4, true]));
    assert_eq!(entries[0]["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736", "as the endpoint sees it");
    let times = ["upstream_time", "time_to_first_byte", "duration"].map(|key| entries[0][key].as_f64().unwrap());
    assert!(times.is_sorted() && times[0] > 0.0, "{times:?}");
    assert!(entries[0]["time"].as_str().unwrap() <= entries[1]["time"].as_str().unwrap());
}

#[tokio::test]
async fn why_a_request_has_no_answer_from_an_endpoint_is_said() {
    let log = Log::new();
    let (origin, gone) = (Origin::start("one").await, Origin::start("gone").await);
    gone.stop().await;
    let text = format!(
        "[[routes]]\npath = \"/a\"\ncluster = \"web\"\n[[routes]]\npath = \"/gone\"\ncluster = \"gone\"\n[[routes]]\npath = \"/own\"\nredirect = {{ status = 308, path = \"/x\" }}\n[clusters.web]\nendpoints = [\"{}\"]\n\
         [clusters.gone]\nendpoints = [\"{}\"]\nretry = {{ attempts = 1 }}\n",
        origin.address(),
        gone.address()
    );
    let proxy = Proxy::start(&format!("{text}{}", log.keys("json", "")));
    for path in ["/x", "/gone", "/own"] {
        get(proxy.address(), "shop", path).await;
    }
    Client::connect(proxy.address()).await.exchange("GET / HTTP/1.1\r\n\r\n").await;
    let entries = log.entries(4).await;
    let flags: Vec<Value> =
        entries.iter().map(|entry| of(entry, &["status", "flags", "cluster", "attempts"])).collect();
    assert_eq!(flags[0], json!([404, ["NR"], "", 0]));
    assert_eq!(of(&entries[1], &["status", "cluster", "endpoint"]), json!([502, "gone", gone.address().to_string()]));
    let why: BTreeSet<&str> =
        entries[1]["flags"].as_array().unwrap().iter().map(|flag| flag.as_str().unwrap()).collect();
    assert!(why.contains("UF"), "{why:?}");
    assert_eq!(flags[2], json!([308, [], "", 0]));
    assert_eq!(flags[3], json!([400, ["DP"], "", 0]));
    assert_eq!(entries[3]["method"], Value::Null, "it was not read");
}

#[tokio::test]
async fn a_request_that_was_tried_again_is_flagged_and_names_who_answered() {
    let (bad, good, log) = (Origin::start("bad").await, Origin::start("good").await, Log::new());
    bad.always(Script::ResetBeforeHead);
    let more = "policy = \"round_robin\"\nejection = { consecutive_failures = 0 }";
    let text = to_endpoints(&[bad.address(), good.address()], more);
    let proxy = Proxy::start(&format!("{text}{}", log.keys("json", "sample = 0.0")));
    for _ in 0..2 {
        assert_eq!(get(proxy.address(), "shop", "/").await.text(), "good");
    }
    let entry = log.entry().await;
    let said = of(&entry, &["status", "flags", "attempts", "endpoint"]);
    assert_eq!(said, json!([200, ["R"], 2, good.address().to_string()]));
}

#[tokio::test]
async fn whoever_broke_off_is_told_from_the_other() {
    let (origin, log, proxy) = pair("retry = { attempts = 0 }").await;
    origin.once(Script::ResetMidBody);
    let mut client = Client::connect(proxy.address()).await;
    client.send(GET).await;
    assert!(client.try_response().await.is_err());
    let entries = log.entries(1).await;
    assert_eq!(of(&entries[0], &["status", "flags", "bytes_sent"]), json!([200, ["UR"], 4]));

    let (tap, script) = slow_body();
    origin.once(script);
    let mut client = Client::connect(proxy.address()).await;
    client.send(GET).await;
    let (_, mut body) = client.head().await;
    tap.send("some");
    client.piece(&mut body).await.unwrap();
    drop(client);
    let entries = log.entries(2).await;
    assert_eq!(of(&entries[1], &["status", "flags", "bytes_sent"]), json!([200, ["DC"], 4]));

    origin.once(Script::Hang);
    let hits = origin.hits();
    let mut client = Client::connect(proxy.address()).await;
    client.send(GET).await;
    eventually("it hangs", SOON, async || origin.hits() > hits).await;
    drop(client);
    let entries = log.entries(3).await;
    let said = of(&entries[2], &["status", "flags", "attempts", "endpoint", "time_to_first_byte"]);
    assert_eq!(said, json!([499, ["DC"], 1, origin.address().to_string(), Value::Null]));
}

#[tokio::test]
async fn a_tunnel_is_told_at_its_end_with_what_was_said_in_it() {
    let (origin, log, proxy) = pair("").await;
    origin.once(Script::WebSocketEcho);
    let (mut socket, _) = tokio_tungstenite::connect_async(format!("ws://{}/chat", proxy.address())).await.unwrap();
    socket.send(Message::binary(vec![7; 100])).await.unwrap();
    socket.close(None).await.unwrap();
    while futures_util::StreamExt::next(&mut socket).await.is_some_and(|message| message.is_ok()) {}
    drop(socket);
    let entry = log.entry().await;
    assert_eq!(
        of(&entry, &["kind", "status", "target", "method"]),
        json!(["tunnel", 101, "/chat", Method::GET.as_str()])
    );
    assert!(entry["bytes_received"].as_u64().unwrap() > 100 && entry["bytes_sent"].as_u64().unwrap() > 100, "{entry}");
}

#[tokio::test]
async fn a_connection_of_no_known_protocol_has_a_line() {
    let (origin, log) = (Raw::start().await, Log::new());
    let listener = "[[listeners]]\nname = \"edge\"\nbind = \"127.0.0.1:0\"\nprotocol = \"tcp\"\ncluster = \"db\"\n";
    let text = format!("{listener}[clusters.db]\nendpoints = [\"{}\"]\n{}", origin.address(), log.keys("json", ""));
    let proxy = Proxy::start(&text);
    let mut client = Client::connect(proxy.address()).await;
    let mut endpoint = origin.accept().await;
    client.send("hello").await;
    endpoint.read(5).await;
    endpoint.send("good day").await;
    client.read(8).await;
    client.finish().await;
    endpoint.finish().await;
    let entry = log.entry().await;
    let said = of(
        &entry,
        &["kind", "listener", "cluster", "route", "endpoint", "status", "bytes_received", "bytes_sent", "flags"],
    );
    assert_eq!(said, json!(["tcp", "edge", "db", "", origin.address().to_string(), 0, 5, 8, []]));
}

#[tokio::test]
async fn who_came_by_tls_is_told_and_every_key_of_the_manual_was_seen_somewhere() {
    let (origin, log) = (Origin::start("one").await, Log::new());
    let root = Authority::root("root");
    let leaf = root.leaf(&["a.example"]);
    std::fs::write(log.0.path().join("ca.pem"), root.pem()).unwrap();
    let tls = format!(
        "[[listeners]]\nname = \"edge\"\nbind = \"127.0.0.1:0\"\n[listeners.tls]\ncertificates = [{{ {} }}]\nclient_auth = \"required\"\nclient_ca = {:?}\n",
        leaf.write(log.0.path(), "a"),
        log.0.path().join("ca.pem")
    );
    let proxy = Proxy::start(&format!("{}{tls}{}", to_endpoints(&[origin.address()], ""), log.keys("json", "")));
    let is = root.issue(&Wish { names: &["client.example"], ..Wish::default() });
    let caller = Caller { is: Some(&is), ..Caller::trusting(&root) };
    assert!(caller.get(proxy.address(), "a.example").await.unwrap().contains("200 OK"));
    let entry = log.entry().await;
    let said = of(&entry, &["scheme", "tls_version", "client_identity", "server_name"]);
    assert_eq!(said, json!(["https", "TLSv1.3", "client.example", "a.example"]));
    assert!(entry["tls_cipher"].as_str().unwrap().starts_with("TLS_"), "{entry}");
    // What this line cannot have, others here do.
    let elsewhere = ["user_agent", "referer", "trace_id", "span_id", "request_headers", "response_headers"];
    let seen: BTreeSet<String> =
        entry.as_object().unwrap().keys().cloned().chain(elsewhere.map(str::to_owned)).collect();
    assert_eq!(seen, manual("\n## The access log", "\nFlags:"));
}
