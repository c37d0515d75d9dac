//! How many connections clients may have and for how long: room for a number of them, who waits and who gives way, old ones, idle
//! ones that are put to rest, and a process that is out of descriptors.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use crate::support::app::{Proxy, to_endpoints};
use crate::support::client::{Client, eventually, get, try_get};
use crate::support::origin::{Origin, Script};
use crate::support::spawned::Spawned;
use crate::support::window::{counted, metric, sum};

const SOON: Duration = Duration::from_secs(15);
/// Longer than an idle connection stays awake.
const AT_REST: Duration = Duration::from_millis(2300);
const GET: &str = "GET /a HTTP/1.1\r\nhost: shop\r\n\r\n";

async fn pair(before: &str) -> (Origin, Proxy) {
    let origin = Origin::start("one").await;
    let proxy = Proxy::start(&format!("{before}\n{}", to_endpoints(&[origin.address()], "")));
    (origin, proxy)
}

async fn open(proxy: &Proxy) -> f64 {
    metric(proxy.admin(), "lictor_connections_open{listener=\"edge\"}").await
}

#[tokio::test]
async fn who_comes_when_all_connections_are_busy_waits_until_one_is_free() {
    let (origin, proxy) = pair("max_connections = 2").await;
    let held = [Script::Hang, Script::Hang];
    held.into_iter().for_each(|script| origin.once(script));
    let mut busy = Vec::new();
    for _ in 0..2 {
        let mut client = Client::connect(proxy.address()).await;
        client.send(GET).await;
        busy.push(client);
    }
    eventually("both are at work", SOON, async || origin.hits() == 2).await;
    let mut third = Client::connect(proxy.address()).await;
    third.send(GET).await;
    let held_back = async || sum(proxy.admin(), "lictor_connections_held_back_total", "edge").await == 1.0;
    eventually("the third is held back", SOON, held_back).await;
    assert_eq!((open(&proxy).await, origin.hits()), (2.0, 2));
    counted(proxy.admin(), "lictor_connections_limit", 2.0).await;
    drop(busy.pop());
    assert_eq!(third.response().await.text(), "one");
    assert_eq!(sum(proxy.admin(), "lictor_connections_gave_way_total", "edge").await, 0.0);
}

#[tokio::test]
async fn the_longest_idle_connection_gives_way_to_somebody_who_waits() {
    let (_origin, proxy) = pair("max_connections = 2").await;
    let mut first = Client::connect(proxy.address()).await;
    assert_eq!(first.exchange(GET).await.text(), "one");
    let mut second = Client::connect(proxy.address()).await;
    assert_eq!(second.exchange(GET).await.text(), "one");
    assert_eq!(get(proxy.address(), "shop", "/").await.text(), "one");
    assert_eq!(first.closed().await.unwrap(), b"", "the one that was idle for longest is closed");
    assert_eq!(second.exchange(GET).await.text(), "one", "and no other");
}

#[tokio::test]
async fn operators_get_in_when_clients_have_taken_all_room() {
    let (_origin, proxy) = pair("max_connections = 1").await;
    let mut crowd = Vec::new();
    for _ in 0..50 {
        crowd.push(TcpStream::connect(proxy.address()).await.unwrap());
    }
    assert_eq!(get(proxy.admin(), "localhost", "/livez").await.status, 200);
}

#[tokio::test]
async fn a_tunnel_has_a_place_for_as_long_as_it_is_open() {
    let (origin, proxy) = pair("max_connections = 1").await;
    origin.once(Script::UpgradeEcho);
    let mut tunnel = Client::connect(proxy.address()).await;
    let upgrade = "GET /a HTTP/1.1\r\nhost: shop\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
    assert_eq!(tunnel.exchange(upgrade).await.status, 101);
    let mut other = Client::connect(proxy.address()).await;
    other.send(GET).await;
    let held_back = async || sum(proxy.admin(), "lictor_connections_held_back_total", "edge").await == 1.0;
    eventually("the other is held back", SOON, held_back).await;
    assert_eq!(origin.hits(), 1);
    drop(tunnel);
    assert_eq!(other.response().await.text(), "one");
}

