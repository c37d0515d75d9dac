//! Routes, splits and policies in a real Consul's KV store: what is put there is in force in a moment, whole or not at all, and what is
//! in force stays until something better can be read.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::app::{Proxy, parse};
use crate::support::client::{eventually, get};
use crate::support::consul::{Catalog, Consul};
use crate::support::origin::Origin;
use crate::support::visitor::shares;
use crate::support::window::{counted, is_ready, json, metric, sum};

const SOON: Duration = Duration::from_secs(10);
const PREFIX: &str = "lictor/config/";

/// A file with one route of its own, for the host `file`, and a place for documents.
fn file(consul: &str, origin: &Origin) -> String {
    let address = origin.address();
    format!(
        "[consul]\naddress = \"{consul}\"\n[kv]\nprefix = \"{PREFIX}\"\n[[routes]]\nhost = \"file\"\ncluster = \"file\"\n\
         [clusters.file]\nendpoints = [\"{address}\"]\n"
    )
}

/// A document with a route for a host to that origin.
fn document(host: &str, origin: &Origin) -> String {
    let address = origin.address();
    format!("[[routes]]\nhost = \"{host}\"\ncluster = \"{host}\"\n[clusters.{host}]\nendpoints = [\"{address}\"]\n")
}

async fn put(catalog: &Catalog, name: &str, text: &str) {
    assert_eq!(catalog.put(&format!("/v1/kv/{PREFIX}{name}"), text).await.trim(), "true");
}

async fn delete(catalog: &Catalog, path: &str) {
    catalog.call("DELETE", &format!("/v1/kv/{path}"), b"").await;
}

/// What a client of that host is answered: the origin's name, or the status that is not 200.
async fn answer(proxy: &Proxy, host: &str) -> String {
    let response = get(proxy.address(), host, "/").await;
    if response.status == 200 { response.text() } else { response.status.to_string() }
}

async fn until(proxy: &Proxy, host: &str, expected: &str) {
    let what = format!("{host} is answered with {expected}");
    eventually(&what, SOON, async || answer(proxy, host).await == expected).await;
}

async fn ready(proxy: &Proxy) {
    eventually("ready", SOON, async || is_ready(proxy.admin()).await).await;
}

async fn view(proxy: &Proxy) -> Value {
    json(proxy.admin(), "/v1/kv").await
}

#[tokio::test]
async fn documents_are_in_force_a_moment_after_they_are_put_and_gone_after_they_are_deleted() {
    let consul = Consul::start().await;
    let [one, two] = [Origin::start("one").await, Origin::start("two").await];
    put(&consul, "shop", &document("shop", &one)).await;
    // As Consul's own interface makes a folder.
    put(&consul, "", "").await;
    let proxy = Proxy::start(&file(&consul.url(), &two));
    ready(&proxy).await;
    assert_eq!((answer(&proxy, "shop").await, answer(&proxy, "file").await), ("one".into(), "two".into()));
    // A canary: nothing but the weights changes.
    let split = |new: u32| {
        format!(
            "[[routes]]\nhost = \"canary\"\nsplit = [{{ cluster = \"shop\", weight = {} }}, {{ cluster = \"file\", weight = {new} }}]\n",
            10 - new
        )
    };
    put(&consul, "canary", &split(0)).await;
    until(&proxy, "canary", "one").await;
    put(&consul, "canary", &split(5)).await;
    let both = async || shares(&proxy, "canary", 20).await.len() == 2;
    eventually("both are asked", SOON, both).await;
    put(&consul, "canary", &split(10)).await;
    eventually("the new one alone", SOON, async || {
        shares(&proxy, "canary", 20).await == BTreeMap::from([("two".to_owned(), 20)])
    })
    .await;
    delete(&consul, &format!("{PREFIX}canary")).await;
    until(&proxy, "canary", "404").await;
    assert_eq!(answer(&proxy, "shop").await, "one");
    let view = view(&proxy).await;
    assert_eq!((&view["documents"], &view["generation"]), (&json!(["lictor/config/shop"]), &json!(5)), "{view}");
    assert_eq!((&view["problems"], &view["unread"]), (&json!([]), &Value::Null));
    proxy.drain().await;
}

