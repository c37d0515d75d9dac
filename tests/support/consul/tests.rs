//! Whether the agent does what a test says to it.

use serde_json::{Value, json};
use tokio::time::timeout;

use super::*;

const SOON: Duration = Duration::from_secs(10);

/// The instances that pass, as a watcher sees them.
async fn passing(catalog: &Catalog, service: &str) -> Vec<String> {
    let entries = catalog.get(&format!("/v1/health/service/{service}?passing")).await;
    let entries = entries.as_array().unwrap();
    entries.iter().map(|entry| entry["Service"]["ID"].as_str().unwrap().to_owned()).collect()
}

async fn until_passing(catalog: &Catalog, service: &str, expected: &[&str]) {
    let what = format!("{expected:?} pass");
    eventually(&what, SOON, async || passing(catalog, service).await == expected).await;
}

#[tokio::test]
async fn a_catalog_shows_what_a_test_did_to_it() {
    let consul = Consul::start().await;
    let catalog = Catalog::new(&consul.url());
    let port = |port| SocketAddr::from(([127, 0, 0, 1], port));
    catalog.register_service("web", "web/1 a", port(1)).await;
    catalog.register_service("web", "web-2", port(2)).await;
    until_passing(&catalog, "web", &["web-2", "web/1 a"]).await;
    catalog.set_check("service:web-2", "critical").await;
    until_passing(&catalog, "web", &["web/1 a"]).await;
    catalog.set_check("service:web-2", "passing").await;
    catalog.maintenance("web/1 a", true).await;
    until_passing(&catalog, "web", &["web-2"]).await;
    catalog.maintenance("web/1 a", false).await;
    catalog.deregister("web-2").await;
    until_passing(&catalog, "web", &["web/1 a"]).await;
    catalog.node_maintenance(true).await;
    until_passing(&catalog, "web", &[]).await;
    catalog.node_maintenance(false).await;
    until_passing(&catalog, "web", &["web/1 a"]).await;
    catalog.put("/v1/kv/lictor", "raw").await;
    assert_eq!(catalog.call("GET", "/v1/kv/lictor?raw", b"").await.body, b"raw");
}

#[tokio::test]
async fn a_blocked_query_returns_when_an_instance_registers() {
    let consul = Consul::start().await;
    let watch = async {
        let mut index = "0".to_owned();
        loop {
            // More than once if need be: the agent's own entry may still move the index.
            let path = format!("/v1/health/service/web?index={index}&wait=60s");
            let answer = consul.call("GET", &path, b"").await;
            let entries: Value = serde_json::from_slice(&answer.body).unwrap();
            if let Some(entry) = entries.get(0) {
                return entry["Service"]["Port"].clone();
            }
            index = answer.header("X-Consul-Index").unwrap().to_owned();
        }
    };
    let act = async {
        let watched = async || consul.connections() == 1;
        eventually("the watch is connected", SOON, watched).await;
        consul.register(json!({ "Name": "web", "Port": 80 })).await;
    };
    let both = timeout(SOON, async { tokio::join!(watch, act) }).await;
    assert_eq!(both.unwrap(), (json!(80), ()));
    let released = async || consul.connections() == 0;
    eventually("its connection is gone", SOON, released).await;
}

#[tokio::test]
async fn a_killed_agent_comes_back_on_its_ports_and_empty() {
    let mut consul = Consul::start_with("datacenter = \"dc7\"").await;
    consul.register(json!({ "Name": "web" })).await;
    until_passing(&consul, "web", &["web"]).await;
    consul.kill();
    try_get(consul.address(), "consul", "/").await.unwrap_err();
    consul.restart().await;
    assert_eq!(passing(&consul, "web").await, Vec::<String>::new());
    assert_eq!(consul.get("/v1/agent/self").await["Config"]["Datacenter"], "dc7");
}

#[tokio::test]
#[should_panic(expected = "consul did not start")]
async fn an_agent_that_cannot_start_says_why() {
    Consul::start_with("no_such_key = 1").await;
}

#[tokio::test]
async fn an_agent_with_acls_answers_to_its_token() {
    let acl = r#"acl { enabled = true default_policy = "deny" tokens { master = "root" agent = "root" } }"#;
    let consul = Consul::start_with(acl).await;
    let root = consul.with_token("root");
    root.register_service("web", "web", SocketAddr::from(([127, 0, 0, 1], 80))).await;
    until_passing(&root, "web", &["web"]).await;
    assert_eq!(passing(&consul, "web").await, Vec::<String>::new());
}

#[tokio::test]
async fn two_datacenters_answer_for_each_other_until_one_is_gone() {
    let [one, mut two] = Consul::two_datacenters().await;
    two.register(json!({ "Name": "web", "ID": "far", "Port": 80 })).await;
    let far = async || one.get("/v1/health/service/web?dc=dc2").await.as_array().map(Vec::len);
    eventually("it is seen from the other datacenter", SOON, async || far().await == Some(1)).await;
    assert_eq!(passing(&one, "web").await, Vec::<String>::new());
    two.kill();
    let unreachable = async || {
        try_get(one.address(), "consul", "/v1/health/service/web?dc=dc2").await.is_ok_and(|answer| answer.status == 500)
    };
    eventually("nobody answers for it", SOON, unreachable).await;
    two.restart().await;
    one.until_reached(&two).await;
}
