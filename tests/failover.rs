//! Lists that serve in turn, with two real datacenters that know the way to each other: requests go where there are enough who may
//! serve, and come back; what cannot be reached changes nothing; and the other ways to ask Consul for a list.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::app::{Proxy, to_service};
use crate::support::client::{eventually, get};
use crate::support::consul::Consul;
use crate::support::fake::{self, Fake, Query, Reply, sound};
use crate::support::origin::Origin;
use crate::support::spawned::Spawned;
use crate::support::visitor::{Visitor, shares};
use crate::support::window::{counted, is_ready, json as window, sum, updates, usable};

const SOON: Duration = Duration::from_secs(10);
/// Which list serves.
const LEVEL: &str = "lictor_cluster_level{cluster=\"web\"}";

/// The second datacenter in place of the first, and back again before a test gets tired.
const TO_DC2: &str = "failover = [{ datacenter = \"dc2\" }]\nfailover_when = { return_after = \"300ms\" }";

async fn origins<const N: usize>(names: [&str; N]) -> [Origin; N] {
    let mut origins = Vec::new();
    for name in names {
        origins.push(Origin::start(name).await);
    }
    origins.try_into().ok().unwrap()
}

async fn until_served_by(proxy: &Proxy, names: &[&str]) {
    let serve = async || {
        let shares = shares(proxy, "x", 20).await;
        shares.len() == names.len() && names.iter().all(|name| shares.contains_key(*name))
    };
    eventually(&format!("{names:?} serve"), SOON, serve).await;
}

async fn until_usable(proxy: &Proxy, origins: &[&Origin]) {
    let mut ports: Vec<u16> = origins.iter().map(|origin| origin.address().port()).collect();
    ports.sort_unstable();
    let same = async || is_ready(proxy.admin()).await && usable(proxy.admin(), "web").await == ports;
    eventually(&format!("usable are {ports:?}"), SOON, same).await;
}

#[tokio::test]
async fn requests_go_to_the_other_datacenter_while_too_few_are_here_and_none_is_lost() {
    let [here, there] = Consul::two_datacenters().await;
    let [one, two, far] = origins(["one", "two", "far"]).await;
    for (consul, origin) in [(&here, &one), (&here, &two), (&there, &far)] {
        consul.register_service("web", origin.name(), origin.address()).await;
    }
    let proxy = Proxy::start(&to_service(&here.url(), TO_DC2));
    until_usable(&proxy, &[&one, &two, &far]).await;
    until_served_by(&proxy, &["one", "two"]).await;
    counted(proxy.admin(), LEVEL, 0.0).await;
    let scrape = get(proxy.admin(), "localhost", "/metrics").await.text();
    for level in 0..=2 {
        let begun = format!("lictor_failovers_total{{cluster=\"web\",level=\"{level}\"}} 0\n");
        assert!(scrape.contains(&begun), "an increase has to be seen: no {begun}");
    }
    let visitor = Visitor::start(&proxy);
    here.set_check("service:one", "critical").await;
    until_served_by(&proxy, &["two"]).await;
    here.set_check("service:two", "critical").await;
    until_served_by(&proxy, &["far"]).await;
    counted(proxy.admin(), LEVEL, 1.0).await;
    let view = &window(proxy.admin(), "/v1/clusters").await[0];
    let lists =
        json!([view["levels"][0]["list"], view["levels"][1]["list"], view["levels"][1]["serves"], view["level"]]);
    assert_eq!(lists, json!(["web", "web@dc2", true, 1]));
    // Half is enough to stay, and not to return.
    here.set_check("service:one", "passing").await;
    let seen = async || window(proxy.admin(), "/v1/clusters").await[0]["levels"][0]["eligible_percent"] == 50.0;
    eventually("one of two is back", SOON, seen).await;
    counted(proxy.admin(), LEVEL, 1.0).await;
    here.set_check("service:two", "passing").await;
    until_served_by(&proxy, &["one", "two"]).await;
    let failovers = async |level: usize| {
        sum(proxy.admin(), "lictor_failovers_total", &format!("cluster=\"web\",level=\"{level}\"")).await
    };
    assert_eq!((failovers(1).await, failovers(0).await), (1.0, 1.0));
    let answers = visitor.leave().await;
    assert!(answers.keys().all(|who| ["one", "two", "far"].contains(&who.as_str())), "{answers:?}");
    proxy.drain().await;
}

