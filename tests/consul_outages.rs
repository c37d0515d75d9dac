//! Consul itself in trouble, and the real one: an agent that leaves with all that runs on its node, an agent that is
//! stopped in the middle of a query, servers without a majority, a state that is restored. Requests go on throughout.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::net::TcpStream;

use crate::support::app::{Proxy, parse, to_service};
use crate::support::client::{eventually, get};
use crate::support::consul::{Catalog, Consul};
use crate::support::fake::{Fake, Query, Reply, sound};
use crate::support::origin::Origin;
use crate::support::spawned::Spawned;
use crate::support::visitor::Visitor;
use crate::support::window::{is_ready, metric, updates, usable};

const SOON: Duration = Duration::from_secs(10);
/// Elections and deadlines, on a machine that is busy with other tests.
const LATER: Duration = Duration::from_secs(40);

async fn origins<const N: usize>(names: [&str; N]) -> [Origin; N] {
    let mut origins = Vec::new();
    for name in names {
        origins.push(Origin::start(name).await);
    }
    origins.try_into().ok().unwrap()
}

/// Without a check: nothing about it changes but by being there or not.
async fn register(catalog: &Catalog, origin: &Origin) {
    let (id, address) = (origin.name(), origin.address());
    catalog.register(json!({ "Name": "web", "ID": id, "Address": address.ip(), "Port": address.port() })).await;
}

async fn until_usable(proxy: &Proxy, origins: &[&Origin]) {
    let mut ports: Vec<u16> = origins.iter().map(|origin| origin.address().port()).collect();
    ports.sort_unstable();
    let same = async || is_ready(proxy.admin()).await && usable(proxy.admin(), "web").await == ports;
    eventually(&format!("usable are {ports:?}"), LATER, same).await;
}

async fn suspects(proxy: &Proxy) -> f64 {
    metric(proxy.admin(), "lictor_cluster_endpoints{cluster=\"web\",state=\"suspect\"}").await
}

#[track_caller]
fn only_answers(answers: &BTreeMap<String, usize>, names: &[&str]) {
    assert!(answers.keys().all(|who| names.contains(&who.as_str())), "{answers:?}");
    assert!(answers.values().sum::<usize>() > 5, "{answers:?}");
}

#[tokio::test]
async fn an_agent_that_leaves_in_peace_and_returns_costs_no_request() {
    let server = Consul::start().await;
    let mut client = server.join().await;
    let [one, two] = origins(["one", "two"]).await;
    for origin in [&one, &two] {
        register(&client, origin).await;
    }
    let proxy = Proxy::start(&to_service(&server.url(), ""));
    until_usable(&proxy, &[&one, &two]).await;
    let visitor = Visitor::start(&proxy);
    client.leave(&server).await;
    // In the catalog they are gone, by the leader's own word; they run as ever.
    until_usable(&proxy, &[]).await;
    assert_eq!(suspects(&proxy).await, 2.0);
    client.restart().await;
    until_usable(&proxy, &[&one, &two]).await;
    assert_eq!(suspects(&proxy).await, 0.0);
    only_answers(&visitor.leave().await, &["one", "two"]);
    proxy.drain().await;
}

#[tokio::test]
async fn an_agent_that_stands_still_in_the_middle_of_a_query_is_noticed_and_followed_again() {
    let consul = Consul::start().await;
    let [one, two] = origins(["one", "two"]).await;
    register(&consul, &one).await;
    // The kernel goes on to accept and to acknowledge for it: only time tells.
    let settings = to_service(&consul.url(), "").replace("[consul]\n", "[consul]\nwait = \"1s\"\n");
    let proxy = Proxy::start(&settings);
    until_usable(&proxy, &[&one]).await;
    let visitor = Visitor::start(&proxy);
    consul.signal("STOP");
    // The wait and its sixteenth, seven seconds of patience for a leader and five for the way, two for a connection.
    eventually("it is given up", LATER, async || updates(proxy.admin(), "error").await >= 1.0).await;
    assert_eq!(usable(proxy.admin(), "web").await, [one.address().port()]);
    consul.signal("CONT");
    register(&consul, &two).await;
    until_usable(&proxy, &[&one, &two]).await;
    only_answers(&visitor.leave().await, &["one", "two"]);
    proxy.drain().await;
}