#[tokio::test]
async fn documents_that_are_wrong_leave_the_last_good_ones_and_are_told_by_key_and_line() {
    let consul = Consul::start().await;
    let [one, two] = [Origin::start("one").await, Origin::start("two").await];
    put(&consul, "shop", &document("shop", &one)).await;
    let proxy = Proxy::start(&file(&consul.url(), &two));
    ready(&proxy).await;
    // Together with a good change: either all of it counts or nothing.
    let changes = json!([
        { "KV": { "Verb": "set", "Key": format!("{PREFIX}more"), "Value": base64(&document("more", &two)) } },
        { "KV": { "Verb": "set", "Key": format!("{PREFIX}shop"), "Value": base64("\n[[routes]]\ncluster = \"wbe\"\n") } },
    ]);
    consul.put("/v1/txn", changes.to_string()).await;
    let rejected = async || metric(proxy.admin(), "lictor_kv_config_rejected_total").await == 1.0;
    eventually("they are rejected", SOON, rejected).await;
    assert_eq!((answer(&proxy, "shop").await, answer(&proxy, "more").await), ("one".into(), "404".into()));
    let problem = "kv lictor/config/shop:3: routes[0].cluster: no cluster \"wbe\"; add [clusters.wbe]";
    assert_eq!(view(&proxy).await["problems"], json!([problem]));
    counted(proxy.admin(), "lictor_kv_config_in_force", 0.0).await;
    let verbose = get(proxy.admin(), "localhost", "/readyz?verbose").await;
    assert_eq!(verbose.status, 200, "what is in force serves");
    assert!(
        verbose.text().contains(&format!("kv {PREFIX}: 1 in force, those that stand there now are not: {problem}\n"))
    );

    put(&consul, "shop", &document("shop", &two)).await;
    until(&proxy, "shop", "two").await;
    assert_eq!(answer(&proxy, "more").await, "two");
    counted(proxy.admin(), "lictor_kv_config_in_force", 1.0).await;
    counted(proxy.admin(), "lictor_kv_config_generation", 2.0).await;
    proxy.drain().await;
}

#[tokio::test]
async fn a_prefix_that_is_deleted_without_its_slash_wakes_nobody_and_is_noticed_all_the_same() {
    let consul = Consul::start().await;
    let [one, two] = [Origin::start("one").await, Origin::start("two").await];
    put(&consul, "shop", &document("shop", &one)).await;
    let file = file(&consul.url(), &two).replace("[consul]\n", "[consul]\nwait = \"1s\"\n");
    let proxy = Proxy::start(&file);
    ready(&proxy).await;
    delete(&consul, "lictor/config?recurse").await;
    until(&proxy, "shop", "404").await;
    assert_eq!((answer(&proxy, "file").await, view(&proxy).await["generation"].clone()), ("two".into(), json!(2)));
    proxy.drain().await;
}