#[tokio::test]
async fn a_datacenter_that_cannot_be_reached_keeps_its_list_and_holds_up_nobody() {
    let [here, mut there] = Consul::two_datacenters().await;
    let [near, far] = origins(["near", "far"]).await;
    here.register_service("web", "near", near.address()).await;
    there.register_service("web", "far", far.address()).await;
    let proxy = Proxy::start(&to_service(&here.url(), TO_DC2));
    until_usable(&proxy, &[&near, &far]).await;
    there.kill();
    eventually("it is missed", SOON, async || updates(proxy.admin(), "error").await >= 1.0).await;
    here.set_check("service:near", "critical").await;
    until_served_by(&proxy, &["far"]).await;
    assert!(is_ready(proxy.admin()).await);
    // Whoever starts now knows nothing of it, and serves what there is.
    here.set_check("service:near", "passing").await;
    let late = Proxy::start(&to_service(&here.url(), TO_DC2));
    until_usable(&late, &[&near]).await;
    until_served_by(&late, &["near"]).await;
    // It is back, and empty at first.
    there.restart().await;
    here.until_reached(&there).await;
    there.register_service("web", "far", far.address()).await;
    until_usable(&late, &[&near, &far]).await;
    for proxy in [proxy, late] {
        proxy.drain().await;
    }
}

#[tokio::test]
async fn a_first_choice_that_cannot_be_reached_from_the_start_is_not_waited_for() {
    let [here, mut there] = Consul::two_datacenters().await;
    let [near] = origins(["near"]).await;
    here.register_service("web", "near", near.address()).await;
    there.kill();
    let settings = to_service(&here.url(), "failover = [{ datacenter = \"dc1\" }]")
        .replace("service = \"web\" }", "service = \"web\", datacenter = \"dc2\" }");
    let proxy = Proxy::start(&settings);
    until_served_by(&proxy, &["near"]).await;
    counted(proxy.admin(), LEVEL, 1.0).await;
    proxy.drain().await;
}

#[tokio::test]
async fn what_a_prepared_query_comes_to_is_followed_to_another_datacenter() {
    let [here, there] = Consul::two_datacenters().await;
    let [near, far] = origins(["near", "far"]).await;
    here.register_service("web", "near", near.address()).await;
    there.register_service("web", "far", far.address()).await;
    let query = json!({ "Name": "anywhere", "Service": { "Service": "web", "Failover": { "Datacenters": ["dc2"] } } });
    here.call("POST", "/v1/query", query.to_string().as_bytes()).await;
    let settings = to_service(&here.url(), "")
        .replace("service = \"web\"", "query = \"anywhere\"")
        .replace("[consul]\n", "[consul]\npoll = \"1s\"\n");
    let proxy = Proxy::start(&settings);
    until_served_by(&proxy, &["near"]).await;
    here.set_check("service:near", "critical").await;
    until_served_by(&proxy, &["far"]).await;
    here.set_check("service:near", "passing").await;
    until_served_by(&proxy, &["near"]).await;
    proxy.drain().await;
}

#[tokio::test]
async fn an_agent_that_knows_of_no_peers_is_not_asked_for_them() {
    let consul = Consul::start().await;
    let [local] = origins(["local"]).await;
    consul.register_service("web", "local", local.address()).await;
    let of_peer = to_service(&consul.url(), "").replace("service = \"web\" }", "service = \"web\", peer = \"east\" }");
    let lictor = Spawned::start(&of_peer, &[]);
    let line = lictor.says("knows of no cluster peers").await;
    assert!(line.contains("web@peer:east") && line.contains("1.8") && line.contains("1.13"), "{line}");
    // Such an agent would answer with its own.
    assert_eq!(get(lictor.address().await, "x", "/").await.status, 503);
    let proxy = Proxy::start(&to_service(&consul.url(), "failover = [{ peer = \"east\" }]"));
    until_served_by(&proxy, &["local"]).await;
    assert_eq!(usable(proxy.admin(), "web").await, [local.address().port()]);
    proxy.drain().await;
}

