//! What goes wrong with a real Consul: agents that die and come back empty, catalogues that lose much at once, tokens that are
//! refused, and the ways to reach an agent. The last good list stays; only a true answer takes anybody out.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::app::{Proxy, to_service};
use crate::support::client::{eventually, get};
use crate::support::consul::{Catalog, Consul, binary};
use crate::support::origin::Origin;
use crate::support::spawned::Spawned;
use crate::support::visitor::{Visitor, shares};
use crate::support::window::{endpoints, is_ready, metric, sum, updates, usable};

const SOON: Duration = Duration::from_secs(20);

const ACL: &str = r#"acl { enabled = true default_policy = "deny" tokens { master = "root" agent = "root" } }"#;

/// What lictor needs to be allowed.
const READ: &str = r#"node_prefix "" { policy = "read" } service_prefix "" { policy = "read" }"#;

#[tokio::test]
async fn a_killed_agent_takes_nobody_out_and_comes_back_empty_without_harm() {
    let mut consul = Consul::start().await;
    let origins = origins(&["one", "two", "three", "four"]).await;
    for origin in &origins[..3] {
        consul.register_service("web", origin.name(), origin.address()).await;
    }
    let proxy = Proxy::start(&to_service(&consul.url(), ""));
    until_usable(&proxy, &origins[..3]).await;
    let visitor = Visitor::start(&proxy);
    consul.kill();
    // Long enough for a backoff without a limit to grow beyond what follows.
    let tried = async || updates(proxy.admin(), "error").await >= 7.0;
    eventually("it is looked for again and again", Duration::from_secs(20), tried).await;
    assert_eq!(usable(proxy.admin(), "web").await, ports(&origins[..3]));
    assert!(is_ready(proxy.admin()).await);

    consul.restart().await;
    let back = Instant::now();
    // The index starts again, far below the one that was waited for.
    for origin in [&origins[0], &origins[3]] {
        consul.register_service("web", origin.name(), origin.address()).await;
    }
    let expected = [origins[0].address(), origins[3].address()];
    until_usable_at(&proxy, &expected).await;
    assert!(back.elapsed() < Duration::from_secs(4), "followed again after {:?}", back.elapsed());
    consul.deregister("one").await;
    until_usable_at(&proxy, &expected[1..]).await;
    only_answers(&visitor.leave().await, &["one", "two", "three", "four"]);
    proxy.drain().await;
}

#[tokio::test]
async fn an_agent_that_comes_back_and_stays_empty_is_believed_after_a_second() {
    let mut consul = Consul::start().await;
    let origins = origins(&["one", "two", "three"]).await;
    for origin in &origins {
        consul.register_service("web", origin.name(), origin.address()).await;
    }
    let proxy = Proxy::start(&to_service(&consul.url(), ""));
    until_usable(&proxy, &origins).await;
    consul.restart().await;
    // The last look that did not see it was before it, however late this test looks.
    let mut doubted = Instant::now();
    eventually("the emptiness is doubted", SOON, async || {
        let look = Instant::now();
        let seen = updates(proxy.admin(), "doubted").await >= 1.0;
        doubted = if seen { doubted } else { look };
        seen
    })
    .await;
    until_usable(&proxy, &[]).await;
    // Two looks a second apart.
    assert!(doubted.elapsed() > Duration::from_millis(800), "believed after {:?}", doubted.elapsed());
    assert_eq!(doubts(&proxy, "index").await, updates(proxy.admin(), "doubted").await);
    // Believed, but nobody else is there to be asked.
    assert_eq!(suspects(&proxy).await, 3.0);
    assert_eq!(get(proxy.address(), "x", "/").await.status, 200);
    proxy.drain().await;
}

