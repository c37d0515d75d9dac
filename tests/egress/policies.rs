//! How a service is treated that nobody has written down: by what is written for all, by what it says itself, by what Consul's
//! configuration entries say, and by a cluster of its name where there is one.

use serde_json::{Value, json};

use super::*;
use crate::support::h2::H2Origin;

/// What the window shows of a cluster.
async fn cluster(proxy: &Proxy, name: &str) -> Option<Value> {
    let clusters = shown(proxy.admin(), "/v1/clusters").await;
    clusters.as_array().unwrap().iter().find(|cluster| cluster["name"] == name).cloned()
}

async fn policy(proxy: &Proxy, name: &str) -> String {
    let cluster = cluster(proxy, name).await;
    cluster.map(|cluster| cluster["policy"].as_str().unwrap().to_owned()).unwrap_or_default()
}

async fn register_with(consul: &Consul, name: &str, origin: &Origin, meta: Value) {
    let (ip, port) = (origin.address().ip(), origin.address().port());
    consul.register(json!({ "Name": name, "Address": ip, "Port": port, "Meta": meta })).await;
}

#[tokio::test]
async fn what_is_written_for_all_goes_before_what_a_service_says_of_itself() {
    let consul = consul().await;
    let origin = Origin::start("said").await;
    register_with(&consul, "said", &origin, json!({ "lictor-policy": "random", "lictor-timeout-request": "150ms" }))
        .await;
    let [free, told] = [start(&consul.url(), ""), start(&consul.url(), "[defaults]\npolicy = \"round_robin\"")];
    for proxy in [&free, &told] {
        assert_eq!(ask(proxy, "said").await, "said");
    }
    assert_eq!(
        (policy(&free, "said").await, policy(&told, "said").await),
        ("random".to_owned(), "round_robin".to_owned())
    );
    origin.pause();
    assert_eq!(ask(&told, "said").await, "504 the endpoint did not answer in time", "each key by itself");
    origin.resume();
    register_with(&consul, "said", &origin, json!({ "lictor-policy": "ewma", "lictor-protocol": "tcp" })).await;
    eventually("it says something else", SOON, async || policy(&free, "said").await == "ewma").await;
    assert_eq!(ask(&free, "said").await, "said", "and what makes no sense is ignored");
    counted(free.admin(), "lictor_egress_words_ignored_total", 1.0).await;
}

#[tokio::test]
async fn configuration_entries_say_what_the_service_does_not() {
    let consul = Consul::start().await;
    let origin = H2Origin::start().await;
    let (ip, port) = (origin.address().ip(), origin.address().port());
    consul
        .register(json!({ "Name": "web", "Address": ip, "Port": port, "Meta": { "lictor-retry-attempts": "0" } }))
        .await;
    let entry = |kind: &str, more: Value| {
        let mut entry = json!({ "Kind": kind, "Name": "web" });
        entry.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        entry.to_string()
    };
    let proxy = start(&consul.url(), "");
    // It speaks nothing else than HTTP/2, and nobody has said so.
    assert!(ask(&proxy, "web").await.starts_with("502 "));
    consul.put("/v1/config", entry("service-defaults", json!({ "Protocol": "http2" }))).await;
    eventually("the entry counts", SOON, async || ask(&proxy, "web").await == "one").await;
    consul.put("/v1/config", entry("service-defaults", json!({ "Protocol": "http" }))).await;
    eventually("and does not any more", SOON, async || ask(&proxy, "web").await != "one").await;
    consul.register(json!({ "Name": "web", "Address": ip, "Port": port, "Meta": { "lictor-protocol": "h2" } })).await;
    eventually("the service says it itself", SOON, async || ask(&proxy, "web").await == "one").await;
}

#[tokio::test]
async fn a_cluster_of_its_name_says_how_it_is_treated_or_who_it_is() {
    let consul = consul().await;
    let [one, two] = [Origin::start("one").await, Origin::start("two").await];
    register(&consul, "written", &one, &["blue"]).await;
    let proxy = start(&consul.url(), "[clusters.written]\npolicy = \"random\"");
    assert_eq!(
        (ask(&proxy, "written").await, ask(&proxy, "blue.written.service.consul").await),
        ("one".into(), "one".into())
    );
    assert_eq!(policy(&proxy, "written").await, "random");
    assert_eq!(policy(&proxy, "blue.written.service").await, "random");
    let more = format!("[clusters.written]\nendpoints = [\"{}\"]", two.address());
    let proxy = start(&consul.url(), &more);
    assert_eq!(
        (ask(&proxy, "written").await, ask(&proxy, "blue.written.service.consul").await),
        ("two".into(), "one".into())
    );
}

#[tokio::test]
async fn a_service_of_grpc_is_reached_by_its_name_as_well() {
    let consul = consul().await;
    let origin = H2Origin::start().await;
    let (ip, port) = (origin.address().ip(), origin.address().port());
    consul.register(json!({ "Name": "h2", "Address": ip, "Port": port, "Meta": { "lictor-protocol": "h2" } })).await;
    let proxy = start(&consul.url(), "");
    assert_eq!(get(proxy.address(), "h2", "/").await.status, 200);
}

#[tokio::test]
async fn policies_change_with_the_file_while_services_are_in_use() {
    let consul = consul().await;
    let origin = Origin::start("reload").await;
    register(&consul, "reload", &origin, &[]).await;
    let proxy = start(&consul.url(), "");
    assert_eq!(ask(&proxy, "reload").await, "reload");
    assert_eq!(policy(&proxy, "reload").await, "p2c");
    let text = crate::support::app::configuration(&format!(
        "[consul]\naddress = \"{}\"\n[[listeners]]\nname = \"edge\"\nbind = \"127.0.0.1:0\"\negress = true\nconnect = true\n\
         [clusters.reload]\npolicy = \"random\"",
        consul.url()
    ));
    let config = lictor::config::parse(&text, &lictor::config::Environment::default()).unwrap();
    proxy.app().reload(config).await.unwrap();
    assert_eq!(policy(&proxy, "reload").await, "random");
    assert_eq!(ask(&proxy, "reload").await, "reload");
}