#[tokio::test]
async fn a_connection_on_which_nothing_comes_any_more_is_given_up() {
    let [one, two] = origins(["one", "two"]).await;
    let fake = Fake::start(sound(10, &[one.address()])).await;
    let settings = to_service(&fake.url(), "").replace("[consul]\n", "[consul]\nwait = \"1s\"\n");
    // Every query that waits is on a connection whose other end is gone without a word.
    let lost = sound(10, &[one.address()]);
    fake.script(move |query: &Query| if query.index().is_some() { Reply::Stall(Vec::new()) } else { lost(query) });
    let proxy = Proxy::start(&settings);
    until_usable(&proxy, &[&one]).await;
    eventually("it is given up", LATER, async || updates(proxy.admin(), "error").await >= 1.0).await;
    assert_eq!(get(proxy.address(), "x", "/").await.text(), "one");
    fake.script(sound(11, &[one.address(), two.address()]));
    until_usable(&proxy, &[&one, &two]).await;
    proxy.drain().await;
}

#[tokio::test]
async fn servers_that_lose_their_leader_and_then_their_majority_take_nobody_out() {
    let [home, mut second, mut third] = Consul::three().await;
    let [one, two] = origins(["one", "two"]).await;
    register(&home, &one).await;
    // Whoever leads may not notice that it stands alone before it is asked again.
    let settings = to_service(&home.url(), "").replace("[consul]\n", "[consul]\nwait = \"1s\"\n");
    let proxy = Proxy::start(&settings);
    until_usable(&proxy, &[&one]).await;
    let visitor = Visitor::start(&proxy);
    second.kill();
    third.kill();
    let began = Instant::now();
    let before = asked(&proxy).await;
    eventually("nobody leads", LATER, async || updates(proxy.admin(), "error").await >= 2.0).await;
    let rate = (asked(&proxy).await - before) / began.elapsed().as_secs_f64();
    assert!(rate <= 2.0, "{rate} questions a second");
    assert_eq!(usable(proxy.admin(), "web").await, [one.address().port()]);
    assert!(is_ready(proxy.admin()).await);
    second.restart().await;
    register(&home, &two).await;
    until_usable(&proxy, &[&one, &two]).await;
    only_answers(&visitor.leave().await, &["one", "two"]);
    proxy.drain().await;
}

/// Answers and failures of discovery so far.
async fn asked(proxy: &Proxy) -> f64 {
    let mut sum = 0.0;
    for result in ["changed", "unchanged", "doubted", "denied", "error"] {
        sum += updates(proxy.admin(), result).await;
    }
    sum
}

#[tokio::test]
async fn a_state_that_is_restored_under_a_watch_is_followed_at_once() {
    let consul = Consul::start().await;
    let all = origins(["one", "two", "three", "four"]).await;
    let entry = |address: SocketAddr, id: &str| {
        let service = json!({ "Service": "web", "ID": id, "Address": address.ip(), "Port": address.port() });
        json!({ "Node": "elsewhere", "Address": "127.0.0.1", "Service": service }).to_string()
    };
    let [one, two, three, four] = &all;
    for origin in [one, two] {
        consul.put("/v1/catalog/register", entry(origin.address(), origin.name())).await;
    }
    let snapshot = consul.call("GET", "/v1/snapshot", b"").await.body;
    for origin in [three, four] {
        consul.put("/v1/catalog/register", entry(origin.address(), origin.name())).await;
    }
    let proxy = Proxy::start(&to_service(&consul.url(), ""));
    until_usable(&proxy, &[one, two, three, four]).await;
    let visitor = Visitor::start(&proxy);
    consul.put("/v1/snapshot", &snapshot).await;
    let restored = Instant::now();
    until_usable(&proxy, &[one, two]).await;
    // A wait of 55 s would have to end first, were the early answer taken for one.
    assert!(restored.elapsed() < SOON, "after {:?}", restored.elapsed());
    consul.put("/v1/catalog/register", entry(three.address(), three.name())).await;
    until_usable(&proxy, &[one, two, three]).await;
    only_answers(&visitor.leave().await, &["one", "two", "three", "four"]);
    proxy.drain().await;
}

