//! Those who call us: they have to be of the mesh, and allowed to; and what is allowed may change while they are here.

use std::sync::Arc;
use std::time::Instant;

use rustls::ClientConfig;
use serde_json::{Value, json};

use super::*;
use crate::support::chain::{Authority, Wish};
use crate::support::mesh::Call;
use crate::support::origin::Script;

/// We are `edge`, and let whoever is of the mesh and may call us to a cluster of this endpoint.
fn inside(consul: &Catalog, origin: std::net::SocketAddr, mesh: &str, more: &str) -> String {
    format!(
        "[consul]\naddress = \"{}\"\nwait = \"5s\"\n[mesh]\nservice = \"edge\"\n{mesh}\n\
         [[listeners]]\nname = \"edge\"\nbind = \"127.0.0.1:0\"\nmesh = true\n{more}\n\
         [clusters.shop]\nendpoints = [\"{origin}\"]\n",
        consul.url()
    )
}

const EVERYBODY: &str = "[[routes]]\ncluster = \"shop\"";

/// A service of the mesh that calls us.
async fn caller(consul: &Catalog, service: &str) -> (Party, Arc<ClientConfig>) {
    let party = Party::of(consul, service).await;
    let config = party.calling(&party.name("edge"));
    (party, config)
}

/// Says whether one service may call another; the intention's id.
async fn intend(consul: &Catalog, source: &str, action: &str) -> String {
    let intention = json!({ "SourceName": source, "DestinationName": "edge", "Action": action });
    let answer = consul.call("POST", "/v1/connect/intentions", intention.to_string().as_bytes()).await.text();
    serde_json::from_str::<Value>(&answer).unwrap()["ID"].as_str().unwrap().to_owned()
}

async fn intend_otherwise(consul: &Catalog, id: &str, source: &str, action: &str) {
    let intention = json!({ "SourceName": source, "DestinationName": "edge", "Action": action });
    consul.put(&format!("/v1/connect/intentions/{id}"), intention.to_string()).await;
}

async fn handshakes(proxy: &Proxy, result: &str) -> f64 {
    metric(proxy.admin(), &format!("lictor_tls_handshakes_total{{listener=\"edge\",result=\"{result}\"}}")).await
}

#[tokio::test]
async fn a_caller_of_the_mesh_is_let_in_and_known_to_routes_by_its_name() {
    let (consul, origin) = (consul().await, Origin::start("shop").await);
    let (web, api) = (caller(&consul, "web").await, caller(&consul, "api").await);
    let only = format!("[[routes]]\ncluster = \"shop\"\nidentities = [\"{}\"]", web.0.name("web"));
    let proxy = Proxy::start(&inside(&consul, origin.address(), "", &only));
    assert_eq!(ask(&web.1, proxy.address()).await.unwrap(), "shop");
    assert_eq!(ask(&api.1, proxy.address()).await.unwrap(), "no route for this host and path\n");
    assert_eq!(origin.requests()[0].header("x-forwarded-proto").unwrap(), "https");
}

#[tokio::test]
async fn whoever_is_not_of_the_mesh_does_not_get_past_the_handshake() {
    let (consul, origin) = (consul().await, Origin::start("shop").await);
    let (web, _) = caller(&consul, "web").await;
    let proxy = Proxy::start(&inside(&consul, origin.address(), "", EVERYBODY));
    let name = web.name("edge");
    let signer = Authority::root("somebody");
    let own = web.name("web");
    let forged = Party { leaf: signer.issue(&Wish { uri: Some(&own), ..Wish::default() }), ..web.clone() };
    // Trusts the right ones, and shows a certificate that claims the right name.
    assert!(ask(&forged.calling(&name), proxy.address()).await.is_err());
    let other = super::consul().await;
    let foreign = Party { leaf: Party::of(&other, "web").await.leaf, ..web.clone() };
    assert!(ask(&foreign.calling(&name), proxy.address()).await.is_err());
    let mut plain = Client::connect(proxy.address()).await;
    assert_eq!(plain.exchange("GET / HTTP/1.1\r\nhost: shop\r\n\r\n").await.status, 400);
    assert!(origin.requests().is_empty());
    assert_eq!(ask(&web.calling(&name), proxy.address()).await.unwrap(), "shop");
    eventually("both are counted", SOON, async || handshakes(&proxy, "client_certificate").await == 2.0).await;
}

