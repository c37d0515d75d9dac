//! Certificates out of a real Consul's KV store.

use base64::Engine;
use serde_json::json;

use super::{SOON, Stage, listener, until_handshakes};
use crate::support::app::{Proxy, to_endpoints};
use crate::support::chain::Leaf;
use crate::support::client::eventually;
use crate::support::consul::{Catalog, Consul};
use crate::support::tls::{Caller, shown};
use crate::support::window::metric;

const FAILURES: &str = "lictor_certificate_reloads_total{listener=\"edge\",result=\"failure\"}";

fn following(stage: &Stage, consul: &str) -> Proxy {
    let listener = listener("[listeners.tls]\nkv = 'lictor/certificates'\nstrict_sni = true\n");
    let consul = format!("[consul]\naddress = \"{consul}\"\nwait = \"5s\"\n");
    Proxy::start(&(to_endpoints(&[stage.origin.address()], "") + &consul + &listener))
}

async fn put(catalog: &Catalog, key: &str, value: &str) {
    catalog.put(&format!("/v1/kv/lictor/certificates/{key}"), value).await;
}

async fn delete(catalog: &Catalog, key: &str) {
    catalog.call("DELETE", &format!("/v1/kv/lictor/certificates{key}?recurse"), b"").await;
}

/// Both at once, as it should be done.
async fn put_pair(catalog: &Catalog, name: &str, leaf: &Leaf) {
    let set = |key: &str, value: &str| {
        let value = base64::engine::general_purpose::STANDARD.encode(value);
        json!({ "KV": { "Verb": "set", "Key": format!("lictor/certificates/{name}/{key}"), "Value": value } })
    };
    let both = json!([set("cert", &leaf.chain), set("key", &leaf.key)]);
    catalog.put("/v1/txn", both.to_string()).await;
}

/// The names of the certificate that is shown to who asks for this name, if there is one.
async fn names(stage: &Stage, proxy: &Proxy, name: &str) -> Option<Vec<String>> {
    let stream = Caller::trusting(&stage.root).connect(proxy.address(), name).await.ok()?;
    Some(shown(&stream).dns)
}

async fn until_shown(stage: &Stage, proxy: &Proxy, expected: &[&str]) {
    let look = async || names(stage, proxy, expected[0]).await.is_some_and(|shown| shown == expected);
    eventually(&format!("{expected:?} is shown"), SOON, look).await;
}

#[tokio::test]
async fn certificates_are_followed_and_what_cannot_be_used_leaves_the_old_in_force() {
    let (stage, consul) = (Stage::set().await, Consul::start().await);
    let leaf = |names: &[&str]| stage.signer.leaf(names);
    put_pair(&consul, "a", &leaf(&["a.example"])).await;
    let proxy = following(&stage, &consul.url());
    assert_eq!(names(&stage, &proxy, "a.example").await.unwrap(), ["a.example"], "it waits for its certificates");

    let both = leaf(&["b.example"]);
    put(&consul, "b", &(both.chain + &both.key)).await;
    until_shown(&stage, &proxy, &["b.example"]).await;
    let new = leaf(&["a.example", "new.example"]);
    // One after the other, so that for a moment they do not fit.
    put(&consul, "a/cert", &new.chain).await;
    eventually("it is reported", SOON, async || metric(proxy.admin(), FAILURES).await == 1.0).await;
    assert_eq!(names(&stage, &proxy, "a.example").await.unwrap(), ["a.example"]);
    put(&consul, "a/key", &new.key).await;
    until_shown(&stage, &proxy, &["a.example", "new.example"]).await;

    put(&consul, "a/cert", "no certificate").await;
    put_pair(&consul, "c", &leaf(&["c.example"])).await;
    until_shown(&stage, &proxy, &["c.example"]).await;
    assert_eq!(names(&stage, &proxy, "a.example").await.unwrap(), ["a.example", "new.example"]);
    // What is taken away is gone.
    delete(&consul, "/c").await;
    eventually("c is gone", SOON, async || names(&stage, &proxy, "c.example").await.is_none()).await;
}

#[tokio::test]
async fn without_a_certificate_handshakes_fail_until_there_is_one() {
    let (stage, consul) = (Stage::set().await, Consul::start().await);
    put(&consul, "a", "not yet").await;
    let proxy = following(&stage, &consul.url());
    assert!(names(&stage, &proxy, "a.example").await.is_none());
    until_handshakes(&proxy, "no_certificate", 1.0).await;
    put_pair(&consul, "b", &stage.signer.leaf(&["a.example"])).await;
    until_shown(&stage, &proxy, &["a.example"]).await;
}

#[tokio::test]
async fn the_last_certificates_stay_while_consul_is_away_and_when_all_are_gone() {
    let (stage, mut consul) = (Stage::set().await, Consul::start().await);
    put_pair(&consul, "a", &stage.signer.leaf(&["a.example"])).await;
    let proxy = following(&stage, &consul.url());
    until_shown(&stage, &proxy, &["a.example"]).await;
    delete(&consul, "").await;
    eventually("it is reported", SOON, async || metric(proxy.admin(), FAILURES).await == 1.0).await;
    assert!(names(&stage, &proxy, "a.example").await.is_some());
    consul.kill();
    assert!(names(&stage, &proxy, "a.example").await.is_some());
    // A store in memory has forgotten everything.
    consul.restart().await;
    put_pair(&consul, "a", &stage.signer.leaf(&["a.example", "after.example"])).await;
    until_shown(&stage, &proxy, &["a.example", "after.example"]).await;
}

#[tokio::test]
async fn keys_are_in_no_answer_of_the_operators_window() {
    let (stage, consul) = (Stage::set().await, Consul::start().await);
    let leaf = stage.signer.leaf(&["a.example"]);
    put_pair(&consul, "a", &leaf).await;
    let proxy = following(&stage, &consul.url());
    until_shown(&stage, &proxy, &["a.example"]).await;
    let secret = leaf.key.lines().nth(1).unwrap();
    for path in ["/metrics", "/v1/clusters", "/v1/routes"] {
        let mut client = crate::support::client::Client::connect(proxy.admin()).await;
        let answer = client.exchange(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")).await.text();
        assert!(!answer.contains(secret) && !answer.contains("PRIVATE KEY"), "{path}");
    }
}