#[tokio::test]
async fn an_agent_that_takes_no_more_connections_is_followed_again_when_it_does() {
    let consul = Consul::start_with("limits { http_max_conns_per_client = 8 }").await;
    let [one, two] = origins(["one", "two"]).await;
    register(&consul, &one).await;
    let before = Proxy::start(&to_service(&consul.url(), ""));
    until_usable(&before, &[&one]).await;
    // Somebody else on this machine takes what is left.
    let mut hoard = Vec::new();
    for _ in 0..16 {
        hoard.push(TcpStream::connect(consul.address()).await);
    }
    let late = Proxy::start(&to_service(&consul.url(), ""));
    let began = Instant::now();
    eventually("it is turned away", SOON, async || updates(late.admin(), "error").await >= 3.0).await;
    assert!(began.elapsed() > Duration::from_millis(20), "no hot loop");
    assert_eq!(get(before.address(), "x", "/").await.text(), "one");
    assert!(is_ready(before.admin()).await && !is_ready(late.admin()).await);
    drop(hoard);
    eventually("there is room", SOON, async || consul.connections() <= 4).await;
    register(&consul, &two).await;
    until_usable(&before, &[&one, &two]).await;
    until_usable(&late, &[&one, &two]).await;
    for proxy in [before, late] {
        proxy.drain().await;
    }
}

#[tokio::test]
async fn reloads_leave_no_queries_behind() {
    let consul = Consul::start().await;
    let [one, two] = origins(["one", "two"]).await;
    register(&consul, &one).await;
    let settings = |number: usize| {
        let other = format!("[clusters.other]\nconsul = {{ service = \"other-{number}\" }}\n");
        to_service(&consul.url(), &other).replace("[consul]\n", "[consul]\nwait = \"1s\"\nmax_queries = 20\n")
    };
    let proxy = Proxy::start(&settings(0));
    until_usable(&proxy, &[&one]).await;
    for number in 1..=50 {
        proxy.app().reload(parse(&settings(number))).await.unwrap();
    }
    // Two services, and what is kept for the next question.
    eventually("the others have ended", SOON, async || consul.connections() <= 8).await;
    register(&consul, &two).await;
    until_usable(&proxy, &[&one, &two]).await;
    proxy.drain().await;
}

#[tokio::test]
async fn a_lictor_that_was_paused_goes_by_what_is_true_when_it_goes_on() {
    let consul = Consul::start().await;
    let [one, two] = origins(["one", "two"]).await;
    register(&consul, &one).await;
    let settings = to_service(&consul.url(), "").replace("[consul]\n", "[consul]\nwait = \"1s\"\n");
    let lictor = Spawned::start(&settings, &[]);
    let address = lictor.address().await;
    let answers = async |name: &str| get(address, "x", "/").await.text() == name;
    eventually("one serves", SOON, async || answers("one").await).await;
    let signal = |signal: &str| {
        let done = Command::new("sh").args(["-c", &format!("kill -{signal} {}", lictor.id())]).status().unwrap();
        assert!(done.success());
    };
    signal("STOP");
    let stopped = Instant::now();
    register(&consul, &two).await;
    consul.deregister("one").await;
    // Longer than a query waits, so that its answer has come to nobody.
    while stopped.elapsed() < Duration::from_millis(1500) {
        assert!(consul.get("/v1/health/service/web").await.to_string().contains("two"));
    }
    signal("CONT");
    // What came while it was paused is from before the end of it, and is read first.
    eventually("two serves alone", SOON, async || {
        for _ in 0..10 {
            if !answers("two").await {
                return false;
            }
        }
        true
    })
    .await;
}
