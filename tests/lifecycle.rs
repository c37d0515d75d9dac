//! How lictor begins, changes and ends: ports that are taken, reloads that are taken over or refused as a whole, and a drain
//! that loses nothing.

use std::net::SocketAddr;
use std::time::Duration;

use lictor::app::App;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::support::app::{Proxy, parse, to_endpoints, to_service};
use crate::support::client::{Client, eventually, get, try_get};
use crate::support::origin::{Origin, Script, slow_body};
use crate::support::window::{counted, json, metric, standing};

const SOON: Duration = Duration::from_secs(15);
const GET: &str = "GET /a HTTP/1.1\r\nhost: shop\r\n\r\n";

async fn pair(more: &str) -> (Origin, Proxy) {
    let origin = Origin::start("one").await;
    let proxy = Proxy::start(&format!("{}{more}", to_endpoints(&[origin.address()], "")));
    (origin, proxy)
}

fn drain(delay: &str, timeout: &str) -> String {
    format!("[drain]\ndelay = \"{delay}\"\ntimeout = \"{timeout}\"\n")
}

async fn readiness(admin: SocketAddr) -> u16 {
    get(admin, "localhost", "/readyz").await.status
}

async fn refused(address: SocketAddr) {
    eventually("nothing new is accepted", SOON, async || TcpStream::connect(address).await.is_err()).await;
}

async fn ended(draining: JoinHandle<()>) {
    tokio::time::timeout(SOON, draining).await.expect("the drain ends").unwrap();
}

#[tokio::test]
async fn a_port_that_is_taken_stops_the_start_and_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let listener = format!("[[listeners]]\nname = \"edge\"\nbind = \"{address}\"\n");
    let error = App::start(parse(&listener)).err().expect("the port is taken").to_string();
    assert!(error.starts_with(&format!("cannot listen on {address}: ")), "{error}");
    // Another lictor is no exception, though its workers share their port.
    let (_origin, proxy) = pair("").await;
    let listener = listener.replace(&address.to_string(), &proxy.address().to_string());
    let error = App::start(parse(&listener)).err().expect("the port is taken").to_string();
    assert!(error.contains(&proxy.address().to_string()), "{error}");
}

#[tokio::test]
async fn a_drain_is_announced_before_anything_is_refused() {
    let (_origin, proxy) = pair(&drain("700ms", "10s")).await;
    let (address, admin) = (proxy.address(), proxy.admin());
    eventually("ready", SOON, async || readiness(admin).await == 200).await;
    let draining = tokio::spawn(proxy.drain());
    eventually("not ready", SOON, async || readiness(admin).await == 503).await;
    assert_eq!(get(admin, "localhost", "/readyz").await.text(), "draining\n");
    assert_eq!(get(address, "shop", "/").await.text(), "one", "who has not noticed yet is served");
    assert_eq!(get(admin, "localhost", "/livez").await.status, 200);
    refused(address).await;
    ended(draining).await;
}

#[tokio::test]
async fn a_drain_waits_for_what_runs_and_says_that_the_connection_ends() {
    let (origin, proxy) = pair("").await;
    let address = proxy.address();
    let (tap, script) = slow_body();
    origin.once(script);
    let mut streaming = Client::connect(address).await;
    streaming.send(GET).await;
    let (_, mut body) = streaming.head().await;
    let mut idle = Client::connect(address).await;
    assert_eq!(idle.exchange(GET).await.text(), "one");
    let mut waiting = Client::connect(address).await;
    origin.pause();
    waiting.send(GET).await;

    let draining = tokio::spawn(proxy.drain());
    refused(address).await;
    assert_eq!(idle.closed().await.unwrap(), b"", "idle connections are closed");
    origin.resume();
    let answer = waiting.response().await;
    assert_eq!((answer.text().as_str(), answer.header("connection")), ("one", Some("close")));
    assert_eq!(waiting.closed().await.unwrap(), b"");
    tap.send("still");
    assert_eq!(streaming.piece(&mut body).await.unwrap().unwrap(), "still");
    assert!(!draining.is_finished());
    tap.end();
    assert!(streaming.piece(&mut body).await.unwrap().is_none());
    ended(draining).await;
}

#[tokio::test]
async fn a_drain_loses_no_request_of_clients_that_keep_their_connections() {
    let (_origin, proxy) = pair(&drain("0s", "10s")).await;
    let (address, (started, mut running)) = (proxy.address(), tokio::sync::mpsc::channel(1));
    let clients: Vec<JoinHandle<usize>> = (0..16)
        .map(|_| {
            let started = started.clone();
            tokio::spawn(async move {
                let mut client = Client::connect(address).await;
                for answered in 1.. {
                    let answer = client.exchange(GET).await;
                    assert_eq!(answer.status, 200);
                    if answer.header("connection") == Some("close") {
                        return answered;
                    }
                    if answered == 20 {
                        started.send(()).await.unwrap();
                    }
                }
                0
            })
        })
        .collect();
    for _ in &clients {
        running.recv().await.unwrap();
    }
    proxy.drain().await;
    for client in clients {
        assert!(client.await.expect("every request was answered, the last one with a close") >= 20);
    }
}

