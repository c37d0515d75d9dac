//! What a token needs, proven by a real Consul that denies by default: the policies in `deploy/consul` are enough, each rule in them is
//! needed, and `lictor check --live` names the one that is missing.

use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::NamedTempFile;

use crate::support::app::{Proxy, configuration};
use crate::support::client::{Client, eventually, get};
use crate::support::consul::{Catalog, Certificates, Consul};
use crate::support::origin::Origin;
use crate::support::window::is_ready;

const SOON: Duration = Duration::from_secs(10);
const ACL: &str = r#"acl { enabled = true default_policy = "deny" tokens { master = "root" agent = "root" } }"#;
const EDGE: &str = include_str!("../deploy/consul/edge.hcl");
const EGRESS: &str = include_str!("../deploy/consul/egress.hcl");
const SERVICE_ROUTES: &str = include_str!("../deploy/consul/service-routes.hcl");
const REGISTRATION: &str = include_str!("../deploy/consul/registration.hcl");
const MESH: &str = include_str!("../deploy/consul/mesh.hcl");
const KV: &str = include_str!("../deploy/consul/kv.hcl");

/// A token with exactly these rules.
async fn token(root: &Catalog, rules: &[&str]) -> String {
    let name = format!("policy-{}", fastrand::u64(..));
    root.put("/v1/acl/policy", json!({ "Name": name, "Rules": rules.join("\n") }).to_string()).await;
    let made = root.put("/v1/acl/token", json!({ "Policies": [{ "Name": name }] }).to_string()).await;
    let made: Value = serde_json::from_str(&made).unwrap();
    made["SecretID"].as_str().unwrap().to_owned()
}

/// The rules of policies, one a line.
fn rules<'a>(policies: &[&'a str]) -> Vec<&'a str> {
    let lines = policies.iter().flat_map(|policy| policy.lines());
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
}

/// What `lictor check` says of this configuration, with these arguments and this token: exit code, output, errors.
async fn check(text: &str, arguments: &[&str], token: &str) -> (Option<i32>, String, String) {
    let file = NamedTempFile::with_suffix(".toml").unwrap();
    std::fs::write(file.path(), configuration(text)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_lictor"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CONSUL_")) {
        command.env_remove(name);
    }
    command.arg("check").arg("--config").arg(file.path()).args(arguments).env("CONSUL_HTTP_TOKEN", token);
    command.stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let Output { status, stdout, stderr } = output;
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

/// An edge that follows `web`, prefers its zone, and has documents.
fn edge(consul: &str) -> String {
    format!(
        "[consul]\naddress = \"{consul}\"\n[kv]\nprefix = \"lictor/config/\"\n[[routes]]\ncluster = \"web\"\n\
         [clusters.web]\nconsul = {{ service = \"web\" }}\n"
    )
}

async fn stage() -> (Consul, Catalog, Origin) {
    let consul = Consul::start_with(ACL).await;
    let root = consul.with_token("root");
    let origin = Origin::start("one").await;
    root.register_service("web", "one", origin.address()).await;
    let document = "[[routes]]\nhost = \"shop\"\ncluster = \"web\"\n";
    root.put("/v1/kv/lictor/config/shop", document).await;
    (consul, root, origin)
}

#[tokio::test]
async fn the_policies_for_an_edge_are_enough_and_whichever_rule_is_left_out_is_named() {
    let (consul, root, _origin) = stage().await;
    let all = rules(&[EDGE, KV]);
    assert_eq!(all.len(), 4);
    let whole = token(&root, &all).await;
    let proxy = Proxy::start_in(&edge(&consul.url()), &[("CONSUL_HTTP_TOKEN", &whole)]);
    eventually("ready", SOON, async || is_ready(proxy.admin()).await).await;
    assert_eq!(get(proxy.address(), "shop", "/").await.text(), "one");
    proxy.drain().await;

    let (code, out, err) = check(&edge(&consul.url()), &["--live"], &whole).await;
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    for line in [
        "allowed     service:read web: cluster web",
        "allowed     node:read: without it the list of every service is empty",
        "allowed     key:read lictor/config/…: the documents of [kv]",
        "allowed     agent:read: ",
    ] {
        assert!(out.lines().any(|said| said.starts_with(line)), "{line:?} in\n{out}");
    }
    each_is_missed(&root, &edge(&consul.url()), &all).await;
}

