//! Routes that services claim: by tags and commands as Fabio's documentation has them, by metadata of our own, and within what they may.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener as Reserved};
use std::sync::Arc;
use std::time::Duration;

use lictor::config::Environment;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::{PrivateKeyDer, ServerName};
use serde_json::json;
use tokio::io::{AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::support::app::{Proxy, configuration, parse};
use crate::support::client::{Client, Response, eventually, get};
use crate::support::consul::Consul;
use crate::support::h2::H2Origin;
use crate::support::origin::{Origin, Request};
use crate::support::raw::Raw;
use crate::support::window::{counted, is_ready, json, metric, sum, usable};

const SOON: Duration = Duration::from_secs(10);
const ON: &str = "[service_routes]\nenabled = true\n";

/// A registry, and what it is followed for: `more` of the configuration.
fn following(consul: &Consul, more: &str) -> String {
    format!("[consul]\naddress = \"{}\"\n{more}", consul.url())
}

/// Registers an instance with these tags; its name is its service's until there is another.
async fn register(consul: &Consul, service: &str, id: &str, address: SocketAddr, tags: &[&str]) {
    let (ip, port) = (address.ip(), address.port());
    consul.register(json!({ "Name": service, "ID": id, "Address": ip, "Port": port, "Tags": tags })).await;
}

/// An origin that is registered with these tags under its own name.
async fn tagged(consul: &Consul, service: &str, tags: &[&str]) -> Origin {
    let origin = Origin::start(service).await;
    register(consul, service, service, origin.address(), tags).await;
    origin
}

async fn status(proxy: &Proxy, host: &str, path: &str) -> u16 {
    get(proxy.address(), host, path).await.status
}

/// Who answers, by name; empty if nobody does.
async fn who(proxy: &Proxy, host: &str, path: &str) -> String {
    let response = get(proxy.address(), host, path).await;
    if response.status == 200 { response.text() } else { String::new() }
}

fn location(response: &Response) -> (u16, &str) {
    (response.status, response.header("location").unwrap_or_default())
}

async fn served(proxy: &Proxy, host: &str, path: &str, by: &str) {
    eventually(&format!("{host}{path} is served by {by}"), SOON, async || who(proxy, host, path).await == by).await;
}

fn free_port() -> u16 {
    Reserved::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// TLS in front of something, with a certificate that nobody else has signed.
async fn encrypted(inner: SocketAddr, name: &str, tasks: &mut JoinSet<()>) -> (SocketAddr, RootCertStore) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed([name.to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    let config = ServerConfig::builder_with_provider(lictor::tls::provider()).with_safe_default_protocol_versions();
    let config = config.unwrap().with_no_client_auth().with_single_cert(vec![cert.der().clone()], key).unwrap();
    let (acceptor, listener) = (TlsAcceptor::from(Arc::new(config)), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let address = listener.local_addr().unwrap();
    tasks.spawn(async move {
        let mut open = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            open.spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut inner = TcpStream::connect(inner).await.unwrap();
                let _ = copy_bidirectional(&mut stream, &mut inner).await;
            });
        }
    });
    (address, roots)
}

/// Services as Fabio's documentation tags them, with neighbours whose tags are wrong.
struct Documented {
    consul: Consul,
    /// By the name of their service.
    origins: HashMap<&'static str, Origin>,
    grpc: H2Origin,
    tcp: Raw,
    /// Where that is to be served.
    port: u16,
    _tasks: JoinSet<()>,
}

const DOCUMENTED: [(&str, &[&str]); 7] = [
    ("css", &["urlprefix-/css", "urlprefix-broken", "v1"]),
    ("static", &["urlprefix-i.com/static", "urlprefix-/x weight=oops"]),
    ("mysite", &["urlprefix-mysite.com/"]),
    ("strip", &["urlprefix-/foo/bar strip=/foo"]),
    ("prepend", &["urlprefix-/bar prepend=/foo"]),
    (
        "sender",
        &[
            "urlprefix-/google redirect=301,https://www.google.com/",
            "urlprefix-/path redirect=303,https://www.foo.com$path",
            "urlprefix-example.com:80/ redirect=301,https://example.com$path",
            "urlprefix-example.com/deep",
            "urlprefix-*.loop.com/ redirect=301,http://www.loop.com$path",
            "urlprefix-/turn redirect=302,/turn?",
        ],
    ),
    (
        "bounded",
        &[
            "urlprefix-*.wild.com/ host=dst",
            "urlprefix-/private allow=ip:10.0.0.0/8,ip:fe80::/10",
            "urlprefix-/near deny=ip:10.0.0.0/8",
            "urlprefix-/guarded auth=basic",
        ],
    ),
];

impl Documented {
    async fn start() -> (Documented, Proxy) {
        let (consul, mut tasks, port) = (Consul::start().await, JoinSet::new(), free_port());
        let mut origins = HashMap::new();
        for (service, tags) in DOCUMENTED {
            origins.insert(service, tagged(&consul, service, tags).await);
        }
        let secret = Origin::start("secret").await;
        let (https, _) = encrypted(secret.address(), "secret.internal", &mut tasks).await;
        let tags = ["urlprefix-/secure proto=https tlsskipverify=true", "urlprefix-/strict proto=https"];
        register(&consul, "secret", "secret", https, &tags).await;
        origins.insert("secret", secret);
        let (tcp, grpc) = (Raw::start().await, H2Origin::start().await);
        register(&consul, "mysql", "mysql", tcp.address(), &[&format!("urlprefix-:{port} proto=tcp")]).await;
        register(&consul, "grpc", "grpc", grpc.address(), &["urlprefix-/my.service/Method proto=grpc"]).await;
        let listeners = format!(
            "[[listeners]]\nname = \"edge\"\nbind = \"127.0.0.1:0\"\n[[listeners]]\nname = \"tcp\"\n\
             bind = \"127.0.0.1:{port}\"\nprotocol = \"tcp\"\nservice_routes = \"port\"\n"
        );
        let proxy = Proxy::start(&following(&consul, &format!("{listeners}{ON}tls_skip_verify = true\n")));
        eventually("it has a truth to serve", SOON, async || is_ready(proxy.admin()).await).await;
        (Documented { consul, origins, grpc, tcp, port, _tasks: tasks }, proxy)
    }

    /// The last request that a service has received.
    fn last(&self, service: &str) -> Request {
        self.origins[service].requests().pop().unwrap()
    }
}

#[tokio::test]
async fn each_example_of_fabios_documentation_is_routed_as_it_says() {
    let (documented, proxy) = Documented::start().await;
    for (host, path, by) in [
        ("a", "/css", "css"),
        ("a", "/css/x", "css"),
        ("a", "/cssx", "css"),
        ("i.com", "/static/a", "static"),
        ("I.com:8080", "/static", "static"),
        ("i.com", "/css", "css"),
        ("mysite.com", "/css", "mysite"),
        ("mysite.com", "/", "mysite"),
        ("a.b.wild.com", "/", "bounded"),
        ("a", "/near", "bounded"),
        ("a", "/secure", "secret"),
    ] {
        assert_eq!(who(&proxy, host, path).await, by, "{host}{path}");
    }
    for (host, path, expected) in [
        ("a", "/", 404),
        ("a", "/cs", 404),
        ("a", "/static", 404),
        ("a", "/x", 404),
        ("wild.com", "/", 404),
        ("a", "/guarded", 404),
        ("a", "/private", 403),
        ("a", "/strict", 502),
        ("www.loop.com", "/x", 404),
        ("WWW.loop.com.:80", "/x", 404),
        ("www.loop.com:81", "/x", 301),
        ("a", "/turn", 404),
        ("a", "/turns", 302),
    ] {
        assert_eq!(status(&proxy, host, path).await, expected, "{host}{path}");
    }
    // broken, oops and auth
    counted(proxy.admin(), "lictor_service_routes_rejected", 3.0).await;
    let routes = json(proxy.admin(), "/v1/routes").await;
    let shown = |name: &str| routes.as_array().unwrap().iter().find(|route| route["name"] == name).cloned().unwrap();
    assert_eq!(shown("/css")["origin"], "css: urlprefix-/css");
    assert_eq!(shown(&format!("tcp :{}", documented.port))["cluster"], "mysql.routes.tcp");
    assert!(documented.consul.get("/v1/agent/services").await.as_object().unwrap().len() >= 10);
}

#[tokio::test]
async fn requests_go_out_as_fabios_documentation_says_by_each_option() {
    let (documented, proxy) = Documented::start().await;
    assert_eq!(who(&proxy, "a", "/foo/bar/x?y").await, "strip");
    assert_eq!(documented.last("strip").target(), "/bar/x?y");
    assert_eq!(who(&proxy, "a", "/bar").await, "prepend");
    assert_eq!(documented.last("prepend").target(), "/foo/bar");
    assert_eq!(who(&proxy, "x.wild.com", "/").await, "bounded");
    let bounded = documented.origins["bounded"].address().to_string();
    assert_eq!(documented.last("bounded").header("host"), Some(bounded));
    assert_eq!(location(&get(proxy.address(), "a", "/google/x?y").await), (301, "https://www.google.com/"));
    assert_eq!(location(&get(proxy.address(), "a", "/path/x?y").await), (303, "https://www.foo.com/path/x?y"));
    assert_eq!(location(&get(proxy.address(), "example.com", "/deep").await), (301, "https://example.com/deep"));

    let mut client = Client::connect(([127, 0, 0, 1], documented.port).into()).await;
    client.send("hello").await;
    assert_eq!(documented.tcp.accept().await.read(5).await, b"hello");
    let call = "POST /my.service/Method HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n";
    assert_eq!(Client::connect(proxy.address()).await.exchange(call).await.status, 200);
    assert_eq!(documented.grpc.asked()[0].uri.path(), "/my.service/Method");
}

#[tokio::test]
async fn nobody_claims_anything_unless_that_is_turned_on() {
    let consul = Consul::start().await;
    let _web = tagged(&consul, "web", &["urlprefix-/"]).await;
    let off = following(&consul, "[[routes]]\nhost = \"other\"\nrespond = { status = 204 }\n");
    let proxy = Proxy::start(&off);
    eventually("it has a truth to serve", SOON, async || is_ready(proxy.admin()).await).await;
    assert_eq!(status(&proxy, "a", "/").await, 404);
    reload(&proxy, &format!("{off}{ON}")).await;
    served(&proxy, "a", "/", "web").await;
    reload(&proxy, &off).await;
    assert_eq!(status(&proxy, "a", "/").await, 404);
}

#[tokio::test]
async fn services_claim_what_they_may_and_never_what_the_file_has() {
    let consul = Consul::start().await;
    let _in = tagged(
        &consul,
        "web-a",
        &["urlprefix-a.example.com/", "urlprefix-b.com/", "urlprefix-/", "urlprefix-file.example.com/x"],
    )
    .await;
    let _out = tagged(&consul, "db", &["urlprefix-c.example.com/"]).await;
    let file = "[[routes]]\nhost = \"file.example.com\"\npath = \"/x/\"\nrespond = { status = 204 }\n";
    let bounds = "services = [\"web-*\"]\nhosts = [\"*.example.com\"]\n";
    let proxy = Proxy::start(&following(&consul, &format!("{file}{ON}{bounds}")));
    eventually("it has a truth to serve", SOON, async || is_ready(proxy.admin()).await).await;
    assert_eq!(who(&proxy, "a.example.com", "/").await, "web-a");
    for host in ["b.com", "x", "c.example.com"] {
        assert_eq!(status(&proxy, host, "/").await, 404, "{host}");
    }
    assert_eq!(status(&proxy, "file.example.com", "/x").await, 204);
    counted(proxy.admin(), "lictor_service_routes_rejected", 3.0).await;
    counted(proxy.admin(), "lictor_service_routes", 1.0).await;
}

#[tokio::test]
async fn routes_follow_tags_as_instances_come_change_and_go() {
    let mut consul = Consul::start().await;
    let [one, two] = [Origin::start("one").await, Origin::start("two").await];
    register(&consul, "web", "1", one.address(), &["urlprefix-/a"]).await;
    let proxy = Proxy::start(&following(&consul, ON));
    served(&proxy, "x", "/a", "one").await;
    register(&consul, "web", "2", two.address(), &["urlprefix-/a", "urlprefix-/b"]).await;
    served(&proxy, "x", "/b", "two").await;
    assert_eq!(usable(proxy.admin(), "web.routes").await.len(), 2, "both serve /a");
    register(&consul, "web", "2", two.address(), &["urlprefix-/b"]).await;
    eventually("only one serves /a", SOON, async || {
        let answers = [who(&proxy, "x", "/a").await, who(&proxy, "x", "/a").await, who(&proxy, "x", "/a").await];
        answers.iter().all(|answer| answer == "one")
    })
    .await;
    consul.deregister("1").await;
    eventually("nobody claims /a", SOON, async || status(&proxy, "x", "/a").await == 404).await;
    // Another service comes, later, and what was counted of others stays.
    let counted = "lictor_requests_total{listener=\"edge\",route=\"/b\",cluster=\"web.routes\",code=\"200\"}";
    let before = metric(proxy.admin(), counted).await;
    let _late = tagged(&consul, "late", &["lictor-route=late.com/"]).await;
    served(&proxy, "late.com", "/", "late").await;
    assert_eq!(who(&proxy, "x", "/b").await, "two");
    // A request is counted once its answer is over, which the client may know first.
    eventually("it is counted", SOON, async || metric(proxy.admin(), counted).await == before + 1.0).await;
    // An agent that is away takes nothing along.
    consul.kill();
    assert_eq!(who(&proxy, "x", "/b").await, "two");
    assert_eq!(who(&proxy, "late.com", "/").await, "late");
    consul.restart().await;
    assert_eq!(who(&proxy, "x", "/b").await, "two", "what most of the list went with is doubted");
}

#[tokio::test]
async fn a_service_claims_routes_by_its_metadata() {
    let consul = Consul::start().await;
    let origin = Origin::start("own").await;
    let meta = json!({ "lictor-route": "own.com/api strip=/api", "lictor-route-2": "/own", "lictor-route-3": "nonsense", "other": "/z" });
    let address = origin.address();
    consul
        .register(
            json!({ "Name": "own", "Address": address.ip(), "Port": address.port(), "Tags": ["lictor"], "Meta": meta }),
        )
        .await;
    let proxy = Proxy::start(&following(&consul, ON));
    served(&proxy, "own.com", "/api/x", "own").await;
    assert_eq!(origin.requests().last().unwrap().target(), "/x");
    assert_eq!(who(&proxy, "a", "/own").await, "own");
    assert_eq!(status(&proxy, "a", "/z").await, 404);
}

/// How many of so many requests each of two gets.
async fn shares(proxy: &Proxy, path: &str, rounds: usize) -> (usize, usize) {
    let mut client = Client::connect(proxy.address()).await;
    let mut counts = (0, 0);
    for _ in 0..rounds {
        match client.exchange(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n")).await.text().as_str() {
            "one" => counts.0 += 1,
            "two" => counts.1 += 1,
            other => panic!("{other}"),
        }
    }
    counts
}

#[tokio::test]
async fn commands_in_the_kv_store_go_over_what_tags_say() {
    let consul = Consul::start().await;
    let [one, two] = [Origin::start("one").await, Origin::start("two").await];
    register(&consul, "web", "1", one.address(), &["urlprefix-/", "stable"]).await;
    register(&consul, "web", "2", two.address(), &["urlprefix-/", "urlprefix-/only", "canary"]).await;
    consul.put("/v1/kv/fabio/config/weights", "route weight web / weight 0.1 tags \"canary\"\n").await;
    consul.put("/v1/kv/fabio/configuration", "nothing of ours").await;
    let proxy = Proxy::start(&following(&consul, &format!("{ON}kv = \"fabio/config\"\n")));
    eventually("it has a truth to serve", SOON, async || is_ready(proxy.admin()).await).await;
    let (stable, canary) = shares(&proxy, "/", 400).await;
    assert!((10..=90).contains(&canary), "a tenth of 400: {stable} and {canary}");

    let put = async |text: &str| consul.put("/v1/kv/fabio/config/zz", text).await;
    put(&format!("# by hand\nroute add svc /maint http://{}/\nroute del web /only\n", one.address())).await;
    let accepted = "lictor_service_routes_commands_total{result=\"success\"}";
    eventually("all of it is in force", SOON, async || metric(proxy.admin(), accepted).await == 2.0).await;
    served(&proxy, "a", "/maint", "one").await;
    let (_, canary) = shares(&proxy, "/only", 50).await;
    assert!(canary < 50, "what is deleted falls to the shorter path");
    put("route weight web / weight 1 tags \"stable\"\nrout del web\n").await;
    let refused = "lictor_service_routes_commands_total{result=\"failure\"}";
    eventually("the whole is refused", SOON, async || metric(proxy.admin(), refused).await == 1.0).await;
    assert_eq!(who(&proxy, "a", "/maint").await, "one", "the last good commands stay");
    put("route weight web / weight 1 tags \"stable\"\n").await;
    eventually("all go where they are told", SOON, async || shares(&proxy, "/", 20).await == (20, 0)).await;
    assert_eq!(status(&proxy, "a", "/maint").await, 200, "by the shorter path again");
    consul.call("DELETE", "/v1/kv/fabio/config?recurse", b"").await;
    eventually("none are left", SOON, async || shares(&proxy, "/", 20).await.1 > 0).await;
}

/// Goes on with another file, on the listeners that there are.
async fn reload(proxy: &Proxy, text: &str) {
    let mut config = lictor::config::parse(&configuration(text), &Environment::default()).unwrap();
    (config.listeners, config.admin) = (proxy.app_config().listeners, proxy.app_config().admin);
    proxy.app().reload(config).await.unwrap();
}

#[tokio::test]
async fn commands_stay_in_force_with_another_file_and_over_a_start_without_consul() {
    let mut consul = Consul::start().await;
    let origin = tagged(&consul, "web", &["urlprefix-/secret"]).await;
    let put = async |text: String| consul.put("/v1/kv/fabio/config", text).await;
    put(format!("route del web /secret\nroute add svc x/maint http://{}/ opts \"strip=/maint\"\n", origin.address()))
        .await;
    let shelf = tempfile::tempdir().unwrap();
    let kept = format!("last_lists = \"{}\"\n{ON}kv = \"fabio/config\"\n", shelf.path().join("lists").display());
    let text = following(&consul, &kept);
    let proxy = Proxy::start(&text);
    served(&proxy, "x", "/maint/a", "web").await;
    let deleted = async |proxy: &Proxy| {
        let routes = json(proxy.admin(), "/v1/routes").await;
        let names: Vec<&str> = routes.as_array().unwrap().iter().filter_map(|route| route["name"].as_str()).collect();
        assert!(names.contains(&"x/maint") && !names.contains(&"/secret"), "{names:?}");
    };
    deleted(&proxy).await;
    reload(&proxy, &format!("{text}max_services = 10\n")).await;
    let _late = tagged(&consul, "late", &["urlprefix-late.com/"]).await;
    served(&proxy, "late.com", "/", "late").await;
    deleted(&proxy).await;
    // Off, and on again.
    reload(&proxy, &text.replace("enabled = true", "enabled = false")).await;
    assert_eq!(status(&proxy, "x", "/maint").await, 404);
    reload(&proxy, &text).await;
    served(&proxy, "x", "/maint", "web").await;
    deleted(&proxy).await;
    proxy.drain().await;

    consul.kill();
    let proxy = Proxy::start(&text);
    served(&proxy, "x", "/maint", "web").await;
    deleted(&proxy).await;
}

#[tokio::test]
async fn connections_are_claimed_by_the_name_in_their_greeting() {
    let (consul, mut tasks) = (Consul::start().await, JoinSet::new());
    let [a, b] = [Origin::start("a").await, Origin::start("b").await];
    let (at_a, roots) = encrypted(a.address(), "a.com", &mut tasks).await;
    let (at_b, _) = encrypted(b.address(), "x.b.com", &mut tasks).await;
    register(&consul, "a", "a", at_a, &["urlprefix-a.com/ proto=tcp"]).await;
    register(&consul, "b", "b", at_b, &["urlprefix-*.b.com/", "urlprefix-c.com/ proto=tcp allow=ip:10.0.0.0/8"]).await;
    let listener =
        "[[listeners]]\nname = \"edge\"\nbind = \"127.0.0.1:0\"\nprotocol = \"tcp\"\nservice_routes = \"sni\"\n";
    let proxy = Proxy::start(&following(&consul, &format!("{listener}{ON}")));
    eventually("it has a truth to serve", SOON, async || is_ready(proxy.admin()).await).await;
    let connect = async |name: &'static str| {
        let builder = ClientConfig::builder_with_provider(lictor::tls::provider());
        let config = builder.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots.clone());
        let stream = TcpStream::connect(proxy.address()).await.unwrap();
        let connector = TlsConnector::from(Arc::new(config.with_no_client_auth()));
        connector.connect(ServerName::try_from(name).unwrap(), stream).await
    };
    let mut stream = connect("a.com").await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a.com\r\n\r\n").await.unwrap();
    eventually("it has arrived", SOON, async || a.hits() == 1).await;
    let other = connect("x.b.com").await.unwrap_err().to_string();
    assert!(other.contains("certificate"), "somebody else's: {other}");
    let ended =
        async |result: &str| sum(proxy.admin(), "lictor_tcp_sessions_total", &format!("result=\"{result}\"")).await;
    assert!(connect("c.com").await.is_err() && connect("d.com").await.is_err());
    eventually("one is refused", SOON, async || ended("refused").await == 1.0).await;
    assert_eq!(ended("no_cluster").await, 1.0);
}

#[test]
fn a_listener_leaves_nothing_to_claims_that_nobody_may_make() {
    let text = configuration(
        "[[listeners]]\nname = \"edge\"\nbind = \"127.0.0.1:0\"\nprotocol = \"tcp\"\nservice_routes = \"port\"\n",
    );
    let error = lictor::config::parse(&text, &Environment::default()).unwrap_err().to_string();
    assert!(error.contains("since nobody may claim anything; add [service_routes]"), "{error}");
    parse(&format!("{}[service_routes]\nenabled = true\nhosts = [\"\", \"*.example.com\", \"a.com\"]\n", ""));
}
