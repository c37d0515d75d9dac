//! The mesh, with a real Consul: names on both sides of a connection, and who may call whom.

mod callers;
mod identities;
mod rotation;

use std::time::Duration;

use serde_json::json;

use crate::support::app::Proxy;
use crate::support::client::{Client, eventually, get};
use crate::support::consul::{Catalog, Consul};
use crate::support::mesh::{Native, Party, ask};
use crate::support::origin::Origin;
use crate::support::raw::Raw;
use crate::support::window::{counted, endpoints, json as window, metric, sum};

const EDGE: &str = include_str!("../deploy/consul/edge.hcl");
const MESH: &str = include_str!("../deploy/consul/mesh.hcl");

const SOON: Duration = Duration::from_secs(20);

async fn consul() -> Consul {
    with_authority("").await
}

/// An agent with more configuration, which signs certificates.
async fn with_authority(more: &str) -> Consul {
    let consul = Consul::start_with(&format!("connect {{ enabled = true }}\n{more}")).await;
    // It takes a moment more until it does.
    let roots = async || {
        let answer = get(consul.address(), "consul", "/v1/agent/connect/ca/roots").await;
        answer.status == 200 && answer.text().contains("BEGIN CERTIFICATE")
    };
    eventually("it has a root", SOON, roots).await;
    consul
}

/// We are `edge`, and lead everything to the mesh's service `web`.
fn to_web(consul: &Catalog, more: &str) -> String {
    format!(
        "[consul]\naddress = \"{}\"\nwait = \"5s\"\n[mesh]\nservice = \"edge\"\n[[routes]]\ncluster = \"web\"\n\
         [clusters.web]\nconsul = {{ service = \"web\", connect = true }}\n{more}\n",
        consul.url()
    )
}

async fn status(proxy: &Proxy) -> u16 {
    get(proxy.address(), "shop", "/").await.status
}

#[tokio::test]
async fn instances_of_the_mesh_are_called_by_name_whether_they_have_a_sidecar_or_need_none() {
    let (consul, origin) = (consul().await, Origin::start("web").await);
    let party = Party::of(&consul, "web").await;
    let (native, sidecar) =
        (Native::start(&party, origin.address()).await, Native::start(&party, origin.address()).await);
    native.register(&consul, "web").await;
    sidecar.register_sidecar(&consul, "web").await;
    // Has no part in the mesh, and is not to be called past it.
    let plain = Origin::start("plain").await;
    consul.register_service("web", "plain", plain.address()).await;
    let proxy = Proxy::start(&to_web(&consul, "policy = \"round_robin\""));
    for _ in 0..4 {
        assert_eq!(get(proxy.address(), "shop", "/").await.text(), "web");
    }
    for instance in [&native, &sidecar] {
        assert_eq!(instance.callers(), [party.name("edge")], "one connection for both requests");
    }
    assert!(plain.requests().is_empty());
    counted(proxy.admin(), "lictor_mesh_roots{service=\"edge\"}", 1.0).await;
    let expiry = metric(proxy.admin(), "lictor_mesh_certificate_expiry_timestamp_seconds{service=\"edge\"}").await;
    assert!(expiry > 1e9);
}

#[tokio::test]
async fn whoever_is_somebody_else_gets_no_request() {
    let (consul, origin) = (consul().await, Origin::start("api").await);
    let native = Native::start(&Party::of(&consul, "api").await, origin.address()).await;
    native.register(&consul, "web").await;
    let proxy = Proxy::start(&to_web(&consul, "retry = { attempts = 0 }"));
    let answer = get(proxy.address(), "shop", "/").await;
    assert_eq!((answer.status, answer.text().as_str()), (502, "the endpoint could not be reached by TLS\n"));
    assert!(origin.requests().is_empty() && native.callers().is_empty());
}

#[tokio::test]
async fn the_same_name_out_of_another_mesh_is_somebody_else() {
    let ((own, other), origin) = ((consul().await, consul().await), Origin::start("web").await);
    let foreign = Native::start(&Party::of(&other, "web").await, origin.address()).await;
    foreign.register(&own, "web").await;
    let proxy = Proxy::start(&to_web(&own, "retry = { attempts = 0 }"));
    assert_eq!(status(&proxy).await, 502);
    assert!(origin.requests().is_empty() && foreign.callers().is_empty());
}