#[tokio::test]
async fn a_token_that_may_not_read_them_any_more_takes_nothing_out_of_force_and_raises_an_alarm() {
    let acl = r#"acl { enabled = true default_policy = "deny" tokens { master = "root" agent = "root" } }"#;
    let consul = Consul::start_with(acl).await;
    let root = consul.with_token("root");
    let [one, two] = [Origin::start("one").await, Origin::start("two").await];
    put(&root, "shop", &document("shop", &one)).await;
    let rules = |rules: &str| json!({ "Name": "lictor", "Rules": rules });
    let read = r#"key_prefix "lictor/" { policy = "read" }"#;
    let made = root.put("/v1/acl/policy", rules(read).to_string()).await;
    let policy = serde_json::from_str::<Value>(&made).unwrap()["ID"].as_str().unwrap().to_owned();
    let made = root.put("/v1/acl/token", json!({ "Policies": [{ "ID": policy }] }).to_string()).await;
    let made: Value = serde_json::from_str(&made).unwrap();
    let secret = made["SecretID"].as_str().unwrap();
    let text = file(&consul.url(), &two).replace("[consul]\n", "[consul]\nwait = \"1s\"\n");
    let proxy = Proxy::start_in(&text, &[("CONSUL_HTTP_TOKEN", secret)]);
    ready(&proxy).await;
    assert_eq!(answer(&proxy, "shop").await, "one");
    let set = async |text: &str| {
        let mut body = rules(text);
        body["ID"] = json!(policy);
        root.put(&format!("/v1/acl/policy/{policy}"), body.to_string()).await;
    };
    let denied = format!("lictor_discovery_denied{{service=\"kv:{PREFIX}\"}}");
    let alarm = async |is: f64| {
        eventually("the alarm", SOON, async || metric(proxy.admin(), &denied).await == is).await;
    };
    set(r#"key_prefix "other/" { policy = "read" }"#).await;
    alarm(1.0).await;
    assert_eq!(answer(&proxy, "shop").await, "one");
    assert!(view(&proxy).await["unread"].as_str().unwrap().contains("it needs key:read there"));
    set(read).await;
    alarm(0.0).await;
    put(&root, "shop", &document("shop", &two)).await;
    until(&proxy, "shop", "two").await;
    assert_eq!(view(&proxy).await["unread"], Value::Null);

    // Nobody knows the token any more.
    root.call("DELETE", &format!("/v1/acl/token/{}", made["AccessorID"].as_str().unwrap()), b"").await;
    alarm(1.0).await;
    assert_eq!(answer(&proxy, "shop").await, "two");
    let verbose = get(proxy.admin(), "localhost", "/readyz?verbose").await;
    assert_eq!(verbose.status, 200);
    assert!(verbose.text().contains("ACL not found"), "{}", verbose.text());
    proxy.drain().await;
}

#[tokio::test]
async fn another_file_goes_on_with_the_documents_that_are_in_force_or_is_refused() {
    let consul = Consul::start().await;
    let [one, two] = [Origin::start("one").await, Origin::start("two").await];
    put(&consul, "shop", &document("shop", &one)).await;
    let proxy = Proxy::start(&file(&consul.url(), &one));
    ready(&proxy).await;
    proxy.app().reload(parse(&file(&consul.url(), &two))).await.unwrap();
    assert_eq!((answer(&proxy, "file").await, answer(&proxy, "shop").await), ("two".into(), "one".into()));
    let clash = file(&consul.url(), &one) + "[clusters.shop]\nendpoints = [\"127.0.0.1:1\"]\n";
    let refusal = proxy.app().reload(parse(&clash)).await.unwrap_err().to_string();
    assert!(refusal.contains("\"shop\" is a cluster of the file as well"), "{refusal}");
    assert_eq!((answer(&proxy, "file").await, answer(&proxy, "shop").await), ("two".into(), "one".into()));
    let other = file(&consul.url(), &two).replace("lictor/config/", "elsewhere/");
    let refusal = proxy.app().reload(parse(&other)).await.unwrap_err().to_string();
    assert!(refusal.starts_with("kv cannot change while lictor runs"), "{refusal}");
    put(&consul, "shop", &document("shop", &two)).await;
    until(&proxy, "shop", "two").await;
    assert_eq!(answer(&proxy, "file").await, "two", "the file is the one of the reload");
    let tables = json(proxy.admin(), "/v1/tables?limit=1").await;
    assert_eq!(tables[0]["causes"], json!([{ "cause": "documents" }]), "nothing came of what was refused");
    proxy.drain().await;
}

#[tokio::test]
async fn an_agent_that_dies_leaves_the_documents_in_force_and_its_first_answer_is_doubted() {
    let mut consul = Consul::start().await;
    let [one, two] = [Origin::start("one").await, Origin::start("two").await];
    put(&consul, "shop", &document("shop", &one)).await;
    let proxy = Proxy::start(&file(&consul.url(), &two));
    ready(&proxy).await;
    consul.kill();
    let missed = async || sum(proxy.admin(), "lictor_discovery_updates_total", "result=\"error\"").await >= 2.0;
    eventually("it is missed", SOON, missed).await;
    assert_eq!(answer(&proxy, "shop").await, "one");
    assert!(view(&proxy).await["unread"].is_string());
    consul.restart().await;
    put(&consul, "shop", &document("shop", &two)).await;
    until(&proxy, "shop", "two").await;
    assert_eq!(view(&proxy).await["unread"], Value::Null);
    proxy.drain().await;
}

#[tokio::test]
async fn before_documents_could_be_read_the_file_serves_and_says_that_it_is_not_ready() {
    let mut consul = Consul::start().await;
    consul.kill();
    let origin = Origin::start("one").await;
    let began = Instant::now();
    let proxy = Proxy::start(&file(&consul.url(), &origin));
    // It waits for a while for all to be told.
    until(&proxy, "file", "one").await;
    assert!(began.elapsed() > Duration::from_secs(4));
    let verbose = get(proxy.admin(), "localhost", "/readyz?verbose").await;
    assert_eq!(verbose.status, 503);
    assert!(verbose.text().contains(&format!("kv {PREFIX}: not read yet, cannot be read: ")), "{}", verbose.text());
    consul.restart().await;
    ready(&proxy).await;
    assert_eq!(view(&proxy).await["generation"], json!(1), "there are none, which is an answer");
    proxy.drain().await;
}

#[tokio::test]
async fn a_start_without_consul_or_with_documents_that_are_wrong_goes_by_those_that_counted_last() {
    let mut consul = Consul::start().await;
    let [one, two] = [Origin::start("one").await, Origin::start("two").await];
    // By a service, so that its list has to be there as well.
    consul.register_service("shop", "shop", one.address()).await;
    let shop = "[[routes]]\nhost = \"shop\"\ncluster = \"shop\"\n[clusters.shop]\nconsul = { service = \"shop\" }\n";
    put(&consul, "shop", shop).await;
    let shelf = tempfile::tempdir().unwrap();
    let kept = format!("[consul]\nlast_lists = \"{}\"\n", shelf.path().join("lists").display());
    let text = file(&consul.url(), &two).replace("[consul]\n", &kept);
    let proxy = Proxy::start(&text);
    ready(&proxy).await;
    until(&proxy, "shop", "one").await;
    proxy.drain().await;

    consul.kill();
    let proxy = Proxy::start(&text);
    ready(&proxy).await;
    assert_eq!(answer(&proxy, "shop").await, "one");
    let verbose = get(proxy.admin(), "localhost", "/readyz?verbose").await.text();
    assert!(verbose.contains(&format!("kv {PREFIX}: 1 in force, from disk, cannot be read: ")), "{verbose}");
    consul.restart().await;
    put(&consul, "shop", &document("shop", &two)).await;
    until(&proxy, "shop", "two").await;
    assert_eq!(view(&proxy).await["from_disk"], json!(false));
    proxy.drain().await;

    put(&consul, "shop", "[[routes]").await;
    let proxy = Proxy::start(&text);
    ready(&proxy).await;
    assert_eq!(answer(&proxy, "shop").await, "two");
    counted(proxy.admin(), "lictor_kv_config_rejected_total", 1.0).await;
    proxy.drain().await;

    // Who has nothing to go by but what is wrong is not ready.
    let proxy = Proxy::start(&file(&consul.url(), &two));
    let rejected = async || metric(proxy.admin(), "lictor_kv_config_rejected_total").await == 1.0;
    eventually("they are rejected", SOON, rejected).await;
    assert!(!is_ready(proxy.admin()).await);
    proxy.drain().await;
}

fn base64(text: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(text)
}