/// Each of these rules in turn is left out, and named by what looks for it.
async fn each_is_missed(root: &Catalog, text: &str, all: &[&str]) {
    for left_out in all {
        let rest: Vec<&str> = all.iter().copied().filter(|rule| rule != left_out).collect();
        let (code, out, err) = check(text, &["--live"], &token(root, &rest).await).await;
        let resource = left_out.split(['_', ' ']).next().unwrap();
        let access = if left_out.contains("write") { "write" } else { "read" };
        let is_vital = resource != "agent";
        let word = if is_vital { "missing     " } else { "without     " };
        let said: Vec<&str> = out.lines().filter(|line| line.starts_with(word)).collect();
        assert_eq!(said.len(), 1, "{left_out}:\n{out}");
        assert!(said[0].starts_with(&format!("{word}{resource}:{access}")), "{left_out}:\n{out}");
        assert!(said[0].contains("add ") && said[0].ends_with(&format!("{{ policy = \"{access}\" }}")), "{}", said[0]);
        let expected = if is_vital { (Some(1), "lictor: 1 check failed\n") } else { (Some(0), "") };
        assert_eq!((code, err.as_str()), expected, "{left_out}");
    }
}

#[tokio::test]
async fn the_policy_for_egress_is_enough_and_whichever_rule_is_left_out_is_named() {
    let (consul, root, _origin) = stage().await;
    let all = rules(&[EGRESS]);
    let whole = token(&root, &all).await;
    let text = format!(
        "[[listeners]]\nname = \"edge\"\nbind = \"127.0.0.1:0\"\negress = true\n[consul]\naddress = \"{}\"\n",
        consul.url()
    );
    let proxy = Proxy::start_in(&text, &[("CONSUL_HTTP_TOKEN", &whole)]);
    eventually("web is reached", SOON, async || get(proxy.address(), "web", "/").await.text() == "one").await;
    proxy.drain().await;
    let (code, out, err) = check(&text, &["--live"], &whole).await;
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    each_is_missed(&root, &text, &all).await;
}

#[tokio::test]
async fn the_policy_for_service_routes_is_enough_and_whichever_rule_is_left_out_is_named() {
    let (consul, root, origin) = stage().await;
    let all = rules(&[SERVICE_ROUTES]);
    let whole = token(&root, &all).await;
    let address = origin.address();
    let claiming = json!({ "Name": "shop", "Address": address.ip(), "Port": address.port(), "Tags": ["urlprefix-/a"] });
    root.register(claiming).await;
    let command = format!("route add svc /b http://{address}/\n");
    root.put("/v1/kv/fabio/config", command).await;
    let text =
        format!("[consul]\naddress = \"{}\"\n[service_routes]\nenabled = true\nkv = \"fabio/config\"\n", consul.url());
    let proxy = Proxy::start_in(&text, &[("CONSUL_HTTP_TOKEN", &whole)]);
    eventually("ready", SOON, async || is_ready(proxy.admin()).await).await;
    for path in ["/a", "/b"] {
        assert_eq!(get(proxy.address(), "x", path).await.text(), "one");
    }
    proxy.drain().await;
    let (code, out, err) = check(&text, &["--live"], &whole).await;
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    each_is_missed(&root, &text, &all).await;
}

#[tokio::test]
async fn an_agent_that_wants_certificates_and_denies_by_default_is_asked_and_checked_alike() {
    let certificates = Certificates::new().await;
    let consul = Consul::start_with(&format!("{ACL}\n{}", certificates.strict_agent())).await;
    let root = consul.with_token("root");
    let origin = Origin::start("one").await;
    root.register_service("web", "one", origin.address()).await;
    let egress = "[[listeners]]\nname = \"edge\"\nbind = \"127.0.0.1:0\"\negress = true\n";
    let text = format!("{egress}{}", certificates.lictor_with_certificate());
    let all = rules(&[EGRESS]);
    let whole = token(&root, &all).await;
    let proxy = Proxy::start_in(&text, &[("CONSUL_HTTP_TOKEN", &whole)]);
    eventually("web is reached", SOON, async || get(proxy.address(), "web", "/").await.text() == "one").await;
    assert_eq!(get(proxy.address(), "nobody.service.consul", "/").await.status, 503);
    proxy.drain().await;
    let (code, out, err) = check(&text, &["--live"], &whole).await;
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    each_is_missed(&root, &text, &all).await;
    let (code, out, err) = check(&format!("{egress}{}", certificates.lictor()), &["--live"], &whole).await;
    assert_eq!((code, err.as_str()), (Some(1), "lictor: 1 check failed\n"));
    assert!(out.contains("the agent asks for a client certificate") && out.contains("see consul.client_cert"), "{out}");
}