#[tokio::test]
async fn gateways_are_not_taken_for_the_service_behind_them() {
    let (consul, origin) = (consul().await, Origin::start("web").await);
    let party = Party::of(&consul, "web").await;
    let (native, gateway) =
        (Native::start(&party, origin.address()).await, Native::start(&party, origin.address()).await);
    native.register(&consul, "web").await;
    gateway.register_as(&consul, json!({ "Name": "out", "Kind": "terminating-gateway" })).await;
    let entry = json!({ "Kind": "terminating-gateway", "Name": "out", "Services": [{ "Name": "web" }] });
    consul.put("/v1/config", entry.to_string()).await;
    eventually("the gateway speaks for web", SOON, async || {
        consul.get("/v1/health/connect/web").await.as_array().unwrap().len() == 2
    })
    .await;
    let proxy = Proxy::start(&to_web(&consul, ""));
    assert_eq!(status(&proxy).await, 200);
    let shown = endpoints(proxy.admin(), "web").await;
    assert_eq!(shown.iter().map(|shown| shown.port).collect::<Vec<_>>(), [native.address().port()]);
    assert_eq!(sum(proxy.admin(), "lictor_discovery_skipped_entries", "").await, 1.0);
}

#[tokio::test]
async fn an_address_that_comes_to_be_somebody_elses_gets_no_connection_of_before() {
    let (consul, origin) = (consul().await, Origin::start("web").await);
    let native = Native::start(&Party::of(&consul, "web").await, origin.address()).await;
    native.register(&consul, "web").await;
    let text = to_web(&consul, "retry = { attempts = 0 }");
    let proxy = Proxy::start(&text);
    assert_eq!(status(&proxy).await, 200);
    // The same instance under a name that differs in nothing that a lookup regards.
    native.register_as(&consul, json!({ "Name": "Web", "Connect": { "Native": true } })).await;
    eventually("it is not believed any more", SOON, async || status(&proxy).await == 502).await;
    native.register(&consul, "web").await;
    eventually("it is again", SOON, async || status(&proxy).await == 200).await;
    let clusters = window(proxy.admin(), "/v1/clusters").await;
    assert_eq!(clusters[0]["endpoints"].as_array().unwrap().len(), 1, "{clusters}");
}

#[tokio::test]
async fn a_tunnel_of_any_protocol_is_carried_by_the_meshs_tls() {
    let (consul, origin) = (consul().await, Raw::start().await);
    let party = Party::of(&consul, "web").await;
    let native = Native::start(&party, origin.address()).await;
    native.register(&consul, "web").await;
    let listener = "[[listeners]]\nname = \"edge\"\nbind = \"127.0.0.1:0\"\nprotocol = \"tcp\"\ncluster = \"web\"\n";
    let text = to_web(&consul, "").replace("[[routes]]\ncluster = \"web\"\n", "");
    let proxy = Proxy::start(&format!("{text}{listener}"));
    let mut client = Client::connect(proxy.address()).await;
    client.send("hello").await;
    let mut served = origin.accept().await;
    assert_eq!(served.read(5).await, b"hello");
    served.send("\0there").await;
    assert_eq!(client.read(6).await, b"\0there");
    assert_eq!(native.callers(), [party.name("edge")]);
}

#[tokio::test]
async fn applications_ask_for_services_of_the_mesh_by_name() {
    let (consul, origin) = (consul().await, Origin::start("web").await);
    let party = Party::of(&consul, "web").await;
    let native = Native::start(&party, origin.address()).await;
    native.register(&consul, "web").await;
    let listener =
        "[[listeners]]\nname = \"edge\"\nbind = \"127.0.0.1:0\"\negress = true\n[mesh]\nservice = \"edge\"\n";
    let proxy = Proxy::start(&format!("[consul]\naddress = \"{}\"\n{listener}", consul.url()));
    assert_eq!(get(proxy.address(), "web.connect.consul", "/").await.text(), "web");
    assert_eq!(native.callers(), [party.name("edge")]);
    assert_eq!(get(proxy.address(), "api.connect.consul", "/").await.status, 503, "nobody speaks for it");
}