#[tokio::test]
async fn many_instances_that_vanish_at_once_are_looked_at_twice() {
    let consul = Consul::start().await;
    let origins = origins(&["one", "two", "three", "four"]).await;
    for origin in &origins {
        let (id, address) = (origin.name(), origin.address());
        let service = json!({ "Service": "web", "ID": id, "Address": address.ip(), "Port": address.port() });
        // A node of its own, so that one call can take all of them out.
        let node = json!({ "Node": "elsewhere", "Address": "127.0.0.1", "Service": service });
        consul.put("/v1/catalog/register", node.to_string()).await;
    }
    let settings = to_service(&consul.url(), "").replace("[consul]\n", "[consul]\nsuspect_hold = \"1s\"\n");
    let proxy = Proxy::start(&settings);
    until_usable(&proxy, &origins).await;
    let visitor = Visitor::start(&proxy);
    let began = Instant::now();
    consul.put("/v1/catalog/deregister", json!({ "Node": "elsewhere" }).to_string()).await;
    until_usable(&proxy, &[]).await;
    assert!(began.elapsed() >= Duration::from_millis(300), "believed after {:?}", began.elapsed());
    assert_eq!((updates(proxy.admin(), "doubted").await, doubts(&proxy, "mass").await), (1.0, 1.0));
    // They are the last to be asked, and there is nobody else.
    assert_eq!(suspects(&proxy).await, 4.0);
    only_answers(&visitor.leave().await, &["one", "two", "three", "four"]);
    // Somebody who is on the list comes first.
    let five = Origin::start("five").await;
    consul.register_service("web", "five", five.address()).await;
    until_usable_at(&proxy, &[five.address()]).await;
    assert_eq!(shares(&proxy, "x", 20).await, BTreeMap::from([("five".to_owned(), 20)]));
    // Nobody asks for that; it is time alone.
    eventually("their time is over", SOON, async || suspects(&proxy).await == 0.0).await;
    assert_eq!(endpoints(proxy.admin(), "web").await.len(), 1);
    proxy.drain().await;
}

#[tokio::test]
async fn a_deleted_token_keeps_the_lists_and_a_new_one_in_its_file_is_used_without_a_restart() {
    let consul = Consul::start_with(ACL).await;
    let root = consul.with_token("root");
    let [one, two] = <[Origin; 2]>::try_from(origins(&["one", "two"]).await).ok().unwrap();
    for service in ["web", "db"] {
        root.register_service(service, &format!("{service}-one"), one.address()).await;
    }
    let policy = json!({ "Name": "lictor", "Rules": READ });
    root.put("/v1/acl/policy", policy.to_string()).await;
    let (first, accessor) = token(&root).await;
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("token");
    std::fs::write(&file, first + "\n").unwrap();
    let (url, path) = (consul.url(), file.display());
    let proxy = Proxy::start(&format!(
        r#"
        [consul]
        address = "{url}"
        token_file = "{path}"
        [[routes]]
        host = "db"
        cluster = "db"
        [[routes]]
        cluster = "web"
        [clusters.web]
        consul = {{ service = "web" }}
        [clusters.db]
        consul = {{ service = "db" }}
        "#
    ));
    let both = async |origins: &[SocketAddr]| {
        let ports = sorted(origins);
        usable(proxy.admin(), "web").await == ports && usable(proxy.admin(), "db").await == ports
    };
    eventually("one is followed", SOON, async || both(&[one.address()]).await).await;

    // Whoever rotates it may empty the file first: that is not a wish to go on without a token, and be shown nothing.
    std::fs::write(&file, "").unwrap();
    root.call("DELETE", &format!("/v1/acl/token/{accessor}"), b"").await;
    for service in ["web", "db"] {
        root.register_service(service, &format!("{service}-two"), two.address()).await;
    }
    eventually("both are refused", SOON, async || updates(proxy.admin(), "denied").await >= 2.0).await;
    // Long enough for a list to be doubted, looked at again and believed.
    let refused = Instant::now();
    while refused.elapsed() < Duration::from_millis(700) {
        assert!(both(&[one.address()]).await && is_ready(proxy.admin()).await);
    }
    assert_eq!(get(proxy.address(), "x", "/").await.text(), "one");

    std::fs::write(&file, token(&root).await.0).unwrap();
    // Long before a query's wait would have ended.
    eventually("two is followed", SOON, async || both(&[one.address(), two.address()]).await).await;
    assert!(updates(proxy.admin(), "denied").await <= 6.0, "a refusal is no reason to insist");
    proxy.drain().await;
}