#[tokio::test]
async fn the_policies_for_an_edge_that_enters_itself_are_enough_and_whichever_rule_is_left_out_is_named() {
    let (consul, root, _origin) = stage().await;
    let all = rules(&[EDGE, KV, REGISTRATION]);
    let whole = token(&root, &all).await;
    let text = edge(&consul.url()) + "[registration]\nname = \"lictor\"\n";
    let proxy = Proxy::start_in(&text, &[("CONSUL_HTTP_TOKEN", &whole)]);
    let entered = async || root.get("/v1/catalog/service/lictor").await.as_array().is_some_and(|all| all.len() == 1);
    eventually("it is in the catalogue", SOON, entered).await;
    proxy.drain().await;
    let (code, out, err) = check(&text, &["--live"], &whole).await;
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    each_is_missed(&root, &text, &all).await;
}

#[tokio::test]
async fn the_policies_for_registration_and_the_mesh_allow_what_these_take_and_no_more() {
    let (consul, root, _origin) = stage().await;
    let status = async |token: &str, method: &str, path: &str, body: &str| {
        let length = body.len();
        let mut client = Client::connect(consul.address()).await;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nx-consul-token: {token}\r\ncontent-length: {length}\r\n\r\n"
        );
        client.exchange(head + body).await.status
    };
    let (registration, mesh) = (token(&root, &rules(&[REGISTRATION])).await, token(&root, &rules(&[MESH])).await);
    let (register, check) =
        ("/v1/agent/service/register?replace-existing-checks=true", "/v1/agent/check/update/service:lictor");
    let entry = |name: &str| json!({ "Name": name, "Port": 80, "Check": { "TTL": "1h" } }).to_string();
    assert_eq!(status(&registration, "PUT", register, &entry("lictor")).await, 200);
    assert_eq!(status(&registration, "PUT", check, "{\"Status\":\"passing\"}").await, 200);
    assert_eq!(status(&registration, "GET", "/v1/agent/service/lictor", "").await, 200);
    assert_eq!(status(&registration, "PUT", "/v1/agent/service/deregister/lictor", "").await, 200);
    assert_eq!(status(&registration, "PUT", register, &entry("web")).await, 403, "nobody else's traffic");
    let ask = |target: &str| {
        let caller = "spiffe://11111111-2222-3333-4444-555555555555.consul/ns/default/dc/dc1/svc/web";
        json!({ "Target": target, "ClientCertURI": caller, "ClientCertSerial": "01" }).to_string()
    };
    assert_eq!(status(&mesh, "GET", "/v1/agent/connect/ca/roots", "").await, 200);
    eventually(
        "Consul's authority signs, which a busy one does only after a while",
        Duration::from_secs(20),
        async || status(&mesh, "GET", "/v1/agent/connect/ca/leaf/edge", "").await == 200,
    )
    .await;
    assert_eq!(status(&mesh, "POST", "/v1/agent/connect/authorize", &ask("edge")).await, 200);
    assert_eq!(status(&mesh, "GET", "/v1/agent/connect/ca/leaf/web", "").await, 403, "nobody else's name");
    let bare = token(&root, &rules(&[EDGE])).await;
    assert_eq!(status(&bare, "PUT", register, &entry("lictor")).await, 403);
    assert_eq!(status(&bare, "GET", "/v1/agent/connect/ca/leaf/edge", "").await, 403);
    assert_eq!(status(&bare, "POST", "/v1/agent/connect/authorize", &ask("edge")).await, 403);
}