#[tokio::test]
async fn a_drain_lets_a_tunnel_end() {
    let (origin, proxy) = pair("").await;
    let address = proxy.address();
    origin.once(Script::UpgradeEcho);
    let mut client = Client::connect(address).await;
    let upgrade = "GET / HTTP/1.1\r\nhost: shop\r\nconnection: upgrade\r\nupgrade: chat\r\n\r\n";
    assert_eq!(client.exchange(upgrade).await.status, 101);
    let draining = tokio::spawn(proxy.drain());
    refused(address).await;
    client.send("x").await;
    assert_eq!(client.read(1).await, b"x");
    assert!(!draining.is_finished());
    drop(client);
    ended(draining).await;
}

#[tokio::test]
async fn a_drain_does_not_wait_for_ever() {
    let (origin, proxy) = pair(&drain("0s", "300ms")).await;
    let (tap, script) = slow_body();
    origin.once(script);
    let mut client = Client::connect(proxy.address()).await;
    client.send(GET).await;
    let (_, mut body) = client.head().await;
    ended(tokio::spawn(proxy.drain())).await;
    client.piece(&mut body).await.expect_err("broken off");
    tokio::time::timeout(SOON, tap.left()).await.expect("and the origin's connection as well");
}

#[tokio::test]
async fn a_request_that_waits_for_the_first_list_is_answered_in_a_drain() {
    // Nobody answers there, so clients wait in the listener's queue.
    let proxy = Proxy::start(&to_service("http://127.0.0.1:1", ""));
    let mut client = Client::connect(proxy.address()).await;
    client.send(GET).await;
    let draining = tokio::spawn(proxy.drain());
    assert_eq!(client.response().await.text(), "waiting for discovery\n");
    assert_eq!(client.closed().await.unwrap(), b"");
    ended(draining).await;
}

/// Sends requests to whichever proxy says that it is ready, as a load balancer in front of two would, until told to stop.
async fn front(proxies: [(SocketAddr, SocketAddr); 2], mut stop: tokio::sync::watch::Receiver<bool>) -> usize {
    let mut served = 0;
    let mut clients: [Option<Client>; 2] = [None, None];
    while !*stop.borrow_and_update() {
        for (place, (address, admin)) in proxies.into_iter().enumerate() {
            if !try_get(admin, "localhost", "/readyz").await.is_ok_and(|answer| answer.status == 200) {
                clients[place] = None;
                continue;
            }
            let client = match &mut clients[place] {
                Some(client) => client,
                none => none.insert(Client::connect(address).await),
            };
            let answer = client.exchange(GET).await;
            assert_eq!(answer.text(), "one");
            if answer.header("connection") == Some("close") {
                clients[place] = None;
            }
            served += 1;
        }
    }
    served
}

#[tokio::test]
async fn a_rolling_restart_behind_something_that_asks_for_readiness_loses_nothing() {
    let origin = Origin::start("one").await;
    let text = format!("{}{}", to_endpoints(&[origin.address()], ""), drain("1s", "10s"));
    let (leaving, staying) = (Proxy::start(&text), Proxy::start(&text));
    let proxies = [(leaving.address(), leaving.admin()), (staying.address(), staying.admin())];
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let fronts: Vec<_> = (0..4).map(|_| tokio::spawn(front(proxies, stopped.clone()))).collect();
    eventually("load is on", SOON, async || origin.hits() > 100).await;
    ended(tokio::spawn(leaving.drain())).await;
    let before = origin.hits();
    eventually("load goes on", SOON, async || origin.hits() > before + 50).await;
    stop.send_replace(true);
    let mut served = 0;
    for front in fronts {
        served += front.await.unwrap();
    }
    assert_eq!(served, origin.hits(), "every request was answered");
}

#[tokio::test]
async fn a_reload_brings_new_routes_and_clusters_and_takes_old_ones_away() {
    let (origin, proxy) = pair("").await;
    let other = Origin::start("other").await;
    assert_eq!(get(proxy.address(), "shop", "/new").await.text(), "one");
    let more = format!(
        "[[routes]]\npath = \"/new\"\ncluster = \"new\"\n[clusters.new]\nendpoints = [\"{}\"]\n",
        other.address()
    );
    let text = to_endpoints(&[origin.address()], "");
    proxy.app().reload(parse(&format!("{more}{text}"))).await.unwrap();
    assert_eq!(get(proxy.address(), "shop", "/new/x").await.text(), "other");
    assert_eq!(get(proxy.address(), "shop", "/").await.text(), "one");
    counted(proxy.admin(), "lictor_config_reloads_total{result=\"success\"}", 1.0).await;

    proxy.app().reload(parse(&more)).await.unwrap();
    assert_eq!(get(proxy.address(), "shop", "/").await.status, 404);
    assert_eq!(json(proxy.admin(), "/v1/clusters").await.as_array().map(Vec::len), Some(1));
    eventually("figures of what is gone are gone", SOON, async || {
        let scrape = get(proxy.admin(), "localhost", "/metrics").await.text();
        !scrape.contains("cluster=\"web\"")
    })
    .await;
}

