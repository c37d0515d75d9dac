//! What somebody types who learns Consul, one command after the other as tutorials have them, and what lictor makes of each: services by
//! the agent's API and their checks, maintenance, keys and values, sessions and locks.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::app::Proxy;
use crate::support::client::{eventually, get};
use crate::support::consul::Consul;
use crate::support::origin::Origin;
use crate::support::window::{endpoint, find_endpoint, is_ready, json, usable};

const SOON: Duration = Duration::from_secs(10);

/// Follows `web`, and documents under `app/`.
fn text(consul: &str) -> String {
    format!(
        "[consul]\naddress = \"{consul}\"\n[kv]\nprefix = \"app/\"\n[[routes]]\ncluster = \"web\"\n\
         [clusters.web]\nconsul = {{ service = \"web\" }}\n"
    )
}

async fn until(proxy: &Proxy, host: &str, status: u16) {
    let what = format!("{host} is answered with {status}");
    eventually(&what, SOON, async || get(proxy.address(), host, "/").await.status == status).await;
}

#[tokio::test]
async fn services_that_are_registered_checked_and_taken_out_by_hand_are_served_accordingly() {
    let consul = Consul::start().await;
    let [one, two] = [Origin::start("one").await, Origin::start("two").await];
    let proxy = Proxy::start(&text(&consul.url()));
    eventually("ready", SOON, async || is_ready(proxy.admin()).await).await;
    until(&proxy, "x", 503).await;
    // curl --request PUT --data @payload.json http://127.0.0.1:8500/v1/agent/service/register
    let payload = |id: &str, origin: &Origin| {
        let (address, port) = (origin.address().ip().to_string(), origin.address().port());
        json!({
            "ID": id, "Name": "web", "Tags": ["primary", "v1"], "Address": address, "Port": port, "Meta": { "version": "4.0" },
            "EnableTagOverride": false, "Weights": { "Passing": 10, "Warning": 1 },
            "Check": { "CheckID": format!("service:{id}"), "TTL": "1h", "DeregisterCriticalServiceAfter": "90m" },
        })
    };
    consul.put("/v1/agent/service/register", payload("web1", &one).to_string()).await;
    // A TTL check is critical before its first word, and where all are critical, all are tried rather than none.
    eventually("it is seen", SOON, async || json(proxy.admin(), "/v1/clusters").await[0]["panic"] == true).await;
    assert_eq!(endpoint(proxy.admin(), one.address()).await["status"], "critical");
    let is = async |origin: &Origin, status: &str, weight: u64| {
        let what = format!("{} is {status}", origin.name());
        let seen = async || {
            let found = find_endpoint(proxy.admin(), origin.address()).await;
            found.is_some_and(|endpoint| endpoint["status"] == status && endpoint["weight"] == weight)
        };
        eventually(&what, SOON, seen).await;
    };
    consul.put("/v1/agent/check/pass/service:web1", "").await;
    is(&one, "passing", 10).await;
    until(&proxy, "x", 200).await;
    consul.put("/v1/agent/check/warn/service:web1?note=slow", "").await;
    is(&one, "warning", 1).await;
    consul.put("/v1/agent/service/register", payload("web2", &two).to_string()).await;
    consul.put("/v1/agent/check/pass/service:web2", "").await;
    is(&two, "passing", 10).await;
    consul.put("/v1/agent/check/fail/service:web1", "").await;
    is(&one, "critical", 10).await;
    assert_eq!(usable(proxy.admin(), "web").await, [two.address().port()]);
    consul.put("/v1/agent/check/pass/service:web1", "").await;
    is(&one, "passing", 10).await;
    // curl --request PUT 'http://127.0.0.1:8500/v1/agent/service/maintenance/web2?enable=true&reason=upgrade'
    consul.put("/v1/agent/service/maintenance/web2?enable=true&reason=upgrade", "").await;
    is(&two, "maintenance", 10).await;
    assert_eq!(get(proxy.address(), "x", "/").await.text(), "one");
    consul.put("/v1/agent/service/maintenance/web2?enable=false", "").await;
    is(&two, "passing", 10).await;
    // What Consul's own endpoints say is what lictor serves by.
    let passing = consul.get("/v1/health/service/web?passing").await;
    assert_eq!(passing.as_array().map(Vec::len), Some(2));
    consul.put("/v1/agent/service/deregister/web1", "").await;
    let alone = async || usable(proxy.admin(), "web").await == [two.address().port()];
    eventually("web2 is alone", SOON, alone).await;
    assert_eq!(get(proxy.address(), "x", "/").await.text(), "two");
    proxy.drain().await;
}

#[tokio::test]
async fn keys_values_sessions_and_locks_are_documents_where_they_are_and_nothing_elsewhere() {
    let consul = Consul::start().await;
    let origin = Origin::start("one").await;
    consul.register_service("web", "web", origin.address()).await;
    let proxy = Proxy::start(&text(&consul.url()).replace("[[routes]]\n", "[[routes]]\nhost = \"file\"\n"));
    eventually("ready", SOON, async || is_ready(proxy.admin()).await).await;
    let route = |host: &str| format!("[[routes]]\nhost = \"{host}\"\ncluster = \"web\"\n");
    let generation = async || json(proxy.admin(), "/v1/kv").await["generation"].as_u64().unwrap();
    // What others keep in the store is none of our business.
    consul.put("/v1/kv/redis/config/minconns", "1").await;
    consul.put("/v1/kv/application", "not ours").await;
    assert_eq!(consul.put("/v1/kv/app/one?cas=0&flags=42", route("one")).await.trim(), "true");
    until(&proxy, "one", 200).await;
    assert_eq!(consul.put("/v1/kv/app/one?cas=0", "nope").await.trim(), "false", "somebody was first");
    assert_eq!(generation().await, 2);
    // The same once more wakes nobody.
    consul.put("/v1/kv/app/one", route("one")).await;

    // A session that holds a lock on a document, and takes it along when it ends.
    let session = json!({ "Name": "deploy", "TTL": "10s", "Behavior": "delete", "LockDelay": "1s" });
    let session: Value = serde_json::from_str(&consul.put("/v1/session/create", session.to_string()).await).unwrap();
    let session = session["ID"].as_str().unwrap();
    let locked = consul.put(&format!("/v1/kv/app/locked?acquire={session}"), route("locked")).await;
    assert_eq!(locked.trim(), "true");
    until(&proxy, "locked", 200).await;
    consul.put(&format!("/v1/session/renew/{session}"), "").await;
    assert_eq!(consul.get(&format!("/v1/session/info/{session}")).await[0]["Name"], "deploy");
    consul.put(&format!("/v1/session/destroy/{session}"), "").await;
    until(&proxy, "locked", 404).await;
    assert_eq!(get(proxy.address(), "one", "/").await.status, 200);
    assert_eq!(generation().await, 4);

    // consul kv delete -recurse app/
    consul.call("DELETE", "/v1/kv/app/?recurse", b"").await;
    until(&proxy, "one", 404).await;
    assert_eq!(get(proxy.address(), "file", "/").await.status, 200);
    assert_eq!(consul.get("/v1/kv/redis/config/minconns").await[0]["Value"], "MQ==");
    proxy.drain().await;
}