#[tokio::test]
async fn intentions_are_obeyed_soon_and_by_those_who_are_here_at_the_next_look() {
    let (consul, origin) = (consul().await, Origin::start("shop").await);
    let proxy = Proxy::start(&inside(&consul, origin.address(), "recheck = \"1s\"", EVERYBODY));
    let (web, api) = (caller(&consul, "web").await, caller(&consul, "api").await);
    let (mut one, mut other) =
        (Call::open(&web.1, proxy.address()).await.unwrap(), Call::open(&api.1, proxy.address()).await.unwrap());
    assert_eq!((one.get().await.unwrap(), other.get().await.unwrap()), ("shop".to_owned(), "shop".to_owned()));
    let id = intend(&consul, "web", "deny").await;
    eventually("it is not let in any more", SOON, async || ask(&web.1, proxy.address()).await.is_err()).await;
    one.closed().await;
    assert_eq!(other.get().await.unwrap(), "shop", "who is not meant stays");
    assert!(handshakes(&proxy, "denied").await >= 1.0);
    // More than one where another of its connections was let in just before.
    assert!(metric(proxy.admin(), "lictor_mesh_revoked_total{service=\"edge\"}").await >= 1.0);
    assert!(metric(proxy.admin(), "lictor_mesh_refused_total{service=\"edge\",reason=\"denied\"}").await >= 1.0);
    intend_otherwise(&consul, &id, "web", "allow").await;
    eventually("it may again", SOON, async || ask(&web.1, proxy.address()).await.is_ok()).await;
}

#[tokio::test]
async fn a_tunnel_ends_as_well_once_its_caller_may_not_call_us_any_more() {
    let (consul, origin) = (consul().await, Origin::start("shop").await);
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("access.log");
    let routes = format!("{EVERYBODY}\n[access_log]\nformat = \"json\"\npath = {log:?}");
    let proxy = Proxy::start(&inside(&consul, origin.address(), "recheck = \"200ms\"", &routes));
    let (_, web) = caller(&consul, "web").await;
    origin.once(Script::UpgradeEcho);
    let mut call = Call::open(&web, proxy.address()).await.unwrap();
    call.send("GET / HTTP/1.1\r\nhost: shop\r\nconnection: upgrade\r\nupgrade: chat\r\n\r\n").await.unwrap();
    assert!(call.until(b"\r\n\r\n").await.unwrap().starts_with("HTTP/1.1 101 "));
    call.send("hello.").await.unwrap();
    assert_eq!(call.until(b".").await.unwrap(), "hello.");
    intend(&consul, "web", "deny").await;
    call.closed().await;
    let written = async || std::fs::read_to_string(&log).ok().filter(|text| text.ends_with('\n'));
    let line: Value = serde_json::from_str(&eventually("it is written down", SOON, written).await).unwrap();
    assert_eq!((&line["status"], &line["flags"]), (&json!(101), &json!(["LB"])), "broken off here");
}

#[tokio::test]
async fn any_protocol_can_be_called_by_those_who_may_and_by_nobody_else() {
    let (consul, origin) = (consul().await, Raw::start().await);
    let tcp = "protocol = \"tcp\"\ncluster = \"shop\"";
    let proxy = Proxy::start(&inside(&consul, origin.address(), "recheck = \"200ms\"", tcp));
    let (_, web) = caller(&consul, "web").await;
    let mut call = Call::open(&web, proxy.address()).await.unwrap();
    call.send("hello").await.unwrap();
    let mut served = origin.accept().await;
    assert_eq!(served.read(5).await, b"hello");
    served.send("there.").await;
    assert_eq!(call.until(b".").await.unwrap(), "there.");
    intend(&consul, "*", "deny").await;
    call.closed().await;
    eventually("nobody is let in", SOON, async || {
        let call = Call::open(&web, proxy.address()).await;
        match call {
            Ok(mut call) => call.until(b".").await.is_err(),
            Err(_) => true,
        }
    })
    .await;
}