#[tokio::test]
async fn a_policy_that_is_trimmed_under_a_watch_takes_nobody_out_until_it_is_whole_again() {
    let consul = Consul::start_with(ACL).await;
    let root = consul.with_token("root");
    let origins = origins(&["one", "two", "three", "four"]).await;
    for origin in &origins[..3] {
        root.register_service("web", origin.name(), origin.address()).await;
    }
    // The only one of its service: if it left by itself it would be taken at its word.
    root.register_service("db", "db", origins[0].address()).await;
    let made = root.put("/v1/acl/policy", json!({ "Name": "lictor", "Rules": READ }).to_string()).await;
    let policy = serde_json::from_str::<Value>(&made).unwrap()["ID"].as_str().unwrap().to_owned();
    let (secret, _) = token(&root).await;
    let more = "[[routes]]\nhost = \"db\"\ncluster = \"db\"\n[clusters.db]\nconsul = { service = \"db\" }";
    let proxy = Proxy::start_in(&to_service(&consul.url(), more), &[("CONSUL_HTTP_TOKEN", &secret)]);
    until_usable(&proxy, &origins[..3]).await;

    let rules = async |rules: &str| {
        let path = format!("/v1/acl/policy/{policy}");
        root.put(&path, json!({ "ID": policy, "Name": "lictor", "Rules": rules }).to_string()).await;
    };
    rules(r#"service_prefix "" { policy = "read" }"#).await;
    // What wakes the watches; now they are shown no instance at all, with an index like any other.
    root.register_service("web", "four", origins[3].address()).await;
    root.register_service("db", "more", origins[1].address()).await;
    let refused = async || doubts(&proxy, "acl").await >= 4.0;
    eventually("neither list is believed, twice", SOON, refused).await;
    assert_eq!(usable(proxy.admin(), "web").await, ports(&origins[..3]));
    assert_eq!(usable(proxy.admin(), "db").await, ports(&origins[..1]));
    assert_eq!(suspects(&proxy).await, 0.0);
    rules(READ).await;
    until_usable(&proxy, &origins).await;
    proxy.drain().await;
}

#[tokio::test]
async fn without_rights_there_is_nothing_to_serve_and_nothing_breaks() {
    let consul = Consul::start_with(ACL).await;
    let origin = Origin::start("one").await;
    consul.with_token("root").register_service("web", "one", origin.address()).await;
    // Who has no token is told of no instances; who has a wrong one is told so.
    let anonymous = Proxy::start(&to_service(&consul.url(), ""));
    let settings = to_service(&consul.url(), "").replace("[consul]\n", "[consul]\ntoken = \"no-such-token\"\n");
    let stranger = Proxy::start(&settings);
    let owner = Proxy::start_in(&to_service(&consul.url(), ""), &[("CONSUL_HTTP_TOKEN", "root")]);
    eventually("the empty list is an answer", SOON, async || is_ready(anonymous.admin()).await).await;
    eventually("the refusal is counted", SOON, async || updates(stranger.admin(), "denied").await >= 1.0).await;
    eventually("the owner of a token is served", SOON, async || is_ready(owner.admin()).await).await;
    assert!(!is_ready(stranger.admin()).await);
    let statuses = async |proxy: &Proxy| get(proxy.address(), "x", "/").await.status;
    assert_eq!([statuses(&anonymous).await, statuses(&owner).await], [503, 200]);
    for proxy in [anonymous, stranger, owner] {
        proxy.drain().await;
    }
}

#[tokio::test]
async fn a_token_that_may_not_read_nodes_is_told_what_it_lacks() {
    let consul = Consul::start_with(ACL).await;
    let root = consul.with_token("root");
    let origin = Origin::start("one").await;
    root.register_service("web", "one", origin.address()).await;
    for (rules, is_enough) in [(r#"service_prefix "" { policy = "read" }"#, false), (READ, true)] {
        let name = if is_enough { "enough" } else { "lictor" };
        root.put("/v1/acl/policy", json!({ "Name": name, "Rules": rules }).to_string()).await;
        let made = root.put("/v1/acl/token", json!({ "Policies": [{ "Name": name }] }).to_string()).await;
        let secret = serde_json::from_str::<Value>(&made).unwrap()["SecretID"].as_str().unwrap().to_owned();
        let service = if is_enough { "nobody" } else { "web" };
        let settings = to_service(&consul.url(), "").replace("service = \"web\"", &format!("service = \"{service}\""));
        let lictor = Spawned::start(&settings, &[("CONSUL_HTTP_TOKEN", &secret)]);
        let line = lictor.says("table=2").await;
        assert!(line.contains("endpoints=0"), "{line}");
        // It is said before the list is taken over.
        let says = lictor.said().iter().any(|line| line.contains("node:read"));
        assert_eq!(says, !is_enough, "{:?}", lictor.said());
    }
}

#[tokio::test]
async fn rights_that_come_and_go_are_noticed_though_no_instance_does() {
    let consul = Consul::start_with(ACL).await;
    let root = consul.with_token("root");
    let origins = origins(&["one", "two"]).await;
    for origin in &origins {
        root.register_service("web", origin.name(), origin.address()).await;
    }
    let policy = json!({ "Name": "lictor", "Rules": READ });
    let made: Value = serde_json::from_str(&root.put("/v1/acl/policy", policy.to_string()).await).unwrap();
    // One without any rights is never refused; it only sees nobody.
    let poor: Value = serde_json::from_str(&root.put("/v1/acl/token", "{}").await).unwrap();
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("token");
    std::fs::write(&file, poor["SecretID"].as_str().unwrap()).unwrap();
    let more = format!("[consul]\nwait = \"1s\"\ntoken_file = \"{}\"\n", file.display());
    let proxy = Proxy::start(&to_service(&consul.url(), "").replace("[consul]\n", &more));
    let denied = async || metric(proxy.admin(), "lictor_discovery_denied{service=\"web\"}").await;
    let is_empty = async || is_ready(proxy.admin()).await && denied().await == 1.0;
    eventually("the empty list is an answer, and an alarm", SOON, is_empty).await;
    std::fs::write(&file, token(&root).await.0).unwrap();
    let is_served = async || usable(proxy.admin(), "web").await == ports(&origins) && denied().await == 0.0;
    eventually("another token is used, and the alarm is over", SOON * 2, is_served).await;

    let rules = async |rules: &str| {
        let policy = json!({ "ID": made["ID"], "Name": "lictor", "Rules": rules });
        root.put(&format!("/v1/acl/policy/{}", made["ID"].as_str().unwrap()), policy.to_string()).await;
    };
    rules(r#"service_prefix "" { policy = "read" }"#).await;
    eventually("what is kept from us is an alarm", SOON, async || denied().await == 1.0).await;
    assert_eq!(usable(proxy.admin(), "web").await, ports(&origins));
    rules(READ).await;
    eventually("and is not for ever", SOON, is_served).await;
    assert_eq!(suspects(&proxy).await, 0.0);
    proxy.drain().await;
}

#[tokio::test]
async fn an_agent_is_reached_by_its_unix_socket() {
    let directory = TempDir::new().unwrap();
    let socket = directory.path().join("consul.sock");
    let addresses = format!("addresses {{ http = \"127.0.0.1 unix://{}\" }}", socket.display());
    let consul = Consul::start_with(&addresses).await;
    let origins = origins(&["one", "two"]).await;
    consul.register_service("web", "one", origins[0].address()).await;
    let proxy = Proxy::start(&to_service(&format!("unix://{}", socket.display()), ""));
    until_usable(&proxy, &origins[..1]).await;
    consul.register_service("web", "two", origins[1].address()).await;
    until_usable(&proxy, &origins).await;
    assert_eq!(consul.connections(), 0, "nothing goes by TCP");
    proxy.drain().await;
}

#[tokio::test]
async fn an_agent_that_wants_certificates_is_followed_by_the_settings_of_its_own_command() {
    let tls = Tls::make().await;
    let (consul, address) = tls.agent().await;
    let origins = origins(&["one", "two"]).await;
    consul.register_service("web", "one", origins[0].address()).await;
    let all = tls.settings(&address);
    let proxy = Proxy::start_in(FOLLOW, &all.iter().map(|(name, value)| (*name, value.as_str())).collect::<Vec<_>>());
    until_usable(&proxy, &origins[..1]).await;
    consul.register_service("web", "two", origins[1].address()).await;
    until_usable(&proxy, &origins).await;
    proxy.drain().await;
}

#[tokio::test]
async fn an_agent_that_cannot_be_trusted_or_does_not_trust_us_is_refused_in_words() {
    let tls = Tls::make().await;
    let (consul, address) = tls.agent().await;
    let wrong = "server.dc2.consul".to_owned();
    let in_the_clear = consul.address().to_string();
    for (set, without, words) in [
        (Some(("CONSUL_TLS_SERVER_NAME", wrong)), vec![], "not valid for name \"server.dc2.consul\""),
        // 127.0.0.2 is not in the certificate.
        (None, vec!["CONSUL_TLS_SERVER_NAME"], "not valid for name \"127.0.0.2\""),
        (None, vec!["CONSUL_CACERT"], "invalid peer certificate: UnknownIssuer"),
        (None, vec!["CONSUL_CLIENT_CERT", "CONSUL_CLIENT_KEY"], "client_cert"),
        (None, vec!["CONSUL_HTTP_SSL"], "HTTP request to an HTTPS server"),
        (Some(("CONSUL_HTTP_ADDR", in_the_clear)), vec![], "does not speak TLS at this port"),
    ] {
        let mut settings = tls.settings(&address);
        settings.extend(set);
        settings.retain(|name, _| !without.contains(name));
        let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let lictor = Spawned::start(FOLLOW, &settings);
        let line = lictor.says("cannot be followed").await;
        assert!(line.contains(words), "{without:?}: {line}");
    }
}

/// Follows `web` at the agent of the environment.
const FOLLOW: &str = "[[routes]]\ncluster = \"web\"\n[clusters.web]\nconsul = { service = \"web\" }\n";

/// Keys and certificates as an operator makes them for a datacenter.
struct Tls {
    directory: TempDir,
    consul: PathBuf,
}

impl Tls {
    async fn make() -> Tls {
        let tls = Tls { directory: TempDir::new().unwrap(), consul: binary().await };
        tls.run(&["ca", "create"]);
        tls.run(&["cert", "create", "-server"]);
        tls.run(&["cert", "create", "-client"]);
        tls
    }

    fn run(&self, arguments: &[&str]) {
        let mut command = Command::new(&self.consul);
        let output = command.arg("tls").args(arguments).current_dir(self.directory.path()).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn file(&self, name: &str) -> String {
        let file: &Path = &self.directory.path().join(name);
        file.display().to_string()
    }

    /// An agent that asks for certificates on an https port at 127.0.0.2, and that address.
    async fn agent(&self) -> (Consul, SocketAddr) {
        // Taken anew by the agent in a moment; nobody else uses this address.
        let free = std::net::TcpListener::bind("127.0.0.2:0").unwrap().local_addr().unwrap();
        let [ca, certificate, key] = ["consul-agent-ca.pem", "dc1-server-consul-0.pem", "dc1-server-consul-0-key.pem"]
            .map(|name| self.file(name));
        let config = format!(
            r#"
            addresses {{ https = "{}" }}
            ports {{ https = {} }}
            ca_file = "{ca}"
            cert_file = "{certificate}"
            key_file = "{key}"
            verify_incoming = true
            "#,
            free.ip(),
            free.port()
        );
        (Consul::start_with(&config).await, free)
    }

    /// What an operator would export for the consul command.
    fn settings(&self, address: &SocketAddr) -> BTreeMap<&'static str, String> {
        BTreeMap::from([
            ("CONSUL_HTTP_ADDR", address.to_string()),
            ("CONSUL_HTTP_SSL", "true".to_owned()),
            ("CONSUL_CACERT", self.file("consul-agent-ca.pem")),
            ("CONSUL_CLIENT_CERT", self.file("dc1-client-consul-0.pem")),
            ("CONSUL_CLIENT_KEY", self.file("dc1-client-consul-0-key.pem")),
            ("CONSUL_TLS_SERVER_NAME", "server.dc1.consul".to_owned()),
        ])
    }
}

/// Makes a token with the policy `lictor`: its secret, and the name by which it can be deleted.
async fn token(root: &Catalog) -> (String, String) {
    let made = root.put("/v1/acl/token", json!({ "Policies": [{ "Name": "lictor" }] }).to_string()).await;
    let made: Value = serde_json::from_str(&made).unwrap();
    let text = |field: &str| made[field].as_str().unwrap().to_owned();
    (text("SecretID"), text("AccessorID"))
}

async fn origins(names: &[&str]) -> Vec<Origin> {
    let mut origins = Vec::new();
    for name in names {
        origins.push(Origin::start(name).await);
    }
    origins
}

fn ports(origins: &[Origin]) -> Vec<u16> {
    sorted(&origins.iter().map(Origin::address).collect::<Vec<_>>())
}

fn sorted(addresses: &[SocketAddr]) -> Vec<u16> {
    let mut ports: Vec<u16> = addresses.iter().map(SocketAddr::port).collect();
    ports.sort_unstable();
    ports
}

async fn until_usable(proxy: &Proxy, origins: &[Origin]) {
    until_usable_at(proxy, &origins.iter().map(Origin::address).collect::<Vec<_>>()).await;
}

async fn until_usable_at(proxy: &Proxy, addresses: &[SocketAddr]) {
    let ports = sorted(addresses);
    let same = async || is_ready(proxy.admin()).await && usable(proxy.admin(), "web").await == ports;
    eventually(&format!("usable are {ports:?}"), SOON, same).await;
}

async fn suspects(proxy: &Proxy) -> f64 {
    metric(proxy.admin(), "lictor_cluster_endpoints{cluster=\"web\",state=\"suspect\"}").await
}

async fn doubts(proxy: &Proxy, reason: &str) -> f64 {
    sum(proxy.admin(), "lictor_discovery_doubts_total", &format!("reason=\"{reason}\"")).await
}

#[track_caller]
fn only_answers(answers: &BTreeMap<String, usize>, names: &[&str]) {
    assert!(answers.keys().all(|who| names.contains(&who.as_str())), "{answers:?}");
    assert!(answers.values().sum::<usize>() > 5, "{answers:?}");
}