#[tokio::test]
async fn a_reload_keeps_connections_and_what_was_learned() {
    let origins = [Origin::start("bad").await, Origin::start("good").await];
    let text = to_endpoints(&origins.each_ref().map(Origin::address), "policy = \"round_robin\"");
    let proxy = Proxy::start(&text);
    origins[0].always(Script::answer(503, ""));
    let mut client = Client::connect(proxy.address()).await;
    for _ in 0..8 {
        client.exchange(GET).await;
    }
    assert_eq!(standing(proxy.admin(), origins[0].address()).await, "ejected");
    let (tap, script) = slow_body();
    origins[1].once(script);
    let mut streaming = Client::connect(proxy.address()).await;
    streaming.send(GET).await;
    let (_, mut body) = streaming.head().await;

    let more = "timeouts = { connect = \"2s\" }\n[[routes]]\npath = \"/more\"\ncluster = \"web\"\n";
    proxy.app().reload(parse(&format!("{text}{more}"))).await.unwrap();
    assert_eq!(standing(proxy.admin(), origins[0].address()).await, "ejected");
    assert_eq!(client.exchange(GET).await.text(), "good", "the client's connection goes on");
    assert_eq!(origins[1].accepted(), 2, "so does the origin's, beside the one that streams");
    tap.send("on");
    assert_eq!(streaming.piece(&mut body).await.unwrap().unwrap(), "on");
    tap.end();
    assert!(streaming.piece(&mut body).await.unwrap().is_none());
    // The client may have its last byte before the worker has put all away.
    eventually("nothing is in flight", SOON, async || {
        metric(proxy.admin(), "lictor_cluster_in_flight{cluster=\"web\"}").await == 0.0
    })
    .await;
}

#[tokio::test]
async fn reloads_under_load_lose_nothing() {
    let origins = [Origin::start("one").await, Origin::start("two").await];
    let texts = origins.each_ref().map(|origin| to_endpoints(&[origin.address()], ""));
    let proxy = Proxy::start(&texts[0]);
    let address = proxy.address();
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..4 {
        clients.spawn(async move {
            let mut client = Client::connect(address).await;
            for _ in 0..200 {
                assert_eq!(client.exchange(GET).await.status, 200);
            }
        });
    }
    for round in 1.. {
        proxy.app().reload(parse(&texts[round % 2])).await.unwrap();
        if clients.try_join_next().is_some_and(|client| client.is_ok()) {
            break;
        }
    }
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    assert!(origins.iter().all(|origin| origin.hits() > 10), "both were in turn");
}

#[tokio::test]
async fn what_cannot_change_is_refused_by_name_and_changes_nothing() {
    let (origin, proxy) = pair("").await;
    let text = format!(
        "[[routes]]\npath = \"/only\"\ncluster = \"web\"\n[clusters.web]\nendpoints = [\"{}\"]\n",
        origin.address()
    );
    for (change, key) in [
        ("workers = 2\n", "workers"),
        ("[consul]\naddress = \"http://127.0.0.1:1\"\n", "consul"),
        ("[place]\nzone = \"b\"\n", "place"),
        ("[[listeners]]\nname = \"edge\"\nbind = \"127.0.0.1:0\"\ntimeouts = { idle = \"1s\" }\n", "listeners"),
        ("[drain]\ndelay = \"1s\"\ntimeout = \"10s\"\n", "drain"),
        ("[log]\nformat = \"json\"\n", "log"),
    ] {
        let refusal = proxy.app().reload(parse(&format!("{change}{text}"))).await.expect_err(key).to_string();
        assert_eq!(refusal, format!("{key} cannot change while lictor runs; restart it"));
    }
    assert_eq!(get(proxy.address(), "shop", "/").await.text(), "one", "not half of it was taken over");
    counted(proxy.admin(), "lictor_config_reloads_total{result=\"failure\"}", 6.0).await;
    counted(proxy.admin(), "lictor_config_last_reload_successful", 0.0).await;
}

#[tokio::test]
async fn a_reload_takes_endpoints_away_without_hurting_their_requests() {
    let origins = [Origin::start("leaving").await, Origin::start("staying").await];
    let proxy = Proxy::start(&to_endpoints(&[origins[0].address()], ""));
    let (tap, script) = slow_body();
    origins[0].once(script);
    let mut client = Client::connect(proxy.address()).await;
    client.send(GET).await;
    let (_, mut body) = client.head().await;
    proxy.app().reload(parse(&to_endpoints(&[origins[1].address()], ""))).await.unwrap();
    assert_eq!(get(proxy.address(), "shop", "/").await.text(), "staying");
    tap.send("last words");
    assert_eq!(client.piece(&mut body).await.unwrap().unwrap(), "last words");
    tap.end();
    assert!(client.piece(&mut body).await.unwrap().is_none());
    eventually("its connections are closed", SOON, async || origins[0].connections() == 0).await;
}