#[tokio::test]
async fn what_else_stands_in_the_way_is_said_in_a_line() {
    let (consul, root, _origin) = stage().await;
    let whole = token(&root, &rules(&[EDGE, KV])).await;
    let live = async |text: &str, token: &str| check(text, &["--live"], token).await;
    let says = |(code, out, _): (Option<i32>, String, String), words: &str, expected: i32| {
        assert!(out.contains(words), "{words:?} in\n{out}");
        assert_eq!(code, Some(expected), "{out}");
    };
    let text = edge(&consul.url());
    says(live(&text, "no-such-token").await, "Consul does not know the token", 1);
    says(live(&edge("http://127.0.0.1:1"), "").await, "http://127.0.0.1:1: the agent cannot be asked: ", 1);
    let other = text.replace("service = \"web\"", "service = \"web\", datacenter = \"dc9\"");
    says(
        live(&other, &whole).await,
        "dc9: its catalogue cannot be read: 500 Internal Server Error: No path to datacenter",
        1,
    );
    let of_peer = text.replace("service = \"web\"", "service = \"web\", peer = \"east\"");
    says(live(&of_peer, &whole).await, "web@peer:east: the agent is Consul 1.8, which knows of no cluster peers", 1);
    let nobody = text.replace("service = \"web\"", "service = \"nobody\"");
    says(live(&nobody, &whole).await, "warning     nobody: there are no instances, or none that may be seen", 0);
    let filter = text.replace("service = \"web\"", "service = \"web\", filter = \"Foo == 1\"");
    says(live(&filter, &whole).await, "Selector \"Foo\" is not valid", 1);
    // Some nodes may do for some people.
    let some = token(
        &root,
        &[
            "node_prefix \"lictor-\" { policy = \"read\" }",
            "service \"web\" { policy = \"read\" }",
            "key_prefix \"lictor/\" { policy = \"read\" }",
        ],
    )
    .await;
    says(live(&text, &some).await, "partly      node:read", 0);
}

#[tokio::test]
async fn without_acls_everything_is_allowed() {
    let consul = Consul::start().await;
    let (code, out, err) = check(&edge(&consul.url()), &["--live"], "").await;
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    assert!(out.contains("it has no ACLs: everything is allowed"), "{out}");
}

#[tokio::test]
async fn documents_are_checked_where_they_stand_and_before_they_are_put_there() {
    let (consul, root, _origin) = stage().await;
    let whole = token(&root, &rules(&[EDGE, KV])).await;
    let text = edge(&consul.url());
    let (code, out, _) = check(&text, &["--kv"], &whole).await;
    assert_eq!(code, Some(0));
    assert!(out.ends_with(" and 1 document: good: 1 listeners, 2 routes, 1 clusters\n"), "{out}");
    let new = NamedTempFile::with_prefix("zz-").unwrap();
    std::fs::write(new.path(), "\n[[routes]]\nhost = \"shop\"\ncluster = \"web\"\n").unwrap();
    let path = new.path().to_str().unwrap();
    let (code, out, _) = check(&text, &["--document", path], "").await;
    assert_eq!(code, Some(0), "on its own it is good");
    assert!(out.contains(" and 1 document: good"), "{out}");
    let (code, _, err) = check(&text, &["--kv", "--document", path], &whole).await;
    assert_eq!(code, Some(78));
    let key = format!("lictor/config/{}", new.path().file_name().unwrap().to_str().unwrap());
    assert!(err.starts_with(&format!("kv {key}:2: routes[0]: takes the same requests as routes[")), "{err}");
    root.put("/v1/kv/lictor/config/shop", "[[routes]]\nhost = \"shop\"\ncluster = \"wbe\"\n").await;
    let (code, _, err) = check(&text, &["--kv"], &whole).await;
    assert_eq!(code, Some(78));
    let problem = "kv lictor/config/shop:3: routes[0].cluster: no cluster \"wbe\"; did you mean \"web\"?\n";
    assert_eq!(err, problem);
    let (code, _, err) = check(&text.replace("[kv]\nprefix = \"lictor/config/\"\n", ""), &["--kv"], &whole).await;
    assert_eq!(code, Some(1));
    assert!(err.contains("has no [kv] table"), "{err}");
}
