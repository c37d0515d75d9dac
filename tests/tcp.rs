//! Listeners for any protocol: what is said on one side is heard on the other, and nothing else.

mod sni;

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::support::app::{Proxy, parse};
use crate::support::client::{Client, eventually};
use crate::support::origin::Origin;
use crate::support::raw::Raw;
use crate::support::window::{is_ready, json, metric, standing, sum};

const SOON: Duration = Duration::from_secs(10);
const EVERYWHERE: &str = "policy = \"round_robin\"\nejection = { consecutive_failures = 0 }";

/// A listener that gives all to a cluster `db` of these endpoints, with `more` keys for the cluster.
fn to(endpoints: &[SocketAddr], more: &str) -> String {
    let endpoints: Vec<String> = endpoints.iter().map(|address| format!("\"{address}\"")).collect();
    let listener = "[[listeners]]\nname = \"edge\"\nbind = \"127.0.0.1:0\"\nprotocol = \"tcp\"\ncluster = \"db\"\n";
    format!("{listener}[clusters.db]\nendpoints = [{}]\n{more}\n", endpoints.join(", "))
}

async fn pair(more: &str) -> (Raw, Proxy) {
    let origin = Raw::start().await;
    let proxy = Proxy::start(&to(&[origin.address()], more));
    (origin, proxy)
}

/// A session, from both its ends.
async fn session(origin: &Raw, proxy: &Proxy) -> (Client, Client) {
    let client = Client::connect(proxy.address()).await;
    (client, origin.accept().await)
}

async fn ended(proxy: &Proxy, result: &str) -> f64 {
    sum(proxy.admin(), "lictor_tcp_sessions_total", &format!("result=\"{result}\"")).await
}

async fn attempts(proxy: &Proxy, outcome: &str) -> f64 {
    metric(proxy.admin(), &format!("lictor_attempts_total{{cluster=\"db\",outcome=\"{outcome}\"}}")).await
}

async fn in_flight(proxy: &Proxy) -> f64 {
    metric(proxy.admin(), "lictor_cluster_in_flight{cluster=\"db\"}").await
}

/// Says much of one letter both ways at once, and hears as much.
async fn talk(mut stream: TcpStream, letter: u8) {
    const MUCH: usize = 2_000_000;
    let (mut hearing, mut saying) = stream.split();
    let say = async {
        saying.write_all(&vec![letter; MUCH]).await.unwrap();
        saying.shutdown().await.unwrap();
    };
    let hear = async {
        let (mut heard, mut piece) = (0, vec![0; if letter.is_multiple_of(2) { 5_000 } else { 200_000 }]);
        loop {
            let count = hearing.read(&mut piece).await.unwrap();
            assert!(piece[..count].iter().all(|byte| *byte == letter), "{letter}: not its own");
            heard += count;
            if count == 0 {
                break;
            }
        }
        assert_eq!(heard, MUCH, "{letter}: all of it");
    };
    tokio::join!(say, hear);
}

#[tokio::test]
async fn much_that_many_say_at_once_arrives_whole_and_does_not_mix() {
    let (origin, proxy) = pair("").await;
    let mut ends = JoinSet::new();
    for letter in b'a'..=b'p' {
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        stream.write_all(&[letter]).await.unwrap();
        let mut served = origin.accept_stream().await;
        assert_eq!(served.read_u8().await.unwrap(), letter);
        ends.spawn(talk(stream, letter));
        ends.spawn(talk(served, letter));
    }
    ends.join_all().await;
}

#[tokio::test]
async fn either_side_may_speak_first_and_go_on_after_the_other_has_said_all() {
    let (origin, proxy) = pair("").await;
    let (mut client, mut served) = session(&origin, &proxy).await;
    served.send("welcome\0").await;
    assert_eq!(client.read(8).await, b"welcome\0");
    client.send(b"\r\n\xff hello").await;
    assert_eq!(served.read(9).await, b"\r\n\xff hello");
    client.finish().await;
    assert_eq!(served.closed().await.unwrap(), b"");
    assert_eq!(in_flight(&proxy).await, 1.0, "as long as one side speaks");
    served.send("late").await;
    assert_eq!(client.read(4).await, b"late");
    served.finish().await;
    assert_eq!(client.closed().await.unwrap(), b"");
    eventually("it is over", SOON, async || ended(&proxy, "completed").await == 1.0).await;

    let (mut client, mut served) = session(&origin, &proxy).await;
    served.finish().await;
    assert_eq!(client.closed().await.unwrap(), b"");
    client.send("still here").await;
    assert_eq!(served.read(10).await, b"still here");
    client.finish().await;
    assert_eq!(served.closed().await.unwrap(), b"");
    eventually("it is over", SOON, async || ended(&proxy, "completed").await == 2.0).await;
    eventually("nothing is in flight", SOON, async || in_flight(&proxy).await == 0.0).await;
    assert_eq!(attempts(&proxy, "success").await, 2.0);
    let bytes = async |way: &str| {
        sum(proxy.admin(), "lictor_tcp_bytes_total", &format!("cluster=\"db\",direction=\"{way}\"")).await
    };
    assert_eq!((bytes("received").await, bytes("sent").await), (19.0, 12.0));
}