#[tokio::test]
async fn an_old_connection_is_ended_with_its_next_answer() {
    let listener =
        "[[listeners]]\nname = \"edge\"\nbind = \"127.0.0.1:0\"\ntimeouts = { connection_age = \"200ms\" }\n";
    let (origin, proxy) = pair(listener).await;
    let mut client = Client::connect(proxy.address()).await;
    let began = Instant::now();
    let mut last = client.exchange(GET).await;
    while last.header("connection") != Some("close") {
        assert!(began.elapsed() < SOON, "never told to close");
        last = client.exchange(GET).await;
    }
    assert!(began.elapsed() >= Duration::from_millis(180), "{:?}", began.elapsed());
    assert_eq!((last.text().as_str(), client.closed().await.unwrap()), ("one", vec![]));

    let mut idle = Client::connect(proxy.address()).await;
    assert_eq!(idle.exchange(GET).await.text(), "one");
    assert_eq!(idle.closed().await.unwrap(), b"", "without another request it is closed");

    origin.once(Script::Delay(Duration::from_millis(600), Box::new(Script::answer(200, "late"))));
    let late = Client::connect(proxy.address()).await.exchange(GET).await;
    assert_eq!((late.text().as_str(), late.header("connection")), ("late", Some("close")));
}

#[tokio::test]
async fn a_connection_that_was_at_rest_goes_on() {
    let (origin, proxy) = pair("").await;
    let mut client = Client::connect(proxy.address()).await;
    assert_eq!(client.exchange(GET).await.text(), "one");
    tokio::time::sleep(AT_REST).await;
    assert_eq!(client.exchange(GET).await.text(), "one");
    // A request that has begun with the one before it, and goes on when the connection could have been put to rest.
    client.send(format!("{GET}GET /later HTTP/1.1\r\nho")).await;
    assert_eq!(client.response().await.text(), "one");
    tokio::time::sleep(AT_REST).await;
    assert_eq!(client.exchange("st: shop\r\n\r\n").await.text(), "one");
    assert_eq!(origin.requests().last().unwrap().target(), "/later");
    assert_eq!(open(&proxy).await, 1.0);
}

#[tokio::test]
async fn the_rest_of_a_body_that_nobody_wanted_is_never_a_request() {
    let (origin, proxy) = pair("").await;
    origin.once(Script::Early(Box::new(Script::answer(413, "too much"))));
    let mut client = Client::connect(proxy.address()).await;
    let smuggled = "GET /smuggled HTTP/1.1\r\nhost: shop\r\n\r\n";
    let length = 10 + smuggled.len();
    client.send(format!("POST /a HTTP/1.1\r\nhost: shop\r\ncontent-length: {length}\r\n\r\n0123456789")).await;
    assert_eq!(client.response().await.status, 413);
    tokio::time::sleep(AT_REST).await;
    // Whether the connection still takes it or not.
    let _ = client.try_send(smuggled).await;
    let _ = client.try_response().await;
    assert!(origin.requests().iter().all(|request| request.target() == "/a"));
}

#[tokio::test]
async fn a_refused_upload_that_has_come_leaves_its_connection() {
    let origin = Origin::start("one").await;
    let proxy = Proxy::start(&to_endpoints(&[origin.address()], "").replace("[[routes]]", "[[routes]]\npath = \"/a\""));
    let mut client = Client::connect(proxy.address()).await;
    for body in ["content-length: 4\r\n\r\nbody", "transfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"] {
        let refused = client.exchange(format!("POST /b HTTP/1.1\r\nhost: shop\r\n{body}")).await;
        assert_eq!((refused.status, refused.header("connection")), (404, None));
    }
    let expects = "POST /b HTTP/1.1\r\nhost: shop\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n";
    let refused = client.exchange(expects).await;
    assert_eq!((refused.status, refused.header("connection")), (404, Some("close")), "the body may come or not");
}

/// CPU time since its start in hundredths of a second: fields 14 and 15 of the line (proc(5)).
fn ticks(process: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields = stat.rsplit_once(')').unwrap().1.split_whitespace().skip(11).take(2);
    fields.map(|field| field.parse::<u64>().unwrap()).sum()
}

#[tokio::test]
async fn a_process_that_is_out_of_descriptors_waits_without_spinning_and_recovers() {
    let origin = Origin::start("one").await;
    // More connections than descriptors: so that accepting fails.
    let rest = format!("max_connections = 1000\n{}", to_endpoints(&[origin.address()], ""));
    for rest in [rest, to_endpoints(&[origin.address()], "")] {
        let process = Spawned::start_within(&rest, 320);
        let address: SocketAddr = process.address().await;
        let mut crowd = Vec::new();
        for _ in 0..700 {
            crowd.push(TcpStream::connect(address).await.unwrap());
        }
        let (began, before) = (Instant::now(), ticks(process.id()));
        tokio::time::sleep(Duration::from_secs(2)).await;
        let share = (ticks(process.id()) - before) as f64 / 100.0 / began.elapsed().as_secs_f64();
        assert!(share < 0.3, "{share:.2} of a core is used for nothing");
        drop(crowd);
        let answered =
            async || try_get(address, "shop", "/").await.is_ok_and(|response| response.text() == "one").then_some(());
        eventually("somebody new is answered", SOON, answered).await;
    }
}