#[tokio::test]
async fn a_service_of_another_datacenter_is_called_by_the_name_that_it_has_there() {
    let connect = "primary_datacenter = \"dc1\"\nconnect { enabled = true }";
    let [here, there] = Consul::two_datacenters_with([connect, connect]).await;
    let signs = async || {
        let answer = get(there.address(), "consul", "/v1/agent/connect/ca/leaf/web").await;
        answer.status == 200
    };
    eventually("its authority has been signed by the first one's", SOON, signs).await;
    let origin = Origin::start("far").await;
    let party = Party::of(&there, "web").await;
    let native = Native::start(&party, origin.address()).await;
    native.register(&there, "web").await;
    let text = to_web(&here, "").replace("connect = true", "connect = true, datacenter = \"dc2\"");
    let proxy = Proxy::start(&text);
    eventually("it is called", SOON, async || status(&proxy).await == 200).await;
    let clusters = window(proxy.admin(), "/v1/clusters").await;
    assert_eq!(clusters[0]["endpoints"][0]["identity"], "/ns/default/dc/dc2/svc/web");
    assert_eq!(native.callers(), [party.name("edge")], "and we are who we are here");
}

/// A token with these rules alone.
async fn token(root: &Catalog, name: &str, rules: &str) -> String {
    root.put("/v1/acl/policy", json!({ "Name": name, "Rules": rules }).to_string()).await;
    let token = root.put("/v1/acl/token", json!({ "Policies": [{ "Name": name }] }).to_string()).await;
    serde_json::from_str::<serde_json::Value>(&token).unwrap()["SecretID"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_policy_for_the_mesh_is_enough_and_without_it_nobody_is_served_there_and_that_is_said() {
    let acl = "acl { enabled = true\n default_policy = \"deny\"\n tokens { master = \"root\" } }";
    let consul = with_authority(acl).await;
    let root = consul.with_token("root");
    let origin = Origin::start("web").await;
    let party = Party::of(&root, "web").await;
    let native = Native::start(&party, origin.address()).await;
    native.register(&root, "web").await;
    let intention = json!({ "SourceName": "web", "DestinationName": "edge", "Action": "allow" });
    root.call("POST", "/v1/connect/intentions", intention.to_string().as_bytes()).await;
    let inside = "[[listeners]]\nname = \"edge\"\nbind = \"127.0.0.1:0\"\n\
                  [[listeners]]\nname = \"inside\"\nbind = \"127.0.0.1:0\"\nmesh = true\n";
    let start = |token: &str| {
        let token = format!("wait = \"5s\"\ntoken = \"{token}\"");
        Proxy::start(&to_web(&consul, inside).replace("wait = \"5s\"", &token))
    };
    let without = start(&token(&root, "edge", EDGE).await);
    let proxy = start(&token(&root, "mesh", &format!("{EDGE}\n{MESH}")).await);
    let inside = |proxy: &Proxy| proxy.app().address("inside").unwrap();
    let (web, api) = (party.calling(&party.name("edge")), Party::of(&root, "api").await);
    assert_eq!(get(proxy.address(), "shop", "/").await.text(), "web");
    assert_eq!(ask(&web, inside(&proxy)).await.unwrap(), "web");
    assert!(
        ask(&api.calling(&party.name("edge")), inside(&proxy)).await.is_err(),
        "what is not allowed is denied here"
    );

    let denied = "lictor_mesh_updates_total{service=\"edge\",part=\"leaf\",result=\"denied\"}";
    eventually("it is counted", SOON, async || metric(without.admin(), denied).await >= 1.0).await;
    let answer = get(without.address(), "shop", "/").await;
    let said = "the proxy cannot secure a connection to the endpoint just now\n";
    assert_eq!((answer.status, answer.text().as_str()), (503, said));
    assert!(ask(&web, inside(&without)).await.is_err());
}