#[tokio::test]
async fn much_goes_both_ways_at_once() {
    let (origin, proxy) = pair("").await;
    let client = TcpStream::connect(proxy.address()).await.unwrap();
    let (mut echoed, mut echoing) = origin.accept_stream().await.into_split();
    let echo = tokio::spawn(async move { tokio::io::copy(&mut echoed, &mut echoing).await });
    let much: Vec<u8> = (0..16_000_000_u32).map(|at| (at / 7) as u8).collect();
    let (mut reading, mut writing) = client.into_split();
    let mut got = Vec::new();
    let send = async {
        writing.write_all(&much).await.unwrap();
        writing.shutdown().await.unwrap();
    };
    let (read, ()) = tokio::join!(reading.read_to_end(&mut got), send);
    assert!(read.unwrap() == much.len() && got == much);
    assert_eq!(echo.await.unwrap().unwrap(), 16_000_000);
}

#[tokio::test]
async fn operators_see_what_a_listener_is_for() {
    let (_origin, proxy) = pair("").await;
    let listeners = json(proxy.admin(), "/v1/listeners").await;
    let edge = &listeners[0];
    assert_eq!((&edge["name"], &edge["protocol"], &edge["cluster"]), (&"edge".into(), &"tcp".into(), &"db".into()));
    assert_eq!(edge["address"], proxy.address().to_string());
}

#[tokio::test]
async fn a_session_goes_to_another_endpoint_if_the_first_is_gone() {
    let gone = Origin::start("gone").await;
    gone.stop().await;
    let origin = Raw::start().await;
    let proxy = Proxy::start(&to(&[gone.address(), origin.address()], EVERYWHERE));
    for _ in 0..4 {
        let (mut client, mut served) = session(&origin, &proxy).await;
        served.send("x").await;
        assert_eq!(client.read(1).await, b"x");
    }
    assert!(metric(proxy.admin(), "lictor_retries_total{cluster=\"db\",reason=\"connect\"}").await >= 1.0);
    assert_eq!(ended(&proxy, "connect").await, 0.0);
}

#[tokio::test]
async fn an_endpoint_to_which_there_is_no_connection_is_ejected() {
    let gone = Origin::start("gone").await;
    gone.stop().await;
    let origin = Raw::start().await;
    let more = "policy = \"round_robin\"\nejection = { consecutive_failures = 1 }";
    let proxy = Proxy::start(&to(&[gone.address(), origin.address()], more));
    for _ in 0..2 {
        let _session = session(&origin, &proxy).await;
    }
    assert_eq!(standing(proxy.admin(), gone.address()).await, "ejected");
}

#[tokio::test]
async fn a_client_is_closed_where_nobody_can_be_connected_to() {
    let gone = Origin::start("gone").await;
    gone.stop().await;
    let proxy = Proxy::start(&to(&[gone.address()], EVERYWHERE));
    let mut client = Client::connect(proxy.address()).await;
    assert_eq!(client.closed().await.unwrap(), b"");
    eventually("it is counted", SOON, async || ended(&proxy, "connect").await == 1.0).await;
    assert_eq!(attempts(&proxy, "connect").await, 3.0, "as `retry` says");
}

