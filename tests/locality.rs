//! Who is preferred for being near, with a real Consul's word for who that is: its agent says where we stand, its catalogue where
//! instances do, and its coordinates how far away they are.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::app::{Proxy, parse, to_service};
use crate::support::client::eventually;
use crate::support::consul::{Catalog, Consul};
use crate::support::origin::Origin;
use crate::support::visitor::shares;
use crate::support::window::{is_ready, usable};

/// A question without an answer is put again within ten seconds, and coordinates are read every half minute, should the agent have
/// been quicker than the test to write its own. All of it usually takes two seconds.
const SOON: Duration = Duration::from_secs(45);
const IN_ZONE_A: &str = "node_meta { zone = \"a\" }";
const BY_ZONE: &str = "locality = { prefer = [\"zone\"] }";

/// Registers an origin as an instance of `web` on a node of its own, which has its name; a zone is the node's.
async fn stand(catalog: &Catalog, origin: &Origin, zone: Value, status: &str) {
    let (name, address) = (origin.name(), origin.address());
    let service = json!({ "Service": "web", "ID": name, "Address": address.ip(), "Port": address.port() });
    let check = json!({ "Name": "c", "CheckID": format!("service:{name}"), "ServiceID": name, "Status": status });
    let meta = json!({ "zone": zone, "rack": "r1" });
    let meta = if zone.is_null() { Value::Null } else { meta };
    let body = json!({ "Node": name, "Address": "127.0.0.1", "NodeMeta": meta, "Service": service, "Check": check });
    catalog.put("/v1/catalog/register", body.to_string()).await;
}

/// True if these answer twenty requests, and nobody else.
async fn serve(proxy: &Proxy, names: &[&str]) -> bool {
    let shares = shares(proxy, "x", 20).await;
    shares.len() == names.len() && names.iter().all(|name| shares.contains_key(*name))
}

async fn until_served_by(proxy: &Proxy, names: &[&str]) {
    eventually(&format!("{names:?} serve"), SOON, async || serve(proxy, names).await).await;
}

async fn pair() -> [Origin; 2] {
    [Origin::start("near").await, Origin::start("far").await]
}

#[tokio::test]
async fn requests_stay_in_the_agents_zone_and_go_on_when_it_cannot_serve() {
    let (consul, [near, far]) = (Consul::start_with(IN_ZONE_A).await, pair().await);
    stand(&consul, &near, json!("a"), "passing").await;
    stand(&consul, &far, json!("b"), "passing").await;
    let proxy = Proxy::start(&to_service(&consul.url(), BY_ZONE));
    until_served_by(&proxy, &["near"]).await;
    assert_eq!(shares(&proxy, "x", 200).await.len(), 1);
    stand(&consul, &near, json!("a"), "critical").await;
    until_served_by(&proxy, &["far"]).await;
    stand(&consul, &near, json!("a"), "passing").await;
    until_served_by(&proxy, &["near"]).await;
    // The node is the same and has moved.
    stand(&consul, &near, json!("b"), "passing").await;
    until_served_by(&proxy, &["far", "near"]).await;
    proxy.drain().await;
}

#[tokio::test]
async fn a_services_own_zone_counts_before_its_nodes_and_the_key_may_be_another() {
    let consul = Consul::start_with("node_meta { az = \"a\" }").await;
    for (id, origin) in ["a", "b"].into_iter().zip(&pair().await) {
        let (ip, port) = (origin.address().ip(), origin.address().port());
        consul.register(json!({ "Name": "web", "ID": id, "Address": ip, "Port": port, "Meta": { "az": id } })).await;
    }
    let settings = format!("{BY_ZONE}\n[place]\nzone_key = \"az\"");
    // Their origins are gone: what counts is who is tried.
    let proxy = Proxy::start(&to_service(&consul.url(), &settings));
    let tiers = async || {
        let clusters = crate::support::window::json(proxy.admin(), "/v1/clusters").await;
        let endpoints = clusters[0]["endpoints"].as_array().unwrap();
        let mut tiers: Vec<u64> = endpoints.iter().filter_map(|endpoint| endpoint["tier"].as_u64()).collect();
        tiers.sort_unstable();
        tiers
    };
    eventually("they are told apart", SOON, async || tiers().await == [0, 1]).await;
    proxy.drain().await;
}

#[tokio::test]
async fn requests_stay_on_the_agents_node() {
    let (consul, [near, far]) = (Consul::start().await, pair().await);
    consul.register_service("web", "near", near.address()).await;
    stand(&consul, &far, Value::Null, "passing").await;
    let proxy = Proxy::start(&to_service(&consul.url(), "locality = { prefer = [\"node\"] }"));
    until_served_by(&proxy, &["near"]).await;
    consul.set_check("service:near", "critical").await;
    until_served_by(&proxy, &["far"]).await;
    proxy.drain().await;
}