#[tokio::test]
async fn while_the_agent_is_away_the_last_answers_count_for_a_while_and_nobody_new_is_let_in() {
    let (mut consul, origin) = (consul().await, Origin::start("shop").await);
    let proxy = Proxy::start(&inside(&consul, origin.address(), "recheck = \"200ms\"\ngrace = \"3s\"", EVERYBODY));
    let (web, api) = (caller(&consul, "web").await, caller(&consul, "api").await);
    let mut standing = Call::open(&web.1, proxy.address()).await.unwrap();
    assert_eq!(standing.get().await.unwrap(), "shop");
    consul.kill();
    assert!(ask(&api.1, proxy.address()).await.is_err(), "nobody has ever said that it may");
    assert_eq!(ask(&web.1, proxy.address()).await.unwrap(), "shop");
    eventually("its time is over", SOON, async || ask(&web.1, proxy.address()).await.is_err()).await;
    assert_eq!(standing.get().await.unwrap(), "shop", "silence is no reason to break off");
    assert!(metric(proxy.admin(), "lictor_mesh_refused_total{service=\"edge\",reason=\"unanswered\"}").await >= 2.0);
}

#[tokio::test]
async fn many_connections_of_one_caller_cost_few_questions() {
    let (consul, origin) = (consul().await, Origin::start("shop").await);
    let proxy = Proxy::start(&inside(&consul, origin.address(), "", EVERYBODY));
    let (_, web) = caller(&consul, "web").await;
    let began = Instant::now();
    let calls = (0..40).map(|_| ask(&web, proxy.address()));
    for answer in futures_util::future::join_all(calls).await {
        assert_eq!(answer.unwrap(), "shop");
    }
    let asked = sum(proxy.admin(), "lictor_mesh_authorizations_total", "").await;
    // One, and another for each half second that it took.
    let most = 1.0 + began.elapsed().as_secs_f64() * 2.0;
    assert!((1.0..=most.ceil()).contains(&asked), "{asked} in {:?}", began.elapsed());
}

#[tokio::test]
async fn http2_is_understood_whether_tls_agrees_on_it_or_not() {
    let (consul, origin) = (consul().await, Origin::start("shop").await);
    let proxy = Proxy::start(&inside(&consul, origin.address(), "", EVERYBODY));
    let (_, web) = caller(&consul, "web").await;
    // As gRPC comes from a sidecar that has been told what its service speaks.
    let silent = ClientConfig::clone(&web);
    let mut offering = ClientConfig::clone(&web);
    offering.alpn_protocols = vec![b"h2".to_vec()];
    for config in [silent, offering] {
        let call = Call::open(&Arc::new(config), proxy.address()).await.unwrap();
        let (mut sender, connection) = h2::client::handshake(call.into_stream()).await.unwrap();
        let driving = tokio::spawn(connection);
        let request = http::Request::get("https://shop/").body(()).unwrap();
        let answer = sender.send_request(request, true).unwrap().0.await.unwrap();
        assert_eq!(answer.status(), 200);
        driving.abort();
    }
}

#[tokio::test]
async fn a_lictor_of_the_mesh_is_found_and_called_by_another_as_any_service_of_it() {
    let (consul, origin) = (consul().await, Origin::start("shop").await);
    let registration = "[registration]\nname = \"edge\"\nid = \"edge\"\nconnect_native = true\n";
    let inner = Proxy::start(&inside(&consul, origin.address(), "", &format!("{EVERYBODY}\n{registration}")));
    let outer = format!(
        "[consul]\naddress = \"{}\"\n[mesh]\nservice = \"web\"\n[[routes]]\ncluster = \"edge\"\n\
         [clusters.edge]\nconsul = {{ service = \"edge\", connect = true }}\n",
        consul.url()
    );
    let outer = Proxy::start(&outer);
    eventually("it is found", SOON, async || get(outer.address(), "shop", "/").await.status == 200).await;
    assert_eq!(get(outer.address(), "shop", "/").await.text(), "shop");
    let clusters = window(outer.admin(), "/v1/clusters").await;
    let shown = &clusters[0]["endpoints"];
    assert_eq!(shown.as_array().unwrap().len(), 1, "{clusters}");
    assert_eq!(shown[0]["identity"], "/ns/default/dc/dc1/svc/edge");
    assert_eq!(shown[0]["address"], inner.address().to_string());
    // Only web may not.
    intend(&consul, "web", "deny").await;
    eventually("it may not call any more", SOON, async || {
        ask(&caller(&consul, "web").await.1, inner.address()).await.is_err()
    })
    .await;
    inner.drain().await;
    eventually("it is gone", SOON, async || window(outer.admin(), "/v1/clusters").await[0]["endpoints"] == json!([]))
        .await;
}