#[tokio::test]
async fn a_side_that_breaks_off_is_told_as_such() {
    let (origin, proxy) = pair("").await;
    let (mut client, mut served) = session(&origin, &proxy).await;
    client.send("anybody?").await;
    served.read(8).await;
    served.reset();
    assert_eq!(client.closed().await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    eventually("it is counted", SOON, async || ended(&proxy, "endpoint_reset").await == 1.0).await;
    assert_eq!(attempts(&proxy, "reset").await, 1.0, "it has never said anything");

    let (mut client, mut served) = session(&origin, &proxy).await;
    served.send("here").await;
    client.read(4).await;
    served.reset();
    assert_eq!(client.closed().await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    eventually("it is counted", SOON, async || ended(&proxy, "endpoint_reset").await == 2.0).await;

    let (client, mut served) = session(&origin, &proxy).await;
    client.reset();
    assert_eq!(served.closed().await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    eventually("it is counted", SOON, async || ended(&proxy, "client_reset").await == 1.0).await;
    assert_eq!((attempts(&proxy, "success").await, attempts(&proxy, "reset").await), (2.0, 1.0));
}

#[tokio::test]
async fn silence_ends_a_session() {
    let (origin, proxy) = pair("timeouts = { idle = \"100ms\" }").await;
    let (mut client, mut served) = session(&origin, &proxy).await;
    assert_eq!((client.closed().await.unwrap(), served.closed().await.unwrap()), (vec![], vec![]));
    eventually("it is counted", SOON, async || ended(&proxy, "timeout").await == 1.0).await;
}

#[tokio::test]
async fn limits_hold_for_sessions() {
    let (origin, proxy) = pair("limits = { in_flight = 1 }").await;
    let (mut client, mut served) = session(&origin, &proxy).await;
    let mut second = Client::connect(proxy.address()).await;
    assert_eq!(second.closed().await.unwrap(), b"");
    eventually("it is counted", SOON, async || ended(&proxy, "overload").await == 1.0).await;
    client.finish().await;
    served.finish().await;
    client.closed().await.unwrap();
    eventually("it is over", SOON, async || ended(&proxy, "completed").await == 1.0).await;
    let (mut client, mut served) = session(&origin, &proxy).await;
    served.send("x").await;
    assert_eq!(client.read(1).await, b"x");

    let (origin, proxy) = pair("limits = { endpoint_connections = 1 }\nretry = { attempts = 0 }").await;
    let _first = session(&origin, &proxy).await;
    let mut second = Client::connect(proxy.address()).await;
    assert_eq!(second.closed().await.unwrap(), b"");
    assert_eq!(attempts(&proxy, "connect").await, 0.0, "it is not the endpoint's fault");
}

#[tokio::test]
async fn sessions_are_spread_by_how_many_there_are() {
    let origins = [Raw::start().await, Raw::start().await];
    let proxy = Proxy::start(&to(&[origins[0].address(), origins[1].address()], "policy = \"least_connections\""));
    let mut clients = Vec::new();
    for _ in 0..6 {
        clients.push(Client::connect(proxy.address()).await);
    }
    for origin in &origins {
        for _ in 0..3 {
            drop(origin.accept().await);
        }
    }
}

#[tokio::test]
async fn a_client_comes_back_to_the_endpoint_that_its_address_belongs_to() {
    let origins = [Raw::start().await, Raw::start().await];
    let more = "policy = \"consistent_hash\"";
    let proxy = Proxy::start(&to(&[origins[0].address(), origins[1].address()], more));
    let mut homes = Vec::new();
    for last in 1..=20_u8 {
        let mut home = None;
        for _ in 0..3 {
            let mut client = Client::connect_from([127, 0, 0, last].into(), proxy.address()).await;
            let (place, mut served) = tokio::select! {
                served = origins[0].accept() => (0, served),
                served = origins[1].accept() => (1, served),
            };
            assert_eq!(*home.get_or_insert(place), place);
            served.finish().await;
            client.finish().await;
            client.closed().await.unwrap();
            eventually("it is over", SOON, async || in_flight(&proxy).await == 0.0).await;
        }
        homes.extend(home);
    }
    assert!(homes.contains(&0) && homes.contains(&1));
}

#[tokio::test]
async fn what_runs_at_an_endpoint_that_has_left_ends_after_a_while() {
    let origins = [Raw::start().await, Raw::start().await];
    let more = "timeouts = { idle = \"200ms\", drain = \"100ms\" }";
    let proxy = Proxy::start(&to(&[origins[0].address()], more));
    let (mut client, _served) = session(&origins[0], &proxy).await;
    let place = proxy.address();
    proxy.app().reload(parse(&to(&[origins[1].address()], more))).await.unwrap();
    // It speaks all the time, so that it is not silence that ends it.
    eventually("it is broken off", SOON, async || client.try_send("x").await.is_err()).await;
    let mut client = Client::connect(place).await;
    let mut served = origins[1].accept().await;
    served.send("new").await;
    assert_eq!(client.read(3).await, b"new");
}

#[tokio::test]
async fn a_drain_lets_sessions_end_and_then_ends_them() {
    let (origin, proxy) = pair("").await;
    let (address, admin) = (proxy.address(), proxy.admin());
    let (mut client, mut served) = session(&origin, &proxy).await;
    let drain = tokio::spawn(proxy.drain());
    eventually("it drains", SOON, async || !is_ready(admin).await).await;
    served.send("still").await;
    assert_eq!(client.read(5).await, b"still");
    client.finish().await;
    served.finish().await;
    assert_eq!(client.closed().await.unwrap(), b"");
    drain.await.unwrap();
    assert!(TcpStream::connect(address).await.is_err());

    let origin = Raw::start().await;
    let drain = "[drain]\ndelay = \"0s\"\ntimeout = \"200ms\"";
    let proxy = Proxy::start(&to(&[origin.address()], drain));
    let (mut client, mut served) = session(&origin, &proxy).await;
    proxy.drain().await;
    let (client, served) = (client.closed().await, served.closed().await);
    assert!(client.is_ok_and(|rest| rest.is_empty()) && served.is_ok_and(|rest| rest.is_empty()));
}