/// The body for these instances, each of that peer.
fn of_peer(origin: &Origin, peer: &str) -> Vec<u8> {
    let mut list: Value = serde_json::from_str(&fake::list(&[origin.address()])).unwrap();
    list[0]["Service"]["PeerName"] = json!(peer);
    fake::answer(10, list.to_string())
}

#[tokio::test]
async fn a_peers_instances_are_followed_and_nobody_elses_in_their_place() {
    let [far, local] = origins(["far", "local"]).await;
    let theirs = of_peer(&far, "east");
    // It does not say which version it is: the answers have to show whose they are.
    let fake = Fake::start(move |query: &Query| {
        assert_eq!(query.parameters.get("peer").map(String::as_str), Some("east"));
        if query.index().is_some() { Reply::Hold } else { Reply::Raw(theirs.clone()) }
    })
    .await;
    let settings = to_service(&fake.url(), "").replace("service = \"web\" }", "service = \"web\", peer = \"east\" }");
    let proxy = Proxy::start(&settings);
    until_served_by(&proxy, &["far"]).await;
    let ours = fake::answer(11, fake::list(&[local.address()]));
    fake.script(move |_| Reply::Raw(ours.clone()));
    eventually("that is no answer", SOON, async || updates(proxy.admin(), "error").await >= 1.0).await;
    assert_eq!(usable(proxy.admin(), "web").await, [far.address().port()]);
    proxy.drain().await;
}

#[tokio::test]
async fn an_answer_of_a_server_that_has_been_alone_for_long_is_asked_again_of_the_leader() {
    let [old, new] = origins(["old", "new"]).await;
    let lagging = |milliseconds: u64, origin: &Origin| {
        let headers = [("X-Consul-Index", "10".to_owned()), ("X-Consul-Lastcontact", milliseconds.to_string())];
        let headers = headers.map(|(name, value)| (name.to_owned(), value));
        Reply::Raw(fake::response(200, &headers.to_vec(), fake::list(&[origin.address()])))
    };
    let (alone, led) = (lagging(6000, &old), lagging(0, &new));
    let script = move |query: &Query| {
        let is_stale = query.parameters.contains_key("stale");
        match query.index() {
            // Nothing changes; but those who do not know say so as well.
            Some(_) if !is_stale => Reply::Hold,
            _ if is_stale => alone.clone(),
            _ => led.clone(),
        }
    };
    let fake = Fake::start_client(script).await;
    let proxy = Proxy::start(&to_service(&fake.url(), ""));
    let lag = async || sum(proxy.admin(), "lictor_discovery_doubts_total", "reason=\"lag\"").await;
    eventually("it is doubted", SOON, async || lag().await >= 2.0).await;
    assert_eq!(usable(proxy.admin(), "web").await, [new.address().port()]);
    assert!(is_ready(proxy.admin()).await);
    proxy.drain().await;
}

#[tokio::test]
async fn the_agents_cache_is_read_where_that_is_wanted_and_emptiness_out_of_it_is_doubted() {
    let [one, two] = origins(["one", "two"]).await;
    let fake = Fake::start_client(sound(10, &[one.address(), two.address()])).await;
    let settings = to_service(&fake.url(), "").replace("[consul]\n", "[consul]\nconsistency = \"cached\"\n");
    let proxy = Proxy::start(&settings);
    until_usable(&proxy, &[&one, &two]).await;
    let cached = |query: &Query| query.parameters.contains_key("cached");
    let full = fake::answer(12, fake::list(&[one.address(), two.address()]));
    fake.script(move |query| match query.index() {
        Some("10") => Reply::Raw(fake::answer(11, "[]")),
        Some("12") => Reply::Hold,
        _ if cached(query) => Reply::Raw(fake::answer(11, "[]")),
        _ => Reply::Raw(full.clone()),
    });
    let settled = async || fake.queries().iter().any(|query| query.waits_beyond(12));
    eventually("the leader was asked", SOON, settled).await;
    assert_eq!(usable(proxy.admin(), "web").await.len(), 2);
    assert!(
        fake.queries().iter().any(cached) && !fake.queries().iter().any(|query| query.parameters.contains_key("stale"))
    );
    proxy.drain().await;
}