#[tokio::test]
async fn a_reload_that_prefers_who_is_near_finds_out_who_that_is() {
    let (consul, [near, far]) = (Consul::start_with(IN_ZONE_A).await, pair().await);
    stand(&consul, &near, json!("a"), "passing").await;
    stand(&consul, &far, json!("b"), "passing").await;
    let proxy = Proxy::start(&to_service(&consul.url(), ""));
    until_served_by(&proxy, &["far", "near"]).await;
    proxy.app().reload(parse(&to_service(&consul.url(), BY_ZONE))).await.unwrap();
    until_served_by(&proxy, &["near"]).await;
    proxy.app().reload(parse(&to_service(&consul.url(), ""))).await.unwrap();
    assert!(serve(&proxy, &["far", "near"]).await);
    proxy.drain().await;
}

#[tokio::test]
async fn round_trips_by_coordinates_decide_who_is_near() {
    let (consul, [near, far]) = (Consul::start().await, pair().await);
    let unknown = Origin::start("unknown").await;
    let own = consul.get("/v1/agent/self").await["Config"]["NodeName"].as_str().unwrap().to_owned();
    for origin in [&near, &far, &unknown] {
        stand(&consul, origin, Value::Null, "passing").await;
    }
    // Without any, nobody is near.
    let settings = to_service(&consul.url(), "locality = { prefer_rtt = [\"2ms\"] }");
    let proxy = Proxy::start(&settings);
    eventually("all are there", SOON, async || {
        usable(proxy.admin(), "web").await.len() == 3 && is_ready(proxy.admin()).await
    })
    .await;
    at(&consul, "near", 0.001).await;
    at(&consul, "far", 0.02).await;
    let all = async || consul.get("/v1/coordinate/nodes").await.as_array().unwrap().len() >= 2;
    eventually("the coordinates are there", SOON, all).await;
    // What the agent itself will write, last: with it the others are read, and not again for half a minute.
    at(&consul, &own, 0.0).await;
    until_served_by(&proxy, &["near"]).await;

    at(&consul, "near", 0.02).await;
    at(&consul, "far", 0.001).await;
    let written = async || coordinate(&consul, "far").await < 0.01 && coordinate(&consul, "near").await > 0.01;
    eventually("the coordinates are there", SOON, written).await;
    proxy.app().reload(parse(&settings)).await.unwrap();
    eventually("a reload has them read at once", Duration::from_secs(15), async || serve(&proxy, &["far"]).await).await;
    proxy.drain().await;
}

/// Puts a node so many seconds away from where the agent is.
async fn at(catalog: &Catalog, node: &str, seconds: f64) {
    let coordinate = json!({ "Vec": [seconds, 0, 0, 0, 0, 0, 0, 0], "Error": 1.5, "Adjustment": 0, "Height": 1e-5 });
    let body = json!({ "Node": node, "Segment": "", "Coord": coordinate });
    catalog.put("/v1/coordinate/update", body.to_string()).await;
}

async fn coordinate(catalog: &Catalog, node: &str) -> f64 {
    catalog.get(&format!("/v1/coordinate/node/{node}")).await[0]["Coord"]["Vec"][0].as_f64().unwrap()
}

#[tokio::test]
async fn an_agent_that_may_not_say_where_we_stand_is_made_up_for_by_the_file() {
    let acl = r#"acl { enabled = true default_policy = "deny" tokens { master = "root" agent = "root" } }"#;
    let consul = Consul::start_with(&format!("{acl}\n{IN_ZONE_A}")).await;
    let root = consul.with_token("root");
    let [near, far] = pair().await;
    stand(&root, &near, json!("a"), "passing").await;
    stand(&root, &far, json!("b"), "passing").await;
    let rules = r#"node_prefix "" { policy = "read" } service_prefix "" { policy = "read" }"#;
    root.put("/v1/acl/policy", json!({ "Name": "lictor", "Rules": rules }).to_string()).await;
    let made = root.put("/v1/acl/token", json!({ "Policies": [{ "Name": "lictor" }] }).to_string()).await;
    let made: Value = serde_json::from_str(&made).unwrap();
    let token = made["SecretID"].as_str().unwrap();

    let settings = to_service(&consul.url(), BY_ZONE).replace("[consul]", &format!("[consul]\ntoken = \"{token}\""));
    let proxy = Proxy::start(&settings);
    eventually("it is ready", SOON, async || is_ready(proxy.admin()).await).await;
    assert!(serve(&proxy, &["far", "near"]).await);
    proxy.drain().await;
    let told = Proxy::start(&format!("{settings}[place]\nzone = \"b\"\n"));
    until_served_by(&told, &["far"]).await;
    told.drain().await;
}
